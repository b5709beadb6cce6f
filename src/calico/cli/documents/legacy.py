"""Manifests of Calico's first API (``apiVersion: v1``) as resources. Pure.

The fields are those of the v1 manifests of Calico 2; what had no successor is a problem, in a sentence.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from typing import Any

from calico.errors import InvalidInput
from calico.model.meta import API_VERSION
from calico.model.names import WorkloadEndpointIdentifiers

__all__ = ["LEGACY_VERSION", "from_v1"]

LEGACY_VERSION = "v1"
Tree = dict[str, Any]

_ACTIONS = {"allow": "Allow", "deny": "Deny", "log": "Log", "next-tier": "Pass", "pass": "Pass"}
_PROTOCOLS = {"tcp": "TCP", "udp": "UDP", "icmp": "ICMP", "icmpv6": "ICMPv6", "sctp": "SCTP", "udplite": "UDPLite"}
_IPIP_MODES = {"always": "Always", "cross-subnet": "CrossSubnet", "": "Always"}
_SUBDOMAIN = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?")


def from_v1(raw: Mapping[str, Any]) -> Tree:
    """The resource as a document of today; InvalidInput naming what cannot be converted."""
    kind = str(raw.get("kind", ""))
    convert = _CONVERTERS.get(kind.lower())
    metadata, spec = raw.get("metadata") or {}, raw.get("spec") or {}
    if not isinstance(metadata, dict) or not isinstance(spec, dict):
        raise InvalidInput("metadata and spec must be objects", subject=kind)
    if convert is None:
        known = ", ".join(sorted(_CONVERTERS))
        raise InvalidInput(f"cannot be converted; known: {known}", subject=kind or "?", field="kind")
    return convert(metadata, spec)


def _resource(kind: str, name: str, spec: Tree, *, labels: Any = None, namespace: str = "") -> Tree:
    metadata: Tree = {"name": name, **({"namespace": namespace} if namespace else {})}
    if labels:
        metadata["labels"] = dict(labels)
    body = {key: value for key, value in spec.items() if value not in (None, "", [], {})}
    return {"apiVersion": API_VERSION, "kind": kind, "metadata": metadata, "spec": body}


def _name(text: object, what: str) -> str:
    """A name that is allowed today: lower case, everything else a dash, and then a digest of what it was."""
    given = str(text or "")
    if not given:
        raise InvalidInput("is needed", subject=what, field="metadata.name")
    if _SUBDOMAIN.fullmatch(given):
        return given
    plain = re.sub(r"[^a-z0-9.-]+", "-", given.lower()).strip("-.") or "x"
    return f"{plain}-{hashlib.sha256(given.encode()).hexdigest()[:8]}"


def _address_name(text: object, what: str) -> str:
    given = str(text or "")
    if not given:
        raise InvalidInput("is needed", subject=what, field="metadata")
    return re.sub(r"[^0-9a-f]", "-", given.lower()).strip("-")


def _policy(metadata: Tree, spec: Tree) -> Tree:
    name = _name(metadata.get("name"), "policy")
    body = {
        "order": spec.get("order"),
        "selector": _selector(spec.get("selector")),
        "types": [str(item).capitalize() for item in spec.get("types") or []],
        **{name: spec.get(name) for name in ("doNotTrack", "preDNAT", "applyOnForward")},
        **_both_directions(f"policy {name}", spec),
    }
    return _resource("GlobalNetworkPolicy", name, body)


def _profile(metadata: Tree, spec: Tree) -> Tree:
    name = _profile_name(metadata.get("name"))
    labels = {**{str(tag): "" for tag in metadata.get("tags") or []}, **(metadata.get("labels") or {})}
    return _resource("Profile", name, {"labelsToApply": labels, **_both_directions(f"profile {name}", spec)})


def _profile_name(text: object) -> str:
    """Profiles of Kubernetes namespaces begin with ``kns.`` today."""
    return _name(re.sub(r"^k8s_ns\.", "kns.", str(text or "")), "profile")


def _both_directions(subject: str, spec: Tree) -> Tree:
    return {
        direction: [
            _rule(rule, subject, f"spec.{direction}[{index}]") for index, rule in enumerate(spec.get(direction) or [])
        ]
        for direction in ("ingress", "egress")
    }


def _rule(rule: Any, subject: str, where: str) -> Tree:
    if not isinstance(rule, dict):
        raise InvalidInput("must be an object", subject=subject, field=where)
    action = _ACTIONS.get(str(rule.get("action", "allow")).lower())
    if action is None:
        raise InvalidInput(f"{rule.get('action')!r} is no action", subject=subject, field=f"{where}.action")
    converted: Tree = {"action": action}
    for name in ("protocol", "notProtocol"):
        if name in rule:
            converted[name] = _PROTOCOLS.get(str(rule[name]).lower(), rule[name])
    for name, new in (("ipVersion", "ipVersion"), ("icmp", "icmp"), ("notICMP", "notICMP"), ("!icmp", "notICMP")):
        if name in rule:
            converted[new] = rule[name]
    for side in ("source", "destination"):
        entity = _entity(rule.get(side) or {}, subject, f"{where}.{side}")
        if entity:
            converted[side] = entity
    unknown = set(rule) - {*converted, "source", "destination", "!icmp"}
    if unknown:
        raise InvalidInput("unknown field", subject=subject, field=f"{where}.{min(unknown)}")
    return converted


def _entity(entity: Tree, subject: str, where: str) -> Tree:
    known = {
        "nets": [*([entity["net"]] if entity.get("net") else []), *(entity.get("nets") or [])],
        "notNets": [*([entity["notNet"]] if entity.get("notNet") else []), *(entity.get("notNets") or [])],
        "ports": entity.get("ports"),
        "notPorts": entity.get("notPorts"),
        "selector": _with_tag(_selector(entity.get("selector")), entity.get("tag"), "&&"),
        "notSelector": _with_tag(_selector(entity.get("notSelector")), entity.get("notTag"), "||"),
    }
    unknown = set(entity) - {*known, "net", "notNet", "tag", "notTag"}
    if unknown:
        raise InvalidInput("unknown field", subject=subject, field=f"{where}.{min(unknown)}")
    return {name: value for name, value in known.items() if value}


def _with_tag(selector: str, tag: object, operator: str) -> str:
    """A tag was set by profiles, and so is the label of its name that stands for it now."""
    if not tag:
        return selector
    has_tag = f"{tag} == ''"
    return f"({selector}) {operator} {has_tag}" if selector else has_tag


def _selector(text: object) -> str:
    return str(text or "").replace("calico/k8s_ns", "projectcalico.org/namespace")


def _pool(metadata: Tree, spec: Tree) -> Tree:
    ipip = spec.get("ipip") or {}
    body = {
        "cidr": metadata.get("cidr"),
        "ipipMode": _IPIP_MODES.get(str(ipip.get("mode", "")), "Always") if ipip.get("enabled") else "Never",
        "natOutgoing": spec.get("nat-outgoing") or spec.get("natOutgoing"),
        "disabled": spec.get("disabled"),
    }
    return _resource("IPPool", _address_name(metadata.get("cidr"), "ipPool"), body)


def _peer(metadata: Tree, spec: Tree) -> Tree:
    node = str(metadata.get("node", "")) if metadata.get("scope") == "node" else ""
    address = _address_name(metadata.get("peerIP"), "bgpPeer")
    body = {"node": node, "peerIP": metadata.get("peerIP"), "asNumber": spec.get("asNumber")}
    return _resource("BGPPeer", _name(f"{node}.{address}" if node else address, "bgpPeer"), body)


def _host_endpoint(metadata: Tree, spec: Tree) -> Tree:
    node = str(metadata.get("node", ""))
    profiles = [_profile_name(each) for each in spec.get("profiles") or []]
    names = ("interfaceName", "expectedIPs", "ports")
    body = {"node": node, "profiles": profiles, **{name: spec.get(name) for name in names}}
    name = _name(f"{node}.{metadata.get('name', '')}", "hostEndpoint")
    return _resource("HostEndpoint", name, body, labels=metadata.get("labels"))


def _node(metadata: Tree, spec: Tree) -> Tree:
    bgp = {name: (spec.get("bgp") or {}).get(name) for name in ("asNumber", "ipv4Address", "ipv6Address")}
    body = {"bgp": {name: value for name, value in bgp.items() if value}, "orchRefs": spec.get("orchRefs")}
    return _resource("Node", _name(metadata.get("name"), "node"), body, labels=metadata.get("labels"))


def _workload_endpoint(metadata: Tree, spec: Tree) -> Tree:
    orchestrator, workload = str(metadata.get("orchestrator", "")), str(metadata.get("workload", ""))
    namespace, _, pod = workload.partition(".") if orchestrator == "k8s" else ("default", "", "")
    container = str(metadata.get("activeInstanceID", "")) if orchestrator == "cni" else ""
    identity = {
        "node": str(metadata.get("node", "")),
        "orchestrator": orchestrator,
        "endpoint": str(metadata.get("name", "")),
        **({"pod": pod} if pod else {"container_id": container} if container else {"workload": workload}),
    }
    name = WorkloadEndpointIdentifiers(**identity).name()
    copied = ("ipNetworks", "ipNATs", "ipv4Gateway", "ipv6Gateway", "interfaceName", "mac")
    body = {
        **{"containerID" if key == "container_id" else key: value for key, value in identity.items()},
        "profiles": [_profile_name(each) for each in spec.get("profiles") or []],
        **{name: spec.get(name) for name in copied},
    }
    return _resource("WorkloadEndpoint", name, body, labels=metadata.get("labels"), namespace=namespace)


_CONVERTERS: dict[str, Callable[[Tree, Tree], Tree]] = {
    "policy": _policy,
    "profile": _profile,
    "ippool": _pool,
    "bgppeer": _peer,
    "hostendpoint": _host_endpoint,
    "node": _node,
    "workloadendpoint": _workload_endpoint,
}
