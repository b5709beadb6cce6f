"""What a host was told to program: the sum of all messages, or what the specification says it should be."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Literal

import msgspec

from calico.calc.messages import (
    IPAM_POOLS,
    MASQ_POOLS,
    ActiveRule,
    EndpointId,
    EndpointRemove,
    EndpointUpdate,
    HostEndpointRemove,
    HostEndpointUpdate,
    InSync,
    IpipRemove,
    IpipUpdate,
    IPSetDelta,
    IPSetRemove,
    IPSetUpdate,
    Message,
    PolicyRemove,
    PolicyUpdate,
    ProblemUpdate,
    ProfileRemove,
    ProfileUpdate,
    RouteRemove,
    RouteUpdate,
    TierPolicies,
    VtepRemove,
    VtepUpdate,
    WireguardPeerRemove,
    WireguardPeerUpdate,
    WireguardRouteRemove,
    WireguardRouteUpdate,
)
from calico.model.keys import ResourceKey

__all__ = ["DataplaneState", "IPSet"]


class IPSet(msgspec.Struct, frozen=True):
    """Kind and members of a set."""

    kind: Literal["nets", "ports"]
    members: frozenset[bytes]


class DataplaneState(msgspec.Struct, kw_only=True):
    """Everything a host has. Two are equal when the hosts would behave alike."""

    ip_sets: dict[str, IPSet] = {}
    policies: dict[ResourceKey, PolicyUpdate] = {}
    profiles: dict[str, ProfileUpdate] = {}
    endpoints: dict[EndpointId, EndpointUpdate] = {}
    host_endpoints: dict[str, HostEndpointUpdate] = {}
    vteps: dict[tuple[str, int], VtepUpdate] = {}
    ipip: IpipUpdate | None = None
    routes: dict[bytes, RouteUpdate] = {}
    peers: dict[tuple[str, int], WireguardPeerUpdate] = {}
    ways: dict[bytes, WireguardRouteUpdate] = {}
    problems: dict[ResourceKey, tuple[str, ...]] = {}
    in_sync: bool = False

    def replay(self, messages: Iterable[Message]) -> None:
        """Follow a flush; AssertionError at the first message that is redundant or out of order."""
        for message in messages:
            self._apply(message)
        for endpoint in self.endpoints.values():
            for key in _keys(endpoint.tiers):
                assert self.policies[key].kind in ("normal", "staged"), f"{key} does not govern workloads"
        for host_endpoint in self.host_endpoints.values():
            self._check_kinds(host_endpoint)
        for route in self.routes.values():
            if route.kind == "vxlan":
                version = 6 if len(route.gateway) == 16 else 4
                assert self.vteps[route.node, version].address == route.gateway, f"{route} leads to no end"
            assert route.kind != "ipip" or self.ipip is not None, f"{route} begins at no end"

    def _apply(self, message: Message) -> None:
        match message:
            case IPSetUpdate(id=set_id):
                assert set_id not in self.ip_sets, f"{set_id} is created again"
                self.ip_sets[set_id] = IPSet(message.kind, message.members)
            case IPSetDelta():
                self._apply_delta(message)
            case IPSetRemove(id=set_id):
                assert set_id not in set(self._sets_referred_to()), f"{set_id} is removed while referred to"
                del self.ip_sets[set_id]
            case PolicyUpdate(key=key):
                self._check_sets(message.ingress + message.egress)
                assert self.policies.get(key) != message, f"{key} is updated to what it is"
                self.policies[key] = message
            case PolicyRemove(key=key):
                assert key not in set(self._policies_referred_to()), f"{key} is removed while referred to"
                del self.policies[key]
            case ProfileUpdate(name=name):
                self._check_sets(message.ingress + message.egress)
                assert self.profiles.get(name) != message, f"profile {name} is updated to what it is"
                self.profiles[name] = message
            case ProfileRemove(name=name):
                assert name not in set(self._profiles_referred_to()), f"profile {name} is removed while referred to"
                del self.profiles[name]
            case EndpointUpdate(id=endpoint_id):
                self._check_lists(message.tiers, message.profiles)
                assert IPAM_POOLS in self.ip_sets or not _asks_for_pools(message), "pools are not there yet"
                assert self.endpoints.get(endpoint_id) != message, f"{endpoint_id} is updated to what it is"
                self.endpoints[endpoint_id] = message
            case EndpointRemove(id=endpoint_id):
                del self.endpoints[endpoint_id]
            case HostEndpointUpdate(name=name):
                self._check_lists(tuple(_all_tiers(message)), message.profiles)
                assert self.host_endpoints.get(name) != message, f"host endpoint {name} is updated to what it is"
                self.host_endpoints[name] = message
            case HostEndpointRemove(name=name):
                del self.host_endpoints[name]
            case IpipUpdate():
                assert self.ipip != message, f"{message} is what it is"
                self.ipip = message
            case IpipRemove():
                assert self.ipip is not None, "no end of IP in IP is removed"
                self.ipip = None
            case VtepUpdate() | VtepRemove() | RouteUpdate() | RouteRemove():
                self._apply_route(message)
            case WireguardPeerUpdate() | WireguardPeerRemove() | WireguardRouteUpdate() | WireguardRouteRemove():
                self._apply_wireguard(message)
            case ProblemUpdate(key=key, problems=problems):
                assert self.problems.get(key, ()) != problems, f"problems of {key} are told again"
                self.problems[key] = problems
                if not problems:
                    del self.problems[key]
            case InSync():
                assert not self.in_sync, "in-sync is told again"
                self.in_sync = True

    def _apply_route(self, message: VtepUpdate | VtepRemove | RouteUpdate | RouteRemove) -> None:
        match message:
            case VtepUpdate(node=node, version=version):
                assert self.vteps.get((node, version)) != message, f"{message} is what it is"
                self.vteps[node, version] = message
            case VtepRemove(node=node, version=version):
                through = [r for r in self.routes.values() if r.kind == "vxlan" and r.node == node]
                families = {6 if len(r.gateway) == 16 else 4 for r in through}
                assert version not in families, f"the end of {node} is removed while routes lead to it"
                del self.vteps[node, version]
            case RouteUpdate(dst=dst):
                assert self.routes.get(dst) != message, f"{message} is what it is"
                self.routes[dst] = message
            case RouteRemove(dst=dst):
                del self.routes[dst]

    def _apply_wireguard(
        self, message: WireguardPeerUpdate | WireguardPeerRemove | WireguardRouteUpdate | WireguardRouteRemove
    ) -> None:
        match message:
            case WireguardPeerUpdate(node=node, version=version):
                assert self.peers.get((node, version)) != message, f"{message} is what it is"
                self.peers[node, version] = message
            case WireguardPeerRemove(node=node, version=version):
                through = {len(dst) for dst, way in self.ways.items() if (way.kind, way.node) == ("peer", node)}
                assert (5 if version == 4 else 17) not in through, f"{node} goes while routes lead to it"
                del self.peers[node, version]
            case WireguardRouteUpdate(dst=dst):
                assert self.ways.get(dst) != message, f"{message} is what it is"
                version = 4 if len(dst) == 5 else 6
                assert message.kind != "peer" or (message.node, version) in self.peers, f"{message} leads to no peer"
                self.ways[dst] = message
            case WireguardRouteRemove(dst=dst):
                del self.ways[dst]

    def _apply_delta(self, delta: IPSetDelta) -> None:
        old = self.ip_sets[delta.id]
        assert delta.added or delta.removed, f"empty delta of {delta.id}"
        assert not delta.added & old.members, f"members of {delta.id} are added again"
        assert delta.removed <= old.members, f"members that {delta.id} does not have are removed"
        self.ip_sets[delta.id] = IPSet(old.kind, (old.members | delta.added) - delta.removed)

    def _check_sets(self, rules: tuple[ActiveRule, ...]) -> None:
        for set_id in _set_ids(rules):
            assert set_id in self.ip_sets, f"{set_id} is referred to before it exists"

    def _check_lists(self, tiers: tuple[TierPolicies, ...], profiles: tuple[str, ...]) -> None:
        for key in _keys(tiers):
            assert key in self.policies, f"{key} is referred to before it exists"
        for name in profiles:
            assert name in self.profiles, f"profile {name} is referred to before it exists"

    def _check_kinds(self, endpoint: HostEndpointUpdate) -> None:
        """Each list of a host endpoint holds policies of its kind, and staged ones; only one that contradicts itself is
        in two."""
        for key in _keys(endpoint.tiers):
            assert self.policies[key].kind in ("normal", "staged"), f"{key} is in the wrong list"
        assert set(_keys(endpoint.forward_tiers)) <= set(_keys(endpoint.tiers)), "forward policies are normal ones"
        for key in _keys(endpoint.untracked_tiers):
            assert self.policies[key].kind in ("untracked", "staged"), f"{key} is in the wrong list"
        for key in _keys(endpoint.pre_dnat_tiers):
            policy = self.policies[key]
            denies = all(rule.action == "deny" for rule in policy.ingress)
            is_both = policy.kind == "untracked" and denies
            assert policy.kind in ("pre-dnat", "staged") or is_both, f"{key} is in the wrong list"
        assert not any(tier.egress for tier in endpoint.pre_dnat_tiers), "there is no egress before DNAT"

    def _sets_referred_to(self) -> Iterator[str]:
        for policy in self.policies.values():
            yield from _set_ids(policy.ingress + policy.egress)
        for profile in self.profiles.values():
            yield from _set_ids(profile.ingress + profile.egress)
        if MASQ_POOLS in self.ip_sets or any(map(_asks_for_pools, self.endpoints.values())):
            yield IPAM_POOLS

    def _policies_referred_to(self) -> Iterator[ResourceKey]:
        for endpoint in self.endpoints.values():
            yield from _keys(endpoint.tiers)
        for host_endpoint in self.host_endpoints.values():
            yield from _keys(_all_tiers(host_endpoint))

    def _profiles_referred_to(self) -> Iterator[str]:
        for endpoint in self.endpoints.values():
            yield from endpoint.profiles
        for host_endpoint in self.host_endpoints.values():
            yield from host_endpoint.profiles


def _all_tiers(endpoint: HostEndpointUpdate) -> Iterator[TierPolicies]:
    yield from endpoint.tiers + endpoint.forward_tiers + endpoint.untracked_tiers + endpoint.pre_dnat_tiers


def _keys(tiers: Iterable[TierPolicies]) -> Iterator[ResourceKey]:
    for tier in tiers:
        yield from tier.ingress + tier.egress


def _asks_for_pools(endpoint: EndpointUpdate) -> bool:
    return bool(endpoint.nats) or (endpoint.qos is not None and endpoint.qos.dscp is not None)


def _set_ids(rules: Iterable[ActiveRule]) -> Iterator[str]:
    """The ids of all sets that rules refer to."""
    for rule in rules:
        for side in (rule.src, rule.dst):
            yield from side.ip_sets + side.not_ip_sets + side.named_ports + side.not_named_ports
