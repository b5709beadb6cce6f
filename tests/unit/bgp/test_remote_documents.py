"""Questions to other hosts and their answers as stored bytes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calico.bgp.bird.control import BirdStatus, Session
from calico.bgp.bird.routes import KnownRoute
from calico.bgp.explain.inquiry import Facts, KernelEntry, Offer
from calico.bgp.explain.seen import SeenRoute
from calico.bgp.remote.documents import (
    MOST_BYTES,
    Answer,
    Question,
    answer_key,
    answers_prefix,
    decode_answer,
    decode_question,
    encode_answer,
    encode_question,
    host_of_answer,
    question_key,
    questions_prefix,
)
from calico.errors import InvalidInput

SESSION = Session(name="Mesh_10_0_0_2", state="Established", since="t", peer_ip="10.0.0.2", families=(4,))
ROUTE = KnownRoute(
    net="10.65.1.1/32", kind="unicast", protocol="kernel4", since="t", attributes={"Kernel.source": "80"}
)


def test_a_question_and_every_kind_of_answer_are_read_as_they_were_written() -> None:
    question = Question(what="why", lease=7, prefix="10.65.1.1/32")
    assert decode_question(encode_question(question)) == question
    facts = Facts(
        prefix="10.65.1.1/32",
        net="10.65.1.1/32",
        bird=BirdStatus(version="2.0.12"),
        sessions=(SESSION,),
        routes=(ROUTE,),
        offers=(Offer(session=SESSION, verdict="rejected", by="strict"),),
        kernel=(KernelEntry(protocol=80, hops=("dev cali1",)),),
    )
    for answer in (
        Answer(host="a", error="no"),
        Answer(host="a", status={"ready": True}, bird=BirdStatus(), sessions=(SESSION,)),
        Answer(host="a", routes=(SeenRoute(ROUTE, ("Mesh_10_0_0_2",), True),)),
        Answer(host="a", facts=facts),
    ):
        assert decode_answer("a", encode_answer(answer)) == answer


def test_the_questions_of_a_host_are_not_under_those_of_another_whose_name_begins_alike() -> None:
    key = question_key("node10", "q")
    assert key.startswith(questions_prefix("node10"))
    assert not key.startswith(questions_prefix("node1"))
    answer = answer_key(key, "node10")
    assert answer.startswith(answers_prefix("q"))
    assert host_of_answer(answer) == "node10"


@given(
    st.binary(max_size=200)
    | st.sampled_from([b'{"what":"why"}', b'{"what":"why","lease":0}', b'{"what":"dance","lease":1}', b"x" * 5000])
)
def test_what_is_no_question_is_refused(raw: bytes) -> None:
    with pytest.raises(InvalidInput):
        decode_question(raw)


@given(st.binary(max_size=200))
def test_what_is_no_answer_is_one_that_says_so(raw: bytes) -> None:
    answer = decode_answer("a", raw)
    assert (answer.host, bool(answer.error)) == ("a", True)


def test_an_answer_that_the_datastore_would_not_take_says_so_instead() -> None:
    raw = encode_answer(Answer(host="a", status={"x": "y" * MOST_BYTES}))
    assert len(raw) < 1000
    assert "name a narrower prefix" in decode_answer("a", raw).error
