"""Kubernetes objects as Calico resources."""

from typing import Any

import pytest

from calico.errors import InvalidInput
from calico.model.policy import EntityRule, Rule
from calico.model.qos import QoSControls
from calico.model.validation import validate
from calico.orchestrators.kubernetes.convert import (
    namespace_to_profile,
    network_policy_to_calico,
    pod_labels,
    pod_ports,
    pod_profiles,
    pod_qos,
    service_account_to_profile,
)


def convert(**spec: Any) -> Any:
    return network_policy_to_calico({"metadata": {"name": "p", "namespace": "x"}, "spec": spec})


def test_a_policy_keeps_its_name_behind_the_prefix_and_its_order() -> None:
    policy = convert(podSelector={}).policy
    assert (policy.metadata.name, policy.metadata.namespace) == ("knp.default.p", "x")
    assert (policy.spec.tier, policy.spec.order, policy.spec.types) == ("default", 1000.0, ("Ingress",))
    assert policy.spec.selector == "projectcalico.org/orchestrator == 'k8s'"
    assert validate(policy) == ()


def test_every_selector_operator_has_its_calico_form() -> None:
    expressions = [
        {"key": "a", "operator": "In", "values": ["1", "2"]},
        {"key": "b", "operator": "NotIn", "values": ["3"]},
        {"key": "c", "operator": "Exists"},
        {"key": "d", "operator": "DoesNotExist"},
    ]
    selector = convert(podSelector={"matchLabels": {"z": "1", "y": "2"}, "matchExpressions": expressions})
    assert selector.policy.spec.selector == (
        "projectcalico.org/orchestrator == 'k8s' && y == '2' && z == '1' && a in { '1', '2' } && b not in { '3' }"
        " && has(c) && ! has(d)"
    )


def test_ports_are_merged_by_protocol_and_named_ones_follow() -> None:
    ports = [
        {"port": 80},
        {"port": 81},
        {"port": 90, "endPort": 95},
        {"port": "web"},
        {"protocol": "UDP", "port": 53},
        {"protocol": "SCTP"},
    ]
    rules = convert(ingress=[{"ports": ports}]).policy.spec.ingress
    assert rules == (
        Rule(action="Allow", protocol="SCTP"),
        Rule(action="Allow", protocol="TCP", destination=EntityRule(ports=("80:81", "90:95", "web"))),
        Rule(action="Allow", protocol="UDP", destination=EntityRule(ports=(53,))),
    )


@pytest.mark.parametrize(
    ("peer", "entity"),
    [
        (
            {"podSelector": {"matchLabels": {"a": "b"}}},
            EntityRule(selector="projectcalico.org/orchestrator == 'k8s' && a == 'b'"),
        ),
        (
            {"namespaceSelector": {}},
            EntityRule(selector="projectcalico.org/orchestrator == 'k8s'", namespace_selector="all()"),
        ),
        (
            {"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}},
            EntityRule(nets=("10.0.0.0/8",), not_nets=("10.1.0.0/16",)),
        ),
    ],
)
def test_peers_become_the_other_side_of_the_rule(peer: dict[str, Any], entity: EntityRule) -> None:
    spec = convert(policyTypes=["Ingress", "Egress"], ingress=[{"from": [peer]}], egress=[{"to": [peer]}]).policy.spec
    assert (spec.ingress, spec.egress) == (
        (Rule(action="Allow", source=entity),),
        (Rule(action="Allow", destination=entity),),
    )


def test_rules_of_a_direction_that_is_not_in_the_types_are_not_converted() -> None:
    assert convert(policyTypes=["Ingress"], egress=[{}]).policy.spec.egress == ()


@pytest.mark.parametrize(
    "rule",
    [
        {"from": [{}]},
        {"from": [{"ipBlock": {}}]},
        {"ports": [{"port": 0}]},
        {"ports": [{"port": 90, "endPort": 80}]},
        {"from": [{"podSelector": {"matchExpressions": [{"key": "a", "operator": "Near"}]}}]},
    ],
)
def test_a_rule_that_cannot_be_converted_is_left_out_and_reported(rule: dict[str, Any]) -> None:
    converted = convert(ingress=[rule, {}])
    assert converted.policy.spec.ingress == (Rule(action="Allow"),)
    assert len(converted.problems) == 1
    assert "spec.ingress[0]" in converted.problems[0]


def test_a_policy_whose_pods_cannot_be_told_is_refused() -> None:
    with pytest.raises(InvalidInput, match="Near"):
        convert(podSelector={"matchExpressions": [{"key": "a", "operator": "Near"}]})


def test_namespaces_and_accounts_give_their_labels_by_profiles() -> None:
    namespace = namespace_to_profile("x", {"team": "blue"})
    assert namespace.metadata.name == "kns.x"
    assert namespace.spec.labels_to_apply == {"pcns.team": "blue", "pcns.projectcalico.org/name": "x"}
    assert (namespace.spec.ingress, namespace.spec.egress) == ((Rule(action="Allow"),), (Rule(action="Allow"),))
    account = service_account_to_profile("x", "robot", {"a": "b"})
    assert account.metadata.name == "ksa.x.robot"
    assert account.spec.labels_to_apply == {"pcsa.a": "b", "pcsa.projectcalico.org/name": "robot"}
    assert (account.spec.ingress, account.spec.egress) == ((), ())


def test_a_pod_gives_labels_profiles_and_named_ports() -> None:
    assert pod_labels("x", {"a": "b", "projectcalico.org/namespace": "forged"}, "robot") == {
        "a": "b",
        "projectcalico.org/namespace": "x",
        "projectcalico.org/orchestrator": "k8s",
        "projectcalico.org/serviceaccount": "robot",
    }
    assert pod_profiles("x", "robot") == ("kns.x", "ksa.x.robot")
    ports = pod_ports(
        {
            "containers": [{"ports": [{"name": "web", "containerPort": 80}, {"containerPort": 81}]}],
            "initContainers": [{"ports": [{"containerPort": 82, "hostPort": 8082, "protocol": "UDP"}]}],
        }
    )
    assert [(p.name, p.protocol, p.port, p.host_port) for p in ports] == [("web", "TCP", 80, 0), ("", "UDP", 82, 8082)]


def test_a_pod_cannot_name_its_own_service_account() -> None:
    forged = {"projectcalico.org/serviceaccount": "root"}
    assert "projectcalico.org/serviceaccount" not in pod_labels("x", forged)
    assert "projectcalico.org/serviceaccount" not in pod_labels("x", forged, "a" * 63)


def test_annotations_of_a_pod_become_its_limits() -> None:
    controls, problems = pod_qos(
        {
            "qos.projectcalico.org/ingressBandwidth": "1Gi",
            "qos.projectcalico.org/ingressBurst": "64k",
            "kubernetes.io/egress-bandwidth": "10M",
            "qos.projectcalico.org/egressPacketRate": "200",
            "qos.projectcalico.org/ingressMaxConnections": "12",
            "qos.projectcalico.org/dscp": "cs3",
            "prometheus.io/scrape": "true",
        }
    )
    assert problems == ()
    assert controls == QoSControls(
        ingress_bandwidth=1 << 30,
        ingress_burst=64000,
        egress_bandwidth=10_000_000,
        egress_packet_rate=200,
        ingress_max_connections=12,
        dscp="CS3",
    )


def test_limits_of_a_pod_that_mean_nothing_are_left_out_and_told() -> None:
    annotations = {
        "kubernetes.io/ingress-bandwidth": "1",
        "qos.projectcalico.org/egressBandwidth": "much",
        "qos.projectcalico.org/egressPacketRate": "5",
    }
    controls, problems = pod_qos(annotations)
    assert controls == QoSControls(egress_packet_rate=5)
    assert len(problems) == 2
    assert pod_qos({"kubernetes.io/ingress-bandwidth": "1"})[0] is None
    assert pod_qos({}) == (None, ())
