"""The calculation graph: what the datastore says of the whole cluster in, what this host has to program out.

::

    Profile ──────────┬─► MemberIndex (labels, selectors, IP sets of all hosts) ──────────┐
    network sets ─────┤                                                                   ├─► Sequencer ─► messages
    HostEndpoint ─────┤                                                                   │
    WorkloadEndpoint ─┴─► InterfaceClaims ─► PolicyIndex (local endpoints only) ─► rules ─┤
    Tier, policies ───────────────────────────┘      └─► NatClaims, ForwardClaims         │
    IPPool, Node ─────► ClusterSets (pools, hosts) ───────────────────────────────────────┤
          ├───blocks──► TunnelRoutes (ends of tunnels, where other hosts' networks are) ──┤
          └───blocks──► WireguardRoutes (which of them are reached encrypted) ────────────┘

Services, where somebody tells them, go into the MemberIndex. A staged policy is compiled as what it would be.
No I/O, no clock, no tasks. Indices follow every change at once; rules and endpoints are computed at the flush.
"""

from __future__ import annotations

from typing import Final

from calico.calc.cluster_sets import ClusterSets
from calico.calc.encap import host_ends, pool_encap
from calico.calc.endpoints import Endpoint, decode_endpoint, node_of
from calico.calc.forward_claims import ForwardClaims
from calico.calc.forwards import Forwards
from calico.calc.host_endpoints import HostEndpointFacts, decode_host_endpoint, host_endpoint_update
from calico.calc.interface_claims import InterfaceClaims
from calico.calc.members import Contribution, MemberIndex
from calico.calc.messages import IPAM_POOLS, EndpointUpdate, InSync, Message, TierPolicies
from calico.calc.nat_claims import NatClaims
from calico.calc.nats import Nats
from calico.calc.netsets import decode_netset
from calico.calc.policies import DEFAULT_ALLOW, compile_policy, compile_profile
from calico.calc.policy_index import PolicyIndex
from calico.calc.policy_order import tier_problems
from calico.calc.pools import ClusterNets, node_addresses, pool_nets, sets_of_pool
from calico.calc.sequencer import Sequencer
from calico.calc.services import ServiceEndpoints
from calico.calc.settings import CalcSettings
from calico.calc.staged import POLICY_KINDS, AnyPolicy, form_of
from calico.calc.tunnel_routes import TunnelRoutes
from calico.calc.wireguard import WireguardRoutes
from calico.calc.wireguard_ends import wireguard_ends
from calico.errors import InvalidInput
from calico.lib.ref_counts import RefCounts
from calico.model.hostendpoint import HostEndpoint
from calico.model.ippool import IPPool
from calico.model.keys import ResourceKey
from calico.model.meta import Resource
from calico.model.node import Node
from calico.model.policy import GlobalNetworkSet, NetworkSet, Profile, Tier
from calico.model.workload import WorkloadEndpoint

__all__ = ["Graph", "endpoint_update", "profile_key"]


def profile_key(name: str) -> ResourceKey:
    """The key of a profile."""
    return ResourceKey("Profile", "", name)


def endpoint_update(
    key: ResourceKey, endpoint: Endpoint, tiers: tuple[TierPolicies, ...], nats: Nats = (), forwards: Forwards = ()
) -> EndpointUpdate:
    """What the host is told of an endpoint."""
    return EndpointUpdate(
        id=endpoint.id,
        key=key,
        interface=endpoint.interface,
        mac=endpoint.mac,
        nets=endpoint.nets,
        gateway_v4=endpoint.gateway_v4,
        gateway_v6=endpoint.gateway_v6,
        tiers=tiers,
        profiles=endpoint.profiles,
        qos=endpoint.qos,
        nats=nats,
        forwards=forwards,
        spoofed=endpoint.spoofed,
    )


class Graph:
    """Always true: after a flush the messages returned so far, replayed, equal ``spec.recompute`` of what was given."""

    def __init__(self, hostname: str, settings: CalcSettings | None = None) -> None:
        self._hostname: Final = hostname
        self._settings: Final = settings or CalcSettings()
        self._members = MemberIndex()
        self._policies = PolicyIndex()
        self._claims = InterfaceClaims()
        self._nats = NatClaims()
        self._forwards = ForwardClaims()
        self._cluster_sets = ClusterSets()
        self._tunnels = TunnelRoutes(hostname, self._settings.vxlan, ipip=self._settings.ipip)
        self._wireguard = WireguardRoutes(hostname, self._settings)
        self._tunnels_fed = False
        self._sequencer = Sequencer(self._members, self._cluster_sets, self._settings)
        self._endpoints: dict[ResourceKey, Endpoint | HostEndpointFacts] = {}  # local and usable
        self._granted: set[ResourceKey] = set()  # whose floating addresses may be others than told
        self._compiled: dict[ResourceKey, AnyPolicy] = {}  # as last sent to the sequencer
        self._profiles: dict[str, Profile] = {}
        self._profiles_used: RefCounts[str] = RefCounts()
        self._changed_profiles: set[str] = set()
        self._services_known = False
        self._in_sync = False
        self._in_sync_told = False

    def on_resource(self, key: ResourceKey, value: Resource | None) -> None:
        """A resource is new or changed; None: absent. Repeats and deletes of what never was change nothing."""
        match key.kind:
            case "WorkloadEndpoint":
                self._on_endpoint(key, value if isinstance(value, WorkloadEndpoint) else None)
            case "HostEndpoint":
                self._on_host_endpoint(key, value if isinstance(value, HostEndpoint) else None)
            case kind if kind in POLICY_KINDS:
                self._policies.on_policy(key, form_of(value))
            case "NetworkSet" | "GlobalNetworkSet":
                self._on_netset(key, value if isinstance(value, NetworkSet | GlobalNetworkSet) else None)
            case "Profile":
                self._on_profile(key, value if isinstance(value, Profile) else None)
            case "IPPool" | "Node":
                self._on_cluster_nets(key, value)
            case "Tier":
                tier = value.spec if isinstance(value, Tier) else None
                self._policies.on_tier(key.name, tier)
                self._sequencer.on_problems(key, tier_problems(tier))

    def on_service_source(self) -> None:
        """There is somebody who tells services. From now on rules that name one are in force and no problem."""
        if not self._services_known:
            self._services_known = True
            self._policies.changed_policies.update(self._compiled)
            self._compiled.clear()
            self._changed_profiles.update(self._profiles_used)

    def on_service(self, namespace: str, name: str, value: ServiceEndpoints | None, part: str = "") -> None:
        """A part of what is behind a service is new or changed; None: there is no such part."""
        self._members.on_service((namespace, name), value, part)

    def on_block(self, net: bytes, node: str, present: bool) -> None:
        """A block of addresses (a packed net) belongs to a node, or does not."""
        self._tunnels.on_block(net, node, present)
        if self._wireguard.active:
            self._wireguard.on_block(net, node, present)

    def on_in_sync(self) -> None:
        """Everything that exists has been given; from now on ``flush`` speaks."""
        self._in_sync = True

    def flush(self) -> list[Message]:
        """What to change on this host since the last flush, ordered as ``messages`` promises; empty before in-sync."""
        if not self._in_sync:
            return []
        self._refresh_policies()
        self._refresh_profiles()
        self._refresh_endpoints()
        self._refresh_tunnels()
        messages = list(self._sequencer.flush())
        if not self._in_sync_told:
            self._in_sync_told = True
            messages.append(InSync())
        return messages

    def _on_endpoint(self, key: ResourceKey, value: WorkloadEndpoint | None) -> None:
        endpoint: Endpoint | None = None
        problems: tuple[str, ...] = ()
        if value is not None:
            try:
                endpoint = decode_endpoint(key, value, self._settings)
            except InvalidInput as error:
                if self._hostname in (value.spec.node, node_of(key)):
                    problems = (f"{error.field}: {error.message}",)
        contribution = None
        if endpoint is not None:
            contribution = Contribution(endpoint.labels, endpoint.profiles, endpoint.nets, endpoint.ports)
        self._members.on_contribution(key, contribution)
        if self._tunnels_fed:
            self._tunnels.on_endpoint(key, endpoint.nets if endpoint is not None else ())
        if self._wireguard.active:
            self._wireguard.on_endpoint(key, endpoint.nets if endpoint is not None else ())
        self._sequencer.on_problems(key, problems)
        if endpoint is not None and endpoint.node != self._hostname:
            endpoint = None
        for claimant, usable, said in self._claims.on_endpoint(key, endpoint):
            self._on_usable(claimant, usable)
            if claimant != key or said:
                self._sequencer.on_problems(claimant, said)

    def _on_host_endpoint(self, key: ResourceKey, value: HostEndpoint | None) -> None:
        facts: HostEndpointFacts | None = None
        problems: tuple[str, ...] = ()
        if value is not None:
            try:
                facts = decode_host_endpoint(value)
            except InvalidInput as error:
                if value.spec.node in ("", self._hostname):
                    problems = (f"{error.field}: {error.message}",)
        contribution = None
        if facts is not None and facts.problems:
            problems = facts.problems if facts.node == self._hostname else ()
        elif facts is not None:
            contribution = Contribution(facts.labels, facts.profiles, facts.nets, facts.ports)
        self._members.on_contribution(key, contribution)
        self._on_usable(key, facts if facts is not None and facts.node == self._hostname else None)
        self._sequencer.on_problems(key, problems)

    def _on_usable(self, key: ResourceKey, endpoint: Endpoint | HostEndpointFacts | None) -> None:
        old = self._endpoints.pop(key, None)
        if endpoint is not None:
            self._endpoints[key] = endpoint
        if old is None and endpoint is None:
            return
        if self._settings.floating_ips and not isinstance(endpoint, HostEndpointFacts):
            self._granted |= self._nats.on_endpoint(key, endpoint)
            self._granted |= self._forwards.on_endpoint(key, endpoint)
        self._policies.on_endpoint(key, endpoint)
        for name in endpoint.profiles if endpoint else ():
            if self._profiles_used.acquire(name):
                self._changed_profiles.add(name)
        for name in old.profiles if old else ():
            if self._profiles_used.release(name):
                self._changed_profiles.add(name)

    def _on_netset(self, key: ResourceKey, value: NetworkSet | GlobalNetworkSet | None) -> None:
        if value is None:
            self._members.on_contribution(key, None)
            self._sequencer.on_problems(key, ())
            return
        netset, problems = decode_netset(key, value)
        self._members.on_contribution(key, Contribution(netset.labels, netset.profiles, netset.nets))
        self._sequencer.on_problems(key, problems)

    def _on_cluster_nets(self, key: ResourceKey, value: Resource | None) -> None:
        nets: ClusterNets = {}
        problems: tuple[str, ...] = ()
        encap = None
        if isinstance(value, IPPool):
            nets, problems = pool_nets(value)
            encap = pool_encap(value) if nets else None
        elif isinstance(value, Node):
            nets, problems = node_addresses(value)
        if key.kind == "IPPool":
            self._tunnels.on_pool(key, (nets[IPAM_POOLS][0], encap) if nets else None)
        else:
            self._tunnels.on_node(key, host_ends(key.name, value)[0] if isinstance(value, Node) else {})
            if self._wireguard.active:
                self._wireguard.on_node(key, wireguard_ends(value)[0] if isinstance(value, Node) else {})
        self._cluster_sets.on_nets(key, nets)
        self._cluster_sets.refer(key, sets_of_pool(nets, encap, self._settings))
        self._sequencer.on_problems(key, problems)

    def _on_profile(self, key: ResourceKey, value: Profile | None) -> None:
        if key.name == DEFAULT_ALLOW:
            return
        if value is None:
            self._profiles.pop(key.name, None)
        else:
            self._profiles[key.name] = value
        labels = value.spec.labels_to_apply if value else None
        self._members.on_profile_labels(key.name, labels)
        self._policies.on_profile_labels(key.name, labels)
        self._changed_profiles.add(key.name)

    def _refresh_policies(self) -> None:
        changed, self._policies.changed_policies = self._policies.changed_policies, set()
        for key in changed:
            policy = self._policies.active(key)
            if policy is not None and policy is self._compiled.get(key):
                continue  # it governs other endpoints than before, but it is the same
            self._compiled.pop(key, None)
            if policy is not None:
                self._compiled[key] = policy
            compiled = None
            if policy is not None:
                compiled = compile_policy(key, policy, services_known=self._services_known)
            self._sequencer.on_policy(key, compiled)
            self._sequencer.on_problems(key, self._policies.problems(key) + (compiled.problems if compiled else ()))

    def _refresh_profiles(self) -> None:
        changed, self._changed_profiles = self._changed_profiles, set()
        for name in changed:
            key = profile_key(name)
            compiled = None
            if name in self._profiles_used:
                compiled = compile_profile(name, self._profiles.get(name), services_known=self._services_known)
            self._sequencer.on_profile(key, compiled)
            self._sequencer.on_problems(key, compiled.problems if compiled else ())

    def _refresh_endpoints(self) -> None:
        changed, self._policies.changed_endpoints = self._policies.changed_endpoints, set()
        granted, self._granted = self._granted, set()
        for key in changed | granted:
            match self._endpoints.get(key):
                case Endpoint() as endpoint:
                    self._tell_endpoint(key, endpoint)
                case HostEndpointFacts() as facts:
                    tiers = self._policies.host_tiers_of(key)
                    self._sequencer.on_host_endpoint(key.name, host_endpoint_update(key, facts, tiers))
                case None if key.kind == "HostEndpoint":
                    self._sequencer.on_host_endpoint(key.name, None)
                case None:
                    self._sequencer.on_endpoint(key, None)

    def _refresh_tunnels(self) -> None:
        """Where endpoints are matters, and is remembered, only while a pool has a tunnel."""
        if self._tunnels.active and not self._tunnels_fed:
            for key, nets in self._members.endpoints():
                self._tunnels.on_endpoint(key, nets)
        elif self._tunnels_fed and not self._tunnels.active:
            self._tunnels.forget_endpoints()
        self._tunnels_fed = self._tunnels.active
        for end, vtep in self._tunnels.take_vteps():
            self._sequencer.on_vtep(end, vtep)
        self._sequencer.on_ipip(self._tunnels.ipip)
        for dst, route in self._tunnels.take_routes():
            self._sequencer.on_route(dst, route)
        for end, peer in self._wireguard.take_peers():
            self._sequencer.on_wireguard_peer(end, peer)
        for dst, way in self._wireguard.take_routes():
            self._sequencer.on_wireguard_route(dst, way)

    def _tell_endpoint(self, key: ResourceKey, endpoint: Endpoint) -> None:
        nats: Nats = ()
        forwards: Forwards = ()
        if self._settings.floating_ips:
            nats, problems = self._nats.granted(key)
            forwards, refused = self._forwards.granted(key)
            self._sequencer.on_problems(key, endpoint.problems + problems + refused)
        tiers = self._policies.tiers_of(key)
        self._sequencer.on_endpoint(key, endpoint_update(key, endpoint, tiers, nats, forwards))
