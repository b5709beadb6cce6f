"""What nodes, host endpoints, conditions and garbage collection decide, without any of the systems around them."""

from __future__ import annotations

from typing import Any

import pytest

from calico.ipam.audit.consistency import Finding
from calico.ipam.audit.state import IPAMState
from calico.ipam.stored.block import Attribute, Block
from calico.model.meta import Metadata
from calico.model.node import Node, NodeBGPSpec, NodeSpec, OrchRef
from calico.orchestrators.kubernetes.controllers.collect import Holder, evidence_of, whole_handles
from calico.orchestrators.kubernetes.controllers.host_endpoints import auto_host_endpoint, is_auto
from calico.orchestrators.kubernetes.controllers.network_condition import (
    Seen,
    Verdict,
    condition_patch,
    judge,
    read_endpoint_status,
)
from calico.orchestrators.kubernetes.controllers.node_settings import kubernetes_name
from calico.orchestrators.kubernetes.controllers.nodes import NodeLabels, with_labels_of

NAMES = {"a": "ka", "b": "kb"}
POD = Holder("a", ("ns", "web"))


def pod(node: str = "ka", **status: Any) -> dict[str, Any]:
    return {"metadata": {"name": "web", "namespace": "ns"}, "spec": {"nodeName": node}, "status": status}


def test_labels_that_kubernetes_took_away_go_and_own_ones_stay() -> None:
    first = with_labels_of(NodeLabels("ka", {"own": "1", "zone": "old"}, ""), {"zone": "z1", "disk": "ssd"})
    assert first.labels == {"own": "1", "zone": "z1", "disk": "ssd"}
    later = with_labels_of(first, {"zone": "z2"})
    assert later.labels == {"own": "1", "zone": "z2"}
    assert with_labels_of(later, {"zone": "z2"}) == later


def test_an_annotation_that_cannot_be_read_takes_no_label_away() -> None:
    assert with_labels_of(NodeLabels("ka", {"own": "1"}, "{"), {"zone": "z"}).labels == {"own": "1", "zone": "z"}


def test_only_a_reference_of_kubernetes_makes_a_node_its_own() -> None:
    refs = (OrchRef(orchestrator="openstack", node_name="x"), OrchRef(orchestrator="k8s", node_name="ka"))
    node = Node(kind="Node", metadata=Metadata(name="a"), spec=NodeSpec(orch_refs=refs))
    assert kubernetes_name(node) == "ka"
    assert kubernetes_name(Node(kind="Node", metadata=Metadata(name="b"), spec=NodeSpec(orch_refs=refs[:1]))) == ""


def test_a_host_endpoint_has_the_nodes_labels_and_every_address() -> None:
    bgp = NodeBGPSpec(ipv4_address="192.0.2.7/24", ipv6_address="2001:db8::7/64")
    spec = NodeSpec(bgp=bgp, ipv4_vxlan_tunnel_addr="10.0.0.9")
    made = auto_host_endpoint(Node(kind="Node", metadata=Metadata(name="a", labels={"zone": "z"}), spec=spec))
    assert made.metadata.name == "a-auto-hep"
    assert made.metadata.labels == {"zone": "z", "projectcalico.org/created-by": "calico-kube-controllers"}
    assert made.spec.interface_name == "*"
    assert made.spec.expected_ips == ("10.0.0.9", "192.0.2.7", "2001:db8::7")
    assert made.spec.profiles == ("projectcalico-default-allow",)
    assert is_auto(made)


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (None, "there is no pod ns/web"),
        (pod("kb", podIP="10.0.0.1"), "is on node kb"),
        (pod(phase="Succeeded", podIP="10.0.0.1"), "has finished"),
        (pod(phase="Failed"), "has finished"),
        (pod(phase="Running", podIP="10.0.0.2"), "has 10.0.0.2"),
    ],
)
def test_what_proves_that_a_pod_has_no_use_for_an_address(found: dict[str, Any] | None, words: str) -> None:
    assert words in evidence_of("10.0.0.1", POD, found, NAMES)


@pytest.mark.parametrize(
    "found",
    [
        pod(phase="Running", podIP="10.0.0.1"),
        pod(phase="Running", podIP="10.0.0.9", podIPs=[{"ip": "10.0.0.9"}, {"ip": "10.0.0.1"}]),
        pod(phase="Pending"),
        pod("", phase="Pending"),
    ],
)
def test_a_pod_that_has_the_address_or_is_being_attached_keeps_it(found: dict[str, Any]) -> None:
    assert evidence_of("10.0.0.1", POD, found, NAMES) == ""


def test_the_annotation_of_the_plugin_counts_before_the_kubelet_tells() -> None:
    found = pod(phase="Pending")
    found["metadata"]["annotations"] = {"cni.projectcalico.org/podIPs": "10.0.0.1/32,fd00::1/128"}
    assert evidence_of("10.0.0.1", POD, found, NAMES) == ""
    assert "has 10.0.0.1, fd00::1" in evidence_of("10.0.0.7", POD, found, NAMES)


def test_a_tunnels_address_goes_with_its_node_only() -> None:
    assert evidence_of("10.0.0.1", Holder("a"), None, NAMES) == ""
    assert "Node gone" in evidence_of("10.0.0.1", Holder("gone"), None, NAMES)


def test_an_address_in_use_keeps_the_others_of_its_handle() -> None:
    attributes = (Attribute(handle="both"), Attribute(handle="one"))
    block = Block(cidr="10.0.0.0/30", affinity="host:a", sequence=1, sequences={}, attributes=attributes,
                  allocations=(0, 0, 1, None), unallocated=(3,))  # fmt: skip
    state = IPAMState(blocks={block.cidr: block})
    leak = {n: Finding("address-leaked", f"10.0.0.{n}", "", "", f"10.0.0.{n}", block.cidr, h, 1, "a")
            for n, h in ((0, "both"), (1, "both"), (2, "one"))}  # fmt: skip
    assert whole_handles([leak[0], leak[2]], state) == [leak[2]]
    assert whole_handles(list(leak.values()), state) == list(leak.values())


@pytest.mark.parametrize(
    ("seen", "reason", "unavailable"),
    [
        (Seen(felix=True, felix_ever=True), "CalicoIsUp", False),
        (Seen(felix=True, felix_ever=True, bird=("Ready", "Ready")), "CalicoIsUp", False),
        (Seen(felix=True, felix_ever=True, bird=("Ready", "NotReady")), "BIRDNotReady", True),
        (Seen(felix=True, felix_ever=True, bird=("Ready", ""), silent=True), "BGPAgentNotReporting", True),
        (Seen(felix=False, felix_ever=True, bird=("Ready", "Ready")), "FelixNotReporting", True),
    ],
)
def test_what_a_host_reports_makes_the_condition(seen: Seen, reason: str, unavailable: bool) -> None:
    found = judge(seen)
    assert found is not None
    assert (found.reason, found.unavailable) == (reason, unavailable)


def test_of_a_host_that_never_reported_nothing_is_said() -> None:
    assert judge(Seen()) is None


def test_a_condition_is_written_when_it_differs_and_its_time_when_it_turns() -> None:
    verdict = Verdict(False, "CalicoIsUp", "all is well")
    patch = condition_patch({}, verdict, "T1")
    assert patch is not None
    (entry,) = patch["status"]["conditions"]
    assert (entry["type"], entry["status"], entry["lastTransitionTime"]) == ("NetworkUnavailable", "False", "T1")
    node = {"status": {"conditions": [{"type": "Ready", "status": "True"}, entry]}}
    assert condition_patch(node, verdict, "T2") is None
    for changed, since in ((Verdict(False, "CalicoIsUp", "other words"), "T1"), (Verdict(True, "X", "y"), "T2")):
        patch = condition_patch(node, changed, "T2")
        assert patch is not None
        assert patch["status"]["conditions"][0]["lastTransitionTime"] == since


def test_an_endpoint_in_error_tells_why() -> None:
    assert read_endpoint_status(b'{"status":"error","reasons":["route taken"]}') == ("route taken",)
    assert read_endpoint_status(b'{"status":"error"}') == ("no reason was told",)
    assert read_endpoint_status(b'{"status":"down","reasons":["x"]}') is None
    assert read_endpoint_status(b"{") is None
