"""What changes in a packet's bytes: checksums by the arithmetic of RFC 1071, ports of protocols that have them."""

from __future__ import annotations

import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calico.lib.packed import addr_bytes
from calico.rules.evaluator.headers import read_headers
from calico.rules.evaluator.rewriting import address_of, set_bytes, set_end
from calico.rules.packets import Flow

FLOW = Flow(src=addr_bytes("10.0.0.1"), dst=addr_bytes("10.0.0.2"))
FLOW6 = Flow(src=addr_bytes("fd00::1"), dst=addr_bytes("fd00::2"))


def ones_complement(data: bytes) -> int:
    """The sum of RFC 1071; an odd byte is the high one of its word."""
    even = data + b"\0" * (len(data) & 1)
    return sum(int.from_bytes(even[at : at + 2], "big") for at in range(0, len(even), 2)) % 0xFFFF


@given(st.binary(min_size=12, max_size=12), st.integers(0, 4), st.binary(min_size=1, max_size=4))
def test_the_checksum_of_a_header_that_was_right_is_right_after_any_change(
    rest: bytes, word: int, value: bytes
) -> None:
    header = (0xFFFF - ones_complement(rest)).to_bytes(2, "big") + rest
    changed = set_bytes(header, 2 + word * 2, value, 0)
    assert changed is not None
    expected = bytearray(rest)
    expected[word * 2 : word * 2 + len(value)] = value
    assert changed[2:] == expected
    assert ones_complement(changed) == 0


def test_a_checksum_of_zero_is_written_as_its_other_form() -> None:
    assert set_bytes(bytes(4), 2, bytes(2), 0) == b"\xff\xff\0\0"


def test_a_value_and_a_checksum_must_lie_within_the_packet() -> None:
    assert set_bytes(bytes(8), 6, b"ab", None) == bytes(6) + b"ab"
    assert set_bytes(bytes(8), 7, b"ab", None) is None
    assert set_bytes(bytes(8), 8, b"a", None) is None
    assert set_bytes(bytes(8), 0, b"ab", 6) is not None
    assert set_bytes(bytes(8), 0, b"ab", 7) is None
    assert set_bytes(bytes(8), 0, b"ab", 8) is None


DCCP, UDPLITE = 33, 136
WITH_PORTS = (socket.IPPROTO_TCP, socket.IPPROTO_UDP, DCCP, socket.IPPROTO_SCTP, UDPLITE)


@pytest.mark.parametrize("protocol", [*WITH_PORTS, 1, 2, 4, 5, 32, 34, 41, 47, 50, 51, 58, 131, 133, 135, 137])
def test_ports_are_translated_of_the_protocols_that_begin_with_them(protocol: int) -> None:
    data = Flow(src=FLOW.src, dst=FLOW.dst, protocol=protocol, icmp=(0, 0), sport=0, dport=0).data()
    for side, at in (("src", 20), ("dst", 22)):
        changed = set_end(data, read_headers(data), side, None, (5, 9))  # type: ignore[arg-type]
        if protocol in WITH_PORTS:
            assert changed == data[:at] + b"\0\5" + data[at + 2 :]
        else:
            assert changed == data


def test_what_is_of_neither_family_has_no_addresses() -> None:
    for side, four, six in (("src", FLOW.src, FLOW6.src), ("dst", FLOW.dst, FLOW6.dst)):
        assert address_of(FLOW.data(), 4, side) == four  # type: ignore[arg-type]
        assert address_of(FLOW6.data(), 6, side) == six  # type: ignore[arg-type]
        assert address_of(FLOW6.data(), 0, side) == b""  # type: ignore[arg-type]
