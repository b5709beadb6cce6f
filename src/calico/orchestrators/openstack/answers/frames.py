"""The frames that requests come in and answers go out in: Ethernet, IP, UDP, ICMPv6.

Checksums of what comes in are not looked at: a virtual interface leaves them to be filled in by hardware that is not
there. Those of answers are complete.
"""

from __future__ import annotations

import struct
from typing import Final

import msgspec

__all__ = ["ALL_NODES", "BROADCAST_MAC", "Request", "icmp6_frame", "parse_frame", "udp4_frame", "udp6_frame"]

BROADCAST_MAC: Final = b"\xff" * 6
ALL_NODES: Final = bytes.fromhex("ff020000000000000000000000000001")

_IPV4, _IPV6 = 0x0800, 0x86DD
_UDP, _ICMPV6 = 17, 58
_IP4 = struct.Struct("!BBHHHBBH4s4s")
_IP6 = struct.Struct("!IHBB16s16s")
_UDP_HEADER = struct.Struct("!HHHH")
_ETHERNET = struct.Struct("!6s6sH")
_DONT_FRAGMENT = 0x4000


class Request(msgspec.Struct, frozen=True):
    """What somebody sent: ``version`` 4 or 6; ``protocol`` 17 (UDP, with ports) or 58 (ICMPv6); the rest after their
    headers. Of ICMPv6 ``payload`` is the whole message."""

    src_mac: bytes
    version: int
    protocol: int
    src: bytes
    dst: bytes
    hop_limit: int
    sport: int
    dport: int
    payload: bytes


def parse_frame(frame: bytes) -> Request | None:
    """The request in a frame; None when it is cut off, a fragment, or nothing that we know."""
    if len(frame) < 14:
        return None
    kind = frame[12] << 8 | frame[13]
    if kind == _IPV4:
        return _parse_ip4(frame)
    if kind == _IPV6:
        return _parse_ip6(frame)
    return None


def _parse_ip4(frame: bytes) -> Request | None:
    if len(frame) < 14 + 20 + 8:
        return None
    first, _, total, _, fragment, ttl, protocol, _, src, dst = _IP4.unpack_from(frame, 14)
    length = (first & 0xF) * 4
    if first >> 4 != 4 or length < 20 or fragment & ~_DONT_FRAGMENT or protocol != _UDP:
        return None
    if total > len(frame) - 14 or total < length + 8:
        return None
    return _parse_udp(frame, 4, src, dst, ttl, 14 + length, 14 + total)


def _parse_ip6(frame: bytes) -> Request | None:
    if len(frame) < 14 + 40 + 8:
        return None
    first, length, protocol, hops, src, dst = _IP6.unpack_from(frame, 14)
    if first >> 28 != 6 or length < 8 or length > len(frame) - 54:
        return None
    if protocol == _UDP:
        return _parse_udp(frame, 6, src, dst, hops, 54, 54 + length)
    if protocol == _ICMPV6:
        return Request(frame[6:12], 6, _ICMPV6, src, dst, hops, 0, 0, frame[54 : 54 + length])
    return None


def _parse_udp(frame: bytes, version: int, src: bytes, dst: bytes, hops: int, start: int, end: int) -> Request | None:
    sport, dport, length, _ = _UDP_HEADER.unpack_from(frame, start)
    if length < 8 or start + length > end:
        return None
    return Request(frame[6:12], version, _UDP, src, dst, hops, sport, dport, frame[start + 8 : start + length])


def udp4_frame(mac: bytes, dst_mac: bytes, src: bytes, dst: bytes, payload: bytes) -> bytes:
    """A DHCPv4 answer, from port 67 to port 68."""
    length = 8 + len(payload)
    datagram = _UDP_HEADER.pack(67, 68, length, 0) + payload
    total = _sum(src) + _sum(dst) + _UDP + length + _sum(datagram)
    datagram = _UDP_HEADER.pack(67, 68, length, _folded(total) or 0xFFFF) + payload
    header = _IP4.pack(0x45, 0xC0, 20 + length, 0, 0, 64, _UDP, 0, src, dst)
    header = _IP4.pack(0x45, 0xC0, 20 + length, 0, 0, 64, _UDP, _folded(_sum(header)), src, dst)
    return _ETHERNET.pack(dst_mac, mac, _IPV4) + header + datagram


def udp6_frame(mac: bytes, dst_mac: bytes, src: bytes, dst: bytes, payload: bytes) -> bytes:
    """A DHCPv6 answer, from port 547 to port 546."""
    length = 8 + len(payload)
    datagram = _UDP_HEADER.pack(547, 546, length, 0) + payload
    check = _folded(_sum(src) + _sum(dst) + _UDP + length + _sum(datagram)) or 0xFFFF
    datagram = _UDP_HEADER.pack(547, 546, length, check) + payload
    return _ETHERNET.pack(dst_mac, mac, _IPV6) + _IP6.pack(6 << 28, length, _UDP, 64, src, dst) + datagram


def icmp6_frame(mac: bytes, dst_mac: bytes, src: bytes, dst: bytes, message: bytes) -> bytes:
    """An ICMPv6 message whose checksum is filled in here, with the hop limit of neighbour discovery."""
    length = len(message)
    blank = message[:2] + b"\0\0" + message[4:]
    check = _folded(_sum(src) + _sum(dst) + _ICMPV6 + length + _sum(blank))
    body = message[:2] + check.to_bytes(2, "big") + message[4:]
    return _ETHERNET.pack(dst_mac, mac, _IPV6) + _IP6.pack(6 << 28, length, _ICMPV6, 255, src, dst) + body


def _sum(data: bytes) -> int:
    """The bytes as 16 bit numbers, added up modulo 65535, which is the ones' complement sum (RFC 1071)."""
    if len(data) % 2:
        data += b"\0"
    return int.from_bytes(data, "big") % 0xFFFF


def _folded(total: int) -> int:
    return ~(total % 0xFFFF) & 0xFFFF
