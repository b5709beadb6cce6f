"""A question to one host's BGP agent and its answer, as the datastore carries them. Pure.

Both are keys under the lease of whoever asks, so that nothing of them stays when it is gone. A host watches the prefix
of its own questions alone: what it costs does not depend on how many hosts there are or what they are asked.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from calico.bgp.bird.control import BirdStatus, Session
from calico.bgp.explain.inquiry import Facts
from calico.bgp.explain.seen import SeenRoute
from calico.errors import InvalidInput

__all__ = ["MOST_BYTES", "Answer", "Question", "answer_key", "answers_prefix", "decode_answer", "decode_question",
           "encode_answer", "encode_question", "host_of_answer", "question_key", "questions_prefix"]  # fmt: skip

_ROOT = "/calico/bgp/v1/"
_MOST_QUESTION_BYTES = 4096
MOST_BYTES = 1 << 20
"""What an answer may have; etcd takes 1.5 MiB."""


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """``overview``: BIRD, sessions and the agent's status. ``routes``: those within ``prefix``. ``why``: facts about
    ``prefix``. The answer goes under ``lease``."""

    what: Literal["overview", "routes", "why"]
    lease: Annotated[int, msgspec.Meta(gt=0)]
    prefix: str = ""


class Answer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one host says; ``error`` when it cannot say more. ``status`` is the agent's status document."""

    host: str
    error: str = ""
    status: dict[str, Any] | None = None
    bird: BirdStatus | None = None
    sessions: tuple[Session, ...] = ()
    routes: tuple[SeenRoute, ...] = ()
    facts: Facts | None = None


def questions_prefix(host: str) -> str:
    """Where the questions to a host are."""
    return f"{_ROOT}questions/{host}/"


def question_key(host: str, name: str) -> str:
    """The key of one question."""
    return questions_prefix(host) + name


def answers_prefix(name: str) -> str:
    """Where the answers to one question are, by host."""
    return f"{_ROOT}answers/{name}/"


def answer_key(question: str, host: str) -> str:
    """The key of a host's answer to the question under a key."""
    return answers_prefix(question.rpartition("/")[2]) + host


def host_of_answer(key: str) -> str:
    """Who answered."""
    return key.rpartition("/")[2]


def encode_question(question: Question) -> bytes:
    """The stored form."""
    return msgspec.json.encode(question)


def decode_question(raw: bytes) -> Question:
    """InvalidInput when it is none that this version can answer."""
    if len(raw) > _MOST_QUESTION_BYTES:
        raise InvalidInput("the question is too long")
    try:
        return msgspec.json.decode(raw, type=Question)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise InvalidInput(f"the question cannot be read: {error}") from None


def encode_answer(answer: Answer) -> bytes:
    """The stored form; one that is too large says so instead."""
    raw = msgspec.json.encode(answer)
    if len(raw) <= MOST_BYTES:
        return raw
    error = f"the answer has {len(raw)} bytes, more than the datastore takes: name a narrower prefix"
    return msgspec.json.encode(Answer(host=answer.host, error=error))


def decode_answer(host: str, raw: bytes) -> Answer:
    """What cannot be read is an answer with an error."""
    try:
        return msgspec.json.decode(raw, type=Answer)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        return Answer(host=host, error=f"its answer cannot be read: {error}")
