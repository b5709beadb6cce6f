"""The catalogue of kinds, and the stored form, defaults and reading of the kinds that no agent of ours acts on."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from calico.errors import InvalidInput
from calico.model.codec import decode, encode
from calico.model.defaults import with_defaults
from calico.model.ipam import BlockAffinity, IPReservation
from calico.model.keys import ResourceKey, key_path, parse_key
from calico.model.kinds import BY_KIND, KINDS, find_kind
from calico.model.validation import validate

PLURALS = {
    "nodes",
    "workloadendpoints",
    "livemigrations",
    "networkpolicies",
    "stagednetworkpolicies",
    "stagedkubernetesnetworkpolicies",
    "networksets",
    "globalnetworkpolicies",
    "stagedglobalnetworkpolicies",
    "globalnetworksets",
    "hostendpoints",
    "profiles",
    "tiers",
    "ippools",
    "ipreservations",
    "bgpconfigurations",
    "bgppeers",
    "bgpfilters",
    "felixconfigurations",
    "clusterinformations",
    "kubecontrollersconfigurations",
    "ipamconfigurations",
    "blockaffinities",
    "ipamconfigs",
}
NAMESPACED = {
    "WorkloadEndpoint",
    "LiveMigration",
    "NetworkPolicy",
    "StagedNetworkPolicy",
    "StagedKubernetesNetworkPolicy",
    "NetworkSet",
}


def stored(kind: str, spec: dict[str, Any], **more: Any) -> Any:
    """What is stored of a document after defaults."""
    document = {"metadata": {"name": "default"}, "spec": spec, **more}
    return json.loads(encode(with_defaults(msgspec.convert(document, BY_KIND[kind].cls))))


def faults(kind: str, spec: dict[str, Any], name: str = "default", **more: Any) -> list[str]:
    document = {"metadata": {"name": name}, "spec": spec, **more}
    return [error.field for error in validate(with_defaults(msgspec.convert(document, BY_KIND[kind].cls)))]


def test_every_kind_of_the_data_model_is_there_in_its_scope() -> None:
    assert {info.plural for info in KINDS} >= PLURALS
    assert {info.kind for info in KINDS if info.namespaced} == NAMESPACED


@pytest.mark.parametrize("kind", [info.kind for info in KINDS])
def test_the_key_of_every_kind_leads_back_to_it(kind: str) -> None:
    key = ResourceKey(kind, "ns" if BY_KIND[kind].namespaced else "", "a.b")
    assert parse_key(key_path(key)) == key


@pytest.mark.parametrize(
    "path",
    [
        "ipreservations/ns/a",
        "livemigrations/a",
        "livemigrations/ns/a/b",
        "ipamconfigs/",
        "blockaffinities",
        "services/a",
    ],
)
def test_a_key_whose_depth_does_not_fit_its_kind_is_none(path: str) -> None:
    assert parse_key(f"/calico/resources/v3/projectcalico.org/{path}") is None


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("IPAMConfiguration", "ipamconfiguration ipamconfigurations ipamconfig ipamconfigs"),
        ("IPReservation", "ipreservation ipreservations reservation reservations"),
        (
            "KubeControllersConfiguration",
            "kubecontrollersconfiguration kubecontrollersconfigurations kubecontrollersconfig kubecontrollersconfigs",
        ),
        (
            "StagedKubernetesNetworkPolicy",
            "stagedkubernetesnetworkpolicy stagedkubernetespolicy sknp stagedkubernetespolicies skpol skpols",
        ),
        ("StagedNetworkPolicy", "stagednetworkpolicy stagedpolicy snp stagedpolicies spol spols scnp"),
        ("GlobalNetworkPolicy", "gnp gnps cgnp"),
        ("GlobalNetworkSet", "gnetsets gns"),
        ("BlockAffinity", "blockaffinity blockaffinities affinity"),
        ("LiveMigration", "livemigration LiveMigrations"),
    ],
)
def test_kinds_go_by_their_names_in_any_case(kind: str, names: str) -> None:
    for name in names.split():
        assert find_kind(name).kind == kind
        assert find_kind(name.upper()).kind == kind


def test_no_alias_means_two_kinds() -> None:
    aliases = [alias for info in KINDS for alias in info.aliases]
    assert len(aliases) == len(set(aliases))
    with pytest.raises(InvalidInput, match="unknown resource type"):
        find_kind("bogus")


# IPReservation


def test_a_reservation_holds_addresses_and_ranges_each_once() -> None:
    assert faults("IPReservation", {"reservedCIDRs": ["10.0.0.1", "10.0.0.7/24", "fd00::/120"]}) == []
    given = {"reservedCIDRs": ["10.0.0.1", "nowhere", "10.0.0.1"]}
    assert faults("IPReservation", given) == ["spec.reservedCIDRs[2]", "spec.reservedCIDRs[1]"]


def test_what_cannot_be_read_of_a_reservation_is_named_and_the_rest_stays_reserved() -> None:
    raw = b'{"spec":{"reservedCIDRs":["10.0.0.1","nowhere"]}}'
    found = decode(ResourceKey("IPReservation", "", "r"), raw)
    assert isinstance(found.resource, IPReservation)
    assert found.resource.spec.reserved_cidrs == ("10.0.0.1",)
    assert "nowhere" in found.problems[0]


# IPAMConfiguration and IPAMConfig


def test_blocks_are_allocated_on_demand_unless_configured_otherwise() -> None:
    assert stored("IPAMConfiguration", {})["spec"] == {"strictAffinity": False, "autoAllocateBlocks": True}
    given = {"autoAllocateBlocks": False, "strictAffinity": True, "maxBlocksPerHost": 4, "ipCooldownSeconds": 60}
    assert stored("IPAMConfiguration", given)["spec"] == given
    assert stored("IPAMConfig", {})["spec"] == {"strictAffinity": False, "autoAllocateBlocks": False}


@pytest.mark.parametrize("kind", ["IPAMConfiguration", "KubeControllersConfiguration", "ClusterInformation"])
def test_there_is_only_one_of_these(kind: str) -> None:
    assert faults(kind, {}) == []
    assert faults(kind, {}, name="other") == ["metadata.name"]


# BlockAffinity


def test_an_affinity_says_whether_it_is_deleted_in_text_on_disk_and_in_truth_to_us() -> None:
    spec = {"state": "confirmed", "node": "n", "cidr": "10.0.0.0/26"}
    on_disk = stored("BlockAffinity", spec)["spec"]
    assert on_disk == {**spec, "deleted": "false"}
    for text, truth in (("true", True), ("false", False)):
        raw = json.dumps({"spec": {**spec, "deleted": text}}).encode()
        found = decode(ResourceKey("BlockAffinity", "", "a"), raw)
        assert isinstance(found.resource, BlockAffinity)
        assert found.resource.spec.deleted is truth
        assert json.loads(encode(found.resource))["spec"]["deleted"] == text


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"deleted": True}, "spec.deleted"),
        ({"state": "maybe"}, "spec.state"),
        ({"node": ""}, "spec.node"),
        ({"cidr": ""}, "spec.cidr"),
        ({"cidr": "10.0.0.1/26"}, "spec.cidr"),
    ],
)
def test_an_affinity_is_of_a_block_to_a_node_and_not_on_its_way_out(change: dict[str, Any], field: str) -> None:
    spec = {"state": "pending", "node": "n", "cidr": "10.0.0.0/26", "deleted": False, **change}
    assert faults("BlockAffinity", spec) == [field]


def test_an_affinity_that_is_neither_deleted_nor_not_is_named() -> None:
    found = decode(ResourceKey("BlockAffinity", "", "a"), b'{"spec":{"deleted":"perhaps"}}')
    assert found.resource is None
    assert "spec.deleted" in found.problems[0]


# KubeControllersConfiguration


def test_controllers_that_run_get_their_defaults_and_others_stay_away() -> None:
    document = stored("KubeControllersConfiguration", {"controllers": {"loadBalancer": {}, "migration": {}}})
    assert document["spec"] == {
        "healthChecks": "Enabled",
        "controllers": {
            "loadBalancer": {"assignIPs": "AllServices"},
            "migration": {"policyNameMigrator": "Enabled"},
        },
    }
    assert document["status"] == {}
    assert stored("KubeControllersConfiguration", {})["spec"]["controllers"] == {}


def test_every_template_makes_host_endpoints_of_its_own() -> None:
    def named(*templates: dict[str, Any]) -> list[str]:
        return faults(
            "KubeControllersConfiguration", {"controllers": {"node": {"hostEndpoint": {"templates": list(templates)}}}}
        )

    where = "spec.controllers.node.hostEndpoint.templates"
    assert named({"generateName": "a", "interfacePattern": "eth.*"}, {"interfaceCIDRs": ["10.0.0.0/8"]}) == []
    assert named({"generateName": "a"}) == [f"{where}[0].interfaceCIDRs"]
    twice = {"generateName": "a", "interfacePattern": "eth0"}
    assert named(twice, twice) == [f"{where}[1].generateName"]
    wrong = {"interfacePattern": "(", "labels": {"a": "no spaces"}, "annotations": {"a b": ""}, "nodeSelector": "a ="}
    assert named(wrong) == [
        f"{where}[0].{name}" for name in ("interfacePattern", "labels[a]", "annotations[a b]", "nodeSelector")
    ]


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"etcdV3CompactionPeriod": "10"}, "spec.etcdV3CompactionPeriod"),
        ({"controllers": {"node": {"leakGracePeriod": "soon"}}}, "spec.controllers.node.leakGracePeriod"),
        ({"controllers": {"policy": {"reconcilerPeriod": ""}}}, "spec.controllers.policy.reconcilerPeriod"),
        ({"controllers": {"namespace": {"reconcilerPeriod": "5"}}}, "spec.controllers.namespace.reconcilerPeriod"),
        ({"logSeverityScreen": "Loud"}, "spec.logSeverityScreen"),
    ],
)
def test_periods_of_controllers_are_durations(spec: dict[str, Any], field: str) -> None:
    assert faults("KubeControllersConfiguration", spec) == [field]


def test_what_controllers_really_run_with_is_judged_like_what_they_should() -> None:
    status = {"runningConfig": {"controllers": {}, "healthChecks": "Sometimes"}, "environmentVars": {"A": "b"}}
    assert faults("KubeControllersConfiguration", {}, status=status) == ["status.runningConfig.healthChecks"]


# LiveMigration, statuses


def test_a_migration_is_stored_with_both_ends() -> None:
    end = {"hostname": "h", "orchestratorID": "openstack", "workloadID": "ns/vm", "endpointID": "port"}
    spec = {"source": {"workloadEndpoint": end}, "target": {"selector": "has(vm)", "workloadEndpoint": end}}
    assert stored("LiveMigration", spec)["spec"] == spec
    assert faults("LiveMigration", {"target": {"selector": "a ="}}) == ["spec.target.selector"]


def test_a_condition_is_told_once_and_in_full() -> None:
    good = {
        "type": "Allocatable",
        "status": "False",
        "reason": "Disabled",
        "message": "",
        "lastTransitionTime": "2026-08-22T13:33:20Z",
    }
    pool = {"cidr": "10.0.0.0/16"}
    assert faults("IPPool", pool, status={"conditions": [good]}) == []
    assert faults("IPPool", pool, status={"conditions": [good, good]}) == ["status.conditions[1].type"]
    bad = {"type": "", "status": "Perhaps", "reason": "two words", "lastTransitionTime": "now"}
    assert faults("IPPool", pool, status={"conditions": [bad]}) == [
        f"status.conditions[0].{name}" for name in ("type", "status", "lastTransitionTime", "reason")
    ]
