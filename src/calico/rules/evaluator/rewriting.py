"""What changes in a packet's bytes when a header field is set or an address is translated.

The checksum of the IPv4 header follows (RFC 1624); those of transport headers do not, since no rule looks at them.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

from calico.rules.evaluator.headers import Headers

__all__ = ["Ports", "address_of", "set_bytes", "set_end"]

Ports: TypeAlias = tuple[int, int]
"""The first and the last port that an end may be given."""

Side: TypeAlias = Literal["src", "dst"]

_IPV4_CHECKSUM = 10
_WITH_PORTS = (6, 17, 33, 132, 136)


def address_of(data: bytes, version: int, side: Side) -> bytes:
    """An address of the network header, packed; empty when there is none."""
    start, length = _address_at(version, side)
    return data[start : start + length]


def set_bytes(data: bytes, offset: int, value: bytes, checksum: int | None) -> bytes | None:
    """The packet with ``value`` at ``offset``, and the internet checksum at ``checksum`` updated; None if it is too
    short for either.

    As ``nft_payload_set_eval`` (net/netfilter/nft_payload.c): the value is summed as if it began at an even offset, and
    a checksum of 0 is written as 0xffff.
    """
    if offset + len(value) > len(data) or (checksum is not None and checksum + 2 > len(data)):
        return None
    changed = bytearray(data)
    changed[offset : offset + len(value)] = value
    if checksum is not None:
        total = _updated(data[checksum : checksum + 2], data[offset : offset + len(value)], value)
        changed[checksum : checksum + 2] = (total or 0xFFFF).to_bytes(2, "big")
    return bytes(changed)


def set_end(data: bytes, headers: Headers, side: Side, address: bytes | None, ports: Ports | None) -> bytes:
    """The packet with another source or destination.

    Of several ports the kernel takes the packet's own if it is among them, else one that is free; here, the first.
    """
    changed = bytearray(data)
    if address is not None:
        start, length = _address_at(headers.version, side)
        if headers.version == 4:
            total = _updated(data[_IPV4_CHECKSUM : _IPV4_CHECKSUM + 2], data[start : start + length], address)
            changed[_IPV4_CHECKSUM : _IPV4_CHECKSUM + 2] = total.to_bytes(2, "big")
        changed[start : start + length] = address
    if ports is not None and headers.transport is not None and headers.protocol in _WITH_PORTS:
        at = headers.transport + (0 if side == "src" else 2)
        if not ports[0] <= int.from_bytes(changed[at : at + 2], "big") <= ports[1]:
            changed[at : at + 2] = ports[0].to_bytes(2, "big")
    return bytes(changed)


def _address_at(version: int, side: Side) -> tuple[int, int]:
    """Where an address begins, and its length."""
    if version == 4:
        return (12 if side == "src" else 16), 4
    return (8 if side == "src" else 24), 16 if version == 6 else 0


def _updated(checksum: bytes, before: bytes, after: bytes) -> int:
    """RFC 1624: HC' = ~(~HC + ~m + m')."""
    total = (int.from_bytes(checksum, "big") ^ 0xFFFF) + (_sum(before) ^ 0xFFFF) + _sum(after)
    return _folded(total) ^ 0xFFFF


def _sum(data: bytes) -> int:
    padded = data + bytes(len(data) % 2)
    return _folded(sum(int.from_bytes(padded[at : at + 2], "big") for at in range(0, len(padded), 2)))


def _folded(total: int) -> int:
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total
