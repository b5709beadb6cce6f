"""Network interfaces: what the kernel says of one, and requests to make, change and delete them."""

from __future__ import annotations

import struct
from typing import Final

import msgspec

from calico.netlink import wire
from calico.netlink.wire import WireError

__all__ = [
    "RTM_DELLINK",
    "RTM_GETLINK",
    "RTM_NEWLINK",
    "Link",
    "decode_link",
    "delete_link",
    "dump_links",
    "get_link",
    "link_name",
    "new_bridge",
    "new_ifb",
    "new_plain",
    "new_veth",
    "set_link",
]

RTM_NEWLINK: Final = 16
RTM_DELLINK: Final = 17
RTM_GETLINK: Final = 18

_IFF_UP: Final = 0x1
_IFF_LOWER_UP: Final = 0x10000
_OPER_UNKNOWN: Final = 0
_OPER_UP: Final = 6
_NAME_MAX: Final = 15

_IFLA_ADDRESS: Final = 1
_IFLA_IFNAME: Final = 3
_IFLA_MTU: Final = 4
_IFLA_LINK: Final = 5
_IFLA_MASTER: Final = 10
_IFLA_OPERSTATE: Final = 16
_IFLA_LINKINFO: Final = 18
_IFLA_IFALIAS: Final = 20
_IFLA_NET_NS_FD: Final = 28
_IFLA_NUM_TX_QUEUES: Final = 31
_IFLA_NUM_RX_QUEUES: Final = 32
_IFLA_INFO_KIND: Final = 1
_IFLA_INFO_DATA: Final = 2
_VETH_INFO_PEER: Final = 1

_HEADER = struct.Struct("=BxHiII")  # family, device type, index, flags, change mask
_CREATE = wire.NLM_F_REQUEST | wire.NLM_F_CREATE | wire.NLM_F_EXCL


class Link(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """One interface. ``peer`` is the index of the device it is tied to (a veth's other end), ``kind`` its driver,
    ``alias`` what somebody wrote about it."""

    index: int
    name: str
    flags: int = 0
    operstate: int = _OPER_UNKNOWN
    mac: bytes = b""
    mtu: int = 0
    master: int = 0
    peer: int = 0
    kind: str = ""
    alias: str = ""

    @property
    def up(self) -> bool:
        """Somebody asked for it to be up."""
        return bool(self.flags & _IFF_UP)

    @property
    def oper_up(self) -> bool:
        """It can carry packets: up, with carrier, and (where the driver tells) operational (RFC 2863)."""
        carrier = self.up and bool(self.flags & _IFF_LOWER_UP)
        return carrier and self.operstate in (_OPER_UP, _OPER_UNKNOWN)


def decode_link(payload: bytes) -> Link:
    """A link from an RTM_NEWLINK or RTM_DELLINK payload."""
    if len(payload) < _HEADER.size:
        raise WireError(f"link message of {len(payload)} bytes")
    _, _, index, flags, _ = _HEADER.unpack_from(payload)
    attrs = wire.parse_attrs(payload[_HEADER.size :])
    info = wire.parse_attrs(attrs.get(_IFLA_LINKINFO, b""))
    return Link(
        index=index,
        name=wire.text(attrs.get(_IFLA_IFNAME, b"")),
        flags=flags,
        operstate=(attrs.get(_IFLA_OPERSTATE) or b"\0")[0],
        mac=attrs.get(_IFLA_ADDRESS, b""),
        mtu=_u32_or_0(attrs, _IFLA_MTU),
        master=_u32_or_0(attrs, _IFLA_MASTER),
        peer=_u32_or_0(attrs, _IFLA_LINK),
        kind=wire.text(info.get(_IFLA_INFO_KIND, b"")),
        alias=wire.text(attrs.get(_IFLA_IFALIAS, b"")),
    )


def dump_links(seq: int) -> bytes:
    """All interfaces of the namespace."""
    return wire.message(RTM_GETLINK, wire.NLM_F_REQUEST | wire.NLM_F_DUMP, seq, _HEADER.pack(0, 0, 0, 0, 0))


def get_link(seq: int, ref: int | str) -> bytes:
    """One interface by index or name."""
    index, name = _refer(ref)
    return wire.message(RTM_GETLINK, wire.NLM_F_REQUEST, seq, _HEADER.pack(0, 0, index, 0, 0) + name)


def delete_link(seq: int, ref: int | str) -> bytes:
    """Delete an interface by index or name; the other end of a veth goes with it."""
    index, name = _refer(ref)
    return wire.message(RTM_DELLINK, wire.NLM_F_REQUEST, seq, _HEADER.pack(0, 0, index, 0, 0) + name)


def set_link(
    seq: int,
    ref: int | str,
    *,
    up: bool | None = None,
    mtu: int | None = None,
    mac: bytes | None = None,
    rename: str | None = None,
    master: int | None = None,
    netns_fd: int | None = None,
    alias: str | None = None,
) -> bytes:
    """Change what is given. ``master`` 0 frees it from its bridge; ``netns_fd`` moves it, which clears its addresses.

    A rename needs the interface named by index, because the name attribute is then the new name.
    """
    index, name = _refer(ref)
    if rename is not None and name:
        raise WireError("an interface is renamed by its index")
    flags, change = _up_flags(up)
    body = _HEADER.pack(0, 0, index, flags, change) + name
    if rename is not None:
        body += link_name(rename)
    if master is not None:
        body += wire.attr_u32(_IFLA_MASTER, master)
    if alias is not None:
        body += wire.attr_str(_IFLA_IFALIAS, alias)
    body += _settings(mac=mac, mtu=mtu, netns_fd=netns_fd)
    return wire.message(RTM_NEWLINK, wire.NLM_F_REQUEST, seq, body)


def new_veth(
    seq: int,
    name: str,
    peer: str,
    *,
    mac: bytes | None = None,
    peer_mac: bytes | None = None,
    mtu: int | None = None,
    netns_fd: int | None = None,
    peer_netns_fd: int | None = None,
    queues: int | None = None,
    up: bool = False,
) -> bytes:
    """A pair of interfaces. Each end may be born in the namespace of a descriptor; ``mtu`` and the number of queues
    each way are for both.

    MACs given here are set before an end is up, so that its IPv6 link-local address follows from them. Only the
    first end can be born up: the kernel configures the other before it ties the two together (ENOTCONN).
    """
    other = _HEADER.pack(0, 0, 0, 0, 0) + link_name(peer)
    other += _settings(mac=peer_mac, mtu=mtu, netns_fd=peer_netns_fd, queues=queues)
    info = wire.nested(
        _IFLA_LINKINFO,
        wire.attr_str(_IFLA_INFO_KIND, "veth"),
        wire.nested(_IFLA_INFO_DATA, wire.attr(_VETH_INFO_PEER, other)),
    )
    body = _HEADER.pack(0, 0, 0, *_up_flags(up or None)) + link_name(name)
    body += _settings(mac=mac, mtu=mtu, netns_fd=netns_fd, queues=queues) + info
    return wire.message(RTM_NEWLINK, _CREATE, seq, body)


def new_bridge(seq: int, name: str, *, up: bool = False, mac: bytes | None = None) -> bytes:
    """A bridge without ports, with the kernel's defaults (no spanning tree)."""
    info = wire.nested(_IFLA_LINKINFO, wire.attr_str(_IFLA_INFO_KIND, "bridge"))
    body = _HEADER.pack(0, 0, 0, *_up_flags(up or None)) + link_name(name) + _settings(mac=mac) + info
    return wire.message(RTM_NEWLINK, _CREATE, seq, body)


def new_ifb(seq: int, name: str, *, up: bool = False) -> bytes:
    """An intermediate device: what is redirected to it is queued there and then goes on where it came from."""
    info = wire.nested(_IFLA_LINKINFO, wire.attr_str(_IFLA_INFO_KIND, "ifb"))
    body = _HEADER.pack(0, 0, 0, *_up_flags(up or None)) + link_name(name) + info
    return wire.message(RTM_NEWLINK, _CREATE, seq, body)


def new_plain(seq: int, name: str, kind: str) -> bytes:
    """A device of a kind without settings. EOPNOTSUPP when the kernel does not know the kind; one that needs settings
    is refused otherwise."""
    info = wire.nested(_IFLA_LINKINFO, wire.attr_str(_IFLA_INFO_KIND, kind))
    return wire.message(RTM_NEWLINK, _CREATE, seq, _HEADER.pack(0, 0, 0, 0, 0) + link_name(name) + info)


def link_name(name: str) -> bytes:
    """The name attribute; WireError when the kernel would not take the name (``dev_valid_name``)."""
    size = len(name.encode())
    if not 0 < size <= _NAME_MAX or name in (".", "..") or any(c in "/:\0" or c.isspace() for c in name):
        raise WireError(f"{name!r} is not an interface name")
    return wire.attr_str(_IFLA_IFNAME, name)


def _refer(ref: int | str) -> tuple[int, bytes]:
    return (0, link_name(ref)) if isinstance(ref, str) else (ref, b"")


def _up_flags(up: bool | None) -> tuple[int, int]:
    """Flags and change mask: None leaves the state alone."""
    return (_IFF_UP if up else 0, 0 if up is None else _IFF_UP)


def _settings(
    *, mac: bytes | None = None, mtu: int | None = None, netns_fd: int | None = None, queues: int | None = None
) -> bytes:
    body = b""
    if mac is not None:
        body += wire.attr(_IFLA_ADDRESS, mac)
    if mtu is not None:
        body += wire.attr_u32(_IFLA_MTU, mtu)
    if netns_fd is not None:
        body += wire.attr_u32(_IFLA_NET_NS_FD, netns_fd)
    if queues is not None:
        body += wire.attr_u32(_IFLA_NUM_TX_QUEUES, queues) + wire.attr_u32(_IFLA_NUM_RX_QUEUES, queues)
    return body


def _u32_or_0(attrs: dict[int, bytes], kind: int) -> int:
    value = attrs.get(kind)
    return 0 if value is None else wire.u32(value)
