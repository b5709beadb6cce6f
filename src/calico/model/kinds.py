"""The catalogue of kinds: class, plural, scope, and the names people may call them by."""

from __future__ import annotations

import msgspec

from calico.errors import InvalidInput
from calico.model.bgp import BGPConfiguration, BGPPeer
from calico.model.bgpfilter import BGPFilter
from calico.model.felixconfig import FelixConfiguration
from calico.model.hostendpoint import HostEndpoint
from calico.model.ipam import BlockAffinity, IPAMConfig, IPAMConfiguration, IPReservation
from calico.model.ippool import IPPool
from calico.model.kubecontrollers import KubeControllersConfiguration
from calico.model.livemigration import LiveMigration
from calico.model.meta import Resource
from calico.model.node import ClusterInformation, Node
from calico.model.nodestatus import CalicoNodeStatus
from calico.model.policy import GlobalNetworkPolicy, GlobalNetworkSet, NetworkPolicy, NetworkSet, Profile, Tier
from calico.model.staged import StagedGlobalNetworkPolicy, StagedKubernetesNetworkPolicy, StagedNetworkPolicy
from calico.model.workload import WorkloadEndpoint

__all__ = ["BY_KIND", "BY_PLURAL", "KINDS", "KindInfo", "find_kind", "kind_info"]


class KindInfo(msgspec.Struct, frozen=True):
    """One kind. ``aliases`` are accepted on the command line, case-insensitively, besides kind and plural."""

    kind: str
    cls: type[Resource]
    namespaced: bool = False
    aliases: tuple[str, ...] = ()
    plural: str = ""


def _info(cls: type[Resource], plural: str, *aliases: str, namespaced: bool = False) -> KindInfo:
    return KindInfo(cls.__name__, cls, namespaced, aliases, plural)


KINDS: tuple[KindInfo, ...] = (
    _info(BGPConfiguration, "bgpconfigurations", "bgpconfig", "bgpconfigs"),
    _info(BGPFilter, "bgpfilters", "bgpf", "bgpfs", "bf", "bfs"),
    _info(BGPPeer, "bgppeers", "bgpp", "bgpps", "bp", "bps"),
    _info(BlockAffinity, "blockaffinities", "affinity", "affinities"),
    _info(CalicoNodeStatus, "caliconodestatuses", "nodestatus", "nodestatuses"),
    _info(ClusterInformation, "clusterinformations", "clusterinfo", "clusterinfos"),
    _info(FelixConfiguration, "felixconfigurations", "felixconfig", "felixconfigs"),
    _info(GlobalNetworkPolicy, "globalnetworkpolicies", "gnp", "gnps", "cgnp"),
    _info(GlobalNetworkSet, "globalnetworksets", "gnetsets", "gns"),
    _info(HostEndpoint, "hostendpoints", "hep", "heps"),
    _info(IPAMConfig, "ipamconfigs"),
    _info(IPAMConfiguration, "ipamconfigurations", "ipamconfig", "ipamconfigs"),
    _info(IPPool, "ippools", "ipp", "ipps", "pool", "pools"),
    _info(IPReservation, "ipreservations", "reservation", "reservations"),
    _info(
        KubeControllersConfiguration,
        "kubecontrollersconfigurations",
        "kubecontrollersconfig",
        "kubecontrollersconfigs",
        "kcc",
        "kccs",
    ),
    _info(LiveMigration, "livemigrations", namespaced=True),
    _info(
        NetworkPolicy,
        "networkpolicies",
        "policy",
        "np",
        "policies",
        "pol",
        "pols",
        "cnp",
        "caliconetworkpolicy",
        namespaced=True,
    ),
    _info(NetworkSet, "networksets", "netsets", namespaced=True),
    _info(Node, "nodes", "no", "nos"),
    _info(Profile, "profiles", "pro", "pros"),
    _info(StagedGlobalNetworkPolicy, "stagedglobalnetworkpolicies", "sgnp", "sgnps"),
    _info(
        StagedKubernetesNetworkPolicy,
        "stagedkubernetesnetworkpolicies",
        "stagedkubernetespolicy",
        "stagedkubernetespolicies",
        "sknp",
        "sknps",
        "skpol",
        "skpols",
        namespaced=True,
    ),
    _info(
        StagedNetworkPolicy,
        "stagednetworkpolicies",
        "stagedpolicy",
        "stagedpolicies",
        "scnp",
        "snp",
        "snps",
        "spol",
        "spols",
        namespaced=True,
    ),
    _info(Tier, "tiers"),
    _info(WorkloadEndpoint, "workloadendpoints", "wep", "weps", namespaced=True),
)
BY_KIND = {info.kind: info for info in KINDS}
BY_PLURAL = {info.plural: info for info in KINDS}
_BY_NAME = {name.lower(): info for info in KINDS for name in (info.kind, info.plural)} | {
    alias: info for info in KINDS for alias in info.aliases
}


def kind_info(kind: str) -> KindInfo:
    """The catalogue entry of an exact kind; InvalidInput if unknown."""
    try:
        return BY_KIND[kind]
    except KeyError:
        raise InvalidInput(f"unknown kind {kind!r}; known: {', '.join(BY_KIND)}", field="kind") from None


def find_kind(name: str) -> KindInfo:
    """The catalogue entry for what a person typed (kind, plural or alias, any case); InvalidInput if unknown."""
    info = _BY_NAME.get(name.lower())
    if info is None:
        raise InvalidInput(f"unknown resource type {name!r}; known: {', '.join(i.plural for i in KINDS)}")
    return info
