"""The netlink byte format reads what it wrote and refuses everything else with one error."""

import contextlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calico.netlink import wire
from calico.netlink.wire import Message, WireError

kinds = st.integers(0, 0x3FFF)
u32s = st.integers(0, 0xFFFFFFFF)


@given(st.lists(st.tuples(kinds, st.binary(max_size=40))))
def test_attributes_are_read_as_they_were_written(attrs: list[tuple[int, bytes]]) -> None:
    assert list(wire.iter_attrs(b"".join(wire.attr(kind, data) for kind, data in attrs))) == attrs


@given(st.lists(st.tuples(st.integers(0, 0xFFFF), st.integers(0, 0xFFFF), u32s, u32s, st.binary(max_size=40))))
def test_messages_are_read_as_they_were_written(fields: list[tuple[int, int, int, int, bytes]]) -> None:
    data = b"".join(wire.message(kind, flags, seq, payload, pid) for kind, flags, seq, pid, payload in fields)
    assert list(wire.iter_messages(data)) == [Message(*field) for field in fields]


@given(st.binary(max_size=200))
def test_arbitrary_bytes_raise_nothing_but_a_wire_error(data: bytes) -> None:
    readers = (wire.parse_attrs, lambda b: list(wire.iter_messages(b)), wire.error_code, wire.error_seq, wire.text)
    for read in readers:
        with contextlib.suppress(WireError):
            read(data)
    with contextlib.suppress(WireError):
        wire.error_text(Message(wire.NLMSG_ERROR, wire.NLM_F_ACK_TLVS, 1, 0, data))


@given(st.lists(st.tuples(kinds, st.binary(max_size=12)), min_size=1, max_size=4), st.data())
def test_a_truncated_attribute_list_is_an_error_unless_cut_between_attributes(
    attrs: list[tuple[int, bytes]], data: st.DataObject
) -> None:
    encoded = [wire.attr(kind, payload) for kind, payload in attrs]
    whole = b"".join(encoded)
    boundaries, unpadded = {0}, set()
    for (_, payload), part in zip(attrs, encoded, strict=True):
        start = max(boundaries)
        unpadded.update(range(start + 4 + len(payload), start + len(part)))
        boundaries.add(start + len(part))
    cut = data.draw(st.integers(0, len(whole)))
    if cut in boundaries | unpadded:
        assert len(wire.parse_attrs(whole[:cut])) <= len(attrs)
    else:
        with pytest.raises(WireError):
            wire.parse_attrs(whole[:cut])


@pytest.mark.parametrize(
    ("encode", "decode", "limit"),
    [
        (wire.attr_u16, wire.u16, 1 << 16),
        (wire.attr_u32, wire.u32, 1 << 32),
        (wire.attr_u64, wire.u64, 1 << 64),
        (wire.attr_be16, wire.be16, 1 << 16),
        (wire.attr_be32, wire.be32, 1 << 32),
        (wire.attr_be64, wire.be64, 1 << 64),
    ],
)
def test_an_integer_keeps_its_value_and_one_too_large_is_refused(encode, decode, limit) -> None:
    for value in (0, 1, limit // 3, limit - 1):
        assert decode(wire.parse_attrs(encode(7, value))[7]) == value
    for value in (limit, -1):
        with pytest.raises(WireError):
            encode(7, value)


def test_a_nested_attribute_holds_attributes_and_its_flag_is_masked_off() -> None:
    outer = wire.nested(3, wire.attr_u8(1, 9), wire.attr_str(2, "eth0"))
    assert struct.unpack_from("=H", outer, 2)[0] == 0x8003
    inner = wire.parse_attrs(wire.parse_attrs(outer)[3])
    assert inner == {1: b"\x09", 2: b"eth0\0"}
    assert wire.text(inner[2]) == "eth0"


def test_an_attribute_of_more_than_64_kib_is_refused() -> None:
    assert len(wire.attr(1, bytes(0xFFFF - 4))) == 0x10000
    with pytest.raises(WireError):
        wire.attr(1, bytes(0xFFFF - 3))


def test_an_error_answer_tells_errno_request_and_the_kernels_words() -> None:
    request = struct.pack("=IHHII", 16, 24, 5, 77, 0)
    payload = struct.pack("=i", -17) + request + wire.attr_str(1, "already there")
    answer = Message(wire.NLMSG_ERROR, wire.NLM_F_CAPPED | wire.NLM_F_ACK_TLVS, 77, 0, payload)
    assert (wire.error_code(payload), wire.error_seq(payload), wire.error_text(answer)) == (17, 77, "already there")


def test_the_kernels_words_follow_the_whole_request_when_it_is_echoed() -> None:
    request = wire.message(24, 5, 77, b"0123456789")
    payload = struct.pack("=i", -17) + request + wire.attr_str(1, "already there")
    assert wire.error_text(Message(wire.NLMSG_ERROR, wire.NLM_F_ACK_TLVS, 77, 0, payload)) == "already there"


def test_an_acknowledgement_is_an_error_answer_with_code_0() -> None:
    assert wire.error_code(struct.pack("=i", 0) + bytes(16)) == 0
