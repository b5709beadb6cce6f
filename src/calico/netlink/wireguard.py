"""The WireGuard codec over generic netlink: a device with its peers, as read and as changed. No I/O.

Source: ``linux/wireguard.h``. A device of many peers takes several messages, and a peer of many networks continues in
the next; in both directions this is told by the peer's key alone.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

from calico.netlink import genetlink, wire
from calico.netlink.rtnetlink.family import AF_INET, AF_INET6
from calico.netlink.wire import Message, WireError

__all__ = [
    "FAMILY",
    "KEY_SIZE",
    "DeviceChange",
    "Endpoint",
    "PeerChange",
    "WgDevice",
    "WgPeer",
    "decode_device",
    "get_device",
    "set_device",
]

FAMILY: Final = "wireguard"
KEY_SIZE: Final = 32

_GET, _SET = 0, 1
_IFNAME, _PRIVATE, _PUBLIC, _FLAGS, _PORT, _FWMARK, _PEERS = 2, 3, 4, 5, 6, 7, 8
_P_PUBLIC, _P_FLAGS, _P_ENDPOINT, _P_KEEPALIVE, _P_HANDSHAKE, _P_RX, _P_TX, _P_ALLOWED = 1, 3, 4, 5, 6, 7, 8, 9
_A_FAMILY, _A_ADDRESS, _A_MASK = 1, 2, 3
_REMOVE, _REPLACE_NETS = 1, 2
_SOCKADDR4, _SOCKADDR6 = struct.Struct("=H2s4s8x"), struct.Struct("=H2sI16sI")
_TIME = struct.Struct("=qq")

_ROOM: Final = 24_000
"""Bytes of peers in one message: an attribute has at most 65,535, and the kernel reads whole messages."""
_NETS: Final = 500
"""Networks of a peer in one message."""


class Endpoint(msgspec.Struct, frozen=True, gc=False):
    """Where a peer is reached: packed address and UDP port."""

    address: bytes
    port: int


class WgPeer(msgspec.Struct, frozen=True, kw_only=True):
    """A peer as it should be, or as the kernel has it; ``nets`` are packed. ``handshake_s`` (Unix time of the last, 0:
    none yet), ``received`` and ``sent`` (bytes) are only read."""

    endpoint: Endpoint | None = None
    keepalive_s: int = 0
    nets: frozenset[bytes] = frozenset()
    handshake_s: int = 0
    received: int = 0
    sent: int = 0


class WgDevice(msgspec.Struct, frozen=True, kw_only=True):
    """A device: keys of 32 bytes, empty where there is none; peers by public key. ``mark`` is set on what it sends."""

    private_key: bytes = b""
    public_key: bytes = b""
    port: int = 0
    mark: int = 0
    peers: dict[bytes, WgPeer] = {}


class PeerChange(msgspec.Struct, frozen=True, kw_only=True):
    """What to change of one peer. ``nets`` are added, and taken from whoever has them; with ``replace`` it has no
    others. None: as it is."""

    key: bytes
    remove: bool = False
    replace: bool = False
    endpoint: Endpoint | None = None
    keepalive_s: int | None = None
    nets: tuple[bytes, ...] = ()


class DeviceChange(msgspec.Struct, frozen=True, kw_only=True):
    """What to change of a device, in order; None: as it is."""

    private_key: bytes | None = None
    port: int | None = None
    mark: int | None = None
    peers: tuple[PeerChange, ...] = ()

    def __bool__(self) -> bool:
        return self != DeviceChange()


def get_device(family: int, seq: int, name: str) -> bytes:
    """Ask for a device and its peers: a dump. ENODEV without one, EOPNOTSUPP when it is of another kind."""
    return genetlink.command(family, _GET, seq, wire.attr_str(_IFNAME, name), dump=True)


def set_device(family: int, first_seq: int, name: str, change: DeviceChange) -> list[bytes]:
    """The messages that carry a change out, in order, numbered from ``first_seq``."""
    head = b""
    if change.private_key is not None:
        head += wire.attr(_PRIVATE, _key(change.private_key))
    if change.port is not None:
        head += wire.attr_u16(_PORT, change.port)
    if change.mark is not None:
        head += wire.attr_u32(_FWMARK, change.mark)
    bodies: list[bytes] = []
    peers: list[bytes] = []
    for peer in change.peers:
        for part in _parts(peer):
            if peers and sum(map(len, peers)) + len(part) > _ROOM:
                bodies.append(_listed(peers))
                peers = []
            peers.append(part)
    bodies.append(_listed(peers) if peers else b"")
    ifname = wire.attr_str(_IFNAME, name)
    return [
        genetlink.command(family, _SET, first_seq + i, ifname + (head if i == 0 else b"") + body)
        for i, body in enumerate(bodies)
    ]


def decode_device(answers: Iterable[Message]) -> WgDevice:
    """A device from the answers of a dump."""
    device = WgDevice()
    peers: dict[bytes, WgPeer] = {}
    for answer in answers:
        attrs = wire.parse_attrs(genetlink.body(answer.payload))
        device = WgDevice(
            private_key=attrs.get(_PRIVATE, device.private_key),
            public_key=attrs.get(_PUBLIC, device.public_key),
            port=wire.u16(attrs[_PORT]) if _PORT in attrs else device.port,
            mark=wire.u32(attrs[_FWMARK]) if _FWMARK in attrs else device.mark,
        )
        for _, item in wire.iter_attrs(attrs.get(_PEERS, b"")):
            key, peer = _decode_peer(item)
            before = peers.get(key)
            peers[key] = peer if before is None else msgspec.structs.replace(before, nets=before.nets | peer.nets)
    return msgspec.structs.replace(device, peers=peers)


def _listed(items: list[bytes]) -> bytes:
    return wire.nested(_PEERS, *(wire.nested(i, item) for i, item in enumerate(items, 1)))


def _parts(peer: PeerChange) -> Iterator[bytes]:
    """A peer's attributes; what does not fit is said of the same peer again, without what must be said once."""
    key = wire.attr(_P_PUBLIC, _key(peer.key))
    flags = (_REMOVE if peer.remove else 0) | (_REPLACE_NETS if peer.replace else 0)
    head = key
    if peer.endpoint is not None:
        head += wire.attr(_P_ENDPOINT, _sockaddr(peer.endpoint))
    if peer.keepalive_s is not None:
        head += wire.attr_u16(_P_KEEPALIVE, peer.keepalive_s)
    head += wire.attr_u32(_P_FLAGS, flags)
    for start in range(0, max(len(peer.nets), 1), _NETS):
        nets = [wire.nested(i, _net(net)) for i, net in enumerate(peer.nets[start : start + _NETS], 1)]
        yield (key if start else head) + (wire.nested(_P_ALLOWED, *nets) if nets else b"")


def _net(net: bytes) -> bytes:
    family = AF_INET if len(net) == 5 else AF_INET6
    return wire.attr_u16(_A_FAMILY, family) + wire.attr(_A_ADDRESS, net[:-1]) + wire.attr_u8(_A_MASK, net[-1])


def _sockaddr(endpoint: Endpoint) -> bytes:
    port = endpoint.port.to_bytes(2, "big")
    if len(endpoint.address) == 4:
        return _SOCKADDR4.pack(AF_INET, port, endpoint.address)
    return _SOCKADDR6.pack(AF_INET6, port, 0, endpoint.address, 0)


def _key(key: bytes) -> bytes:
    if len(key) != KEY_SIZE:
        raise WireError(f"key of {len(key)} bytes")
    return key


def _decode_peer(item: bytes) -> tuple[bytes, WgPeer]:
    attrs = wire.parse_attrs(item)
    time = attrs.get(_P_HANDSHAKE, b"")
    nets = frozenset(_decode_net(net) for _, net in wire.iter_attrs(attrs.get(_P_ALLOWED, b"")))
    return _key(attrs.get(_P_PUBLIC, b"")), WgPeer(
        endpoint=_decode_endpoint(attrs[_P_ENDPOINT]) if _P_ENDPOINT in attrs else None,
        keepalive_s=wire.u16(attrs[_P_KEEPALIVE]) if _P_KEEPALIVE in attrs else 0,
        nets=nets,
        handshake_s=_TIME.unpack_from(time)[0] if len(time) >= _TIME.size else 0,
        received=wire.u64(attrs[_P_RX]) if _P_RX in attrs else 0,
        sent=wire.u64(attrs[_P_TX]) if _P_TX in attrs else 0,
    )


def _decode_endpoint(data: bytes) -> Endpoint | None:
    family = wire.u16(data)
    if family == AF_INET and len(data) >= _SOCKADDR4.size:
        _, port, address = _SOCKADDR4.unpack_from(data)
    elif family == AF_INET6 and len(data) >= _SOCKADDR6.size:
        _, port, _, address, _ = _SOCKADDR6.unpack_from(data)
    else:
        raise WireError(f"endpoint of {len(data)} bytes in family {family}")
    return Endpoint(address, int.from_bytes(port, "big"))


def _decode_net(data: bytes) -> bytes:
    attrs = wire.parse_attrs(data)
    address, mask = attrs.get(_A_ADDRESS, b""), attrs.get(_A_MASK, b"")
    if len(address) not in (4, 16) or len(mask) != 1 or mask[0] > len(address) * 8:
        raise WireError(f"allowed network of {len(address)} bytes with a length of {len(mask)} bytes")
    return address + mask
