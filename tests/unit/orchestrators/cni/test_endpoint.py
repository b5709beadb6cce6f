"""Endpoints and profiles that the plugin writes are ones that the model takes."""

from __future__ import annotations

import pytest

from calico.model.validation import validate
from calico.model.workload import IPNAT
from calico.orchestrators.cni.workload.annotations import Asked
from calico.orchestrators.cni.workload.endpoint import build_endpoint, network_profile
from calico.orchestrators.cni.workload.names import Attached
from calico.orchestrators.cni.workload.pods import PodFacts

POD = Attached(network="net", container_id="cd", interface="eth0", node="node-1", namespace="shop", pod="web-0")
CONTAINER = Attached(network="net", container_id="cd", interface="eth0", node="node-1")
NETS = ("10.0.0.1/32", "fd00::1/128")


def test_a_pods_endpoint_has_what_is_known_of_the_pod() -> None:
    facts = PodFacts(
        labels={"app": "web"},
        annotations={"qos.projectcalico.org/ingressBandwidth": "10M"},
        service_account="robot",
        spec={"containers": [{"ports": [{"name": "http", "containerPort": 80}]}]},
    )
    asked = Asked(floating=("198.51.100.1",), source_prefixes=("192.0.2.0/24",))
    made = build_endpoint(
        POD, host_interface="calix", mac="02:00:00:00:00:01", addresses=NETS, facts=facts, asked=asked
    )
    assert not validate(made)
    assert made.spec.profiles == ("kns.shop", "ksa.shop.robot")
    assert made.metadata.labels == {
        "app": "web",
        "projectcalico.org/namespace": "shop",
        "projectcalico.org/orchestrator": "k8s",
        "projectcalico.org/serviceaccount": "robot",
    }
    assert made.spec.ip_nats == (IPNAT(internal_ip="10.0.0.1", external_ip="198.51.100.1"),)
    assert made.spec.ports[0].name == "http"
    assert made.spec.qos_controls is not None
    assert made.spec.qos_controls.ingress_bandwidth == 10_000_000


def test_labels_given_by_hand_cannot_forge_the_namespace() -> None:
    labels = {"role": "web", "projectcalico.org/namespace": "kube-system"}
    made = build_endpoint(CONTAINER, host_interface="calix", mac="", addresses=NETS, profiles=("net",), labels=labels)
    assert not validate(made)
    assert made.metadata.labels["projectcalico.org/namespace"] == "default"
    assert made.metadata.labels["role"] == "web"


@pytest.mark.parametrize(("kubernetes", "source"), [(False, "has(net)"), (True, "")])
def test_a_network_lets_its_members_in_and_in_kubernetes_everybody(kubernetes: bool, source: str) -> None:
    profile = network_profile("net", kubernetes=kubernetes)
    assert not validate(profile)
    assert profile.spec.labels_to_apply == {"net": ""}
    assert [rule.source.selector for rule in profile.spec.ingress] == [source]
    assert [rule.action for rule in profile.spec.egress] == ["Allow"]
