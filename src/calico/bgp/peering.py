"""Which sessions one host has: explicit peerings, their automatic reverse, and the node-to-node mesh. Pure.

Rules (design 1.3): global peerings first, then those for some nodes; the first to name an address has it. Automatic
reverse peerings never displace explicit ones, and the mesh displaces nothing.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Iterator, Mapping

import msgspec

from calico.bgp.birdplan import Family, NextHop, PeerPlan, PeerType, name_of_peer
from calico.bgp.clusterconfig import ClusterConfig
from calico.bgp.host import BGPHost
from calico.bgp.peerspec import Peering, PeerOptions, Remote
from calico.bgp.problem import Problem

__all__ = ["SessionPlanner"]


class _FarEnd(msgspec.Struct, frozen=True):
    """One end to have a session with; ``host`` is the node behind it, when it is one."""

    family: Family
    address: str
    port: int | None
    as_number: int
    host: BGPHost | None


class SessionPlanner:
    """Collects the sessions of ``me``. Call ``explicit``, ``reverse`` and ``mesh`` in this order, then ``sessions``."""

    def __init__(
        self,
        me: BGPHost,
        hosts: Mapping[str, BGPHost],
        config: ClusterConfig,
        report: Callable[[Problem], None],
    ) -> None:
        self._me = me
        self._hosts = hosts
        self._config = config
        self._report = report
        self._by_address = {address: host for host in hosts.values() for _, address in host.addresses}
        self._claimed: dict[str, str] = {}  # far address -> the BGPPeer that has it, running or stopped
        self._sessions: dict[str, PeerPlan] = {}

    def explicit(self, peerings: Iterable[Peering]) -> None:
        """Peerings that name this host on their local side: those for all nodes before those for some."""
        mine = [peering for peering in peerings if peering.is_asked_of(self._me)]
        for peering in sorted(mine, key=lambda p: (not p.is_global, p.name)):
            kind: PeerType = "GlobalPeer" if peering.is_global else "NodePeer"
            taken = dict(self._claimed)
            for far in self._far_ends(peering):
                self._add(peering, far, kind, peering.local_as or self._me.as_number, taken)

    def reverse(self, peerings: Iterable[Peering]) -> None:
        """Peerings that name this host on their far side: sessions back to every node on their local side."""
        for peering in sorted(peerings, key=lambda p: (not p.is_global, p.name)):
            if not peering.reverse:
                continue
            taken = dict(self._claimed)
            for family in self._families_as_far_end(peering):
                for host in peering.local_side(self._hosts):
                    address = host.address(family)
                    if address and address not in taken:
                        far_as = peering.local_as or host.as_number
                        far = _FarEnd(family, address, host.listen_port, far_as, host)
                        self._add(peering, far, "NodePeer", self._me.as_number, taken)

    def mesh(self) -> None:
        """Sessions with every other node that is no route reflector, unless this node is one or the mesh is off."""
        if not self._config.mesh or self._me.cluster_id:
            return
        mesh = Peering(
            name="",
            node="",
            node_selector=None,
            remote=Remote(4, "", None, 0),
            local_as=None,
            reverse=False,
            options=PeerOptions(restart_time_s=self._config.mesh_restart_time_s),
        )
        for _, host in sorted(self._hosts.items()):
            if host.cluster_id:
                continue
            for far in _ends_of_host(host):
                if far.address not in self._claimed:
                    self._add(mesh, far, "NodeMesh", self._me.as_number, {})

    def sessions(self) -> tuple[PeerPlan, ...]:
        """All sessions by name."""
        return tuple(session for _, session in sorted(self._sessions.items()))

    def _far_ends(self, peering: Peering) -> Iterator[_FarEnd]:
        remote = peering.remote
        if not isinstance(remote, Remote):
            for _, host in sorted(self._hosts.items()):
                if remote.matches(host.labels):
                    yield from _ends_of_host(host)
            return
        found = self._by_address.get(remote.address)
        if found is not None and found.as_number != remote.as_number:
            found = None  # somebody else's speaker on a node's address
        port = remote.port or (found.listen_port if found is not None else None)
        yield _FarEnd(remote.family, remote.address, port, remote.as_number, found)

    def _families_as_far_end(self, peering: Peering) -> tuple[Family, ...]:
        remote = peering.remote
        if isinstance(remote, Remote):
            is_me = self._me.address(remote.family) == remote.address and self._me.as_number == remote.as_number
            return (remote.family,) if is_me else ()
        return (4, 6) if remote.matches(self._me.labels) else ()

    def _add(self, peering: Peering, far: _FarEnd, kind: PeerType, local_as: int, taken: Mapping[str, str]) -> None:
        mine = self._me.address(far.family)
        if not mine or far.address in (self._me.ipv4, self._me.ipv6):
            return
        subject = f"BGPPeer {peering.name}"
        name = name_of_peer(kind, far.address, far.port)
        if (owner := taken.get(far.address)) is not None:
            message = f"the peering with {far.address} is that of BGPPeer {owner}"
            self._report(Problem("bgp-peering-shadowed", subject, message))
            return
        if peering.name:
            self._claimed.setdefault(far.address, peering.name)
        if peering.stopped or name in self._sessions:
            return
        source = mine if peering.options.use_node_address else None
        if source is None and self._config.strict_bind:
            message = "spec.sourceAddress None cannot be combined with bindMode NodeIP; the peering is stopped"
            self._report(Problem("bgp-field-unsupported", subject, message))
            return
        self._sessions[name] = self._session(peering.options, far, kind, name, local_as, source)

    def _session(
        self, options: PeerOptions, far: _FarEnd, kind: PeerType, name: str, local_as: int, source: str | None
    ) -> PeerPlan:
        next_hop: NextHop = options.next_hop
        if options.keep_next_hop_if_external and far.as_number != local_as:
            next_hop = "keep"
        return PeerPlan(
            name=name,
            type=kind,
            family=far.family,
            address=far.address,
            port=far.port,
            remote_as=far.as_number,
            local_as=local_as,
            source=source,
            passive=kind != "NodePeer" and far.host is not None and self._is_above_mine(far),
            rr_cluster_id=self._reflects_to(far, local_as),
            ttl_security_hops=options.ttl_security_hops,
            restart_time_s=options.restart_time_s,
            keepalive_time_s=options.keepalive_time_s,
            next_hop=next_hop,
            allowed_local_as=options.allowed_local_as,
            filters=options.filters,
        )

    def _is_above_mine(self, far: _FarEnd) -> bool:
        """Of two nodes the one with the numerically higher address connects, the other listens."""
        return int(ipaddress.ip_address(far.address)) > int(ipaddress.ip_address(self._me.address(far.family)))

    def _reflects_to(self, far: _FarEnd, local_as: int) -> str | None:
        """Our cluster id when the far end is our client: same AS, and not a reflector of the same cluster."""
        theirs = far.host.cluster_id if far.host is not None else ""
        ours = self._me.cluster_id
        return ours if ours and far.as_number == local_as and theirs != ours else None


def _ends_of_host(host: BGPHost) -> Iterator[_FarEnd]:
    for family, address in host.addresses:
        yield _FarEnd(family, address, host.listen_port, host.as_number, host)
