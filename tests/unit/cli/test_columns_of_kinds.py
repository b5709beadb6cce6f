"""The titles of the tables of every kind are those that people know from calicoctl."""

import msgspec
import pytest

from calico.cli.output.columns import columns_of
from calico.model.ipam import IPAMConfiguration, IPAMConfigurationSpec, IPReservation, IPReservationSpec
from calico.model.kinds import BY_KIND
from calico.model.staged import StagedKubernetesNetworkPolicy

TITLES = {
    "BGPConfiguration": ("NAME LOGSEVERITY MESHENABLED ASNUMBER", "NAME LOGSEVERITY MESHENABLED ASNUMBER"),
    "BGPFilter": (
        "NAME NUMEXPORTV4 NUMIMPORTV4 NUMEXPORTV6 NUMIMPORTV6",
        "NAME NUMEXPORTV4 NUMIMPORTV4 NUMEXPORTV6 NUMIMPORTV6",
    ),
    "BGPPeer": ("NAME PEERIP NODE ASN", "NAME PEERIP NODE ASN"),
    "BlockAffinity": ("NAME CIDR NODE STATE", "NAME CIDR NODE STATE"),
    "ClusterInformation": (
        "NAME CLUSTERGUID CLUSTERTYPE CALICOVERSION DATASTOREREADY",
        "NAME CLUSTERGUID CLUSTERTYPE CALICOVERSION DATASTOREREADY",
    ),
    "FelixConfiguration": ("NAME", "NAME"),
    "GlobalNetworkPolicy": ("NAME TIER", "NAME TIER ORDER SELECTOR"),
    "GlobalNetworkSet": ("NAME", "NAME NETS"),
    "HostEndpoint": ("NAME NODE", "NAME NODE INTERFACE IPS PROFILES"),
    "IPAMConfiguration": (
        "NAME STRICTAFFINITY AUTOALLOCATEBLOCKS",
        "NAME STRICTAFFINITY AUTOALLOCATEBLOCKS MAXBLOCKSPERHOST",
    ),
    "IPPool": (
        "NAME CIDR SELECTOR",
        "NAME CIDR NAT IPIPMODE VXLANMODE DISABLED DISABLEBGPEXPORT SELECTOR ASSIGNMENTMODE",
    ),
    "IPReservation": ("NAME", "NAME CIDRS"),
    "KubeControllersConfiguration": ("NAME", "NAME"),
    "LiveMigration": ("NAME", "NAME"),
    "NetworkPolicy": ("NAME TIER", "NAME TIER ORDER SELECTOR"),
    "NetworkSet": ("NAME", "NAME NETS"),
    "Node": ("NAME", "NAME ASN IPV4 IPV6"),
    "Profile": ("NAME", "NAME LABELS"),
    "StagedGlobalNetworkPolicy": ("NAME TIER", "NAME TIER ORDER SELECTOR STAGEDACTION"),
    "StagedKubernetesNetworkPolicy": ("NAME", "NAME PODSELECTOR STAGEDACTION"),
    "StagedNetworkPolicy": ("NAME TIER", "NAME TIER ORDER SELECTOR STAGEDACTION"),
    "Tier": ("NAME ORDER", "NAME ORDER"),
    "WorkloadEndpoint": (
        "WORKLOAD NODE NETWORKS INTERFACE",
        "NAME WORKLOAD NODE NETWORKS INTERFACE PROFILES NATS",
    ),
}


@pytest.mark.parametrize("kind", TITLES)
def test_tables_have_the_titles_that_people_know(kind: str) -> None:
    for titles, wide in zip(TITLES[kind], (False, True), strict=True):
        columns = columns_of(kind, wide=wide)
        assert [title for title, _ in columns] == titles.split()
        for _, read in columns:
            assert read(BY_KIND[kind].cls()) is not None or kind == "ClusterInformation"


def row(resource: object) -> dict[str, object]:
    return {title: read(resource) for title, read in columns_of(type(resource).__name__, wide=True)}


def test_rows_show_what_is_reserved_and_how_addresses_are_allocated() -> None:
    reservation = IPReservation(spec=IPReservationSpec(reserved_cidrs=("10.0.0.1", "10.1.0.0/16")))
    assert row(reservation)["CIDRS"] == "10.0.0.1,10.1.0.0/16"
    configuration = IPAMConfiguration(spec=IPAMConfigurationSpec(strict_affinity=True, max_blocks_per_host=4))
    shown = {"NAME": "", "STRICTAFFINITY": True, "AUTOALLOCATEBLOCKS": True, "MAXBLOCKSPERHOST": 4}
    assert row(configuration) == shown


@pytest.mark.parametrize(
    ("selector", "shown"),
    [
        ({}, "<all>"),
        ({"matchLabels": {"app": "web", "tier": "front"}}, "app=web,tier=front"),
        ({"matchExpressions": [{"key": "a", "operator": "In", "values": ["x", "y"]}]}, "a in (x,y)"),
        ({"matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["x"]}]}, "a notin (x)"),
        ({"matchExpressions": [{"key": "a", "operator": "Exists"}]}, "a"),
        ({"matchExpressions": [{"key": "a", "operator": "DoesNotExist"}]}, "!a"),
    ],
)
def test_a_kubernetes_policy_shows_its_pods_as_kubectl_does(selector: object, shown: str) -> None:
    policy = msgspec.convert({"spec": {"podSelector": selector}}, StagedKubernetesNetworkPolicy)
    assert row(policy)["PODSELECTOR"] == shown
