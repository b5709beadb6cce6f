"""The last stage: coalesces all changes between two flushes and puts them into the order that ``messages`` promises."""

from __future__ import annotations

from collections.abc import Iterator

from calico.calc.cluster_sets import ClusterSets
from calico.calc.compile_entity import SetSpec
from calico.calc.encap import Version
from calico.calc.members import MemberIndex
from calico.calc.messages import (
    EndpointId,
    EndpointRemove,
    EndpointUpdate,
    HostEndpointRemove,
    HostEndpointUpdate,
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
    VtepRemove,
    VtepUpdate,
    WireguardPeerRemove,
    WireguardPeerUpdate,
    WireguardRouteRemove,
    WireguardRouteUpdate,
)
from calico.calc.policies import Compiled
from calico.calc.pools import sets_of_endpoint
from calico.calc.settings import CalcSettings
from calico.lib.latest import Latest
from calico.lib.ref_counts import RefCounts
from calico.model.keys import ResourceKey

__all__ = ["Sequencer"]


class Sequencer:
    """Always true: a set is in the member index while a policy or profile in use, or the host, still refers to it."""

    def __init__(self, members: MemberIndex, cluster_sets: ClusterSets, settings: CalcSettings) -> None:
        self._members = members
        self._cluster_sets = cluster_sets
        self._settings = settings
        self._sets_of: dict[ResourceKey, tuple[SetSpec, ...]] = {}
        self._needed: RefCounts[str] = RefCounts()
        self._touched: set[str] = set()
        self._told: set[str] = set()
        self._policies: Latest[ResourceKey, PolicyUpdate] = Latest()
        self._profiles: Latest[str, ProfileUpdate] = Latest()
        self._endpoints: Latest[EndpointId, EndpointUpdate] = Latest()
        self._host_endpoints: Latest[str, HostEndpointUpdate] = Latest()
        self._vteps: Latest[tuple[str, Version], VtepUpdate] = Latest()
        self._ipip: Latest[str, IpipUpdate] = Latest()
        self._routes: Latest[bytes, RouteUpdate] = Latest()
        self._peers: Latest[tuple[str, Version], WireguardPeerUpdate] = Latest()
        self._ways: Latest[bytes, WireguardRouteUpdate] = Latest()
        self._ids: dict[ResourceKey, EndpointId] = {}
        self._problems: Latest[ResourceKey, tuple[str, ...]] = Latest()

    def on_policy(self, key: ResourceKey, compiled: Compiled[PolicyUpdate] | None) -> None:
        """The rules of a policy that governs a local endpoint; None: it governs none."""
        self._policies.put(key, compiled.update if compiled else None)
        self._refer(key, compiled.sets if compiled else ())

    def on_profile(self, key: ResourceKey, compiled: Compiled[ProfileUpdate] | None) -> None:
        """The rules of a profile that a local endpoint names; None: none does."""
        self._profiles.put(key.name, compiled.update if compiled else None)
        self._refer(key, compiled.sets if compiled else ())

    def on_endpoint(self, key: ResourceKey, endpoint: EndpointUpdate | None) -> None:
        """A local endpoint as it should be programmed; None: absent."""
        self._cluster_sets.refer(key, sets_of_endpoint(endpoint, self._settings) if endpoint else ())
        if endpoint is not None:
            self._ids[key] = endpoint.id
            self._endpoints.put(endpoint.id, endpoint)
        elif key in self._ids:
            self._endpoints.put(self._ids.pop(key), None)

    def on_host_endpoint(self, name: str, endpoint: HostEndpointUpdate | None) -> None:
        """A local host endpoint as it should be programmed; None: absent."""
        self._host_endpoints.put(name, endpoint)

    def on_vtep(self, key: tuple[str, Version], vtep: VtepUpdate | None) -> None:
        """A node's end of a tunnel network; None: absent."""
        self._vteps.put(key, vtep)

    def on_ipip(self, end: IpipUpdate | None) -> None:
        """This host's end of IP in IP; None: absent."""
        self._ipip.put("", end)

    def on_route(self, dst: bytes, route: RouteUpdate | None) -> None:
        """Where a network of a pool with a tunnel is; None: no route."""
        self._routes.put(dst, route)

    def on_wireguard_peer(self, key: tuple[str, Version], peer: WireguardPeerUpdate | None) -> None:
        """A node that is sent to encrypted; None: it is not."""
        self._peers.put(key, peer)

    def on_wireguard_route(self, dst: bytes, route: WireguardRouteUpdate | None) -> None:
        """Where a network is before all other routes; None: nothing is said."""
        self._ways.put(dst, route)

    def on_problems(self, key: ResourceKey, problems: tuple[str, ...]) -> None:
        """All that is wrong with a resource now."""
        self._problems.put(key, problems or None)

    def flush(self) -> Iterator[Message]:
        """What changed since the last flush."""
        unneeded = {set_id for set_id in self._touched if set_id not in self._needed}
        fresh = self._touched - unneeded - self._told
        self._touched = set()
        for set_id in unneeded:
            self._members.on_set(set_id, None)
        for set_id in sorted(fresh):
            kind, members = self._members.tell(set_id)
            yield IPSetUpdate(id=set_id, kind=kind, members=members)
        for set_id, added, removed in sorted(self._members.take_changes(), key=lambda change: change[0]):
            yield IPSetDelta(id=set_id, added=added, removed=removed)
        yield from self._cluster_sets.updates()
        policies, gone_policies = self._policies.take()
        profiles, gone_profiles = self._profiles.take()
        endpoints, gone_endpoints = self._endpoints.take()
        host_endpoints, gone_host_endpoints = self._host_endpoints.take()
        vteps, gone_vteps = self._vteps.take()
        ipip, gone_ipip = self._ipip.take()
        routes, gone_routes = self._routes.take()
        peers, gone_peers = self._peers.take()
        ways, gone_ways = self._ways.take()
        yield from (policies[key] for key in sorted(policies))
        yield from (profiles[name] for name in sorted(profiles))
        yield from (endpoints[endpoint_id] for endpoint_id in sorted(endpoints))
        yield from (host_endpoints[name] for name in sorted(host_endpoints))
        yield from (vteps[key] for key in sorted(vteps))
        yield from ipip.values()
        yield from (routes[dst] for dst in sorted(routes))
        yield from (RouteRemove(dst=dst) for dst in sorted(gone_routes))
        yield from (IpipRemove() for _ in gone_ipip)
        yield from (VtepRemove(node=node, version=version) for node, version in sorted(gone_vteps))
        yield from (peers[key] for key in sorted(peers))
        yield from (ways[dst] for dst in sorted(ways))
        yield from (WireguardRouteRemove(dst=dst) for dst in sorted(gone_ways))
        yield from (WireguardPeerRemove(node=node, version=version) for node, version in sorted(gone_peers))
        yield from (HostEndpointRemove(name=name) for name in sorted(gone_host_endpoints))
        yield from (EndpointRemove(id=endpoint_id) for endpoint_id in sorted(gone_endpoints))
        yield from (ProfileRemove(name=name) for name in sorted(gone_profiles))
        yield from (PolicyRemove(key=key) for key in sorted(gone_policies))
        yield from (IPSetRemove(id=set_id) for set_id in sorted(unneeded & self._told))
        yield from self._cluster_sets.removes()
        self._told |= fresh
        self._told -= unneeded
        yield from self._changed_problems()

    def _refer(self, key: ResourceKey, after: tuple[SetSpec, ...]) -> None:
        before = self._sets_of.pop(key, ())
        if after:
            self._sets_of[key] = after
        for spec in after:
            if self._needed.acquire(spec.id):
                self._touched.add(spec.id)
                self._members.on_set(spec.id, spec)
        for spec in before:
            if self._needed.release(spec.id):
                # Not withdrawn before the flush: it may be needed again by then.
                self._touched.add(spec.id)

    def _changed_problems(self) -> Iterator[Message]:
        changed, gone = self._problems.take()
        for key in sorted(changed.keys() | gone):
            yield ProblemUpdate(key=key, problems=changed.get(key, ()))
