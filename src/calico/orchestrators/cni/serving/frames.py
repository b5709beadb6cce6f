"""What shim and daemon say to one another over the socket. Pure; the shim has its own few lines of the same.

A question is a line ``calico-cni 1 <plugin> <inode> <size> <size>``, the environment as ``K=V`` with NULs between, and
standard input; ``inode`` is that of the caller's network namespace. The first bytes carry a descriptor of the
container's namespace (SCM_RIGHTS), when the caller could open it. An answer is ``calico-cni 1 <exit code> <size>`` on a
line, and standard output.
"""

from __future__ import annotations

from typing import Final

import msgspec

from calico.errors import InvalidInput

__all__ = ["Question", "encode_answer", "parse_question"]

MAGIC: Final = b"calico-cni 1 "
_HEADER_MAX: Final = 200
_BODY_MAX: Final = 4 << 20
"""A GC that lists 20,000 containers has 2 MB."""


class Question(msgspec.Struct, frozen=True):
    """One call as the shim tells it."""

    plugin: str
    inode: int
    environment: dict[str, str]
    stdin: bytes


def parse_question(data: bytes) -> Question | None:
    """The question, or None while more is to come; InvalidInput for what is no question."""
    end = data.find(b"\n", 0, _HEADER_MAX)
    if end < 0:
        if len(data) >= _HEADER_MAX or not data.startswith(MAGIC[: len(data)]):
            raise InvalidInput("what came over the socket is no question of the shim's")
        return None
    parts = data[:end].removeprefix(MAGIC).split(b" ")
    if not data.startswith(MAGIC) or len(parts) != 4 or not all(part.isdigit() for part in parts[1:]):
        raise InvalidInput("what came over the socket is no question of the shim's; install the shim of this version")
    inode, environment_size, stdin_size = (int(part) for part in parts[1:])
    if environment_size + stdin_size > _BODY_MAX:
        raise InvalidInput("the question is too long")
    body = data[end + 1 :]
    if len(body) < environment_size + stdin_size:
        return None
    pairs = body[:environment_size].decode(errors="surrogateescape").split("\0")
    environment = dict(pair.split("=", 1) for pair in pairs if "=" in pair)
    stdin = body[environment_size : environment_size + stdin_size]
    return Question(parts[0].decode(errors="replace"), inode, environment, stdin)


def encode_answer(code: int, out: bytes) -> bytes:
    """The answer to a question."""
    return MAGIC + b"%d %d\n" % (code, len(out)) + out
