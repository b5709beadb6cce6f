"""Which sessions one host has: explicit peerings, their automatic reverse, and the node-to-node mesh. Pure.

Rules (design 1.3): global peerings first, then those for some nodes; the first to name an address has it. Automatic
reverse peerings never displace explicit ones, and the mesh displaces nothing.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Iterator, Mapping

import msgspec

from calico.bgp.planning.birdplan import Family, NextHop, PeerPlan, PeerType, ReachPlan, name_of_peer
from calico.bgp.planning.clusterconfig import ClusterConfig
from calico.bgp.planning.host import BGPHost
from calico.bgp.planning.localendpoints import LocalEndpoint, selected
from calico.bgp.planning.peerspec import LocalWorkloads, Peering, PeerOptions, Remote
from calico.bgp.problem import Problem
from calico.bgp.secret import Secrets, choose
from calico.errors import InvalidInput
from calico.model.keys import ResourceKey
from calico.model.selector import Selector

__all__ = ["SessionPlanner"]


class _FarEnd(msgspec.Struct, frozen=True):
    """One end to have a session with; ``host`` is the node behind it, when it is one."""

    family: Family
    address: str
    port: int | None
    as_number: int
    host: BGPHost | None = None
    interface: str = ""

    @property
    def place(self) -> str:
        """What only one session can have."""
        return f"{self.address}%{self.interface}" if self.interface else self.address


class _Ends(msgspec.Struct, frozen=True):
    """How this host takes part: its address, whether that may come later, and whether the far end is on a link."""

    source: str | None
    free_bind: bool
    direct: bool


class SessionPlanner:
    """Collects the sessions of ``me``. Call ``explicit``, ``reverse`` and ``mesh`` in this order, then ``sessions``."""

    def __init__(
        self,
        me: BGPHost,
        hosts: Mapping[str, BGPHost],
        config: ClusterConfig,
        report: Callable[[Problem], None],
        secrets: Secrets | None = None,
        endpoints: Mapping[ResourceKey, LocalEndpoint] | None = None,
    ) -> None:
        self._me = me
        self._hosts = hosts
        self._config = config
        self._report = report
        self._secrets, self._endpoints = secrets or {}, endpoints or {}
        self._by_address = {address: host for host in hosts.values() for _, address in host.addresses}
        self._claimed: dict[str, str] = {}  # far address -> the BGPPeer that has it, running or stopped
        self._sessions: dict[str, PeerPlan] = {}
        self._reach: set[ReachPlan] = set()

    def explicit(self, peerings: Iterable[Peering]) -> None:
        """Peerings that name this host on their local side: those for all nodes before those for some."""
        mine = [peering for peering in peerings if peering.is_asked_of(self._me)]
        for peering in sorted(mine, key=lambda p: (not p.is_global, p.name)):
            kind: PeerType = "GlobalPeer" if peering.is_global else "NodePeer"
            if isinstance(peering.remote, LocalWorkloads):
                kind = "LocalWorkload"
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

    def mesh(self, peerings: Iterable[Peering] = ()) -> None:
        """Sessions with every other node that is no route reflector, unless this node is one or the mesh is off.

        Reflectors of peerings that take the mesh's place stay in it while it is on.
        """
        staying = [p.remote for p in peerings if p.options.instead_of_mesh and isinstance(p.remote, Selector)]

        def takes_part(host: BGPHost) -> bool:
            return not host.cluster_id or any(selector.matches(host.labels) for selector in staying)

        if not self._config.mesh or not takes_part(self._me):
            return
        mesh = Peering(
            name="",
            node="",
            node_selector=None,
            remote=Remote(4, "", None, 0),
            local_as=None,
            reverse=False,
            options=PeerOptions(
                restart_time_s=self._config.mesh_restart_time_s,
                password=self._config.mesh_password,
                ipv4_over_ipv6=self._config.mesh_ipv4_over_ipv6,
                bfd=self._config.mesh_bfd,
                instead_of_mesh=True,
            ),
        )
        for _, host in sorted(self._hosts.items()):
            if not takes_part(host):
                continue
            for far in _ends_of_host(host):
                if far.address not in self._claimed:
                    self._add(mesh, far, "NodeMesh", self._me.as_number, {})

    def sessions(self) -> tuple[PeerPlan, ...]:
        """All sessions by name."""
        return tuple(session for _, session in sorted(self._sessions.items()))

    def reach(self) -> tuple[ReachPlan, ...]:
        """The routes to far ends that are behind a gateway."""
        return tuple(sorted(self._reach))

    def _far_ends(self, peering: Peering) -> Iterator[_FarEnd]:
        remote = peering.remote
        if isinstance(remote, LocalWorkloads):
            for family, address in selected(self._endpoints, remote.selector):
                yield _FarEnd(family, address, None, remote.as_number)
        elif isinstance(remote, Remote):
            found = self._by_address.get(remote.address)
            if found is not None and found.as_number != remote.as_number:
                found = None  # somebody else's speaker on a node's address
            port = remote.port or (found.listen_port if found is not None else None)
            yield _FarEnd(remote.family, remote.address, port, remote.as_number, found, remote.interface)
        else:
            for _, host in sorted(self._hosts.items()):
                if remote.matches(host.labels):
                    yield from _ends_of_host(host)

    def _families_as_far_end(self, peering: Peering) -> tuple[Family, ...]:
        remote = peering.remote
        if isinstance(remote, Remote):
            is_me = self._me.address(remote.family) == remote.address and self._me.as_number == remote.as_number
            return (remote.family,) if is_me else ()
        if isinstance(remote, LocalWorkloads):
            return ()
        return (4, 6) if remote.matches(self._me.labels) else ()

    def _add(self, peering: Peering, far: _FarEnd, kind: PeerType, local_as: int, taken: Mapping[str, str]) -> None:
        mine = self._me.address(far.family)
        if not (mine or far.interface) or far.address in (self._me.ipv4, self._me.ipv6):
            return
        subject = f"BGPPeer {peering.name}" if peering.name else "BGPConfiguration default"
        name = name_of_peer(_kind_in_name(peering, kind), far.address, far.port, far.interface)
        if (owner := taken.get(far.place)) is not None:
            message = f"the peering with {far.place} is that of BGPPeer {owner}"
            self._report(Problem("bgp-peering-shadowed", subject, message))
            return
        if peering.name:
            self._claimed.setdefault(far.place, peering.name)
        if peering.stopped or name in self._sessions or self._goes_over_ipv6(peering, far):
            return
        where = "spec.password" if peering.name else "spec.nodeMeshPassword"
        try:
            ends = self._ends(peering.options, far, kind)
        except InvalidInput as error:
            self._report(Problem("bgp-field-unsupported", subject, f"{error}; the peering is stopped"))
            return
        try:
            session = self._session(peering, far, kind, name, local_as, ends, where)
        except InvalidInput as error:
            what = "the peering" if peering.name else "the node-to-node mesh"
            self._report(Problem("bgp-password-unavailable", subject, f"{error}; {what} is stopped"))
            return
        self._sessions[name] = session
        self._note_gateway(peering, far)

    def _goes_over_ipv6(self, peering: Peering, far: _FarEnd) -> bool:
        """A selected node's IPv4 routes come over the IPv6 session with it."""
        options = peering.options
        asked = options.ipv4_over_ipv6 and not options.instead_of_mesh and not isinstance(peering.remote, Remote)
        return asked and far.family == 4 and far.host is not None and bool(far.host.ipv6 and self._me.ipv6)

    def _note_gateway(self, peering: Peering, far: _FarEnd) -> None:
        gateway, remote = peering.options.reachable_by, peering.remote
        to_peer = isinstance(remote, Remote) and remote.address == far.address
        if gateway and to_peer and gateway not in (self._me.ipv4, self._me.ipv6):
            self._reach.add(ReachPlan(far.family, far.address, gateway))

    def _ends(self, options: PeerOptions, far: _FarEnd, kind: PeerType) -> _Ends:
        """InvalidInput when options exclude each other."""
        strict = self._config.strict_bind
        source = self._me.address(far.family) if options.use_node_address and not far.interface else None
        if strict and kind == "LocalWorkload":
            source = self._config.workload_side.get(far.family)
            if source is None:
                field = f"spec.localWorkloadPeeringIPV{far.family}"
                raise InvalidInput(f"needs {field} with bindMode NodeIP", field="spec.localWorkloadSelector")
        elif strict and source is None:
            what = "metadata.annotations: an interface" if far.interface else "spec.sourceAddress None"
            raise InvalidInput(f"{what} cannot be combined with bindMode NodeIP")
        near = options.ttl_security_hops in (None, 1) and not far.interface and kind != "LocalWorkload"
        direct = bool(far.interface) or (options.bfd is not None and near and self._me.shares_link_with(far.address))
        if options.bfd is not None and source is None and not direct:
            raise InvalidInput("BFD over several hops needs the node's address as source", field="spec.sourceAddress")
        return _Ends(source, strict and kind == "LocalWorkload", direct)

    def _session(
        self, peering: Peering, far: _FarEnd, kind: PeerType, name: str, local_as: int, ends: _Ends, where: str
    ) -> PeerPlan:
        """InvalidInput when the password cannot be had."""
        options = peering.options
        next_hop: NextHop = options.next_hop
        if options.keep_next_hop_if_external and far.as_number != local_as:
            next_hop = "keep"
        one_calls = kind != "NodePeer" or options.instead_of_mesh
        reflects = self._reflects_to(peering, far, local_as)
        waits = one_calls and far.host is not None and self._is_above_mine(far)
        return PeerPlan(
            name=name,
            type=kind,
            family=far.family,
            address=far.address,
            port=far.port,
            remote_as=far.as_number,
            local_as=local_as,
            source=ends.source,
            passive=waits or kind == "LocalWorkload",
            rr_cluster_id=reflects,
            client=far.host.name if reflects and far.host is not None and not far.host.cluster_id else "",
            ttl_security_hops=options.ttl_security_hops,
            restart_time_s=options.restart_time_s,
            keepalive_time_s=options.keepalive_time_s,
            next_hop=next_hop,
            allowed_local_as=options.allowed_local_as,
            filters=options.filters,
            password=choose(options.password, self._secrets, where) if options.password is not None else None,
            extended=self._is_extended(peering, far),
            interface=far.interface,
            direct=ends.direct,
            free_bind=ends.free_bind,
            bfd=options.bfd,
            max_prefixes=options.max_prefixes,
        )

    def _is_extended(self, peering: Peering, far: _FarEnd) -> bool:
        """In the mesh only where one of the two has no IPv4 address, else IPv4 routes have a session of their own."""
        if not peering.options.ipv4_over_ipv6 or far.family != 6:
            return False
        return not peering.options.instead_of_mesh or far.host is None or not (far.host.ipv4 and self._me.ipv4)

    def _is_above_mine(self, far: _FarEnd) -> bool:
        """Of two nodes the one with the numerically higher address connects, the other listens."""
        return int(ipaddress.ip_address(far.address)) > int(ipaddress.ip_address(self._me.address(far.family)))

    def _reflects_to(self, peering: Peering, far: _FarEnd, local_as: int) -> str | None:
        """Our cluster id when the far end is our client: same AS, and not a reflector of the same cluster.

        Reflectors in the mesh's place all know each other, so none is a client of another: it would be told each route
        by every way through the others.
        """
        theirs = far.host.cluster_id if far.host is not None else ""
        ours = self._me.cluster_id
        equal = bool(theirs) if peering.options.instead_of_mesh else theirs == ours
        return ours if ours and far.as_number == local_as and not equal else None


def _kind_in_name(peering: Peering, kind: PeerType) -> PeerType:
    return "NodeMesh" if peering.options.instead_of_mesh else kind


def _ends_of_host(host: BGPHost) -> Iterator[_FarEnd]:
    for family, address in host.addresses:
        yield _FarEnd(family, address, host.listen_port, host.as_number, host)
