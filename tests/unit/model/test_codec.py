"""Reading and writing stored resources: what survives, what fails closed, what is never lost."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calico.model.bgp import BGPPeer, BGPPeerSpec
from calico.model.codec import Decoded, decode, encode, merge_unknown, unknown_fields
from calico.model.felixconfig import FelixConfiguration
from calico.model.hostendpoint import HostEndpoint, HostEndpointPort, HostEndpointSpec
from calico.model.ippool import IPPool
from calico.model.keys import ResourceKey
from calico.model.kinds import KINDS
from calico.model.meta import Metadata
from calico.model.node import Node
from calico.model.policy import (
    EntityRule,
    NetworkPolicy,
    NetworkPolicySpec,
    NetworkSet,
    Profile,
    Rule,
    Tier,
    TierSpec,
)
from calico.model.workload import EndpointPort, WorkloadEndpoint, WorkloadEndpointSpec

POLICY = ResourceKey("NetworkPolicy", "ns", "web")
DENY = (Rule(action="Deny"),)
ALLOW: dict[str, Any] = {"action": "Allow"}


def read(key: ResourceKey, document: object) -> Decoded:
    return decode(key, json.dumps(document).encode(), 7)


def policy(**spec: Any) -> tuple[NetworkPolicy, tuple[str, ...]]:
    decoded = read(POLICY, {"metadata": {"name": "web"}, "spec": spec})
    assert isinstance(decoded.resource, NetworkPolicy)
    return decoded.resource, decoded.problems


def stored(resource: Any) -> Any:
    return json.loads(encode(resource))


# Reading


def test_identity_comes_from_the_key_and_the_revision() -> None:
    decoded = read(ResourceKey("Tier", "", "t"), {"kind": "Node", "metadata": {"name": "x", "resourceVersion": "1"}})
    assert decoded.problems == ()
    assert isinstance(decoded.resource, Tier)
    assert (decoded.resource.kind, decoded.resource.metadata.name) == ("Tier", "t")
    assert decoded.resource.metadata.resource_version == "7"


def test_a_resource_without_metadata_gets_its_own() -> None:
    first = read(ResourceKey("Tier", "", "one"), {}).resource
    second = read(ResourceKey("Tier", "", "two"), {}).resource
    assert first is not None
    assert second is not None
    assert (first.metadata.name, second.metadata.name) == ("one", "two")
    assert Tier().metadata.name == ""


def test_nulls_read_as_absent() -> None:
    document = {
        "metadata": {"name": "web", "creationTimestamp": None, "labels": None},
        "spec": {"ingress": [{"action": "Allow", "source": None}], "egress": None, "selector": None},
    }
    decoded = read(POLICY, document)
    assert decoded.problems == ()
    assert isinstance(decoded.resource, NetworkPolicy)
    assert decoded.resource.spec.ingress == (Rule(action="Allow"),)


def test_fields_of_newer_versions_are_ignored() -> None:
    found, problems = policy(selector="has(a)", fromTheFuture={"x": 1})
    assert problems == ()
    assert found.spec.selector == "has(a)"


def test_the_annotated_name_wins_and_is_hidden() -> None:
    annotation = {"projectcalico.org/metadata": '{"name":"real"}', "other": "kept"}
    key = ResourceKey("GlobalNetworkPolicy", "", "default.real")
    found = read(key, {"metadata": {"annotations": annotation}}).resource
    assert found is not None
    assert found.metadata.name == "real"
    assert found.metadata.annotations == {"other": "kept"}


@pytest.mark.parametrize(
    ("tier", "name", "shown"),
    [("", "default.a", "a"), ("default", "default.a", "a"), ("t", "default.a", "default.a"), ("", "t.a", "t.a")],
)
def test_old_layouts_lose_the_prefix_of_the_default_tier(tier: str, name: str, shown: str) -> None:
    found = read(ResourceKey("NetworkPolicy", "ns", name), {"spec": {"tier": tier}}).resource
    assert found is not None
    assert found.metadata.name == shown


def test_policies_show_the_label_of_their_tier() -> None:
    assert policy()[0].metadata.labels == {"projectcalico.org/tier": "default"}
    assert policy(tier="t")[0].metadata.labels == {"projectcalico.org/tier": "t"}


@pytest.mark.parametrize(
    "rule",
    [
        {},
        {"action": 7},
        {"action": "Permit"},
        {**ALLOW, "protocol": "carrier-pigeon"},
        {**ALLOW, "protocol": 10**30},
        {**ALLOW, "ipVersion": 5},
        {**ALLOW, "source": {"nets": ["10.0.0.0/33"]}},
        {**ALLOW, "source": {"nets": [5]}},
        {**ALLOW, "source": {"nets": ["10.0.0.0/255.0.0.0"]}},
        {**ALLOW, "destination": {"ports": ["1:2:3"]}},
        {**ALLOW, "destination": {"ports": [1.5]}},
        {**ALLOW, "source": {"selector": "a = b"}},
        {**ALLOW, "source": {"namespaceSelector": "("}},
        {**ALLOW, "icmp": {"type": 999}},
        "not a rule",
    ],
)
def test_a_rule_that_cannot_be_interpreted_makes_its_policy_deny(rule: Any) -> None:
    found, problems = policy(selector="has(a)", order=3, tier="t", types=["Egress"], egress=[ALLOW, rule])
    assert problems
    assert (found.spec.selector, found.spec.order, found.spec.tier) == ("has(a)", 3.0, "t")
    assert (found.spec.ingress, found.spec.egress) == ((), DENY)


def test_without_types_both_directions_deny() -> None:
    found, problems = policy(ingress=[{"action": "Permit"}])
    assert "Permit" in problems[0]
    assert (found.spec.ingress, found.spec.egress) == (DENY, DENY)


def test_a_profile_with_a_damaged_rule_denies_both_ways_but_keeps_its_labels() -> None:
    document = {"spec": {"labelsToApply": {"a": "b"}, "egress": [{"action": "Allow", "ipVersion": "six"}]}}
    decoded = read(ResourceKey("Profile", "", "p"), document)
    assert isinstance(decoded.resource, Profile)
    assert decoded.problems
    assert decoded.resource.spec.labels_to_apply == {"a": "b"}
    assert (decoded.resource.spec.ingress, decoded.resource.spec.egress) == (DENY, DENY)


def test_an_unknown_policy_type_is_a_problem_and_left_out() -> None:
    found, problems = policy(types=["Ingress", "Sideways"], ingress=[ALLOW])
    assert "Sideways" in problems[0]
    assert found.spec.types == ("Ingress",)
    assert found.spec.ingress == (Rule(action="Allow"),)


@pytest.mark.parametrize("spec", [{"selector": "a = b"}, {"order": "first"}, {"selector": 5}, []])
def test_a_policy_whose_place_or_subjects_are_unknown_is_absent(spec: Any) -> None:
    decoded = read(POLICY, {"spec": spec})
    assert decoded.resource is None
    assert decoded.problems


def test_a_network_set_keeps_its_good_networks() -> None:
    decoded = read(ResourceKey("NetworkSet", "ns", "s"), {"spec": {"nets": ["10.0.0.1", "rubbish", 5, "fd00::/8"]}})
    assert isinstance(decoded.resource, NetworkSet)
    assert decoded.resource.spec.nets == ("10.0.0.1", "fd00::/8")
    assert len(decoded.problems) == 2


def test_an_unknown_default_action_of_a_tier_denies() -> None:
    decoded = read(ResourceKey("Tier", "", "t"), {"spec": {"defaultAction": "Allow"}})
    assert isinstance(decoded.resource, Tier)
    assert decoded.resource.spec.default_action == "Deny"
    assert decoded.problems


def test_a_pool_with_an_unknown_mode_is_a_problem_and_one_without_range_is_absent() -> None:
    key = ResourceKey("IPPool", "", "p")
    odd = read(key, {"spec": {"cidr": "10.0.0.0/16", "ipipMode": "Sometimes"}})
    assert odd.resource is not None
    assert "Sometimes" in odd.problems[0]
    assert read(key, {"spec": {"cidr": "10/8"}}).resource is None


HOSTILE = [
    b"",
    b"null",
    b"[]",
    b"5",
    b"{",
    b"\xff\xfe",
    b'{"metadata":{"name":"\xff"}}',
    b"[" * 100_000,
    b'{"spec":' * 100_000,
    b'{"spec":{"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}}",
    b'{"spec":{"order":1e999}}',
    b'{"spec":{"order":' + b"9" * 10_000 + b"}}",
    b'{"spec":{"ingress":[{"action":"Allow","protocol":' + b"9" * 5000 + b"}]}}",
    b'{"spec":null,"metadata":null}',
    b'{"metadata":{"annotations":{"projectcalico.org/metadata":"' + b"[" * 50_000 + b'"}}}',
    b'{"metadata":{"labels":{"a":{"b":1}}},"spec":{"ingress":7,"selector":"' + b"(" * 50_000 + b'"}}',
]


@pytest.mark.parametrize("kind", [info.kind for info in KINDS])
def test_hostile_bytes_never_raise(kind: str) -> None:
    for raw in HOSTILE:
        decoded = decode(ResourceKey(kind, "", "x"), raw, 1)
        assert decoded.resource is not None or decoded.problems


documents = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(-5, 70000), st.floats(), st.sampled_from(["", "Allow", "TCP", "a"])
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(
                [
                    "metadata",
                    "spec",
                    "name",
                    "labels",
                    "annotations",
                    "ingress",
                    "egress",
                    "action",
                    "source",
                    "destination",
                    "nets",
                    "ports",
                    "selector",
                    "types",
                    "order",
                    "tier",
                    "protocol",
                    "cidr",
                    "ipNetworks",
                    "bgp",
                    "status",
                ]
            ),
            inner,
            max_size=5,
        ),
    ),
    max_leaves=12,
)


@given(st.sampled_from([info.kind for info in KINDS]), documents, documents)
def test_any_document_is_read_or_explained(kind: str, spec: object, metadata: object) -> None:
    decoded = read(ResourceKey(kind, "", "x"), {"spec": spec, "metadata": metadata})
    assert decoded.resource is not None or decoded.problems
    if decoded.resource is not None:
        assert decode(ResourceKey(kind, "", "x"), encode(decoded.resource)).resource is not None


@given(st.sampled_from([info.kind for info in KINDS]), st.binary(max_size=60))
def test_any_bytes_are_read_or_explained(kind: str, raw: bytes) -> None:
    decoded = decode(ResourceKey(kind, "", "x"), raw)
    assert decoded.resource is not None or decoded.problems


# Writing


def test_the_published_policy_example_is_written_exactly() -> None:
    rule = Rule(
        action="Allow",
        protocol="TCP",
        source=EntityRule(selector="role == 'front'"),
        destination=EntityRule(ports=(80, "8000:8010", "metrics")),
    )
    resource = NetworkPolicy(
        metadata=Metadata(name="allow-web", namespace="default", uid="u", resource_version="12"),
        spec=NetworkPolicySpec(
            tier="default", order=100.0, selector="app == 'web'", types=("Ingress",), ingress=(rule,)
        ),
    )
    assert stored(resource) == {
        "kind": "NetworkPolicy",
        "apiVersion": "projectcalico.org/v3",
        "metadata": {
            "name": "allow-web",
            "namespace": "default",
            "uid": "u",
            "labels": {"projectcalico.org/tier": "default"},
            "annotations": {"projectcalico.org/metadata": '{"name":"allow-web"}'},
        },
        "spec": {
            "tier": "default",
            "order": 100,
            "ingress": [
                {
                    "action": "Allow",
                    "protocol": "TCP",
                    "source": {"selector": "role == 'front'"},
                    "destination": {"ports": [80, "8000:8010", "metrics"]},
                }
            ],
            "selector": "app == 'web'",
            "types": ["Ingress"],
        },
    }
    assert b'"order":100,' in encode(resource)


def test_kind_and_version_are_forced() -> None:
    document = stored(Tier(kind="Wrong", api_version="v0"))
    assert (document["kind"], document["apiVersion"]) == ("Tier", "projectcalico.org/v3")


def test_nodes_and_tiers_carry_an_empty_status_and_others_none() -> None:
    assert stored(Node())["status"] == {}
    assert stored(Tier())["status"] == {}
    assert "status" not in stored(IPPool())
    assert stored(Node(status={"podCIDRs": ["10.0.0.0/24"]}))["status"] == {"podCIDRs": ["10.0.0.0/24"]}


def test_a_host_endpoint_is_written_with_its_ports_in_full_and_read_back() -> None:
    endpoint = HostEndpoint(
        metadata=Metadata(name="eth0", labels={"role": "edge"}),
        spec=HostEndpointSpec(
            node="n", interface_name="eth0", expected_ips=("10.0.0.1",), ports=(HostEndpointPort(protocol="tcp"),)
        ),
    )
    document = stored(endpoint)
    assert document["metadata"]["labels"] == {"role": "edge"}
    assert document["spec"] == {
        "node": "n",
        "interfaceName": "eth0",
        "expectedIPs": ["10.0.0.1"],
        "ports": [{"name": "", "protocol": "TCP", "port": 0}],
    }
    read_back = read(ResourceKey("HostEndpoint", "", "eth0"), document).resource
    assert isinstance(read_back, HostEndpoint)
    assert read_back.spec.expected_ips == ("10.0.0.1",)
    assert unknown_fields({"spec": {"ports": [{"hostPort": 1}]}}, HostEndpoint) == ["spec.ports[0].hostPort"]


def test_endpoints_are_labelled_and_ports_written_in_full() -> None:
    endpoint = WorkloadEndpoint(
        metadata=Metadata(name="n", namespace="ns", labels={"app": "web"}),
        spec=WorkloadEndpointSpec(orchestrator="k8s", ports=(EndpointPort(name="http", port=80),)),
    )
    document = stored(endpoint)
    assert document["metadata"]["labels"] == {
        "app": "web",
        "projectcalico.org/namespace": "ns",
        "projectcalico.org/orchestrator": "k8s",
    }
    port = {"name": "http", "protocol": "TCP", "port": 80, "hostPort": 0, "hostIP": ""}
    assert document["spec"]["ports"] == [port]


def test_empty_sides_are_left_out_and_scalars_have_one_spelling() -> None:
    old = {"action": "Allow", "protocol": "6", "source": {}, "destination": {"ports": ["80", "9:9"]}}
    found, problems = policy(ingress=[old])
    assert problems == ()
    assert stored(found)["spec"]["ingress"] == [{"action": "Allow", "protocol": 6, "destination": {"ports": [80, 9]}}]
    assert stored(BGPPeer(spec=BGPPeerSpec(as_number="1.10")))["spec"] == {"asNumber": 65546}


@pytest.mark.parametrize(("order", "written"), [(1000.5, b"1000.5"), (0.0, b"0"), (-5.0, b"-5"), (1e6, b"1000000")])
def test_whole_orders_have_no_fraction(order: float, written: bytes) -> None:
    assert b'"spec":{"order":' + written + b"}" in encode(Tier(spec=TierSpec(order=order)))


def test_the_level_of_bpf_logging_is_always_written() -> None:
    assert stored(FelixConfiguration())["spec"] == {"bpfLogLevel": ""}


# Unknown fields


def test_fields_of_newer_versions_survive_an_update() -> None:
    original = {
        "kind": "NetworkPolicy",
        "metadata": {"name": "web", "managedFields": [1], "selfLink": "/x", "resourceVersion": "1"},
        "spec": {"selector": "has(a)", "newField": {"x": 1}, "ingress": [{**ALLOW, "newMatch": 1}, {"action": "Log"}]},
        "newSection": True,
    }
    resource = read(POLICY, original).resource
    assert isinstance(resource, NetworkPolicy)
    changed = msgspec.structs.replace(
        resource,
        spec=msgspec.structs.replace(resource.spec, selector="has(b)", ingress=(DENY[0], *resource.spec.ingress)),
    )
    merged = json.loads(merge_unknown(json.dumps(original).encode(), encode(changed)))
    assert merged["newSection"] is True
    assert merged["metadata"]["managedFields"] == [1]
    assert "selfLink" not in merged["metadata"]
    assert "resourceVersion" not in merged["metadata"]
    assert merged["spec"]["newField"] == {"x": 1}
    assert merged["spec"]["selector"] == "has(b)"
    assert merged["spec"]["ingress"] == [{"action": "Deny"}, {**ALLOW, "newMatch": 1}, {"action": "Log"}]


def test_an_unknown_match_is_not_moved_to_a_changed_rule() -> None:
    original = {"spec": {"ingress": [{**ALLOW, "newMatch": 1}]}}
    new = encode(NetworkPolicy(spec=NetworkPolicySpec(ingress=DENY)))
    assert json.loads(merge_unknown(json.dumps(original).encode(), new))["spec"]["ingress"] == [{"action": "Deny"}]


def test_known_fields_that_were_removed_stay_removed() -> None:
    original = {"spec": {"selector": "has(a)", "order": 5, "ingress": [ALLOW]}, "metadata": {"labels": {"a": "b"}}}
    new = encode(NetworkPolicy())
    assert merge_unknown(json.dumps(original).encode(), new) == new


@pytest.mark.parametrize("original", [b"", b"[]", b"\xff", b"[" * 100_000, b'{"x":' + b"[" * 100_000])
def test_a_damaged_original_adds_nothing(original: bytes) -> None:
    new = encode(Tier())
    assert merge_unknown(original, new) == new


def test_unknown_fields_are_named_by_their_path() -> None:
    document = {
        "kind": "NetworkPolicy",
        "metadata": {"name": "x", "labels": {"free": "form"}, "lables": {}},
        "spec": {"ingress": [ALLOW, {**ALLOW, "sorce": {}, "source": {"net": []}}], "Selector": "a"},
        "spce": {},
    }
    assert unknown_fields(document, NetworkPolicy) == [
        "metadata.lables",
        "spec.ingress[1].sorce",
        "spec.ingress[1].source.net",
        "spec.Selector",
        "spce",
    ]


@pytest.mark.parametrize("document", [None, 5, [], {"spec": []}, {"spec": {"ingress": 5}}])
def test_documents_of_the_wrong_shape_have_no_unknown_fields(document: object) -> None:
    assert unknown_fields(document, NetworkPolicy) == []


@pytest.mark.parametrize(
    ("damage", "left"),
    [
        ({"ports": "ssh"}, {"expected_ips": ("10.0.0.1",), "profiles": ("p",)}),
        ({"expectedIPs": ["10.0.0.1", 7]}, {"expected_ips": ("10.0.0.1",), "profiles": ("p",)}),
        ({"expectedIPs": {}}, {"expected_ips": (), "profiles": ("p",)}),
        ({"profiles": [["p"]]}, {"expected_ips": ("10.0.0.1",), "profiles": ()}),
    ],
)
def test_a_host_endpoint_that_can_partly_be_read_goes_on_to_close_its_interface(
    damage: dict[str, Any], left: dict[str, Any]
) -> None:
    spec = {"node": "h", "interfaceName": "eth0", "expectedIPs": ["10.0.0.1"], "profiles": ["p"], **damage}
    decoded = read(ResourceKey("HostEndpoint", "", "h"), {"spec": spec})
    assert isinstance(decoded.resource, HostEndpoint)
    assert decoded.resource.spec == HostEndpointSpec(node="h", interface_name="eth0", **left)
    assert decoded.problems


@pytest.mark.parametrize("damage", [{"node": 5}, {"interfaceName": []}])
def test_a_host_endpoint_whose_place_cannot_be_read_is_absent(damage: dict[str, Any]) -> None:
    decoded = read(ResourceKey("HostEndpoint", "", "h"), {"spec": {"node": "h", "interfaceName": "eth0", **damage}})
    assert decoded.resource is None
    assert decoded.problems


@pytest.mark.parametrize("number", ["1e999", "-1e999"])
def test_a_number_that_fits_nowhere_is_damage_of_its_field(number: str) -> None:
    raw = f'{{"spec": {{"order": {number}, "ingress": [{{"action": "Allow"}}]}}}}'.encode()
    decoded = decode(ResourceKey("GlobalNetworkPolicy", "", "p"), raw)
    assert decoded.problems
    assert decoded.resource is None
