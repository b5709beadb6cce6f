"""A BGPPeer checked field by field: what can be honoured as typed options, what cannot as a reason to stop it. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import cast

import msgspec

from calico.bgp.planning import peerannotations
from calico.bgp.planning.birdplan import ANY_ON_LINK, BfdPlan, Family, NextHop
from calico.bgp.planning.clusterconfig import restart_time, whole_seconds
from calico.bgp.planning.host import BGPHost, check_as_number, check_link_local, check_peer_address
from calico.bgp.problem import Problem
from calico.bgp.secret import PasswordRef
from calico.errors import InvalidInput
from calico.model.bgp import BGPPeer, BGPPeerSpec
from calico.model.selector import Selector, parse

__all__ = ["LocalWorkloads", "PeerOptions", "Peering", "Remote", "peering_of_resource"]

_WITH_PORT = re.compile(r"(?:(?P<v4>[0-9.]+)|\[(?P<v6>[^\]]+)\]):(?P<port>[0-9]{1,5})", re.ASCII)
Report = Callable[[Problem], None]


class Remote(msgspec.Struct, frozen=True):
    """A fixed far end: canonical address, and the port if one was written.

    With an ``interface`` the address is a link-local one on its link, or ``::`` for whoever is there.
    """

    family: Family
    address: str
    port: int | None
    as_number: int
    interface: str = ""


class LocalWorkloads(msgspec.Struct, frozen=True):
    """Workloads of the host itself, by their endpoints' labels."""

    selector: Selector
    as_number: int


class PeerOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Options that both directions of a peering share.

    ``instead_of_mesh``: its sessions are those of the mesh, by name and options, so that a node that moves from the
    mesh to reflectors keeps those it has with them.
    """

    next_hop: NextHop = ""
    keep_next_hop_if_external: bool = False
    use_node_address: bool = True
    ttl_security_hops: int | None = None
    allowed_local_as: int | None = None
    restart_time_s: int | None = None
    keepalive_time_s: int | None = None
    filters: tuple[str, ...] = ()
    password: PasswordRef | None = None
    reachable_by: str = ""
    ipv4_over_ipv6: bool = False
    bfd: BfdPlan | None = None
    max_prefixes: int | None = None
    instead_of_mesh: bool = False


class Peering(msgspec.Struct, frozen=True, kw_only=True):
    """A checked BGPPeer. ``remote`` is an address, a selector over nodes, or local workloads.

    ``stopped``: it claims its peers and has none, so that they do not become peers in another, less careful way.
    """

    name: str
    node: str
    node_selector: Selector | None
    remote: Remote | Selector | LocalWorkloads
    local_as: int | None
    reverse: bool
    options: PeerOptions
    stopped: bool = False

    @property
    def is_global(self) -> bool:
        """Every node is the local side."""
        return not self.node and self.node_selector is None

    def local_side(self, hosts: Mapping[str, BGPHost]) -> tuple[BGPHost, ...]:
        """The nodes this peering is asked of, by name."""
        return tuple(host for _, host in sorted(hosts.items()) if self.is_asked_of(host))

    def is_asked_of(self, host: BGPHost) -> bool:
        """Whether a node is on the local side."""
        if self.node:
            return host.name == self.node
        return self.node_selector is None or self.node_selector.matches(host.labels)


def peering_of_resource(peer: BGPPeer, report: Report) -> Peering | None:
    """The peering a BGPPeer asks for, or None when it is so malformed that not even its ends are known."""
    subject, spec = f"BGPPeer {peer.metadata.name}", peer.spec
    stopped = False
    try:
        _check_ends(spec)
        node_selector = _selector(spec.node_selector, "spec.nodeSelector") if spec.node_selector else None
        remote = _remote(peer)
    except InvalidInput as error:
        report(Problem("bgp-resource-invalid", subject, f"{error}; the peering is stopped"))
        return None
    local_as, options = None, PeerOptions()
    try:
        if spec.local_as_number is not None:
            local_as = check_as_number(spec.local_as_number, "spec.localASNumber")
        options = _options(peer, remote, subject, report)
    except InvalidInput as error:
        stopped = True
        report(Problem("bgp-resource-invalid", subject, f"{error}; the peering is stopped"))
    return Peering(
        name=peer.metadata.name,
        node=spec.node,
        node_selector=node_selector,
        remote=remote,
        local_as=local_as,
        reverse=(spec.reverse_peering or "Auto") != "Manual" and not isinstance(remote, LocalWorkloads),
        options=options,
        stopped=stopped,
    )


def _check_ends(spec: BGPPeerSpec) -> None:
    if spec.node and spec.node_selector:
        raise InvalidInput("cannot be combined with spec.nodeSelector", field="spec.node")
    if spec.peer_ip and spec.peer_selector:
        raise InvalidInput("cannot be combined with spec.peerSelector", field="spec.peerIP")
    if spec.peer_selector and spec.as_number:
        raise InvalidInput("cannot be combined with spec.peerSelector", field="spec.asNumber")
    if spec.local_workload_selector and (spec.peer_ip or spec.peer_selector):
        raise InvalidInput("cannot be combined with other far ends", field="spec.localWorkloadSelector")
    if not spec.peer_ip and not spec.peer_selector and not spec.local_workload_selector:
        message = "one of spec.peerIP, spec.peerSelector and spec.localWorkloadSelector is required"
        raise InvalidInput(message, field="spec.peerIP")


def _selector(text: str, where: str) -> Selector:
    try:
        return parse(text)
    except InvalidInput as error:
        raise InvalidInput(error.message, field=where) from None


def _remote(peer: BGPPeer) -> Remote | Selector | LocalWorkloads:
    spec = peer.spec
    if spec.peer_selector:
        return _selector(spec.peer_selector, "spec.peerSelector")
    if spec.local_workload_selector:
        as_number = check_as_number(spec.as_number, "spec.asNumber")
        return LocalWorkloads(_selector(spec.local_workload_selector, "spec.localWorkloadSelector"), as_number)
    text, port = spec.peer_ip, None
    if found := _WITH_PORT.fullmatch(text):
        text, port = found["v4"] or found["v6"], int(found["port"])
        if not 1 <= port <= 65535:
            raise InvalidInput(f"{port} is not a port", field="spec.peerIP")
    as_number = check_as_number(spec.as_number, "spec.asNumber")
    if interface := peerannotations.interface(peer.metadata.annotations):
        return Remote(6, _on_link(text), port, as_number, interface)
    address = check_peer_address(text, "spec.peerIP")
    return Remote(6 if ":" in address else 4, address, port, as_number)


def _on_link(text: str) -> str:
    return ANY_ON_LINK if text == ANY_ON_LINK else check_link_local(text, "spec.peerIP")


def _options(peer: BGPPeer, remote: Remote | Selector | LocalWorkloads, subject: str, report: Report) -> PeerOptions:
    spec = peer.spec
    over = peerannotations.ipv4_over_ipv6(peer.metadata.annotations)
    if over and isinstance(remote, Remote) and remote.family == 4:
        message = f"metadata.annotations[{peerannotations.IPV4_OVER_IPV6}] has no effect on a session over IPv4"
        report(Problem("bgp-field-ignored", subject, message))
    return PeerOptions(
        next_hop=_next_hop(spec),
        keep_next_hop_if_external=spec.keep_original_next_hop and spec.next_hop_mode is None,
        use_node_address=_uses_node_address(spec, remote),
        ttl_security_hops=_within(spec.ttl_security, 1, 255, "spec.ttlSecurity"),
        allowed_local_as=_within(spec.num_allowed_local_as_numbers, 0, 2**31 - 1, "spec.numAllowedLocalASNumbers"),
        restart_time_s=restart_time(spec.max_restart_time, "spec.maxRestartTime", subject, report)
        if spec.max_restart_time is not None
        else None,
        keepalive_time_s=_keepalive(spec.keepalive_time),
        filters=tuple(dict.fromkeys(spec.filters)),
        password=PasswordRef.of_spec(spec.password, "spec.password") if spec.password is not None else None,
        reachable_by=_gateway(spec, remote),
        ipv4_over_ipv6=over,
        bfd=peerannotations.bfd(peer.metadata.annotations),
        max_prefixes=peerannotations.max_prefixes(peer.metadata.annotations),
        instead_of_mesh=_instead_of_mesh(peer, remote),
    )


def _instead_of_mesh(peer: BGPPeer, remote: Remote | Selector | LocalWorkloads) -> bool:
    asked = peerannotations.instead_of_mesh(peer.metadata.annotations)
    if asked and isinstance(remote, Remote | LocalWorkloads):
        field = f"metadata.annotations[{peerannotations.INSTEAD_OF_MESH}]"
        raise InvalidInput("needs a spec.peerSelector: the mesh is between nodes", field=field)
    return asked


def _uses_node_address(spec: BGPPeerSpec, remote: Remote | Selector | LocalWorkloads) -> bool:
    """Workloads reach the host by another address than the node's, neighbours on a link by a link-local one."""
    mode = _choice(spec.source_address or "UseNodeIP", ("UseNodeIP", "None"), "spec.sourceAddress")
    on_link = isinstance(remote, Remote) and bool(remote.interface)
    return mode == "UseNodeIP" and not on_link and not isinstance(remote, LocalWorkloads)


def _gateway(spec: BGPPeerSpec, remote: Remote | Selector | LocalWorkloads) -> str:
    if not spec.reachable_by:
        return ""
    if not isinstance(remote, Remote) or remote.interface:
        raise InvalidInput("needs a spec.peerIP that is not on a link", field="spec.reachableBy")
    address = check_peer_address(spec.reachable_by, "spec.reachableBy", remote.family)
    if address == remote.address:
        raise InvalidInput("is spec.peerIP itself", field="spec.reachableBy")
    return address


def _next_hop(spec: BGPPeerSpec) -> NextHop:
    mode = _choice(spec.next_hop_mode or "Auto", ("Auto", "Self", "Keep"), "spec.nextHopMode")
    return "" if mode == "Auto" else cast(NextHop, mode.lower())


def _choice(value: str, allowed: tuple[str, ...], where: str) -> str:
    if value not in allowed:
        raise InvalidInput(f"{value[:60]!r} is none of {', '.join(allowed)}", field=where)
    return value


def _within(value: int | None, lowest: int, highest: int, where: str) -> int | None:
    if value is not None and not lowest <= value <= highest:
        raise InvalidInput(f"{value} is not between {lowest} and {highest}", field=where)
    return value


def _keepalive(text: str | None) -> int | None:
    """RFC 4271 allows a hold time of 65535 s at most, and a keepalive of a third of it."""
    if text is None:
        return None
    seconds = whole_seconds(text, "spec.keepaliveTime")
    return _within(seconds, 1, 21845, "spec.keepaliveTime")
