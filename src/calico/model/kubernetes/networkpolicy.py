"""A Kubernetes NetworkPolicy (networking/v1 JSON) as a Calico NetworkPolicy ``knp.default.<name>``.

Every rule allows; a peer and a group of ports of one protocol make one Calico rule. A rule that cannot be converted
is left out, which allows less, and is reported. Without ``policyTypes`` a policy is for ingress, and for egress if it
has such rules.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from ipaddress import ip_network
from typing import Any

import msgspec

from calico.errors import InvalidInput
from calico.model.kubernetes.selector import namespace_selector_text, pod_selector_text
from calico.model.meta import Metadata
from calico.model.policy import EntityRule, NetworkPolicy, NetworkPolicySpec, Rule

__all__ = ["Converted", "network_policy_to_calico"]

_ORDER = 1000.0
_NO_PROTOCOL = ""
_PORTS_MAX = 50  # entries of a rule in Calico


class Converted(msgspec.Struct, frozen=True):
    """The policy, and sentences about what of it could not be converted."""

    policy: NetworkPolicy
    problems: tuple[str, ...] = ()


def network_policy_to_calico(source: Mapping[str, Any]) -> Converted:
    """Convert; InvalidInput when even the pods it selects cannot be told."""
    metadata, spec = source.get("metadata") or {}, source.get("spec") or {}
    problems: list[str] = []
    types = tuple(spec.get("policyTypes") or (("Ingress", "Egress") if spec.get("egress") else ("Ingress",)))
    ingress = _rules("ingress", "from", spec.get("ingress") or (), problems) if "Ingress" in types else ()
    egress = _rules("egress", "to", spec.get("egress") or (), problems) if "Egress" in types else ()
    policy = NetworkPolicy(
        kind="NetworkPolicy",
        metadata=Metadata(name=f"knp.default.{metadata.get('name', '')}", namespace=metadata.get("namespace", "")),
        spec=NetworkPolicySpec(
            tier="default",
            order=_ORDER,
            selector=pod_selector_text(spec.get("podSelector") or {}),
            types=types,
            ingress=ingress,
            egress=egress,
        ),
    )
    return Converted(policy, tuple(problems))


def _rules(
    direction: str, peers_field: str, rules: Sequence[Mapping[str, Any]], problems: list[str]
) -> tuple[Rule, ...]:
    converted: list[Rule] = []
    for number, rule in enumerate(rules):
        where = f"spec.{direction}[{number}]"
        try:
            ports = _ports_by_protocol(rule.get("ports") or ())
            peers = [_peer(peer) for peer in rule.get(peers_field) or ()] or [EntityRule()]
        except (InvalidInput, ValueError, TypeError, AttributeError) as error:
            problems.append(f"{where} is left out: {error}")
            continue
        for protocol, numbers in ports:
            parts = [numbers[at : at + _PORTS_MAX] for at in range(0, len(numbers), _PORTS_MAX)] or [()]
            converted.extend(_rule(direction, peer, protocol, part) for peer in peers for part in parts)
    return tuple(converted)


def _rule(direction: str, peer: EntityRule, protocol: str, ports: tuple[int | str, ...]) -> Rule:
    if direction == "ingress":
        source, destination = peer, EntityRule(ports=ports)
    else:
        source, destination = EntityRule(), msgspec.structs.replace(peer, ports=ports)
    return Rule(action="Allow", protocol=protocol or None, source=source, destination=destination)


def _ports_by_protocol(ports: Iterable[Mapping[str, Any]]) -> list[tuple[str, tuple[int | str, ...]]]:
    """(protocol, ports) sorted by protocol; no ports means all of the protocol; ``("", ())`` means everything."""
    numbers: dict[str, list[tuple[int, int]]] = {}
    names: dict[str, list[str]] = {}
    whole: set[str] = set()
    for port in ports:
        protocol = port.get("protocol") or "TCP"
        value = port.get("port")
        numbers.setdefault(protocol, [])
        if value is None:
            whole.add(protocol)
        elif isinstance(value, str) and not value.isdigit():
            names.setdefault(protocol, []).append(value)
        else:
            first = int(value)
            numbers[protocol].append((first, int(port.get("endPort") or first)))
    if not numbers:
        return [(_NO_PROTOCOL, ())]
    return [
        (protocol, () if protocol in whole else (*_merged(numbers[protocol]), *sorted(set(names.get(protocol, ())))))
        for protocol in sorted(numbers)
    ]


def _merged(ranges: Iterable[tuple[int, int]]) -> tuple[int | str, ...]:
    """The fewest ports and ranges that cover the same."""
    merged: list[tuple[int, int]] = []
    for first, last in sorted(ranges):
        if not 1 <= first <= last <= 65535:
            raise InvalidInput(f"ports {first} to {last} are not a range", field="ports")
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(merged[-1][1], last))
        else:
            merged.append((first, last))
    return tuple(first if first == last else f"{first}:{last}" for first, last in merged)


def _peer(peer: Mapping[str, Any]) -> EntityRule:
    block = peer.get("ipBlock")
    if block is not None:
        if not block.get("cidr"):
            raise InvalidInput("a CIDR is required", field="ipBlock.cidr")
        return EntityRule(nets=(_network(block["cidr"]),), not_nets=tuple(map(_network, block.get("except") or ())))
    pods, namespaces = peer.get("podSelector"), peer.get("namespaceSelector")
    if pods is None and namespaces is None:
        raise InvalidInput("a peer needs ipBlock, podSelector or namespaceSelector")
    return EntityRule(
        selector=pod_selector_text(pods or {}),
        namespace_selector="" if namespaces is None else namespace_selector_text(namespaces),
    )


def _network(text: str) -> str:
    """Kubernetes takes a network with bits beyond its prefix as the network that they are in. No network stays as it
    is, for whoever validates to name it."""
    try:
        return str(ip_network(text, strict=False))
    except ValueError:
        return text
