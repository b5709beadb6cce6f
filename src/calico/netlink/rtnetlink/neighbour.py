"""Neighbour entries (ARP, NDP): address to MAC on an interface, and addresses answered for others (proxy)."""

from __future__ import annotations

import struct
from typing import Final

import msgspec

from calico.netlink import wire
from calico.netlink.rtnetlink.family import AF_UNSPEC, address_length, family_of
from calico.netlink.wire import WireError

__all__ = [
    "NUD_PERMANENT",
    "RTM_DELNEIGH",
    "RTM_GETNEIGH",
    "RTM_NEWNEIGH",
    "Neighbour",
    "decode_neighbour",
    "delete_neighbour",
    "dump_neighbours",
    "new_neighbour",
]

RTM_NEWNEIGH: Final = 28
RTM_DELNEIGH: Final = 29
RTM_GETNEIGH: Final = 30

NUD_PERMANENT: Final = 0x80

_NTF_PROXY: Final = 0x08
_NDA_DST: Final = 1
_NDA_LLADDR: Final = 2
_NDA_PROTOCOL: Final = 12

_HEADER = struct.Struct("=BxHiHBB")  # family, index, state, flags, type


class Neighbour(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """One entry. A ``proxy`` entry has no MAC: the kernel answers with the interface's own.

    ``protocol`` says who made it, like a route's; 0 is nobody special.
    """

    index: int
    address: bytes
    mac: bytes = b""
    state: int = NUD_PERMANENT
    proxy: bool = False
    protocol: int = 0


def decode_neighbour(payload: bytes) -> Neighbour:
    """An entry from an RTM_NEWNEIGH or RTM_DELNEIGH payload; WireError for families other than IP."""
    if len(payload) < _HEADER.size:
        raise WireError(f"neighbour message of {len(payload)} bytes")
    family, _, index, state, flags, _ = _HEADER.unpack_from(payload)
    attrs = wire.parse_attrs(payload[_HEADER.size :])
    address = attrs.get(_NDA_DST, b"")
    if len(address) != address_length(family):
        raise WireError(f"neighbour address of {len(address)} bytes in family {family}")
    return Neighbour(
        index=index,
        address=address,
        mac=attrs.get(_NDA_LLADDR, b""),
        state=state,
        proxy=bool(flags & _NTF_PROXY),
        protocol=(attrs.get(_NDA_PROTOCOL) or b"\0")[0],
    )


def dump_neighbours(seq: int, *, proxy: bool = False, family: int = AF_UNSPEC) -> bytes:
    """All entries, or all proxy entries: the kernel never gives both at once."""
    header = _HEADER.pack(family, 0, 0, 0, _NTF_PROXY if proxy else 0, 0)
    return wire.message(RTM_GETNEIGH, wire.NLM_F_REQUEST | wire.NLM_F_DUMP, seq, header)


def new_neighbour(seq: int, entry: Neighbour) -> bytes:
    """Make an entry or change the one of the same interface and address."""
    flags = wire.NLM_F_REQUEST | wire.NLM_F_CREATE | wire.NLM_F_REPLACE
    return wire.message(RTM_NEWNEIGH, flags, seq, _encode(entry))


def delete_neighbour(seq: int, entry: Neighbour) -> bytes:
    """Remove an entry; ENOENT if there is none."""
    return wire.message(RTM_DELNEIGH, wire.NLM_F_REQUEST, seq, _encode(entry))


def _encode(entry: Neighbour) -> bytes:
    state = 0 if entry.proxy else entry.state
    flags = _NTF_PROXY if entry.proxy else 0
    body = _HEADER.pack(family_of(entry.address), 0, entry.index, state, flags, 0)
    body += wire.attr(_NDA_DST, entry.address)
    if entry.mac and not entry.proxy:
        body += wire.attr(_NDA_LLADDR, entry.mac)
    if entry.protocol:
        body += wire.attr_u8(_NDA_PROTOCOL, entry.protocol)
    return body
