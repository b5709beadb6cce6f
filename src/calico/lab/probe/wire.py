"""The packets that probes build and read: SCTP INIT and INIT ACK (RFC 9260), ICMP echo (RFC 792, 4443). Pure.

Kernels without the SCTP module have no SCTP sockets, but packet filters see SCTP all the same; so the probe speaks
the first two packets of an association over raw sockets.
"""

from __future__ import annotations

import struct

import msgspec

__all__ = [
    "INIT",
    "INIT_ACK",
    "SctpPacket",
    "crc32c",
    "echo_reply_key",
    "echo_request",
    "ip_payload",
    "parse_sctp",
    "sctp_packet",
]

INIT, INIT_ACK = 1, 2
_COOKIE_PARAMETER = 7
_WINDOW = 65536


def _crc_table() -> tuple[int, ...]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = (value >> 1) ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return tuple(table)


_TABLE = _crc_table()


def crc32c(data: bytes) -> int:
    """The CRC of SCTP (RFC 9260, appendix A): polynomial 0x1EDC6F41, reflected."""
    value = 0xFFFFFFFF
    for byte in data:
        value = (value >> 8) ^ _TABLE[(value ^ byte) & 0xFF]
    return value ^ 0xFFFFFFFF


class SctpPacket(msgspec.Struct, frozen=True):
    """The common header and the first chunk, as far as a probe cares. ``tag`` is the initiate tag of the chunk."""

    source: int
    destination: int
    chunk: int
    tag: int


def sctp_packet(source: int, destination: int, chunk: int, *, verification_tag: int, tag: int) -> bytes:
    """An SCTP packet with one INIT or INIT ACK chunk (the latter with a state cookie, which it must carry)."""
    parameters = struct.pack("!HHI", _COOKIE_PARAMETER, 8, tag) if chunk == INIT_ACK else b""
    fixed = struct.pack("!IIHHI", tag, _WINDOW, 1, 1, tag)
    body = struct.pack("!BBH", chunk, 0, 4 + len(fixed) + len(parameters)) + fixed + parameters
    header = struct.pack("!HHI", source, destination, verification_tag)
    checksum = struct.pack("<I", crc32c(header + bytes(4) + body))
    return header + checksum + body


def parse_sctp(data: bytes) -> SctpPacket | None:
    """What stands in a packet, or None when it is too short to be one."""
    if len(data) < 20:
        return None
    source, destination = struct.unpack_from("!HH", data)
    (tag,) = struct.unpack_from("!I", data, 16)
    return SctpPacket(source, destination, data[12], tag)


def ip_payload(data: bytes, family: int) -> bytes:
    """What a raw socket's packet carries: IPv4 sockets deliver the IP header, IPv6 sockets do not."""
    return data[(data[0] & 15) * 4 :] if family == 4 and data else data


def echo_request(family: int, identifier: int, sequence: int) -> bytes:
    """An ICMP echo request; for IPv6 the kernel fills in the checksum."""
    kind = 8 if family == 4 else 128
    body = struct.pack("!HH", identifier, sequence) + b"calico-lab"
    checksum = _internet_checksum(struct.pack("!BBH", kind, 0, 0) + body) if family == 4 else 0
    return struct.pack("!BBH", kind, 0, checksum) + body


def echo_reply_key(data: bytes, family: int) -> tuple[int, int] | None:
    """(identifier, sequence) of an echo reply, or None for any other ICMP message."""
    if len(data) < 8 or data[0] != (0 if family == 4 else 129):
        return None
    identifier, sequence = struct.unpack_from("!HH", data, 4)
    return identifier, sequence


def _internet_checksum(data: bytes) -> int:
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
