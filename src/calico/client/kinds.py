"""The collections of a client by name: ``client.network_policies`` and so on, for every kind of the catalogue."""

from __future__ import annotations

import re
from typing import Any, Generic, TypeVar

from calico.client.collection import AsyncCollection
from calico.client.sync_collection import Collection
from calico.model.bgp import BGPConfiguration, BGPPeer
from calico.model.bgpfilter import BGPFilter
from calico.model.felixconfig import FelixConfiguration
from calico.model.hostendpoint import HostEndpoint
from calico.model.ippool import IPPool
from calico.model.kinds import KINDS, KindInfo
from calico.model.meta import Resource
from calico.model.node import ClusterInformation, Node
from calico.model.policy import GlobalNetworkPolicy, GlobalNetworkSet, NetworkPolicy, NetworkSet, Profile, Tier
from calico.model.staged import StagedGlobalNetworkPolicy, StagedKubernetesNetworkPolicy, StagedNetworkPolicy
from calico.model.workload import WorkloadEndpoint

__all__ = ["AsyncKinds", "Kinds", "attribute_of"]

R = TypeVar("R", bound=Resource)

_WORD = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z][a-z]+|[A-Z]+")


def attribute_of(info: KindInfo) -> str:
    """The attribute of a kind: its plural with its words apart, ``bgp_peers`` for BGPPeer."""
    words = [word.lower() for word in _WORD.findall(info.kind)]
    return "_".join([*words[:-1], info.plural[sum(map(len, words[:-1])) :]])


_BY_ATTRIBUTE = {attribute_of(info): info for info in KINDS}


class _Async(Generic[R]):
    """An attribute that is the collection of a class."""

    def __init__(self, cls: type[R]) -> None:
        self._cls = cls

    def __get__(self, client: AsyncKinds, owner: type) -> AsyncCollection[R]:
        return client.of(self._cls)


class _Sync(Generic[R]):
    """An attribute that is the collection of a class."""

    def __init__(self, cls: type[R]) -> None:
        self._cls = cls

    def __get__(self, client: Kinds, owner: type) -> Collection[R]:
        return client.of(self._cls)


class AsyncKinds:
    """Collections by name; kinds without a line here are found all the same, untyped."""

    bgp_configurations = _Async(BGPConfiguration)
    bgp_filters = _Async(BGPFilter)
    bgp_peers = _Async(BGPPeer)
    cluster_informations = _Async(ClusterInformation)
    felix_configurations = _Async(FelixConfiguration)
    global_network_policies = _Async(GlobalNetworkPolicy)
    global_network_sets = _Async(GlobalNetworkSet)
    host_endpoints = _Async(HostEndpoint)
    ip_pools = _Async(IPPool)
    network_policies = _Async(NetworkPolicy)
    network_sets = _Async(NetworkSet)
    nodes = _Async(Node)
    profiles = _Async(Profile)
    staged_global_network_policies = _Async(StagedGlobalNetworkPolicy)
    staged_kubernetes_network_policies = _Async(StagedKubernetesNetworkPolicy)
    staged_network_policies = _Async(StagedNetworkPolicy)
    tiers = _Async(Tier)
    workload_endpoints = _Async(WorkloadEndpoint)

    def of(self, cls: type[R]) -> AsyncCollection[R]:
        """The collection of a class of resources."""
        raise NotImplementedError

    def __getattr__(self, name: str) -> AsyncCollection[Any]:
        return self.of(_class_of(self, name))


class Kinds:
    """Collections by name; kinds without a line here are found all the same, untyped."""

    bgp_configurations = _Sync(BGPConfiguration)
    bgp_filters = _Sync(BGPFilter)
    bgp_peers = _Sync(BGPPeer)
    cluster_informations = _Sync(ClusterInformation)
    felix_configurations = _Sync(FelixConfiguration)
    global_network_policies = _Sync(GlobalNetworkPolicy)
    global_network_sets = _Sync(GlobalNetworkSet)
    host_endpoints = _Sync(HostEndpoint)
    ip_pools = _Sync(IPPool)
    network_policies = _Sync(NetworkPolicy)
    network_sets = _Sync(NetworkSet)
    nodes = _Sync(Node)
    profiles = _Sync(Profile)
    staged_global_network_policies = _Sync(StagedGlobalNetworkPolicy)
    staged_kubernetes_network_policies = _Sync(StagedKubernetesNetworkPolicy)
    staged_network_policies = _Sync(StagedNetworkPolicy)
    tiers = _Sync(Tier)
    workload_endpoints = _Sync(WorkloadEndpoint)

    def of(self, cls: type[R]) -> Collection[R]:
        """The collection of a class of resources."""
        raise NotImplementedError

    def __getattr__(self, name: str) -> Collection[Any]:
        return self.of(_class_of(self, name))


def _class_of(client: object, name: str) -> type[Resource]:
    info = _BY_ATTRIBUTE.get(name)
    if info is None:
        raise AttributeError(f"{type(client).__name__!r} has no attribute {name!r}")
    return info.cls
