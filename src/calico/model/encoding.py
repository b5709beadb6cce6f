"""Resources to stored bytes, exactly as the Go client lays them out (spec §3)."""

from __future__ import annotations

from typing import Any

import msgspec

from calico.errors import InvalidInput
from calico.model.bgp import BGPConfiguration, BGPPeer
from calico.model.decoding import POLICY_NAME_ANNOTATION, TIER_LABEL, decode
from calico.model.felixconfig import FelixConfiguration
from calico.model.grafting import graft
from calico.model.hostendpoint import HostEndpoint
from calico.model.ipam import BlockAffinity, IPAMConfig, IPAMConfiguration
from calico.model.ippool import IPPool
from calico.model.keys import ResourceKey
from calico.model.kinds import BY_KIND
from calico.model.kubecontrollers import KubeControllersConfiguration
from calico.model.meta import API_VERSION, Resource
from calico.model.node import Node
from calico.model.nodestatus import CalicoNodeStatus
from calico.model.numorstring import parse_as_number, parse_dscp, parse_protocol, port_json
from calico.model.policy import GlobalNetworkPolicy, NetworkPolicy, Profile, Tier
from calico.model.staged import StagedGlobalNetworkPolicy, StagedKubernetesNetworkPolicy, StagedNetworkPolicy
from calico.model.workload import WorkloadEndpoint

__all__ = ["encode", "merge_unknown"]

NAMESPACE_LABEL = "projectcalico.org/namespace"
ORCHESTRATOR_LABEL = "projectcalico.org/orchestrator"
_WITH_STATUS = (KubeControllersConfiguration, Node, Tier)
_NEVER_STORED = ("resourceVersion", "selfLink")
_LARGEST_PLAIN_FLOAT = 1e21

Tree = dict[str, Any]


def encode(resource: Resource) -> bytes:
    """The JSON to store: one line, kind and apiVersion forced, never a resourceVersion."""
    return msgspec.json.encode(to_stored(resource))


def to_stored(resource: Resource) -> Tree:
    """The document that ``encode`` writes, as plain dicts and lists."""
    raw: Tree = msgspec.to_builtins(resource)
    metadata: Tree = raw.get("metadata", {})
    metadata.pop("resourceVersion", None)
    spec: Tree = raw.get("spec", {})
    _complete_metadata(resource, metadata)
    _complete_spec(resource, spec)
    tree: Tree = {"kind": type(resource).__name__, "apiVersion": API_VERSION, "metadata": metadata, "spec": spec}
    if isinstance(resource, _WITH_STATUS):
        tree["status"] = raw.get("status") or {}
    elif raw.get("status") is not None:
        tree["status"] = raw["status"]
    if isinstance(resource, CalicoNodeStatus):
        tree["status"] = _complete_node_status(raw.get("status", {}))
    return tree


def merge_unknown(original_raw: bytes, new: bytes) -> bytes:
    """``new`` with the fields of ``original_raw`` that our schema does not know, so that an update loses nothing.

    Elements of lists are matched: one that was edited keeps what we do not know of it, one that was exchanged does not.
    Originals that are no JSON object add nothing. ``new`` must be what ``encode`` gave.
    """
    tree = msgspec.json.decode(new)
    info = BY_KIND.get(tree["kind"])
    if info is None:
        return new
    metadata = tree.setdefault("metadata", {})
    key = ResourceKey(info.kind, metadata.get("namespace", ""), metadata.get("name", ""))
    found = decode(key, original_raw)
    base = None
    if found.resource is not None and not found.problems:
        base = msgspec.json.decode(encode(found.resource))
    graft(original_raw, base, tree, info.cls)
    for name in _NEVER_STORED:
        metadata.pop(name, None)
    try:
        return msgspec.json.encode(tree)
    except RecursionError:
        return new


def _complete_metadata(resource: Resource, metadata: Tree) -> None:
    labels = dict(resource.metadata.labels)
    match resource:
        case NetworkPolicy() | GlobalNetworkPolicy() | StagedNetworkPolicy() | StagedGlobalNetworkPolicy():
            labels[TIER_LABEL] = resource.spec.tier or "default"
            annotation = msgspec.json.encode({"name": resource.metadata.name}).decode()
            annotations = {**resource.metadata.annotations, POLICY_NAME_ANNOTATION: annotation}
            metadata["annotations"] = dict(sorted(annotations.items()))
        case WorkloadEndpoint():
            labels[NAMESPACE_LABEL] = resource.metadata.namespace
            if resource.spec.orchestrator:
                labels[ORCHESTRATOR_LABEL] = resource.spec.orchestrator
    if labels:
        metadata["labels"] = dict(sorted(labels.items()))


def _complete_spec(resource: Resource, spec: Tree) -> None:
    """Write what is never omitted, leave out what is empty, and spell scalars in their one stored form."""
    match resource:
        case NetworkPolicy() | GlobalNetworkPolicy() | StagedNetworkPolicy() | StagedGlobalNetworkPolicy() | Profile():
            for rule in (*spec.get("ingress", ()), *spec.get("egress", ())):
                _complete_rule(rule)
            _plain_order(spec)
        case StagedKubernetesNetworkPolicy():
            spec.setdefault("podSelector", {})
        case Tier():
            _plain_order(spec)
        case WorkloadEndpoint():
            _complete_endpoint(spec)
        case HostEndpoint():
            _complete_ports(spec, {"name": "", "protocol": "", "port": 0})
        case IPPool():
            spec.setdefault("cidr", "")
        case Node():
            _complete_node(spec)
        case BlockAffinity():
            _complete_affinity(spec)
        case IPAMConfiguration() | IPAMConfig():
            spec["strictAffinity"] = resource.spec.strict_affinity
            spec["autoAllocateBlocks"] = resource.spec.auto_allocate_blocks
        case KubeControllersConfiguration():
            spec.setdefault("controllers", {})
        case BGPConfiguration() | BGPPeer():
            for name in ("asNumber", "localASNumber"):
                _respell(spec, name, parse_as_number)
        case FelixConfiguration():
            spec.setdefault("bpfLogLevel", "")
            for name in ("failsafeInboundHostPorts", "failsafeOutboundHostPorts"):
                for port in spec.get(name) or ():
                    port.setdefault("port", 0)


def _plain_order(spec: Tree) -> None:
    """Go writes whole floats without a fraction."""
    order = spec.get("order")
    if isinstance(order, float) and abs(order) < _LARGEST_PLAIN_FLOAT and order.is_integer():
        spec["order"] = int(order)


def _complete_rule(rule: Tree) -> None:
    for name in ("protocol", "notProtocol"):
        _respell(rule, name, parse_protocol)
    for side in ("source", "destination"):
        entity = rule.get(side)
        if entity == {}:
            del rule[side]
        elif entity is not None:
            for name in ("ports", "notPorts"):
                if name in entity:
                    entity[name] = [_or_as_given(port, port_json) for port in entity[name]]


def _complete_affinity(spec: Tree) -> None:
    for name in ("state", "node", "cidr"):
        spec.setdefault(name, "")
    deleted = spec.get("deleted", False)
    spec["deleted"] = deleted if isinstance(deleted, str) else str(deleted).lower()


def _complete_endpoint(spec: Tree) -> None:
    _complete_ports(spec, {"name": "", "protocol": "TCP", "port": 0, "hostPort": 0, "hostIP": ""})
    for nat in spec.get("ipNATs", ()):
        nat.setdefault("internalIP", "")
        nat.setdefault("externalIP", "")
    _respell(spec.get("qosControls") or {}, "dscp", parse_dscp)


def _complete_ports(spec: Tree, never_omitted: Tree) -> None:
    for port in spec.get("ports", ()):
        for name, value in never_omitted.items():
            port.setdefault(name, value)
        _respell(port, "protocol", parse_protocol)


def _complete_node(spec: Tree) -> None:
    _respell(spec.get("bgp") or {}, "asNumber", parse_as_number)
    for address in spec.get("addresses", ()):
        address.setdefault("address", "")
    for reference in spec.get("orchRefs", ()):
        reference.setdefault("orchestrator", "")


def _complete_node_status(status: Tree) -> Tree:
    """The answer's parts and its counts are written also when there is nothing in them."""
    agent, bgp, routes = (status.get(name, {}) for name in ("agent", "bgp", "routes"))
    counts = {f"number{what}V{family}": 0 for family in (4, 6) for what in ("Established", "NotEstablished")}
    return {
        "lastUpdated": status.get("lastUpdated"),
        "agent": {"birdV4": {}, "birdV6": {}} | agent,
        "bgp": counts | bgp,
        "routes": routes,
    }


def _respell(tree: Tree, name: str, spell: Any) -> None:
    if name in tree:
        tree[name] = _or_as_given(tree[name], spell)


def _or_as_given(value: Any, spell: Any) -> Any:
    """The stored form, or the value itself when it has none; refusing it is validation's task."""
    try:
        return spell(value)
    except InvalidInput:
        return value
