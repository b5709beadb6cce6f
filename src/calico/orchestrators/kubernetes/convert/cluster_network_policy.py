"""A ClusterNetworkPolicy (policy.networking.k8s.io/v1alpha2) as a GlobalNetworkPolicy of a Kubernetes tier. Pure.

A rule that cannot be converted fails closed: one that denies or passes denies everything at its place, one that accepts
is left out. A policy of which the tier, the subject or the priority cannot be told becomes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
from msgspec.structs import replace

from calico.errors import InvalidInput
from calico.model.defaults import with_defaults
from calico.model.kubernetes.selector import namespace_selector_text, pod_selector_text
from calico.model.meta import Metadata
from calico.model.policy import EntityRule, GlobalNetworkPolicy, GlobalNetworkPolicySpec, Rule
from calico.model.validation import validate
from calico.orchestrators.kubernetes.convert.closed import resource_name, too_large

__all__ = ["PREFIXES", "ConvertedCluster", "cluster_network_policy_to_calico"]

_TIERS = {"Admin": "kube-admin", "Baseline": "kube-baseline"}
PREFIXES = {"Admin": "kcnp.admin.", "Baseline": "kcnp.baseline."}
_ACTIONS = {"Accept": "Allow", "Deny": "Deny", "Pass": "Pass"}
_PROTOCOLS = {"tcp": "TCP", "udp": "UDP", "sctp": "SCTP"}
_MALFORMED = (InvalidInput, ValueError, TypeError, AttributeError, KeyError)
_Ports = tuple[int | str, ...]


class ConvertedCluster(msgspec.Struct, frozen=True):
    """The policy (None: it has no rules), and sentences about what of it could not be converted."""

    policy: GlobalNetworkPolicy | None
    problems: tuple[str, ...] = ()


def cluster_network_policy_to_calico(source: Mapping[str, Any]) -> ConvertedCluster:
    """Convert; InvalidInput when tier, subject or priority cannot be told."""
    name, spec = (source.get("metadata") or {}).get("name") or "", source.get("spec") or {}
    tier, priority = spec.get("tier"), spec.get("priority")
    if tier not in _TIERS:
        raise InvalidInput(f"{tier!r} is neither Admin nor Baseline", field="spec.tier")
    if not isinstance(priority, int) or isinstance(priority, bool) or not 0 <= priority <= 1000:
        raise InvalidInput(f"{priority!r} is not a number from 0 to 1000", field="spec.priority")
    try:
        subject = _pods("spec.subject", spec.get("subject") or {})
    except InvalidInput:
        raise
    except _MALFORMED as error:
        raise InvalidInput(f"is malformed: {error}", field="spec.subject") from error
    bare = GlobalNetworkPolicy(
        kind="GlobalNetworkPolicy",
        metadata=Metadata(name=resource_name(PREFIXES[tier], name)),
        spec=GlobalNetworkPolicySpec(
            tier=_TIERS[tier],
            order=float(priority),
            selector=subject.selector,
            namespace_selector=subject.namespace_selector,
        ),
    )
    faults = _faults(replace(bare, spec=replace(bare.spec, types=("Ingress", "Egress"))))
    if faults:
        raise InvalidInput(faults, field="spec.subject")
    problems: list[str] = []
    ingress = tuple(_rules(bare, "ingress", "from", spec.get("ingress") or (), problems))
    egress = tuple(_rules(bare, "egress", "to", spec.get("egress") or (), problems))
    types = (("Ingress",) if spec.get("ingress") else ()) + (("Egress",) if spec.get("egress") else ())
    if not types:
        return ConvertedCluster(None)
    policy = replace(bare, spec=replace(bare.spec, types=types, ingress=ingress, egress=egress))
    faults = _faults(policy) or too_large(policy)
    if faults:
        problems.append(f"everything is denied to and from what it selects: {faults}")
        deny = (Rule(action="Deny"),)
        ways = {way.lower(): deny for way in types}
        policy = replace(bare, spec=replace(bare.spec, types=types, **ways))
    return ConvertedCluster(policy, tuple(problems))


def _rules(
    bare: GlobalNetworkPolicy, direction: str, peers: str, rules: Sequence[Any], problems: list[str]
) -> Iterator[Rule]:
    for number, rule in enumerate(rules):
        action = rule.get("action") if isinstance(rule, Mapping) else None
        try:
            converted = list(_rule(rule, direction, peers))
            spec = replace(bare.spec, types=(direction.title(),), **{direction: tuple(converted)})
            faults = _faults(replace(bare, spec=spec))
            if faults:
                raise InvalidInput(faults)
        except _MALFORMED as error:
            left_out = action == "Accept"
            effect = "is left out" if left_out else "denies everything"
            problems.append(f"spec.{direction}[{number}] {effect}: {error}")
            converted = [] if left_out else [Rule(action="Deny")]
        yield from converted


def _rule(rule: Mapping[str, Any], direction: str, peers_field: str) -> Iterator[Rule]:
    _only(rule, ("name", "action", peers_field, "protocols"))
    if rule.get("action") not in _ACTIONS:
        raise InvalidInput(f"{rule.get('action')!r} is not Accept, Deny or Pass", field="action")
    action = _ACTIONS[rule["action"]]
    if not rule.get(peers_field):
        raise InvalidInput("at least one peer is needed", field=peers_field)
    if "protocols" in rule and not rule["protocols"]:
        raise InvalidInput("an empty list matches nothing", field="protocols")
    ports = [found for entry in rule.get("protocols") or () for found in _protocol(entry)] or [(None, (), ())]
    for peer in rule[peers_field]:
        other = _peer(peers_field, peer)
        for protocol, sources, destinations in ports:
            here = EntityRule()
            source, destination = (other, here) if direction == "ingress" else (here, other)
            yield Rule(
                action=action,
                protocol=protocol,
                source=replace(source, ports=sources),
                destination=replace(destination, ports=destinations),
            )


def _peer(where: str, peer: Mapping[str, Any]) -> EntityRule:
    if where == "to" and set(peer) == {"networks"}:
        if not peer["networks"]:
            raise InvalidInput("at least one network is needed", field=f"{where}.networks")
        return EntityRule(nets=tuple(peer["networks"]))
    return _pods(where, peer)


def _pods(where: str, given: Mapping[str, Any]) -> EntityRule:
    """Pods by namespace, or by namespace and labels; a member that we do not know selects nobody knows whom."""
    if len(given) != 1:
        raise InvalidInput(f"exactly one member is needed, there are {sorted(given)}", field=where)
    [(member, selector)] = given.items()
    if member == "namespaces":
        return _selected(namespaces=selector, pods={})
    if member == "pods":
        _only(selector, ("namespaceSelector", "podSelector"))
        return _selected(selector.get("namespaceSelector") or {}, selector.get("podSelector") or {})
    raise InvalidInput("peers of this sort are not supported", field=f"{where}.{member}")


def _selected(namespaces: Mapping[str, Any], pods: Mapping[str, Any]) -> EntityRule:
    for selector in (namespaces, pods):
        _only(selector, ("matchLabels", "matchExpressions"))
    return EntityRule(selector=pod_selector_text(pods), namespace_selector=namespace_selector_text(namespaces))


def _protocol(entry: Mapping[str, Any]) -> Iterator[tuple[str | None, _Ports, _Ports]]:
    """(protocol, source ports, destination ports); a named port may be of each protocol."""
    if len(entry) != 1:
        raise InvalidInput(f"exactly one member is needed, there are {sorted(entry)}", field="protocols")
    [(member, given)] = entry.items()
    if member == "destinationNamedPort":
        if not isinstance(given, str) or not given:
            raise InvalidInput(f"{given!r} is not a name", field="protocols.destinationNamedPort")
        for protocol in _PROTOCOLS.values():
            yield protocol, (), (given,)
        return
    if member not in _PROTOCOLS:
        raise InvalidInput("this protocol is not supported", field=f"protocols.{member}")
    _only(given, ("destinationPort", "sourcePort"))
    yield _PROTOCOLS[member], _port(given.get("sourcePort")), _port(given.get("destinationPort"))


def _port(given: Mapping[str, Any] | None) -> _Ports:
    if given is None:
        return ()
    if set(given) == {"number"}:
        return (_number(given["number"]),)
    if set(given) == {"range"}:
        first, last = _number(given["range"]["start"]), _number(given["range"]["end"])
        if first > last:
            raise InvalidInput(f"{first} is after {last}", field="range")
        return (first if first == last else f"{first}:{last}",)
    raise InvalidInput("a number or a range is needed", field="port")


def _number(given: Any) -> int:
    if not isinstance(given, int) or isinstance(given, bool) or not 1 <= given <= 65535:
        raise InvalidInput(f"{given!r} is not a port", field="port")
    return given


def _only(given: Mapping[str, Any], known: Sequence[str]) -> None:
    unknown = sorted(set(given) - set(known))
    if unknown:
        raise InvalidInput("is not known here; what it would restrict cannot be told", field=unknown[0])


def _faults(policy: GlobalNetworkPolicy) -> str:
    return "; ".join(str(problem) for problem in validate(with_defaults(policy)))
