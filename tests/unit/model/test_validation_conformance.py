"""Validation against the published cases (read in place), whole resources and parts of them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from calico.errors import InvalidInput
from calico.model.bgp import BGPConfigurationSpec, BGPPeerSpec
from calico.model.bgpfilter import FilterOperation, FilterRule
from calico.model.felixconfig import FelixConfigurationSpec, ProtoPort
from calico.model.hostendpoint import HostEndpointSpec
from calico.model.kinds import BY_KIND
from calico.model.kubecontrollers import (
    KubeControllersConfigurationSpec,
    NodeControllerConfig,
    ReconcilerConfig,
    Template,
)
from calico.model.node import NodeSpec, NodeStatus
from calico.model.policy import EntityRule, HTTPMatch, ICMPFields, NetworkSetSpec, ProfileSpec, Rule
from calico.model.validation import FieldError, Report, validate
from calico.model.validation.bgp import check_bgp_configuration, check_peer
from calico.model.validation.bgpfilter import check_filter_operation, check_filter_rule
from calico.model.validation.felix import check_felix, check_proto_port
from calico.model.validation.hosts import (
    check_endpoint_port,
    check_endpoint_spec,
    check_host_endpoint,
    check_nat,
    check_node_spec,
    check_node_status,
)
from calico.model.validation.kubecontrollers import (
    check_kube_controllers_spec,
    check_node_controller,
    check_reconciler,
    check_template,
)
from calico.model.validation.policies import check_net_set, check_profile
from calico.model.validation.rules import check_entity, check_http, check_icmp, check_protocol, check_rule
from calico.model.workload import IPNAT, EndpointPort, WorkloadEndpointSpec

CASES_FILE = Path(__file__).resolve().parents[3].parent / "shared" / "conformance" / "validation.json"

Check = Callable[[Report, Any], None]
PARTS: dict[str, tuple[Any, Check]] = {
    "Rule": (Rule, lambda report, part: check_rule(report, "rule", part)),
    "EntityRule": (EntityRule, lambda report, part: check_entity(report, "entity", part)),
    "HTTPMatch": (HTTPMatch, lambda report, part: check_http(report, "http", part)),
    "ICMPFields": (ICMPFields, lambda report, part: check_icmp(report, "icmp", part)),
    "protocolFromString()": (int | str, lambda report, part: check_protocol(report, "protocol", part)),
    "protocolFromInt()": (int | str, lambda report, part: check_protocol(report, "protocol", part)),
    "ProfileSpec": (ProfileSpec, check_profile),
    "NetworkSetSpec": (NetworkSetSpec, lambda report, part: check_net_set(report, part, {})),
    "GlobalNetworkSetSpec": (NetworkSetSpec, lambda report, part: check_net_set(report, part, {})),
    "BGPFilterRuleV4": (FilterRule, lambda report, part: check_filter_rule(report, "rule", part, 4)),
    "BGPFilterRuleV6": (FilterRule, lambda report, part: check_filter_rule(report, "rule", part, 6)),
    "BGPFilterOperation": (FilterOperation, lambda report, part: check_filter_operation(report, "operation", part)),
    "BGPPeerSpec": (BGPPeerSpec, check_peer),
    "BGPConfigurationSpec": (BGPConfigurationSpec, check_bgp_configuration),
    "FelixConfigurationSpec": (FelixConfigurationSpec, check_felix),
    "ProtoPort": (ProtoPort, lambda report, part: check_proto_port(report, "port", part)),
    "NodeSpec": (NodeSpec, check_node_spec),
    "NodeStatus": (NodeStatus, check_node_status),
    "WorkloadEndpointSpec": (WorkloadEndpointSpec, check_endpoint_spec),
    "WorkloadEndpointPort": (EndpointPort, lambda report, part: check_endpoint_port(report, "port", part)),
    "HostEndpointSpec": (HostEndpointSpec, check_host_endpoint),
    "KubeControllersConfigurationSpec": (
        KubeControllersConfigurationSpec,
        lambda report, part: check_kube_controllers_spec(report, "spec", part),
    ),
    "NodeControllerConfig": (NodeControllerConfig, lambda report, part: check_node_controller(report, "node", part)),
    "PolicyControllerConfig": (ReconcilerConfig, lambda report, part: check_reconciler(report, "policy", part)),
    "WorkloadEndpointControllerConfig": (
        ReconcilerConfig,
        lambda report, part: check_reconciler(report, "workloadEndpoint", part),
    ),
    "ServiceAccountControllerConfig": (
        ReconcilerConfig,
        lambda report, part: check_reconciler(report, "serviceAccount", part),
    ),
    "NamespaceControllerConfig": (ReconcilerConfig, lambda report, part: check_reconciler(report, "namespace", part)),
    "Template": (Template, lambda report, part: check_template(report, "template", part)),
    "IPNAT": (IPNAT, lambda report, part: check_nat(report, "nat", part)),
}


def expand(value: Any) -> Any:
    """Replace the cases' shorthand for long strings."""
    if isinstance(value, dict):
        if "$repeat" in value:
            text, count = value["$repeat"]
            return text * count
        return {key: expand(inner) for key, inner in value.items()}
    return [expand(inner) for inner in value] if isinstance(value, list) else value


def faults(kind: str, raw: Any) -> list[FieldError] | str:
    """What validation says; a text when the input does not even decode."""
    try:
        if kind in BY_KIND:
            return list(validate(msgspec.convert(raw, BY_KIND[kind].cls)))
        cls, check = PARTS[kind]
        report = Report()
        check(report, msgspec.convert(raw, cls))
    except (msgspec.ValidationError, InvalidInput) as error:
        return str(error)
    return report.errors


@pytest.fixture(scope="module")
def cases() -> list[dict[str, Any]]:
    if not CASES_FILE.exists():
        pytest.skip(f"{CASES_FILE} is absent")
    loaded: list[dict[str, Any]] = json.loads(CASES_FILE.read_text())["cases"]
    return loaded


def test_published_verdicts_are_reproduced_for_every_kind_we_know(cases: list[dict[str, Any]]) -> None:
    wrong, judged = [], 0
    for case in cases:
        if case["type"] in BY_KIND or case["type"] in PARTS:
            found = faults(case["type"], expand(case["input"]))
            judged += 1
            if (not found) != case["valid"]:
                wrong.append(f"{case['type']} {case['name']}: {json.dumps(case['input'])[:300]}: {found}")
    assert judged > 250
    assert not wrong, "\n".join([f"{len(wrong)} of {judged}", *wrong])


def test_every_published_type_is_judged(cases: list[dict[str, Any]]) -> None:
    others = Counter(case["type"] for case in cases if case["type"] not in BY_KIND and case["type"] not in PARTS)
    if others:
        pytest.skip(f"{others.total()} cases are of types outside this model: {dict(others)}")
