"""Addresses of interfaces."""

from __future__ import annotations

import struct
from typing import Final

import msgspec

from calico.netlink import wire
from calico.netlink.rtnetlink.family import address_length, family_of
from calico.netlink.wire import WireError

__all__ = [
    "RTM_DELADDR",
    "RTM_GETADDR",
    "RTM_NEWADDR",
    "SCOPE_GLOBAL",
    "SCOPE_HOST",
    "SCOPE_LINK",
    "Address",
    "decode_address",
    "delete_address",
    "dump_addresses",
    "new_address",
]

RTM_NEWADDR: Final = 20
RTM_DELADDR: Final = 21
RTM_GETADDR: Final = 22

SCOPE_GLOBAL: Final = 0
SCOPE_LINK: Final = 253
SCOPE_HOST: Final = 254

_IFA_F_NODAD: Final = 0x02
_IFA_ADDRESS: Final = 1
_IFA_LOCAL: Final = 2
_IFA_FLAGS: Final = 8
_IFA_PROTO: Final = 11

_HEADER = struct.Struct("=BBBBI")  # family, prefix length, flags, scope, index


class Address(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """An address with its prefix length. ``protocol`` says who set it (kernel 5.18 and later), 0 is nobody special."""

    index: int
    address: bytes
    prefix_len: int
    scope: int = SCOPE_GLOBAL
    flags: int = 0
    protocol: int = 0


def decode_address(payload: bytes) -> Address:
    """An address from an RTM_NEWADDR or RTM_DELADDR payload."""
    if len(payload) < _HEADER.size:
        raise WireError(f"address message of {len(payload)} bytes")
    family, prefix_len, flags, scope, index = _HEADER.unpack_from(payload)
    attrs = wire.parse_attrs(payload[_HEADER.size :])
    own = attrs.get(_IFA_LOCAL, attrs.get(_IFA_ADDRESS, b""))  # IFA_ADDRESS is the far end on point-to-point links
    length = address_length(family)
    if len(own) != length or prefix_len > length * 8:
        raise WireError(f"address of {len(own)} bytes with prefix length {prefix_len} in family {family}")
    if _IFA_FLAGS in attrs:
        flags = wire.u32(attrs[_IFA_FLAGS])
    protocol = (attrs.get(_IFA_PROTO) or b"\0")[0]
    return Address(index=index, address=own, prefix_len=prefix_len, scope=scope, flags=flags, protocol=protocol)


def dump_addresses(seq: int, family: int = 0, index: int = 0) -> bytes:
    """All addresses, of one family if given, and of one interface if given, which a strict socket alone heeds."""
    header = _HEADER.pack(family, 0, 0, 0, index)
    return wire.message(RTM_GETADDR, wire.NLM_F_REQUEST | wire.NLM_F_DUMP, seq, header)


def new_address(seq: int, address: Address, *, nodad: bool = False) -> bytes:
    """Add an address (EEXIST if it is there); ``nodad`` makes an IPv6 one usable at once."""
    flags = wire.NLM_F_REQUEST | wire.NLM_F_CREATE | wire.NLM_F_EXCL
    return wire.message(RTM_NEWADDR, flags, seq, _encode(address, _IFA_F_NODAD if nodad else 0))


def delete_address(seq: int, address: Address) -> bytes:
    """Remove an address; EADDRNOTAVAIL if it is not there."""
    return wire.message(RTM_DELADDR, wire.NLM_F_REQUEST, seq, _encode(address, 0))


def _encode(address: Address, extra_flags: int) -> bytes:
    family = family_of(address.address)
    flags = address.flags | extra_flags
    body = _HEADER.pack(family, address.prefix_len, flags & 0xFF, address.scope, address.index)
    body += wire.attr(_IFA_LOCAL, address.address) + wire.attr(_IFA_ADDRESS, address.address)
    if flags:
        body += wire.attr_u32(_IFA_FLAGS, flags)
    if address.protocol:
        body += wire.attr_u8(_IFA_PROTO, address.protocol)
    return body
