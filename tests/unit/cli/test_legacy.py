"""Manifests of the v1 API become resources that are valid today."""

from __future__ import annotations

from typing import Any

import pytest

from calico.cli.documents.legacy import from_v1
from calico.errors import InvalidInput
from calico.model.judging import judge_document


def converted(kind: str, metadata: dict[str, Any], spec: dict[str, Any]) -> dict[str, Any]:
    document = from_v1({"apiVersion": "v1", "kind": kind, "metadata": metadata, "spec": spec})
    assert [str(fault) for fault in judge_document(document).faults] == []
    return document


def test_a_policy_becomes_a_global_one() -> None:
    rule = {
        "action": "next-tier",
        "protocol": "tcp",
        "source": {"tag": "front", "selector": "role == 'x'", "net": "10.0.0.0/8"},
        "destination": {"ports": [80, "8000:8010"], "notTag": "back"},
    }
    document = converted(
        "policy", {"name": "Web_1"}, {"order": 10, "selector": "calico/k8s_ns == 'a'", "ingress": [rule]}
    )
    assert document["kind"] == "GlobalNetworkPolicy"
    assert document["metadata"]["name"].startswith("web-1-")
    assert document["spec"]["selector"] == "projectcalico.org/namespace == 'a'"
    assert document["spec"]["ingress"] == [
        {
            "action": "Pass",
            "protocol": "TCP",
            "source": {"nets": ["10.0.0.0/8"], "selector": "(role == 'x') && front == ''"},
            "destination": {"ports": [80, "8000:8010"], "notSelector": "back == ''"},
        }
    ]


def test_tags_of_a_profile_become_labels_that_the_rules_select() -> None:
    document = converted(
        "profile", {"name": "p", "tags": ["front"], "labels": {"a": "b"}}, {"egress": [{"action": "allow"}]}
    )
    assert document["spec"] == {"labelsToApply": {"front": "", "a": "b"}, "egress": [{"action": "Allow"}]}


@pytest.mark.parametrize(
    ("ipip", "mode"),
    [({}, "Never"), ({"enabled": True}, "Always"), ({"enabled": True, "mode": "cross-subnet"}, "CrossSubnet")],
)
def test_a_pool_is_named_by_its_network(ipip: dict[str, Any], mode: str) -> None:
    document = converted("ipPool", {"cidr": "10.1.0.0/16"}, {"ipip": ipip, "nat-outgoing": True})
    assert document["metadata"]["name"] == "10-1-0-0-16"
    assert document["spec"] == {"cidr": "10.1.0.0/16", "ipipMode": mode, "natOutgoing": True}
    assert converted("ipPool", {"cidr": "fd80::/64"}, {})["metadata"]["name"] == "fd80---64"


def test_peers_hosts_and_nodes_keep_what_they_say() -> None:
    peer = converted("bgpPeer", {"scope": "node", "node": "n1", "peerIP": "10.0.0.1"}, {"asNumber": 64512})
    assert peer["spec"] == {"node": "n1", "peerIP": "10.0.0.1", "asNumber": 64512}
    assert peer["metadata"]["name"] == "n1.10-0-0-1"
    host = converted("hostEndpoint", {"name": "eth0", "node": "n1", "labels": {"a": "b"}}, {"interfaceName": "eth0"})
    assert (host["metadata"]["labels"], host["spec"]["node"]) == ({"a": "b"}, "n1")
    node = converted("node", {"name": "n1"}, {"bgp": {"ipv4Address": "10.0.0.1/24", "asNumber": 64512}})
    assert node["spec"]["bgp"] == {"ipv4Address": "10.0.0.1/24", "asNumber": 64512}


def test_a_workload_endpoint_gets_its_name_of_today() -> None:
    metadata = {"name": "eth0", "workload": "shop.web-0", "orchestrator": "k8s", "node": "n1", "labels": {"a": "b"}}
    spec = {
        "interfaceName": "cali1",
        "ipNetworks": ["10.1.0.2/32"],
        "profiles": ["k8s_ns.shop", "My_p"],
        "mac": "ee:ee:ee:ee:ee:ee",
    }
    document = converted("workloadEndpoint", metadata, spec)
    assert document["metadata"] == {"name": "n1-k8s-web--0-eth0", "namespace": "shop", "labels": {"a": "b"}}
    assert document["spec"]["pod"] == "web-0"
    named = converted("profile", {"name": "My_p"}, {})["metadata"]["name"]
    assert document["spec"]["profiles"] == ["kns.shop", named]


@pytest.mark.parametrize(
    ("kind", "metadata", "spec", "words"),
    [
        ("tier", {}, {}, "cannot be converted"),
        ("policy", {}, {}, "needed"),
        ("policy", {"name": "p"}, {"ingress": [{"action": "explode"}]}, "explode"),
        ("policy", {"name": "p"}, {"ingress": [{"sorce": {}}]}, "sorce"),
        ("policy", {"name": "p"}, {"ingress": [{"source": {"nest": 1}}]}, "nest"),
        ("policy", ["x"], {}, "objects"),
    ],
)
def test_what_has_no_meaning_is_refused_by_name(kind: str, metadata: Any, spec: Any, words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        from_v1({"kind": kind, "metadata": metadata, "spec": spec})
