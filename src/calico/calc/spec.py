"""The executable specification: recompute from the last value of each resource what a host must program.

Naive on purpose: it tries every selector on every endpoint and compares every net with every other. It shares with the
graph only the decoding and compiling of single resources, which have no history to get wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

import msgspec

from calico.calc.compile_entity import SetSpec
from calico.calc.dataplane_state import DataplaneState, IPSet
from calico.calc.encap import pool_encap
from calico.calc.endpoints import Endpoint, decode_endpoint, node_of
from calico.calc.forward_claims import forward_refusal
from calico.calc.forwards import Forwards
from calico.calc.host_endpoints import HostEndpointFacts, decode_host_endpoint
from calico.calc.labels import Labels, NamedPort, unpack_labels
from calico.calc.messages import (
    ALL_HOSTS,
    IPAM_POOLS,
    IPIP_HOSTS,
    MASQ_POOLS,
    VXLAN_HOSTS,
    EndpointUpdate,
    HostEndpointUpdate,
    TierPolicies,
)
from calico.calc.nats import Nats
from calico.calc.net_cover import masked
from calico.calc.netsets import decode_netset
from calico.calc.policies import DEFAULT_ALLOW, compile_policy, compile_profile, governed, is_preloaded, place_of
from calico.calc.pools import node_addresses, pool_nets
from calico.calc.services import ServiceEndpoints, ServiceName, service_members
from calico.calc.settings import CalcSettings
from calico.calc.spec_routes import Blocks, recompute_tunnels
from calico.calc.spec_wireguard import recompute_wireguard
from calico.calc.staged import AnyPolicy, form_of
from calico.errors import InvalidInput
from calico.lib import packed
from calico.model.effective import NAMESPACE_LABEL
from calico.model.hostendpoint import HostEndpoint
from calico.model.ippool import IPPool
from calico.model.keys import ResourceKey
from calico.model.meta import Resource
from calico.model.node import Node
from calico.model.policy import (
    GlobalNetworkPolicy,
    GlobalNetworkPolicySpec,
    GlobalNetworkSet,
    NetworkSet,
    Profile,
    Tier,
    TierSpec,
)
from calico.model.selector import Selector
from calico.model.workload import WorkloadEndpoint

__all__ = ["DataplaneState", "recompute"]

Resources = Mapping[ResourceKey, Resource]
Problems = dict[ResourceKey, tuple[str, ...]]
Policies = dict[ResourceKey, tuple[AnyPolicy, Selector]]
Services = Mapping[ServiceName, ServiceEndpoints]


class _Item(msgspec.Struct):
    """Something that IP sets select: labels (own and inherited), nets and named ports."""

    labels: dict[str, str]
    nets: tuple[bytes, ...]
    ports: tuple[NamedPort, ...]


def recompute(
    hostname: str,
    resources: Resources,
    services: Services | None = None,
    settings: CalcSettings | None = None,
    blocks: Blocks = (),
) -> DataplaneState:
    """What ``hostname`` must have programmed when these are all the resources, and blocks, there are.

    ``services`` is None while nobody tells them.
    """
    settings, problems = settings or CalcSettings(), Problems()
    profiles = {key.name: value for key, value in resources.items() if isinstance(value, Profile)}
    profiles.pop(DEFAULT_ALLOW, None)  # virtual: what is stored under its name is not looked at
    tiers = {key.name: value.spec for key, value in resources.items() if isinstance(value, Tier)}
    problems.update((_tier_key(name), said) for name, tier in tiers.items() if (said := _tier_problem(tier)))

    usable = dict(_usable_endpoints(hostname, resources, settings, problems))
    hosts = dict(_usable_host_endpoints(hostname, resources, problems))
    items = [
        *(_Item(_labels(e.labels, e.profiles, profiles), e.nets, e.ports) for e in usable.values()),
        *(_Item(_labels(e.labels, e.profiles, profiles), e.nets, e.ports) for e in hosts.values() if not e.problems),
        *_network_sets(resources, profiles, problems),
    ]
    local = _without_conflicts({key: e for key, e in usable.items() if e.node == hostname}, problems)
    policies = _policies(resources, problems)
    nats = _nats(local, problems) if settings.floating_ips else {}
    forwards = _forwards(local, problems) if settings.floating_ips else {}

    state = DataplaneState(problems=problems, in_sync=True)
    used_policies = {key: policy for key, (policy, _) in policies.items() if is_preloaded(policy)}
    used_profiles: set[str] = set()
    for key, endpoint in local.items():
        labels = _labels(endpoint.labels, endpoint.profiles, profiles)
        governing = _governing(policies, labels, _is_normal)
        used_policies |= governing
        used_profiles |= set(endpoint.profiles)
        state.endpoints[endpoint.id] = EndpointUpdate(
            id=endpoint.id,
            key=key,
            interface=endpoint.interface,
            mac=endpoint.mac,
            nets=endpoint.nets,
            gateway_v4=endpoint.gateway_v4,
            gateway_v6=endpoint.gateway_v6,
            tiers=tuple(_tiers(governing, tiers)),
            profiles=endpoint.profiles,
            qos=endpoint.qos,
            nats=nats.get(key, ()),
            forwards=forwards.get(key, ()),
            spoofed=endpoint.spoofed,
        )
    for key, host in hosts.items():
        if host.node == hostname:
            labels = _labels(host.labels, host.profiles, profiles)
            used_policies |= _governing(policies, labels, lambda _: True)
            used_profiles |= set(host.profiles)
            state.host_endpoints[key.name] = _host_endpoint(key, host, policies, labels, tiers)

    needed: list[SetSpec] = []
    for policy_key, policy in used_policies.items():
        compiled = compile_policy(policy_key, policy, services_known=services is not None)
        state.policies[policy_key] = compiled.update
        needed += compiled.sets
        if compiled.problems:
            problems[policy_key] = problems.get(policy_key, ()) + compiled.problems
    for name in used_profiles:
        compiled_profile = compile_profile(name, profiles.get(name), services_known=services is not None)
        state.profiles[name] = compiled_profile.update
        needed += compiled_profile.sets
        if compiled_profile.problems:
            problems[ResourceKey("Profile", "", name)] = compiled_profile.problems
    state.ip_sets = {spec.id: IPSet(spec.kind, _members(spec, items, services or {})) for spec in needed}
    holders = [(key, endpoint.node, endpoint.nets) for key, endpoint in usable.items()]
    vteps, state.ipip, state.routes = recompute_tunnels(hostname, resources, blocks, holders, settings)
    state.vteps.update(vteps)
    peers, state.ways = recompute_wireguard(hostname, resources, blocks, holders, settings)
    state.peers.update(peers)
    state.ip_sets |= _cluster_sets(resources, state.endpoints.values(), settings, problems)
    return state


def _usable_endpoints(
    hostname: str, resources: Resources, settings: CalcSettings, problems: Problems
) -> Iterator[tuple[ResourceKey, Endpoint]]:
    """Endpoints of all hosts that are well-formed. The others are absent; their own host says why."""
    for key, value in resources.items():
        if isinstance(value, WorkloadEndpoint):
            try:
                endpoint = decode_endpoint(key, value, settings)
            except InvalidInput as error:
                if hostname in (value.spec.node, node_of(key)):
                    problems[key] = (f"{error.field}: {error.message}",)
                continue
            if endpoint.problems and endpoint.node == hostname:
                problems[key] = endpoint.problems
            yield key, endpoint


def _usable_host_endpoints(
    hostname: str, resources: Resources, problems: Problems
) -> Iterator[tuple[ResourceKey, HostEndpointFacts]]:
    """Host endpoints of all hosts of which it is known what they are. Every host names one that belongs to none."""
    for key, value in resources.items():
        if isinstance(value, HostEndpoint):
            try:
                facts = decode_host_endpoint(value)
            except InvalidInput as error:
                if value.spec.node in ("", hostname):
                    problems[key] = (f"{error.field}: {error.message}",)
                continue
            if facts.problems and facts.node == hostname:
                problems[key] = facts.problems
            yield key, facts


def _host_endpoint(
    key: ResourceKey,
    host: HostEndpointFacts,
    policies: Policies,
    labels: dict[str, str],
    tiers: Mapping[str, TierSpec],
) -> HostEndpointUpdate:
    """A host endpoint of this host with the policies of each kind; before DNAT there is no egress."""

    def lists(applies: Callable[[AnyPolicy], bool]) -> tuple[TierPolicies, ...]:
        return tuple(_tiers(_governing(policies, labels, applies), tiers))

    return HostEndpointUpdate(
        name=key.name,
        key=key,
        interface=host.interface,
        expected_ips=tuple(net[:-1] for net in host.nets),
        tiers=lists(_is_normal),
        forward_tiers=lists(lambda policy: _is_normal(policy) and _flags(policy).apply_on_forward),
        untracked_tiers=lists(lambda policy: _flags(policy).do_not_track),
        pre_dnat_tiers=tuple(
            msgspec.structs.replace(tier, egress=()) for tier in lists(lambda policy: _flags(policy).pre_dnat)
        ),
        profiles=host.profiles,
    )


def _flags(policy: AnyPolicy) -> GlobalNetworkPolicySpec:
    """The flags of a global policy; a namespaced one has none of them."""
    return policy.spec if isinstance(policy, GlobalNetworkPolicy) else GlobalNetworkPolicySpec()


def _is_normal(policy: AnyPolicy) -> bool:
    return not (_flags(policy).do_not_track or _flags(policy).pre_dnat)


def _governing(
    policies: Policies, labels: dict[str, str], applies: Callable[[AnyPolicy], bool]
) -> dict[ResourceKey, AnyPolicy]:
    """The policies that select these labels, of those that ``applies`` admits."""
    return {key: policy for key, (policy, selector) in policies.items() if applies(policy) and selector.matches(labels)}


def _without_conflicts(local: dict[ResourceKey, Endpoint], problems: Problems) -> dict[ResourceKey, Endpoint]:
    """Local endpoints whose interface no other names. The others are not programmed but stay members of sets."""
    alone: dict[ResourceKey, Endpoint] = {}
    for key, endpoint in local.items():
        rivals = sorted(other for other, e in local.items() if e.interface == endpoint.interface and other != key)
        if rivals:
            names = ", ".join(f"{rival.namespace}/{rival.name}" for rival in rivals)
            rivalry = f"spec.interfaceName: {endpoint.interface!r} is also the interface of {names}"
            problems[key] = (*endpoint.problems, rivalry)
        else:
            alone[key] = endpoint
            if endpoint.problems:
                problems[key] = endpoint.problems
    return alone


def _nats(local: Mapping[ResourceKey, Endpoint], problems: Problems) -> dict[ResourceKey, Nats]:
    """Floating addresses: the first endpoint by key gets one, and none that is an endpoint's own address."""
    granted: dict[ResourceKey, Nats] = {}
    for key, endpoint in local.items():
        said = []
        for own, external in endpoint.nats:
            owners = [other for other, e in local.items() if packed.net_of_host(external) in e.nets]
            first = min(other for other, e in local.items() if external in (claimed for _, claimed in e.nats))
            if owners:
                said.append(f"is an own address of {min(owners).namespace}/{min(owners).name}")
            elif first != key:
                said.append(f"belongs to {first.namespace}/{first.name}")
            else:
                granted[key] = (*granted.get(key, ()), (own, external))
                continue
            said[-1] = f"spec.ipNATs: {packed.addr_str(external)} {said[-1]}"
        if said:
            problems[key] = (*endpoint.problems, *said)
    return granted


def _forwards(local: Mapping[ResourceKey, Endpoint], problems: Problems) -> dict[ResourceKey, Forwards]:
    """Forwarded ports: the first endpoint by key gets one, and none of an address that is an endpoint's own."""
    granted: dict[ResourceKey, Forwards] = {}
    for key, endpoint in local.items():
        for forward in endpoint.forwards:
            port = (forward.protocol, forward.external, forward.external_port)
            owners = [other for other, e in local.items() if packed.net_of_host(forward.external) in e.nets]
            claimants = [
                other
                for other, e in local.items()
                if any((f.protocol, f.external, f.external_port) == port for f in e.forwards)
            ]
            refusal = forward_refusal(key, forward, owners, claimants)
            if refusal:
                problems[key] = (*problems.get(key, endpoint.problems), refusal)
            else:
                granted[key] = (*granted.get(key, ()), forward)
    return granted


def _cluster_sets(
    resources: Resources, endpoints: Iterable[EndpointUpdate], settings: CalcSettings, problems: Problems
) -> dict[str, IPSet]:
    """Pools and hosts, while a pool is masqueraded or an endpoint treats what leaves the pools differently."""
    ids = (IPAM_POOLS, MASQ_POOLS, ALL_HOSTS, VXLAN_HOSTS, IPIP_HOSTS)
    nets: dict[str, set[bytes]] = {set_id: set() for set_id in ids}
    tunnels: set[str] = set()
    for key, value in resources.items():
        if isinstance(value, IPPool | Node):
            brought, said = pool_nets(value) if isinstance(value, IPPool) else node_addresses(value)
            for set_id, members in brought.items():
                nets[set_id].update(members)
            if said:
                problems[key] = said
            encap = pool_encap(value) if isinstance(value, IPPool) and brought else None
            if encap is not None:
                tunnels.add(encap.kind)
    endpoints = list(endpoints)
    masquerades = bool(nets[MASQ_POOLS])
    translates = masquerades or any(endpoint.nats for endpoint in endpoints)
    marks = any(endpoint.qos is not None and endpoint.qos.dscp is not None for endpoint in endpoints)
    needed = {
        MASQ_POOLS: masquerades,
        IPAM_POOLS: translates or marks,
        ALL_HOSTS: translates and settings.nat_excludes_hosts,
        VXLAN_HOSTS: "vxlan" in tunnels and settings.vxlan is not False,
        IPIP_HOSTS: "ipip" in tunnels and settings.ipip,
    }
    return {set_id: IPSet("nets", _outermost(nets[set_id])) for set_id, is_needed in needed.items() if is_needed}


def _network_sets(resources: Resources, profiles: Mapping[str, Profile], problems: Problems) -> Iterator[_Item]:
    for key, value in resources.items():
        if isinstance(value, NetworkSet | GlobalNetworkSet):
            netset, said = decode_netset(key, value)
            if said:
                problems[key] = said
            yield _Item(_labels(netset.labels, netset.profiles, profiles), netset.nets, ())


def _policies(resources: Resources, problems: Problems) -> Policies:
    """Policies whose selectors parse, staged ones as what they would be, with what they select."""
    policies: Policies = {}
    for key, value in resources.items():
        form = form_of(value)
        if form.problems:
            problems[key] = form.problems
        if form.policy is not None:
            try:
                policies[key] = (form.policy, governed(key, form.policy))
            except InvalidInput as error:
                problems[key] = (f"{error.field}: {error.message}",)
    return policies


def _labels(own: Labels, parents: Iterable[str], profiles: Mapping[str, Profile]) -> dict[str, str]:
    """Own labels win, then the first profile that has the label. Nobody inherits a namespace."""
    labels = unpack_labels(own)
    for parent in parents:
        profile = profiles.get(parent)
        for name, value in (profile.spec.labels_to_apply if profile else {}).items():
            if name != NAMESPACE_LABEL:
                labels.setdefault(name, value)
    return labels


def _tiers(applied: Mapping[ResourceKey, AnyPolicy], tiers: Mapping[str, TierSpec]) -> Iterator[TierPolicies]:
    """Tiers that have a policy here, by order: numbers, none, tiers that do not exist; ties by name."""

    def tier_place(name: str) -> tuple[int, float, str]:
        tier = tiers.get(name)
        if tier is None:
            return 3, 0, name
        return (2, 0, name) if tier.order is None else (1, tier.order, name)

    def policy_place(key: ResourceKey) -> tuple[int, float, str]:
        order = applied[key].spec.order
        tie = f"{key.name}/{key.namespace}/{key.kind}"
        return (2, 0, tie) if order is None else (1, order, tie)

    for tier_name in sorted({policy.spec.tier or "default" for policy in applied.values()}, key=tier_place):
        members = [key for key in applied if (applied[key].spec.tier or "default") == tier_name]
        members.sort(key=policy_place)
        tier = tiers.get(tier_name)
        yield TierPolicies(
            name=tier_name,
            default_action="pass" if tier and (tier.default_action or "").lower() == "pass" else "deny",
            ingress=tuple(key for key in members if place_of(applied[key]).ingress),
            egress=tuple(key for key in members if place_of(applied[key]).egress),
        )


def _members(spec: SetSpec, items: Iterable[_Item], services: Services) -> frozenset[bytes]:
    if spec.service is not None:
        return service_members(spec.kind, services.get(spec.service))
    if spec.selector is None:
        return frozenset()
    selected = [item for item in items if spec.selector.matches(item.labels)]
    if spec.kind == "ports":
        return frozenset(
            packed.addr_port(net[:-1], protocol, port)
            for item in selected
            for name, protocol, port in item.ports
            if name == spec.port and (spec.protocol is None or spec.protocol == protocol)
            for net in item.nets
        )
    return _outermost({net for item in selected for net in item.nets})


def _outermost(nets: set[bytes]) -> frozenset[bytes]:
    return frozenset(net for net in nets if not any(_contains(other, net) for other in nets if other != net))


def _contains(outer: bytes, inner: bytes) -> bool:
    return len(outer) == len(inner) and outer[-1] <= inner[-1] and masked(inner, outer[-1]) == outer


def _tier_key(name: str) -> ResourceKey:
    return ResourceKey("Tier", "", name)


def _tier_problem(tier: TierSpec) -> tuple[str, ...]:
    if tier.default_action and tier.default_action.lower() not in ("deny", "pass"):
        return (f"spec.defaultAction: {tier.default_action!r} is neither Deny nor Pass",)
    return ()
