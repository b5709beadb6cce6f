"""From a WireGuard device as it is to one as it should be, with as little change as that takes. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from calico.netlink.wireguard import DeviceChange, PeerChange, WgDevice, WgPeer

__all__ = ["plan_device"]


def plan_device(wanted: WgDevice, found: WgDevice, peers: Iterable[bytes] | None = None) -> DeviceChange:
    """What to change; falsy when nothing differs. ``peers`` are the keys that may differ, None: all. Public keys
    follow from private ones, and are not compared.

    A network belongs to one peer: it is taken by whoever is given it, and given up only by a peer that is told all its
    networks anew. Cost: the networks of the peers that differ.
    """
    keys = sorted(wanted.peers.keys() | found.peers.keys() if peers is None else peers)
    taken = {net for key in keys if key in wanted.peers for net in wanted.peers[key].nets}
    gone = [PeerChange(key=key, remove=True) for key in keys if key in found.peers and key not in wanted.peers]
    changed = [
        change
        for key in keys
        if key in wanted.peers
        and (change := _plan_peer(key, wanted.peers[key], found.peers, taken - wanted.peers[key].nets)) is not None
    ]
    return DeviceChange(
        private_key=wanted.private_key if wanted.private_key != found.private_key else None,
        port=wanted.port if wanted.port != found.port else None,
        mark=wanted.mark if wanted.mark != found.mark else None,
        peers=(*gone, *changed),
    )


def _plan_peer(key: bytes, wanted: WgPeer, found: Mapping[bytes, WgPeer], others: set[bytes]) -> PeerChange | None:
    """``others``: what goes to other peers by itself."""
    has = found.get(key, WgPeer())
    replace = bool(has.nets - wanted.nets - others)
    change = PeerChange(
        key=key,
        replace=replace,
        endpoint=wanted.endpoint if wanted.endpoint != has.endpoint else None,
        keepalive_s=wanted.keepalive_s if wanted.keepalive_s != has.keepalive_s else None,
        nets=tuple(sorted(wanted.nets if replace else wanted.nets - has.nets)),
    )
    return change if key not in found or change != PeerChange(key=key) else None
