"""What shim and daemon say to one another, in any pieces."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calico.errors import InvalidInput
from calico.orchestrators.cni.serving.frames import encode_answer, parse_question

ENVIRONMENT = {"CNI_COMMAND": "ADD", "CNI_ARGS": "A=1;B=2"}
BODY = b"\0".join(f"{k}={v}".encode() for k, v in ENVIRONMENT.items())
STDIN = b'{"name": "net"}\n\0'
QUESTION = b"calico-cni 1 calico-ipam 4026531840 %d %d\n" % (len(BODY), len(STDIN)) + BODY + STDIN


@given(st.integers(0, len(QUESTION)))
def test_a_question_is_complete_with_its_last_byte_and_not_before(size: int) -> None:
    question = parse_question(QUESTION[:size])
    assert (question is not None) == (size == len(QUESTION))


def test_a_question_is_read_whole() -> None:
    question = parse_question(QUESTION)
    assert question is not None
    assert (question.plugin, question.inode) == ("calico-ipam", 4026531840)
    assert (question.environment, question.stdin) == (ENVIRONMENT, STDIN)


@pytest.mark.parametrize(
    "data",
    [b"GET / HTTP/1.1\r\n", b"calico-cni 2 calico 1 0 0\n", b"calico-cni 1 calico x 0 0\n", b"calico-cni 1 calico 1\n",
     b"calico-cni 1 calico 1 99999999 1\n", b"x" * 300],
)  # fmt: skip
def test_what_is_no_question_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidInput):
        parse_question(data)


@given(st.binary(max_size=300))
def test_any_bytes_are_a_question_more_to_come_or_refused(data: bytes) -> None:
    try:
        parse_question(data)
    except InvalidInput:
        pass


def test_an_answer_says_its_length() -> None:
    assert encode_answer(1, b"{}") == b"calico-cni 1 1 2\n{}"
