"""What the calculation tells this host's dataplane: a minimal, ordered stream of values.

Order within a flush: IP sets created and changed, policies, profiles, endpoints, host endpoints, ends of tunnels,
routes to other hosts, peers and what is behind them; then removals (of what leads elsewhere first, then in the opposite
order); then problems, and InSync (once). A thing is therefore never referred to before it exists nor removed while
referred to. An interface may pass from one endpoint to another within a flush: the update then comes before the remove.
Networks, addresses and address-port members are packed (see ``calico.lib.packed``). Sets with the ids ``IPAM_POOLS``,
``MASQ_POOLS``, ``ALL_HOSTS``, ``VXLAN_HOSTS`` and ``IPIP_HOSTS`` are told like those of selectors.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from calico.model.keys import ResourceKey

__all__ = [
    "ALL_HOSTS",
    "IPAM_POOLS",
    "IPIP_HOSTS",
    "MASQ_POOLS",
    "VXLAN_HOSTS",
    "ActiveRule",
    "EndpointId",
    "EndpointRemove",
    "EndpointUpdate",
    "HostEndpointRemove",
    "HostEndpointUpdate",
    "IPSetDelta",
    "IPSetRemove",
    "IPSetUpdate",
    "InSync",
    "IpipRemove",
    "IpipUpdate",
    "Message",
    "PolicyRemove",
    "PolicyUpdate",
    "ProblemUpdate",
    "ProfileRemove",
    "ProfileUpdate",
    "QoS",
    "RouteRemove",
    "RouteUpdate",
    "RuleSide",
    "TierPolicies",
    "VtepRemove",
    "VtepUpdate",
    "WireguardPeerRemove",
    "WireguardPeerUpdate",
    "WireguardRouteRemove",
    "WireguardRouteUpdate",
]


IPAM_POOLS, MASQ_POOLS, ALL_HOSTS = "ipam-pools", "masq-pools", "all-hosts"
VXLAN_HOSTS, IPIP_HOSTS = "vxlan-hosts", "ipip-hosts"
"""Ids of sets that no rule of a policy refers to: the networks of all pools, of those with natOutgoing, the addresses
of all nodes, and those that nodes send VXLAN and IP in IP from, each there while this host has that tunnel."""


class _Msg(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    pass


class IPSetUpdate(_Msg, frozen=True, kw_only=True):
    """Create (or replace) a set. ``kind`` nets: members are packed nets; ports: packed address ports."""

    id: str
    kind: Literal["nets", "ports"]
    members: frozenset[bytes]


class IPSetDelta(_Msg, frozen=True, kw_only=True):
    """Members to add to and remove from an existing set; never overlapping, never redundant."""

    id: str
    added: frozenset[bytes]
    removed: frozenset[bytes]


class IPSetRemove(_Msg, frozen=True, kw_only=True):
    """The set is referred to by nothing any more."""

    id: str


class RuleSide(_Msg, frozen=True, kw_only=True):
    """Source or destination of an active rule; empty fields do not restrict.

    ``nets`` and ``ports`` entries are OR-ed; ``named_ports`` (ids of ports sets) are OR-ed with ``ports``;
    every id in ``ip_sets`` must contain the address; none in the ``not_*`` fields may match. Where there are nets, all
    are of the family in the rule's ``ip_version``. A set may hold members of both families.
    """

    nets: tuple[bytes, ...] = ()
    not_nets: tuple[bytes, ...] = ()
    ip_sets: tuple[str, ...] = ()
    not_ip_sets: tuple[str, ...] = ()
    ports: tuple[tuple[int, int], ...] = ()
    not_ports: tuple[tuple[int, int], ...] = ()
    named_ports: tuple[str, ...] = ()
    not_named_ports: tuple[str, ...] = ()


class ActiveRule(_Msg, frozen=True, kw_only=True):
    """One rule, resolved: protocols are numbers, selectors are set ids. All given fields must match.

    ``icmp`` is (type, code or None); ``comment`` is for people only. ``why`` of a rule that denies everything and that
    nobody wrote: its owner cannot be interpreted (damaged), or does not exist (missing).
    """

    action: Literal["allow", "deny", "pass", "log"]
    ip_version: Literal[4, 6] | None = None
    protocol: int | None = None
    not_protocol: int | None = None
    icmp: tuple[int, int | None] | None = None
    not_icmp: tuple[int, int | None] | None = None
    src: RuleSide = RuleSide()
    dst: RuleSide = RuleSide()
    comment: str = ""
    why: Literal["", "damaged", "missing"] = ""


class PolicyUpdate(_Msg, frozen=True, kw_only=True):
    """A policy that at least one local endpoint uses, or that (``preload``) is kept ready for one to come.

    ``ingress``/``egress`` are in evaluation order. ``kind``: untracked and pre-dnat policies decide in chains of their
    own; staged ones count and decide nothing.
    """

    key: ResourceKey
    tier: str
    kind: Literal["normal", "untracked", "pre-dnat", "staged"] = "normal"
    preload: bool = False
    ingress: tuple[ActiveRule, ...]
    egress: tuple[ActiveRule, ...]


class PolicyRemove(_Msg, frozen=True, kw_only=True):
    """No local endpoint uses the policy any more, and it need not be kept ready."""

    key: ResourceKey


class ProfileUpdate(_Msg, frozen=True, kw_only=True):
    """A profile that a local endpoint names. One that does not exist denies everything."""

    name: str
    ingress: tuple[ActiveRule, ...]
    egress: tuple[ActiveRule, ...]


class ProfileRemove(_Msg, frozen=True, kw_only=True):
    """No local endpoint names the profile any more."""

    name: str


class TierPolicies(_Msg, frozen=True, kw_only=True):
    """The policies of one tier that apply to one endpoint, per direction, in order.

    A direction without policies, or with staged ones only, skips the tier, whatever its ``default_action``.
    """

    name: str
    default_action: Literal["deny", "pass"]
    ingress: tuple[ResourceKey, ...] = ()
    egress: tuple[ResourceKey, ...] = ()


class EndpointId(msgspec.Struct, frozen=True, gc=False, order=True):
    """What names a workload endpoint in status keys; ``workload`` is ``<namespace>/<workload>``."""

    orchestrator: str
    workload: str
    endpoint: str

    def __str__(self) -> str:
        return f"{self.orchestrator} {self.workload} {self.endpoint}"


class QoS(_Msg, frozen=True, kw_only=True):
    """Limits of an endpoint, 0 or None where there is none. *ingress* is towards the workload.

    Bandwidth and peak rate are bit/s, burst bit, minburst bytes (datamodel 16.2), packet rate packets/s with a burst
    in packets, connections how many may be tracked at once; ``dscp`` (0-63) is set on packets that leave the pools.
    Defaults are filled in: a rate has a burst, and what has no effect without another limit is 0.
    """

    ingress_bandwidth: int = 0
    ingress_burst: int = 0
    ingress_peakrate: int = 0
    ingress_minburst: int = 0
    egress_bandwidth: int = 0
    egress_burst: int = 0
    egress_peakrate: int = 0
    egress_minburst: int = 0
    ingress_packet_rate: int = 0
    ingress_packet_burst: int = 0
    egress_packet_rate: int = 0
    egress_packet_burst: int = 0
    ingress_max_connections: int = 0
    egress_max_connections: int = 0
    dscp: int | None = None


class Forward(msgspec.Struct, frozen=True, gc=False, order=True):
    """What comes for a port of ``external`` goes to ``own_port`` of ``own``; packed addresses of one family."""

    protocol: int
    external: bytes
    external_port: int
    own: bytes
    own_port: int


class EndpointUpdate(_Msg, frozen=True, kw_only=True):
    """A local workload endpoint with everything the host needs to program it. ``nets`` are /32 or /128.

    ``nats`` are floating addresses as (own address, external address), packed without length and of one family;
    ``forwards`` are ports of external addresses, which other endpoints may have ports of, too. ``spoofed`` are networks
    that it may send from although they are not its own.
    """

    id: EndpointId
    key: ResourceKey
    interface: str
    mac: bytes = b""
    nets: tuple[bytes, ...] = ()
    gateway_v4: bytes = b""
    gateway_v6: bytes = b""
    tiers: tuple[TierPolicies, ...] = ()
    profiles: tuple[str, ...] = ()
    nats: tuple[tuple[bytes, bytes], ...] = ()
    forwards: tuple[Forward, ...] = ()
    qos: QoS | None = None
    spoofed: tuple[bytes, ...] = ()


class EndpointRemove(_Msg, frozen=True, kw_only=True):
    """The endpoint is gone from this host."""

    id: EndpointId


class HostEndpointUpdate(_Msg, frozen=True, kw_only=True):
    """A host endpoint of this host (datamodel 15.4). Which interface it is depends on the interfaces there are.

    ``interface`` is a name, ``*`` for all that have no host endpoint of their own, or empty: the one that has one of
    the ``expected_ips`` (packed addresses). ``tiers`` hold normal policies, the other three the policies of their
    kind; ``pre_dnat_tiers`` have no egress. A policy that contradicts itself by being both untracked and pre-DNAT is
    told as untracked, is in both lists, and only denies.
    """

    name: str
    key: ResourceKey
    interface: str = ""
    expected_ips: tuple[bytes, ...] = ()
    tiers: tuple[TierPolicies, ...] = ()
    forward_tiers: tuple[TierPolicies, ...] = ()
    untracked_tiers: tuple[TierPolicies, ...] = ()
    pre_dnat_tiers: tuple[TierPolicies, ...] = ()
    profiles: tuple[str, ...] = ()


class HostEndpointRemove(_Msg, frozen=True, kw_only=True):
    """The host endpoint is gone."""

    name: str


class VtepUpdate(_Msg, frozen=True, kw_only=True):
    """A node's end of the VXLAN network of an IP version; this host's own, too. Addresses are packed: ``address`` in
    the network, ``parent`` where its packets are sent to; ``mac`` has 6 bytes."""

    node: str
    version: Literal[4, 6]
    address: bytes
    mac: bytes
    parent: bytes


class VtepRemove(_Msg, frozen=True, kw_only=True):
    """The node has no end of that network any more, or there is no such network."""

    node: str
    version: Literal[4, 6]


class IpipUpdate(_Msg, frozen=True, kw_only=True):
    """This host's end of IP in IP (IPv4 only): its packed address inside, and the one that its packets are sent from.
    Other hosts' ends are their addresses, which routes say."""

    address: bytes
    parent: bytes


class IpipRemove(_Msg, frozen=True):
    """This host has no end of IP in IP any more; no route leads there."""


class RouteUpdate(_Msg, frozen=True, kw_only=True):
    """Where a network (packed) within a pool that has a tunnel is. ``gateway`` and ``local`` are packed addresses.

    vxlan: through the network, to the end whose address there is ``gateway``; ipip: in IP to the host ``gateway``;
    direct: plainly to the host ``gateway``, in the subnet where this host is ``local``; unreachable: nowhere, and by no
    other route.
    """

    dst: bytes
    kind: Literal["vxlan", "ipip", "direct", "unreachable"]
    node: str = ""
    gateway: bytes = b""
    local: bytes = b""


class RouteRemove(_Msg, frozen=True, kw_only=True):
    """No route to exactly this network is wanted any more."""

    dst: bytes


class WireguardPeerUpdate(_Msg, frozen=True, kw_only=True):
    """A node that this host sends encrypted to, in an IP version; ``own``: what this host's own Node says, for which
    only ``address`` (packed, of its device; empty: none) counts. ``key`` has 32 bytes, ``endpoint`` is the packed
    address that its packets are sent to."""

    node: str
    version: Literal[4, 6]
    key: bytes = b""
    endpoint: bytes = b""
    address: bytes = b""
    own: bool = False


class WireguardPeerRemove(_Msg, frozen=True, kw_only=True):
    """The node has no key any more, or there is no such node."""

    node: str
    version: Literal[4, 6]


class WireguardRouteUpdate(_Msg, frozen=True, kw_only=True):
    """Where a network (packed) is, before all other routes. peer: behind a node, encrypted; throw: as other routes say,
    although what is around it is encrypted; unreachable: nowhere, since the node's key cannot be used."""

    dst: bytes
    kind: Literal["peer", "throw", "unreachable"]
    node: str = ""


class WireguardRouteRemove(_Msg, frozen=True, kw_only=True):
    """Nothing is said of exactly this network any more."""

    dst: bytes


class ProblemUpdate(_Msg, frozen=True, kw_only=True):
    """What is wrong with a resource, in sentences that name the field; empty when it is mended or gone."""

    key: ResourceKey
    problems: tuple[str, ...]


class InSync(_Msg, frozen=True, kw_only=True):
    """Sent exactly once: everything before describes a complete snapshot of the datastore."""


Message: TypeAlias = (
    IPSetUpdate
    | IPSetDelta
    | IPSetRemove
    | PolicyUpdate
    | PolicyRemove
    | ProfileUpdate
    | ProfileRemove
    | EndpointUpdate
    | EndpointRemove
    | HostEndpointUpdate
    | HostEndpointRemove
    | VtepUpdate
    | VtepRemove
    | IpipUpdate
    | IpipRemove
    | RouteUpdate
    | RouteRemove
    | WireguardPeerUpdate
    | WireguardPeerRemove
    | WireguardRouteUpdate
    | WireguardRouteRemove
    | ProblemUpdate
    | InSync
)
