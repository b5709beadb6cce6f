"""Rules of the specification that the published validation cases do not show."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from calico.model.kinds import BY_KIND
from calico.model.validation import validate

NAMES = {"NetworkSet": "s", "WorkloadEndpoint": "n-openstack-w-e"}
ENDPOINT = {"node": "n", "orchestrator": "openstack", "workload": "w", "endpoint": "e", "interfaceName": "tap1"}


def faults(kind: str, spec: Any, **metadata: Any) -> dict[str, str]:
    """Reasons by field."""
    if kind == "WorkloadEndpoint":
        spec = {**ENDPOINT, **spec}
    document = {"metadata": {"name": NAMES.get(kind, "x"), **metadata}, "spec": spec}
    return {fault.field: fault.reason for fault in validate(msgspec.convert(document, BY_KIND[kind].cls))}


def rule(**fields: Any) -> dict[str, Any]:
    return {"ingress": [{"action": "Allow", **fields}]}


@pytest.mark.parametrize(
    ("kind", "spec"),
    [
        ("NetworkPolicy", rule(protocol="UDPLite")),
        ("NetworkPolicy", rule(destination={"ports": ["http", "metrics"]})),
        ("NetworkPolicy", rule(protocol="tcp", destination={"ports": ["1:65535", 22]})),
        ("NetworkPolicy", rule(ipVersion=6, source={"nets": ["fd00::/8"], "notNets": ["fd00:1::/32"]})),
        ("NetworkPolicy", rule(source={"serviceAccounts": {"names": ["a.b"], "selector": "has(x)"}})),
        ("Profile", rule(source={"namespaceSelector": "global()"})),
        ("NetworkSet", {"nets": ["10.0.0.1/8", "10.0.0.1", "fd00::1/8"]}),
        ("Node", {"bgp": {"ipv4Address": "10.0.0.1/24", "asNumber": "1.10", "routeReflectorClusterID": "1.0.0.1"}}),
        (
            "Node",
            {"addresses": [{"address": "10.0.0.1", "type": "InternalIP"}], "vxlanTunnelMACAddr": "66:00:00:00:00:01"},
        ),
        ("BGPPeer", {"peerIP": "fd00::1", "reachableBy": "fd00::2", "asNumber": 65001, "nextHopMode": "Self"}),
        ("BGPPeer", {"localWorkloadSelector": "has(a)", "asNumber": 65001, "keepaliveTime": "30s"}),
        ("BGPConfiguration", {"listenPort": 1179, "ignoredInterfaces": ["eth*"], "bindMode": "NodeIP"}),
        ("IPPool", {"cidr": "10.0.0.0/28", "disabled": True}),
        (
            "IPPool",
            {"cidr": "10.0.0.0/28", "blockSize": 29, "namespaceSelector": "has(a)", "allowedUses": ["Workload"]},
        ),
        (
            "WorkloadEndpoint",
            {"ipNetworks": ["10.0.0.1"], "ports": [{"port": 80, "hostPort": 8080}], "mac": "EE-00-00-00-00-01"},
        ),
        ("WorkloadEndpoint", {"qosControls": {"ingressBandwidth": 1000, "ingressBurst": 0, "dscp": "ef"}}),
        ("HostEndpoint", {"node": "n", "interfaceName": "*", "profiles": ["projectcalico-default-allow"]}),
        ("HostEndpoint", {"node": "n", "expectedIPs": ["10.0.0.1", "fd00::1"]}),
        ("GlobalNetworkPolicy", {"doNotTrack": True, "applyOnForward": True, "types": ["Ingress", "Egress"]}),
        ("GlobalNetworkPolicy", {"preDNAT": True, "applyOnForward": True, "types": ["Ingress"]}),
        (
            "FelixConfiguration",
            {"failsafeInboundHostPorts": [{"protocol": "tcp", "port": 22, "net": "10.0.0.0/8"}]},
        ),
        ("FelixConfiguration", {"failsafeOutboundHostPorts": []}),
        ("FelixConfiguration", {"reportingInterval": "0s", "natPortRange": "1000:2000", "nodeSelector": "has(a)"}),
        ("ClusterInformation", {}),
    ],
)
def test_these_are_accepted(kind: str, spec: dict[str, Any]) -> None:
    assert faults(kind, spec, **({"name": "default"} if kind == "ClusterInformation" else {})) == {}


@pytest.mark.parametrize(
    ("kind", "spec", "field"),
    [
        ("NetworkPolicy", rule(source={"nets": ["10.0.0.1"]}), "spec.ingress[0].source.nets[0]"),
        ("NetworkPolicy", rule(source={"nets": ["10.0.0.1/8"]}), "spec.ingress[0].source.nets[0]"),
        ("NetworkPolicy", rule(source={"nets": ["10.0.0.0/8"] * 2}), "spec.ingress[0].source.nets[1]"),
        ("NetworkPolicy", rule(protocol="TCP", destination={"ports": [1] * 51}), "spec.ingress[0].destination.ports"),
        ("NetworkPolicy", rule(protocol="ICMP", destination={"ports": ["a"]}), "spec.ingress[0].destination.ports"),
        ("NetworkPolicy", rule(notProtocol="ICMPv6", ipVersion=4), "spec.ingress[0].ipVersion"),
        ("NetworkPolicy", rule(protocol=0), "spec.ingress[0].protocol"),
        ("NetworkPolicy", rule(protocol="UDP", http={"methods": ["GET"]}), "spec.ingress[0].http"),
        ("NetworkPolicy", {"egress": [{"action": "Allow", "http": {}}]}, "spec.egress[0].http"),
        ("NetworkPolicy", {"ingress": [{"action": "Deny"}] * 1025}, "spec.ingress"),
        ("NetworkPolicy", {"selector": f"a == '{'x' * 1020}'"}, "spec.selector"),
        ("NetworkPolicy", {"types": ["ingress"]}, "spec.types[0]"),
        ("NetworkPolicy", {"tier": "My_Tier"}, "spec.tier"),
        ("GlobalNetworkPolicy", {"namespaceSelector": "a = b"}, "spec.namespaceSelector"),
        ("GlobalNetworkPolicy", {"selector": "global()"}, "spec.selector"),
        ("GlobalNetworkPolicy", {"namespaceSelector": "global()"}, "spec.namespaceSelector"),
        ("GlobalNetworkPolicy", {"serviceAccountSelector": "global()"}, "spec.serviceAccountSelector"),
        ("GlobalNetworkPolicy", {"doNotTrack": True, "preDNAT": True, "applyOnForward": True}, "spec.preDNAT"),
        ("GlobalNetworkPolicy", {"doNotTrack": True}, "spec.applyOnForward"),
        ("GlobalNetworkPolicy", {"preDNAT": True}, "spec.applyOnForward"),
        ("GlobalNetworkPolicy", {"preDNAT": True, "applyOnForward": True, "egress": [{"action": "Deny"}]},
         "spec.egress"),
        ("GlobalNetworkPolicy", {"preDNAT": True, "applyOnForward": True, "types": ["Ingress", "Egress"]},
         "spec.types"),
        ("Tier", {"defaultAction": "Allow"}, "spec.defaultAction"),
        ("HostEndpoint", {"interfaceName": "eth0"}, "spec.node"),
        ("HostEndpoint", {"node": "N_1", "interfaceName": "eth0"}, "spec.node"),
        ("HostEndpoint", {"node": "n"}, "spec.interfaceName"),
        ("HostEndpoint", {"node": "n", "interfaceName": "eth0:1"}, "spec.interfaceName"),
        ("HostEndpoint", {"node": "n", "interfaceName": ".."}, "spec.interfaceName"),
        ("HostEndpoint", {"node": "n", "expectedIPs": ["10.0.0.1/32"]}, "spec.expectedIPs[0]"),
        ("HostEndpoint", {"node": "n", "expectedIPs": ["10.0.0.1", "10.0.0.1"]}, "spec.expectedIPs[1]"),
        ("HostEndpoint", {"node": "n", "interfaceName": "eth0", "profiles": ["a", "a"]}, "spec.profiles[1]"),
        ("HostEndpoint", {"node": "n", "interfaceName": "eth0", "profiles": [""]}, "spec.profiles[0]"),
        ("HostEndpoint", {"node": "n", "interfaceName": "eth0", "ports": [{"protocol": "TCP", "port": 1}]},
         "spec.ports[0].name"),
        ("HostEndpoint", {"node": "n", "interfaceName": "eth0", "ports": [{"name": "a", "port": 1}]},
         "spec.ports[0].protocol"),
        ("HostEndpoint", {"node": "n", "interfaceName": "eth0", "ports": [{"name": "a", "protocol": "TCP"}]},
         "spec.ports[0].port"),
        ("Profile", {"labelsToApply": {"a": "-"}}, "spec.labelsToApply[a]"),
        ("NetworkSet", {"nets": ["10.0.0.1", "10.0.0.1"]}, "spec.nets[1]"),
        ("Node", {"addresses": [{"address": "10.0.0.1", "type": "Pigeon"}]}, "spec.addresses[0].type"),
        ("Node", {"vxlanTunnelMACAddr": "66:00"}, "spec.vxlanTunnelMACAddr"),
        ("BGPPeer", {"asNumber": 2**32}, "spec.asNumber"),
        ("BGPPeer", {"ttlSecurity": 256}, "spec.ttlSecurity"),
        ("BGPPeer", {"password": {"secretKeyRef": {"name": "s"}}}, "spec.password.secretKeyRef.key"),
        ("BGPConfiguration", {"communities": [{"name": "c", "value": "1:1"}]}, "spec.communities"),
        ("BGPConfiguration", {"listenPort": 65536}, "spec.listenPort"),
        ("IPPool", {"cidr": "10.0.0.1/24"}, "spec.cidr"),
        ("IPPool", {"cidr": "10.0.0.0"}, "spec.cidr"),
        ("IPPool", {"cidr": "169.254.8.0/24"}, "spec.cidr"),
        ("IPPool", {"cidr": "10.0.0.0/27"}, "spec.cidr"),
        ("IPPool", {"cidr": "10.0.0.0/16", "blockSize": 33}, "spec.blockSize"),
        ("IPPool", {"cidr": "10.0.0.0/16", "allowedUses": ["Tunnel"], "namespaceSelector": "a != 'b'"},
         "spec.namespaceSelector"),
        ("WorkloadEndpoint", {"ports": [{"name": "a--b", "port": 80}]}, "spec.ports[0].name"),
        ("WorkloadEndpoint", {"qosControls": {"ingressBandwidth": 999}}, "spec.qosControls.ingressBandwidth"),
        ("WorkloadEndpoint", {"qosControls": {"egressBurst": 34359738361}}, "spec.qosControls.egressBurst"),
        ("WorkloadEndpoint", {"qosControls": {"egressPacketRate": 10001}}, "spec.qosControls.egressPacketRate"),
        ("WorkloadEndpoint", {"qosControls": {"ingressMaxConnections": -1}}, "spec.qosControls.ingressMaxConnections"),
        ("WorkloadEndpoint", {"qosControls": {"dscp": "EFF"}}, "spec.qosControls.dscp"),
        ("WorkloadEndpoint", {"qosControls": {"ingressBandwidth": 2000, "ingressPeakrate": 2000}},
         "spec.qosControls.ingressPeakrate"),
        ("WorkloadEndpoint", {"workload": "other"}, "metadata.name"),
        ("WorkloadEndpoint", {"node": ""}, "spec.node"),
        ("WorkloadEndpoint", {"ipv4Gateway": "fd00::1"}, "spec.ipv4Gateway"),
        ("FelixConfiguration", {"reportingInterval": "soon"}, "spec.reportingInterval"),
        ("FelixConfiguration", {"reportingInterval": ""}, "spec.reportingInterval"),
        ("FelixConfiguration", {"kubeNodePortRanges": ["http"]}, "spec.kubeNodePortRanges[0]"),
        ("FelixConfiguration", {"healthTimeoutOverrides": [{"name": "a/b", "timeout": "1s"}]},
         "spec.healthTimeoutOverrides[0].name"),
        ("FelixConfiguration", {"failsafeInboundHostPorts": [{"protocol": "ICMP", "port": 1}]},
         "spec.failsafeInboundHostPorts[0].protocol"),
        ("FelixConfiguration", {"failsafeInboundHostPorts": [{"port": 1}]},
         "spec.failsafeInboundHostPorts[0].protocol"),
        ("FelixConfiguration", {"failsafeOutboundHostPorts": [{"protocol": "TCP", "port": 65536}]},
         "spec.failsafeOutboundHostPorts[0].port"),
        ("FelixConfiguration", {"failsafeOutboundHostPorts": [{"protocol": "TCP", "port": 1, "net": "here"}]},
         "spec.failsafeOutboundHostPorts[0].net"),
        ("FelixConfiguration", {"routeTableRanges": [{"min": 1, "max": 70000}]}, "spec.routeTableRanges"),
        ("ClusterInformation", {}, "metadata.name"),
    ],
)  # fmt: skip
def test_these_are_refused_with_their_place(kind: str, spec: dict[str, Any], field: str) -> None:
    assert field in faults(kind, spec)


def test_a_node_s_bgp_configuration_cannot_decide_for_the_cluster() -> None:
    assert "spec.asNumber" in faults("BGPConfiguration", {"asNumber": 65001}, name="node.a")
    assert faults("BGPConfiguration", {"listenPort": 1179}, name="node.a") == {}


def test_only_free_felix_configurations_choose_hosts_by_selector() -> None:
    assert "spec.nodeSelector" in faults("FelixConfiguration", {"nodeSelector": "has(a)"}, name="node.a")
    assert "spec.nodeSelector" in faults("FelixConfiguration", {"nodeSelector": "has(a)"}, name="default")


def test_labels_and_annotations_follow_kubernetes() -> None:
    assert "metadata.labels[a b]" in faults("Tier", {}, labels={"a b": "c"})
    assert "metadata.labels[a]" in faults("Tier", {}, labels={"a": "x" * 64})
    assert "metadata.annotations[a/b/c]" in faults("Tier", {}, annotations={"a/b/c": ""})
    assert "metadata.annotations" in faults("Tier", {}, annotations={"a": "x" * 262144})
    assert (
        faults("Tier", {}, labels={"Example": "", "k8s.io/a_b": "A.b-c"}, annotations={"UPPER.io/x": "any text"}) == {}
    )


def test_every_fault_is_reported_at_once_and_reads_well() -> None:
    document = {
        "metadata": {"name": "x"},
        "spec": {"selector": "a = b", "types": ["Up"], "ingress": [{"action": "No"}]},
    }
    found = validate(msgspec.convert(document, BY_KIND["NetworkPolicy"].cls))
    assert [fault.field for fault in found] == ["spec.selector", "spec.types[0]", "spec.ingress[0].action"]
    assert str(found[1]) == "spec.types[0]: must be Ingress or Egress (found 'Up')"
