"""What a reflector takes from a client that may tell its own routes alone. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from functools import lru_cache

import msgspec

from calico.bgp.planning.birdplan import AdmissionPlan, BlockPlan, PeerPlan
from calico.bgp.planning.host import BGPHost
from calico.bgp.planning.ownership import Owned

__all__ = ["restrict_clients"]

_NOTHING = Owned()


def restrict_clients(
    peers: Iterable[PeerPlan],
    hosts: Mapping[str, BGPHost],
    owned: Mapping[str, Owned],
    ranges: tuple[BlockPlan, ...],
) -> tuple[PeerPlan, ...]:
    """The sessions, those with clients restricted to what is theirs: by IPAM, the addresses of their tunnels, and
    services in ``ranges``, which any host may advertise."""
    return tuple(
        msgspec.structs.replace(
            peer, admission=_admission(owned.get(peer.client, _NOTHING), hosts[peer.client].tunnels, ranges)
        )
        if peer.client
        else peer
        for peer in peers
    )


@lru_cache(maxsize=8192)
def _admission(owned: Owned, tunnels: tuple[str, ...], ranges: tuple[BlockPlan, ...]) -> AdmissionPlan:
    own = (_plan(cidr) for cidr in (*owned.blocks, *owned.borrowed, *tunnels))
    return AdmissionPlan(
        networks=tuple(sorted({*own, *ranges})), refused=tuple(sorted(_plan(cidr) for cidr in owned.lent))
    )


def _plan(cidr: str) -> BlockPlan:
    network = ipaddress.ip_network(cidr)
    return BlockPlan(6 if network.version == 6 else 4, str(network))
