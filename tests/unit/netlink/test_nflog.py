"""The nflog codec: requests as the kernel's header has them, and packets from bytes of any kind."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calico.netlink import wire
from calico.netlink.nflog import LoggedPacket, bind_group, decode_packet, set_up_group
from calico.netlink.wire import WireError

HEAD = b"\2\0\0\x50"


def message(prefix: str, data: bytes, seq: int) -> bytes:
    return HEAD + wire.attr(1, bytes(4)) + wire.attr_str(10, prefix) + wire.attr(9, data) + wire.attr_be32(12, seq)


def test_binding_names_the_group_in_the_header() -> None:
    (request,) = wire.iter_messages(bind_group(7, 80))
    assert (request.type, request.seq) == (4 << 8 | 1, 7)
    assert request.payload == b"\0\0\0\x50" + wire.attr(1, b"\1")


def test_set_up_says_how_much_is_copied_how_long_it_waits_and_that_packets_are_numbered() -> None:
    (request,) = wire.iter_messages(set_up_group(7, 80, copied=128, batch=32, delay_cs=10))
    assert wire.parse_attrs(request.payload[4:]) == {
        2: b"\0\0\0\x80\2\0",
        4: b"\0\0\0\x0a",
        5: b"\0\0\0\x20",
        6: b"\0\1",
    }


def test_a_group_that_does_not_fit_is_refused() -> None:
    with pytest.raises(WireError):
        bind_group(1, 1 << 16)


def test_a_packet_has_prefix_first_bytes_and_number() -> None:
    assert decode_packet(message("A i 0 pi-x", b"\x45data", 9)) == LoggedPacket("A i 0 pi-x", b"\x45data", 9)


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_a_packet_or_an_error_of_ours(data: bytes) -> None:
    try:
        decode_packet(data)
    except WireError:
        pass
