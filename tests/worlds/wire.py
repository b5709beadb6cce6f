"""The packets of probes as they are really sent: valid where the kernel looks, and with a number to be found again.

``Flow.data`` has what rules look at; here lengths, the header checksum and what connection tracking wants are added.
Checksums of transport headers stay zero, for connection tracking is told not to look at them; but that of ICMPv6 is
right, because raw sockets look at it.
"""

from __future__ import annotations

import struct

from calico.rules.packets import ICMP, ICMPV6, SCTP, TCP, UDP, Flow

__all__ = ["ConnectionKey", "arrival", "connection", "frame", "in_two", "packet", "unsendable"]

_MAGIC = b"\xc7\x1a\x8f\x05"
_UDPLITE = 136
_STARTS_CONNECTION = {ICMP: (8, 13, 15, 17), ICMPV6: (128, 139, 130, 131, 132, 133, 134, 135, 136, 143)}
"""ICMP types that connection tracking takes for new or leaves alone (nf_conntrack_proto_icmp*.c)."""

ConnectionKey = tuple[int, bytes, bytes, int, int]


def packet(flow: Flow, number: int) -> bytes:
    """The packet from its network header on."""
    tag = bytes(8) + _MAGIC + number.to_bytes(4, "big")
    data = flow.data()
    body = _body(flow, data)
    start = len(data) - len(body)
    if flow.protocol == UDP:
        body = body[:4] + (len(body) + len(tag)).to_bytes(2, "big") + body[6:] + tag
    elif flow.protocol == SCTP:
        body += struct.pack("!BBHIIHHI", 1, 0, 20 + 20, 1, 65536, 1, 1, 1) + struct.pack("!HH", 0xC007, 20) + tag
    elif flow.protocol == _UDPLITE:
        body = body[:6] + b"\xff\xff" + tag
    elif flow.protocol == ICMPV6 and flow.version == 6:
        body += tag
        pseudo = flow.src + flow.dst + struct.pack("!IHBB", len(body), 0, 0, ICMPV6)
        body = body[:2] + _checksum(pseudo + body) + body[4:]
    else:
        body += tag
    return _completed(data[:start], body, number)


def in_two(data: bytes) -> list[bytes]:
    """The packet as two fragments, the first with as little of the transport header as the kernel lets it have."""
    if data[0] >> 4 == 4:
        size = (data[0] & 15) * 4
        header, body = data[:size], data[size:]
        first = header[:6] + b"\x20\0" + header[8:]
        later = header[:6] + b"\0\1" + header[8:]
        return [_with_length(first, body[:8]), _with_length(later, body[8:])]
    header, body, number = data[:6] + b"\x2c" + data[7:40], data[40:], data[-4:]
    size = 24 if data[6] == TCP else 8  # RFC 8200 section 4.5: all of it
    parts = ((b"\0\1", body[:size]), (size.to_bytes(2, "big"), body[size:]))
    return [_with_length(header, data[6:7] + b"\0" + offset + number + part) for offset, part in parts]


def frame(data: bytes, source: bytes, destination: bytes) -> bytes:
    """An Ethernet frame around a packet."""
    return destination + source + (b"\x08\0" if data[0] >> 4 == 4 else b"\x86\xdd") + data


def arrival(data: bytes) -> tuple[int, bytes, bytes] | None:
    """Number and addresses of a packet that was seen (without addresses when it has no network header any more), or
    None when it is none of ours. What answers or quotes one of ours has other addresses."""
    at = data.find(_MAGIC)
    if at < 0 or len(data) < at + 8:
        return None
    number = int.from_bytes(data[at + 4 : at + 8], "big")
    if data[0] >> 4 == 4 and len(data) >= 20 and data[2:4] == len(data).to_bytes(2, "big"):
        return number, data[12:16], data[16:20]
    if data[0] >> 4 == 6 and len(data) >= 40 and data[4:6] == (len(data) - 40).to_bytes(2, "big"):
        return number, data[8:24], data[24:40]
    return number, b"", b""


def connection(flow: Flow) -> tuple[ConnectionKey, ConnectionKey]:
    """What connection tracking knows the packet's connection by, and its replies."""
    sport, dport = (flow.sport, flow.dport) if flow.protocol in (TCP, UDP, SCTP) else (0, 0)
    if flow.protocol in (ICMP, ICMPV6):
        sport = dport = 256 + flow.icmp[0]
    return (flow.protocol, flow.src, flow.dst, sport, dport), (flow.protocol, flow.dst, flow.src, dport, sport)


def unsendable(flow: Flow) -> str:
    """Why a kernel never judges this packet as what it is here; or empty."""
    if flow.fragment:
        return "fragments are put together before any rule"
    own = ICMP if flow.version == 4 else ICMPV6
    starts = flow.protocol == own and flow.icmp[0] in _STARTS_CONNECTION[own]
    if flow.protocol in (ICMP, ICMPV6) and not starts:
        return "connection tracking calls it invalid"
    return ""


def _body(flow: Flow, data: bytes) -> bytes:
    size = 20 + len(flow.options) if flow.version == 4 else 40 + sum(1 + len(body) for _, body in flow.extensions)
    return data[size:]


def _completed(header: bytes, body: bytes, number: int) -> bytes:
    if header[0] >> 4 == 4:
        header = header[:4] + (number & 0xFFFF).to_bytes(2, "big") + header[6:]
    return _with_length(header, body)


def _with_length(header: bytes, body: bytes) -> bytes:
    if header[0] >> 4 == 6:
        return header[:4] + (len(header) - 40 + len(body)).to_bytes(2, "big") + header[6:] + body
    header = header[:2] + (len(header) + len(body)).to_bytes(2, "big") + header[4:10] + b"\0\0" + header[12:]
    return header[:10] + _checksum(header) + header[12:] + body


def _checksum(data: bytes) -> bytes:
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total & 0xFFFF) + (total >> 16)
    total = (total & 0xFFFF) + (total >> 16)
    return (total ^ 0xFFFF).to_bytes(2, "big")
