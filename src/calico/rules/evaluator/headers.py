"""What the kernel knows of a packet's headers when it evaluates a rule: version, innermost protocol, where it begins.

Follows ``ipv6_find_hdr`` (net/ipv6/exthdrs_core.c) as ``nft_set_pktinfo_ipv6`` calls it: fragments but the first have
no transport header, a chain of headers that ends early has no protocol, and an authentication header is one.
"""

from __future__ import annotations

import msgspec

__all__ = ["Headers", "read_headers"]

_HOP_BY_HOP, _ROUTING, _FRAGMENT, _AUTH, _DESTINATION = 0, 43, 44, 51, 60
_EXTENSIONS = frozenset((_HOP_BY_HOP, _ROUTING, _FRAGMENT, _AUTH, _DESTINATION))


class Headers(msgspec.Struct, frozen=True):
    """``protocol`` and ``transport`` (an offset) are None when the packet has none; ``extensions`` are IPv6's."""

    version: int
    protocol: int | None = None
    transport: int | None = None
    extensions: frozenset[int] = frozenset()


def read_headers(data: bytes) -> Headers:
    """Read a packet that begins with its network header; version 0 when it is neither IPv4 nor IPv6."""
    if len(data) >= 20 and data[0] >> 4 == 4:
        later = int.from_bytes(data[6:8], "big") & 0x1FFF
        return Headers(4, data[9], None if later else (data[0] & 15) * 4)
    if len(data) >= 40 and data[0] >> 4 == 6:
        return _read_v6(data)
    return Headers(0)


def _read_v6(data: bytes) -> Headers:
    kind, at, places = data[6], 40, dict[int, int]()
    while kind in _EXTENSIONS:
        if len(data) < at + (4 if kind in (_ROUTING, _FRAGMENT) else 2):
            return _of_v6(places, None, None)
        places.setdefault(kind, at)
        following = data[at]
        if kind == _FRAGMENT and int.from_bytes(data[at + 2 : at + 4], "big") >> 3:
            return _of_v6(places, None if following in _EXTENSIONS else following, None)
        length = 8 if kind == _FRAGMENT else (data[at + 1] + 2) * 4 if kind == _AUTH else (data[at + 1] + 1) * 8
        kind, at = following, at + length
    return _of_v6(places, kind, at)


def _of_v6(places: dict[int, int], protocol: int | None, transport: int | None) -> Headers:
    """A rule that asks for the protocol is told of an authentication header, one that asks for an extension header also
    of those behind it."""
    if _AUTH in places:
        protocol, transport = _AUTH, places[_AUTH]
    return Headers(6, protocol, transport, frozenset(places))
