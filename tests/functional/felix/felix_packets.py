"""Single probe packets of any protocol, each with a tag that is found again in what the receiver sees."""

from __future__ import annotations

import ipaddress
import struct
from typing import NamedTuple

__all__ = ["MAGIC", "PROTOCOLS", "Packet", "build", "icmpv6", "tags_in"]

MAGIC = b"\xc7\x1aFx"
PROTOCOLS = {"icmp": 1, "tcp": 6, "udp": 17, "gre": 47, "icmpv6": 58, "sctp": 132, "udplite": 136}

_CRC = []
for _byte in range(256):
    for _ in range(8):
        _byte = (_byte >> 1) ^ (0x82F63B78 if _byte & 1 else 0)
    _CRC.append(_byte)


class Packet(NamedTuple):
    """What is sent: ``protocol`` an IP protocol number; ICMP has type and code where others have ports."""

    source: str
    destination: str
    protocol: int
    sport: int
    dport: int
    hop_limit: int = 64
    extra: bytes = b""


def build(packet: Packet, tag: int) -> bytes:
    """The whole IP packet, with correct checksums."""
    src, dst = ipaddress.ip_address(packet.source), ipaddress.ip_address(packet.destination)
    mark = MAGIC + tag.to_bytes(4, "big")
    payload = _PAYLOADS.get(packet.protocol, _generic)(packet, mark)
    if packet.protocol in _CHECKSUM_AT:
        counted = 17 if packet.protocol == 136 else packet.protocol  # as conntrack checks UDP-Lite
        at = _CHECKSUM_AT[packet.protocol]
        pseudo = b"" if packet.protocol == 1 else _pseudo(src.packed, dst.packed, counted, len(payload))
        payload = payload[:at] + struct.pack("!H", _sum(pseudo + payload) or 0xFFFF) + payload[at + 2 :]
    if src.version == 4:
        head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(payload), 0, 0, packet.hop_limit, packet.protocol, 0,
                           src.packed, dst.packed)  # fmt: skip
        return head[:10] + struct.pack("!H", _sum(head)) + head[12:] + payload
    first = struct.pack("!IHBB", 6 << 28, len(payload), packet.protocol, packet.hop_limit)
    return first + src.packed + dst.packed + payload


def icmpv6(source: str, destination: str, body: bytes) -> bytes:
    """A whole packet with hop limit 255 around an ICMPv6 message whose checksum is filled in."""
    src, dst = ipaddress.ip_address(source).packed, ipaddress.ip_address(destination).packed
    total = struct.pack("!H", _sum(_pseudo(src, dst, 58, len(body)) + body))
    return struct.pack("!IHBB", 6 << 28, len(body), 58, 255) + src + dst + body[:2] + total + body[4:]


def tags_in(data: bytes) -> int | None:
    """The tag of a received packet, or None when it is none of ours."""
    at = data.find(MAGIC)
    return int.from_bytes(data[at + 4 : at + 8], "big") if at >= 0 else None


def _generic(packet: Packet, mark: bytes) -> bytes:
    return mark + packet.extra


def _tcp(packet: Packet, mark: bytes) -> bytes:
    sequence = int.from_bytes(mark[4:], "big") * 7919 & 0xFFFFFFFF
    return struct.pack("!HHIIBBHHH", packet.sport, packet.dport, sequence, 0, 0x50, 2, 64000, 0, 0) + mark


def _udp(packet: Packet, mark: bytes) -> bytes:
    return struct.pack("!HHHH", packet.sport, packet.dport, 16 + len(packet.extra), 0) + mark + packet.extra


def _udplite(packet: Packet, mark: bytes) -> bytes:
    """Coverage 0: all of it."""
    return struct.pack("!HHHH", packet.sport, packet.dport, 0, 0) + mark


def _icmp(packet: Packet, mark: bytes) -> bytes:
    """Type in ``sport``, code in ``dport``; the identifier is the tag's, so that each is a connection of its own."""
    return struct.pack("!BBH", packet.sport, packet.dport, 0) + mark[6:8] + b"\0\1" + packet.extra + mark


def _sctp(packet: Packet, mark: bytes) -> bytes:
    """INIT; the tag stands where the initiate tag and the window are."""
    chunk = struct.pack("!BBH", 1, 0, 20) + mark + struct.pack("!HHI", 1, 1, 1)
    head = struct.pack("!HHI", packet.sport, packet.dport, 0)
    crc = 0xFFFFFFFF
    for byte in head + bytes(4) + chunk:
        crc = (crc >> 8) ^ _CRC[(crc ^ byte) & 255]
    return head + struct.pack("<I", crc ^ 0xFFFFFFFF) + chunk


_PAYLOADS = {1: _icmp, 6: _tcp, 17: _udp, 58: _icmp, 132: _sctp, 136: _udplite}
_CHECKSUM_AT = {1: 2, 6: 16, 17: 6, 58: 2, 136: 6}


def _pseudo(src: bytes, dst: bytes, protocol: int, length: int) -> bytes:
    if len(src) == 4:
        return src + dst + struct.pack("!BBH", 0, protocol, length)
    return src + dst + struct.pack("!IHBB", length, 0, 0, protocol)


def _sum(data: bytes) -> int:
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
