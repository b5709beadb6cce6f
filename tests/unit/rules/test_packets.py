"""A flow's packet has every field where its RFC has it: 791 (IPv4), 8200 (IPv6), 793, 768, 792, 4443."""

from __future__ import annotations

import ipaddress
import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calico.lib.packed import addr_bytes
from calico.rules.packets import ICMP, ICMPV6, SCTP, TCP, UDP, Flow

ONE, TWO = addr_bytes("10.0.0.1"), addr_bytes("10.0.0.2")
ONE6, TWO6 = addr_bytes("fd00::1"), addr_bytes("fd00::2")
PORTS = st.integers(0, 0xFFFF)


def body(flow: Flow) -> bytes:
    return flow.data()[20 + len(flow.options) if flow.version == 4 else 40 :]


@pytest.mark.parametrize("options", [b"", b"\x83\x03\4\0", bytes(8)])
@pytest.mark.parametrize("protocol", [TCP, UDP, SCTP, ICMP, socket.IPPROTO_ESP])
def test_an_ipv4_header_tells_its_own_length_and_the_packets(options: bytes, protocol: int) -> None:
    data = Flow(src=ONE, dst=TWO, protocol=protocol, options=options, hop_limit=7).data()
    start, service, length, _, fragment, ttl, kind, checksum, src, dst = struct.unpack("!BBHHHBBH4s4s", data[:20])
    assert (start >> 4, (start & 15) * 4, service) == (4, 20 + len(options), 0)
    assert (length, fragment, ttl, kind, checksum) == (len(data), 0, 7, protocol, 0)
    assert (src, dst, data[20 : 20 + len(options)]) == (ONE, TWO, options)


def test_an_ipv6_header_tells_the_length_of_what_follows_it() -> None:
    extension = (socket.IPPROTO_DSTOPTS, b"\0" + bytes(6))
    data = Flow(src=ONE6, dst=TWO6, protocol=UDP, extensions=(extension,), hop_limit=9).data()
    first, length, following, hops, src, dst = struct.unpack("!IHBB16s16s", data[:40])
    assert (first, length, following, hops, src, dst) == (6 << 28, len(data) - 40, extension[0], 9, ONE6, TWO6)
    assert (data[40], data[41:48]) == (UDP, extension[1])


def test_a_fragment_is_the_last_one_without_a_transport_header() -> None:
    four, six = Flow(src=ONE, dst=TWO, fragment=True).data(), Flow(src=ONE6, dst=TWO6, fragment=True).data()
    flags = int.from_bytes(four[6:8], "big")
    assert (flags >> 13, bool(flags & 0x1FFF)) == (0, True)
    following, reserved, place, number = struct.unpack("!BBHI", six[40:48])
    assert (six[6], following, reserved, number) == (socket.IPPROTO_FRAGMENT, TCP, 0, 0)
    assert (place & 7, bool(place >> 3)) == (0, True)
    assert four[20:] == six[48:] == bytes(len(four) - 20)


@given(PORTS, PORTS)
def test_ports_begin_the_headers_of_tcp_udp_and_sctp(sport: int, dport: int) -> None:
    for protocol, length in ((TCP, 20), (UDP, 8), (SCTP, 12)):
        found = body(Flow(src=ONE, dst=TWO, protocol=protocol, sport=sport, dport=dport))
        assert struct.unpack("!HH", found[:4]) == (sport, dport)
        assert len(found) == length


def test_a_segment_asks_for_a_connection_and_a_datagram_has_its_length_and_no_checksum() -> None:
    *_, place, flags, _, checksum, urgent = struct.unpack("!HHIIBBHHH", body(Flow(src=ONE, dst=TWO)))
    assert (place >> 4 << 2, flags, checksum, urgent) == (20, 0x02, 0, 0)
    assert struct.unpack("!HHHH", body(Flow(src=ONE, dst=TWO, protocol=UDP)))[2:] == (8, 0)


@pytest.mark.parametrize(("src", "dst", "protocol"), [(ONE, TWO, ICMP), (ONE6, TWO6, ICMPV6)])
def test_icmp_begins_with_its_type_and_code(src: bytes, dst: bytes, protocol: int) -> None:
    assert body(Flow(src=src, dst=dst, protocol=protocol, icmp=(3, 4))) == b"\3\4" + bytes(6)


def test_what_is_not_said_of_a_packet_is_what_an_ordinary_one_has() -> None:
    assert body(Flow(src=ONE, dst=TWO, protocol=ICMP))[:2] == b"\x08\0"  # an echo request
    assert Flow(src=ONE, dst=TWO).data()[8] == Flow(src=ONE6, dst=TWO6).data()[7] == 64  # RFC 1700


def test_nothing_is_known_of_what_other_protocols_carry() -> None:
    assert not any(body(Flow(src=ONE, dst=TWO, protocol=socket.IPPROTO_ESP)))


def test_the_version_is_that_of_the_addresses() -> None:
    for src, dst in ((ONE, TWO), (ONE6, TWO6)):
        assert Flow(src=src, dst=dst).version == ipaddress.ip_address(src).version
