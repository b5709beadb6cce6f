"""VXLAN devices and their forwarding tables: which end of the network has a MAC (if_link.h, neighbour.h)."""

from __future__ import annotations

import struct
from typing import Final

import msgspec

from calico.netlink import wire
from calico.netlink.rtnetlink.link import RTM_NEWLINK, link_name
from calico.netlink.rtnetlink.neighbour import RTM_DELNEIGH, RTM_GETNEIGH, RTM_NEWNEIGH
from calico.netlink.wire import WireError

__all__ = ["FdbEntry", "Vxlan", "decode_fdb", "decode_vxlan", "delete_fdb", "dump_fdb", "new_fdb", "new_vxlan"]

_AF_BRIDGE: Final = 7
_LINK = struct.Struct("=BxHiII")  # family, device type, index, flags, change mask
_NEIGHBOUR = struct.Struct("=BxHiHBB")  # family, index, state, flags, type
_IFLA_ADDRESS, _IFLA_MTU, _IFLA_LINKINFO, _KIND, _DATA = 1, 4, 18, 1, 2
_ID, _LOCAL, _LEARNING, _PORT, _LOCAL6 = 1, 4, 7, 15, 17
_NDA_DST, _NDA_LLADDR = 1, 2
_PERMANENT, _SELF = 0x80 | 0x40, 0x02


class Vxlan(msgspec.Struct, frozen=True, kw_only=True):
    """What makes a device what it is: changing any of it means making it anew. ``local`` is a packed address."""

    vni: int
    port: int
    local: bytes
    learning: bool = False


class FdbEntry(msgspec.Struct, frozen=True, gc=False):
    """Frames to ``mac`` on the device ``index`` are sent to the host ``host`` (packed address)."""

    index: int
    mac: bytes
    host: bytes


def new_vxlan(seq: int, name: str, device: Vxlan, *, mac: bytes, mtu: int) -> bytes:
    """A device, down; EEXIST when the name is taken."""
    data = wire.attr_u32(_ID, device.vni) + wire.attr_u8(_LEARNING, int(device.learning))
    data += wire.attr(_LOCAL if len(device.local) == 4 else _LOCAL6, device.local)
    data += wire.attr(_PORT, device.port.to_bytes(2, "big"))
    body = _LINK.pack(0, 0, 0, 0, 0) + link_name(name)
    body += wire.attr(_IFLA_ADDRESS, mac) + wire.attr_u32(_IFLA_MTU, mtu)
    body += wire.nested(_IFLA_LINKINFO, wire.attr_str(_KIND, "vxlan"), wire.nested(_DATA, data))
    return wire.message(RTM_NEWLINK, wire.NLM_F_REQUEST | wire.NLM_F_CREATE | wire.NLM_F_EXCL, seq, body)


def decode_vxlan(payload: bytes) -> Vxlan | None:
    """The settings of a VXLAN device from the payload of a link; None when it is another kind of device."""
    if len(payload) < _LINK.size:
        raise WireError(f"link message of {len(payload)} bytes")
    info = wire.parse_attrs(wire.parse_attrs(payload[_LINK.size :]).get(_IFLA_LINKINFO, b""))
    if wire.text(info.get(_KIND, b"")) != "vxlan":
        return None
    data = wire.parse_attrs(info.get(_DATA, b""))
    return Vxlan(
        vni=wire.u32(data[_ID]) if _ID in data else 0,
        port=int.from_bytes(data.get(_PORT, b""), "big"),
        local=data.get(_LOCAL) or data.get(_LOCAL6) or b"",
        learning=data.get(_LEARNING, b"\1") != b"\0",
    )


def dump_fdb(seq: int, index: int) -> bytes:
    """The forwarding table of one device."""
    return wire.message(RTM_GETNEIGH, wire.NLM_F_REQUEST | wire.NLM_F_DUMP, seq, _LINK.pack(_AF_BRIDGE, 0, index, 0, 0))


def decode_fdb(payload: bytes) -> FdbEntry:
    """An entry; ``host`` is empty for one that leads to no host."""
    if len(payload) < _NEIGHBOUR.size:
        raise WireError(f"forwarding entry of {len(payload)} bytes")
    _, _, index, _, _, _ = _NEIGHBOUR.unpack_from(payload)
    attrs = wire.parse_attrs(payload[_NEIGHBOUR.size :])
    return FdbEntry(index, attrs.get(_NDA_LLADDR, b""), attrs.get(_NDA_DST, b""))


def new_fdb(seq: int, entry: FdbEntry) -> bytes:
    """Make an entry, or lead its MAC elsewhere."""
    flags = wire.NLM_F_REQUEST | wire.NLM_F_CREATE | wire.NLM_F_REPLACE
    return wire.message(RTM_NEWNEIGH, flags, seq, _encode(entry))


def delete_fdb(seq: int, entry: FdbEntry) -> bytes:
    """Remove an entry; ENOENT if there is none."""
    return wire.message(RTM_DELNEIGH, wire.NLM_F_REQUEST, seq, _encode(entry))


def _encode(entry: FdbEntry) -> bytes:
    body = _NEIGHBOUR.pack(_AF_BRIDGE, 0, entry.index, _PERMANENT, _SELF, 0) + wire.attr(_NDA_LLADDR, entry.mac)
    return body + (wire.attr(_NDA_DST, entry.host) if entry.host else b"")
