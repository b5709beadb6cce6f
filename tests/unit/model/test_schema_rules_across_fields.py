"""Every rule of the published schemas that looks at more than one field is enforced, and names the field at fault."""

from __future__ import annotations

import re
from typing import Any

import pytest
from schema_rules import Document, base, constraints, dotted, faults, field_of, load, with_value

from calico.model.kinds import BY_KIND

SCHEMAS = {kind: schema for kind, schema in load().items() if kind in BY_KIND}
pytestmark = pytest.mark.skipif(not SCHEMAS, reason="the published schemas are absent")

Breaks = tuple[Document, str]
"""Members that break a rule, where the rule stands, and the field (from there) that is named; empty: that place."""

_LOAD_BALANCER: Document = {"cidr": "10.0.0.0/16", "allowedUses": ["LoadBalancer"]}
_SERVICE: Document = {"services": {"name": "web", "namespace": "ns"}}
_GLOBAL = "global()"


def _filter(cidr: str) -> list[Breaks]:
    return [
        ({"action": "Accept", "cidr": cidr}, "matchOperator"),
        ({"action": "Accept", "prefixLength": {"min": 1}}, "prefixLength"),
        ({"action": "Reject", "operations": [{"setPriority": {"value": 1}}]}, "operations"),
    ]


_RULE: list[Breaks] = [
    ({"action": "Allow", "http": {}, "protocol": "UDP"}, "http"),
    ({"action": "Deny", "http": {}}, "http"),
    ({"action": "Allow", "protocol": "TCP", "destination": {**_SERVICE, "ports": [80]}}, "destination.ports"),
    ({"action": "Allow", "protocol": "TCP", "icmp": {"type": 8}}, "icmp"),
    ({"action": "Allow", "protocol": "ICMP", "ipVersion": 6}, "ipVersion"),
    ({"action": "Allow", "protocol": 58, "ipVersion": 4}, "ipVersion"),
    ({"action": "Allow", "notProtocol": 1, "ipVersion": 6}, "ipVersion"),
    ({"action": "Allow", "notProtocol": "ICMPv6", "ipVersion": 4}, "ipVersion"),
]
_ENTITY: list[Breaks] = [
    ({"selector": _GLOBAL}, "selector"),
    ({**_SERVICE, "namespaceSelector": "all()"}, "namespaceSelector"),
    ({**_SERVICE, "serviceAccounts": {"names": ["a"]}}, "serviceAccounts"),
    ({"services": {"namespace": "ns"}}, "services.name"),
    ({**_SERVICE, "notSelector": "has(a)"}, "notSelector"),
    ({**_SERVICE, "nets": ["10.0.0.0/8"]}, "nets"),
]
_POLICY: list[Breaks] = [
    ({"selector": f"has(a) || {_GLOBAL}"}, "selector"),
    ({"serviceAccountSelector": _GLOBAL}, "serviceAccountSelector"),
]
_GLOBAL_POLICY: list[Breaks] = [
    ({"doNotTrack": True, "preDNAT": True, "applyOnForward": True}, "preDNAT"),
    ({"preDNAT": True, "applyOnForward": True, "egress": [{"action": "Allow"}], "types": ["Ingress"]}, "egress"),
    ({"preDNAT": True, "applyOnForward": True, "types": ["Ingress", "Egress"]}, "types"),
    ({"doNotTrack": True}, "applyOnForward"),
    *_POLICY,
    ({"namespaceSelector": _GLOBAL}, "namespaceSelector"),
]

BREAKS: dict[str, list[Breaks]] = {
    r"BGPConfiguration\.spec": [
        ({"nodeToNodeMeshEnabled": False, "nodeMeshPassword": {}}, "nodeMeshPassword"),
        ({"nodeToNodeMeshEnabled": False, "nodeMeshMaxRestartTime": "5s"}, "nodeMeshMaxRestartTime"),
        ({"communities": [{"name": "c", "value": "1:1"}]}, "communities"),
    ],
    r"BGPFilter\.spec\.(ex|im)portV4\.0": _filter("10.0.0.0/8"),
    r"BGPFilter\.spec\.(ex|im)portV6\.0": _filter("fd00::/8"),
    r"BGPPeer\.spec": [
        ({"node": "n", "nodeSelector": "all()"}, "nodeSelector"),
        ({"peerIP": "10.0.0.1", "peerSelector": "all()"}, "peerSelector"),
        ({"peerSelector": "all()", "asNumber": 1}, "asNumber"),
        ({"localWorkloadSelector": "all()", "asNumber": 1, "peerIP": "10.0.0.1"}, "peerIP"),
        ({"localWorkloadSelector": "all()", "peerSelector": "all()"}, "peerSelector"),
        ({"localWorkloadSelector": "all()"}, "asNumber"),
        ({"reachableBy": "10.0.0.1"}, "reachableBy"),
        ({"keepOriginalNextHop": True, "nextHopMode": "Self"}, "nextHopMode"),
    ],
    r"FelixConfiguration\.": [({"spec": {"nodeSelector": "all()"}}, "spec.nodeSelector")],
    r"FelixConfiguration\.spec": [
        ({"routeTableRange": {"min": 1, "max": 2}, "routeTableRanges": []}, "routeTableRange"),
        ({"natOutgoingAddress": "fd00::1"}, "natOutgoingAddress"),
        ({"deviceRouteSourceAddress": "fd00::1"}, "deviceRouteSourceAddress"),
        ({"deviceRouteSourceAddressIPv6": "10.0.0.1"}, "deviceRouteSourceAddressIPv6"),
    ],
    r"FelixConfiguration\.spec\.routeTableRange": [({"min": 1, "max": 251}, "")],
    r"FelixConfiguration\.spec\.routeTableRanges\.0": [({"min": 0, "max": 5}, ""), ({"min": 6, "max": 5}, "")],
    r"HostEndpoint\.spec": [
        ({"node": "n", "interfaceName": ""}, "interfaceName"),
        ({"node": "", "interfaceName": "a"}, "node"),
    ],
    r"IPPool\.spec": [
        ({"cidr": "10.0.0.0/16", "ipipMode": "Always", "vxlanMode": "CrossSubnet"}, "vxlanMode"),
        ({**_LOAD_BALANCER, "vxlanMode": "Always"}, "allowedUses"),
        ({"cidr": "10.0.0.0/16", "allowedUses": ["LoadBalancer", "Tunnel"]}, "allowedUses"),
        ({"cidr": "fd00::/64", "ipipMode": "Always"}, "ipipMode"),
        ({**_LOAD_BALANCER, "disableBGPExport": True}, "disableBGPExport"),
        ({**_LOAD_BALANCER, "nodeSelector": "has(a)"}, "nodeSelector"),
        ({"cidr": "10.0.0.0/16", "allowedUses": ["Tunnel"], "namespaceSelector": "all()"}, "namespaceSelector"),
        ({"cidr": "10.0.0.0/16", "nodeSelector": _GLOBAL}, "nodeSelector"),
        ({"cidr": "10.0.0.0/16", "namespaceSelector": _GLOBAL}, "namespaceSelector"),
        ({"cidr": "10.0.0.1/16"}, "cidr"),
        ({"cidr": "169.254.7.0/24"}, "cidr"),
        ({"cidr": "fe80::/64"}, "cidr"),
        ({"cidr": "10.0.0.0/16", "blockSize": 19}, "blockSize"),
        ({"cidr": "10.0.0.0/27"}, "cidr"),
    ],
    r"IPPool\.spec\.(blockSize|cidr)": [],
    r"Tier\.": [
        ({"metadata": {"name": "kube-admin"}, "spec": {"order": 1000, "defaultAction": "Deny"}}, "spec.defaultAction"),
        (
            {"metadata": {"name": "kube-baseline"}, "spec": {"order": 1e7, "defaultAction": "Deny"}},
            "spec.defaultAction",
        ),
        ({"metadata": {"name": "default"}, "spec": {"order": 1e6, "defaultAction": "Pass"}}, "spec.defaultAction"),
        ({"metadata": {"name": "default"}, "spec": {"order": 5}}, "spec.order"),
        ({"metadata": {"name": "kube-admin"}, "spec": {"order": 5}}, "spec.order"),
        ({"metadata": {"name": "kube-baseline"}, "spec": {"order": 5}}, "spec.order"),
    ],
    r"(Staged)?GlobalNetworkPolicy\.spec": _GLOBAL_POLICY,
    r"(Staged)?NetworkPolicy\.spec": _POLICY,
    r"(Staged)?(Global)?NetworkPolicy\.spec\.(in|e)gress\.0": _RULE,
    r"(Staged)?(Global)?NetworkPolicy\.spec\.(in|e)gress\.0\.(source|destination)": _ENTITY,
    r"(Staged)?(Global)?NetworkPolicy\.spec\.(in|e)gress\.0\.(icmp|notICMP)": [({"code": 1}, "code")],
}
"""In the order in which the rules stand in the schema. Rules about a change of a value are the datastore's."""


def rules_at(kind: str) -> dict[str, tuple[Any, list[Document]]]:
    """Place and rules of each object that has any, by ``Kind.place``."""
    found: dict[str, tuple[Any, list[Document]]] = {}
    for constraint in constraints(kind, SCHEMAS[kind]):
        if constraint.keyword == "x-kubernetes-validations":
            _, rules = found.setdefault(f"{kind}.{dotted(constraint.place)}", (constraint.place, []))
            rules += constraint.schema["x-kubernetes-validations"]
    return found


@pytest.mark.parametrize("kind", SCHEMAS)
def test_a_rule_across_fields_names_the_field_at_fault(kind: str) -> None:
    wrong = []
    for where, (place, rules) in rules_at(kind).items():
        (breaks,) = [cases for pattern, cases in BREAKS.items() if re.fullmatch(pattern, where)]
        judged = [rule for rule in rules if "oldSelf" not in rule["rule"]]
        assert len(breaks) == len(judged), where
        for rule, (members, field) in zip(judged, breaks, strict=True):
            document = with_value(base(kind), place, members) if place else _merged(base(kind, "default"), members)
            wanted = ".".join(filter(None, (field_of(place), field)))
            found = faults(document)
            if wanted not in found:
                wrong.append(f"{where}: {members} breaks {rule['rule'][:80]!r}: named are {found}, not {wanted}")
    assert not wrong, "\n".join(wrong)


def _merged(document: Document, members: Document) -> Document:
    return {**document, **members}
