"""The space of one rule: representative values of every field, and a world in which they make a difference."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from random import Random
from typing import Any, Final

from calico.model.meta import Metadata, Resource
from calico.model.policy import (
    EntityRule,
    GlobalNetworkPolicy,
    GlobalNetworkPolicySpec,
    GlobalNetworkSet,
    ICMPFields,
    NetworkPolicy,
    NetworkPolicySpec,
    NetworkSet,
    NetworkSetSpec,
    Profile,
    ProfileSpec,
    Rule,
    ServiceAccountMatch,
)
from calico.model.workload import WorkloadEndpoint, WorkloadEndpointSpec
from worlds.aim import Aim, Shot
from worlds.literal import LiteralReading
from worlds.pairs import Row, all_pairs
from worlds.scene import HOST, OUTSIDE, POOLS, SLOTS
from worlds.vocabulary import PORTS
from worlds.world import Probe, World

__all__ = ["FACTORS", "lonely_pairs", "possible", "probes_of", "rule_of", "world_of"]

_WITH_PORTS = ("TCP", "UDP", "SCTP")
_ENTITY: Final[dict[str, tuple[Any, ...]]] = {
    "nets": ((), ("10.65.0.0/16",), ("10.65.1.0/24", "10.66.0.1", "fd00:65:2::/48"), ("fd00:65:1::1",)),
    "not_nets": ((), ("10.65.2.0/31",), ("10.65.1.1", "fd00:65:1::2/127")),
    "selector": ("", "a == 'x'", "has(b)"),
    "not_selector": ("", "b == 'y'"),
    "namespace_selector": ("", "all()", "a == 'x'", "global()"),
    "service_accounts": (
        None,
        ServiceAccountMatch(names=("robot",)),
        ServiceAccountMatch(selector="a == 'x'"),
    ),
    "ports": ((), (80,), ("53:80",), ("http",), (8080, "1:52", "dns")),
    "not_ports": ((), (80,), ("http",)),
}
FACTORS: Final[dict[str, tuple[Any, ...]]] = {
    "protocol": (None, "TCP", "UDP", "SCTP", "ICMP", "ICMPv6", 47),
    "owner": ("NetworkPolicy", "GlobalNetworkPolicy", "Profile"),
    "direction": ("ingress", "egress"),
    "action": ("Allow", "Deny", "Log", "Pass"),
    "ip_version": (None, 4, 6),
    "not_protocol": (None, "TCP", 17),
    "icmp": (None, ICMPFields(type=8), ICMPFields(type=128, code=0), ICMPFields(type=8, code=1)),
    "not_icmp": (None, ICMPFields(type=128), ICMPFields(type=8, code=0)),
    **{f"{side}.{field}": values for side in ("source", "destination") for field, values in _ENTITY.items()},
}


def possible(row: Row) -> bool:
    """Whether the values go together, as far as they are given: ICMP and ports need a protocol that has them."""
    protocols = set(FACTORS["protocol"]) if "protocol" not in row else {row["protocol"]}
    for name, value in row.items():
        if name in ("icmp", "not_icmp") and value is not None:
            protocols &= {"ICMP", "ICMPv6"}
        if name.endswith(("ports",)) and value:
            only_names = all(entry in ("http", "dns") for entry in value)
            protocols &= {*_WITH_PORTS, None} if only_names else {*_WITH_PORTS}
    return bool(protocols)


def lonely_pairs() -> Iterator[Row]:
    """Every pair of values that restrict something, with all other fields absent: nothing hides what they do."""
    usual = {name: values[0] for name, values in FACTORS.items()}
    for pair in sorted(map(sorted, all_pairs(FACTORS, possible))):
        if all(position for _, position in pair):
            row = usual | {name: FACTORS[name][position] for name, position in pair}
            if not possible(row):
                protocols = [p for p in FACTORS["protocol"] if possible(row | {"protocol": p})]
                if "protocol" in dict(pair) or not protocols:
                    continue
                row["protocol"] = protocols[len(str(pair)) % len(protocols)]
            yield row


def rule_of(row: Row) -> Rule:
    """The rule of a row."""
    sides = {side: EntityRule(**{field: row[f"{side}.{field}"] for field in _ENTITY}) for side in _SIDES}
    plain = ("action", "ip_version", "protocol", "not_protocol", "icmp", "not_icmp")
    return Rule(**{name: row[name] for name in plain}, **sides)


_SIDES = ("source", "destination")
_AFTERWARDS: Final = {"Allow": "Deny", "Deny": "Allow", "Log": "Allow", "Pass": "Deny"}
"""What follows the rule, so that its match is seen in the verdict; a Log must change nothing."""


def world_of(row: Row) -> World:
    """One rule, alone in its direction, on endpoints that otherwise allow everything."""
    rules = (rule_of(row), Rule(action=_AFTERWARDS[row["action"]]))
    both: dict[str, Any] = {"ingress": (), "egress": (), row["direction"]: rules}
    owner, types = row["owner"], (row["direction"].title(),)
    if owner == "Profile":
        both = {name: value or (Rule(action="Allow"),) for name, value in both.items()}
        profile = Profile(kind=owner, metadata=Metadata(name="first"), spec=ProfileSpec(**both))
        return World(resources=(*_scene(("first", "projectcalico-default-allow")), profile))
    if owner == "NetworkPolicy":
        spec = NetworkPolicySpec(tier="one", types=types, **both)
        policies: list[Resource] = [
            NetworkPolicy(kind=owner, metadata=Metadata(name="p", namespace=namespace), spec=spec)
            for namespace in ("red", "blue")
        ]
    else:
        spec = GlobalNetworkPolicySpec(tier="one", types=types, **both)
        policies = [GlobalNetworkPolicy(kind=owner, metadata=Metadata(name="p"), spec=spec)]
    return World(resources=(*_scene(("projectcalico-default-allow",)), *policies))


def probes_of(row: Row, world: World, random: Random, count: int) -> list[Probe]:
    """Packets that the rule matches, if the scene has such; packets that differ from these in one thing; others."""
    shot = Shot(rule_of(row), row["direction"] == "ingress")
    aim, literal = Aim(random, world), LiteralReading(world)
    namespaces = ("red", "blue") if row["owner"] == "NetworkPolicy" else ("",)
    hits = [probe for namespace in namespaces for probe in aim.hits(shot, literal.side_matches, namespace, count)]
    return hits + aim.beside(hits) + aim.at(shot, count)


def _scene(profiles: tuple[str, ...]) -> Iterator[Resource]:
    """Endpoints and network sets with all combinations of what the fields look at."""
    labels: tuple[Mapping[str, str], ...] = ({"a": "x"}, {"a": "x", "b": "y"}, {"b": "x"}, {}, {"a": "y"}, {"b": "y"})
    accounts = ("robot", "", "human", "robot", "robot", "")
    places = [(slot, HOST, POOLS[slot]) for slot in SLOTS]
    places += [("remote1", "there", OUTSIDE[:1]), ("remote2", "there", OUTSIDE[3:4])]
    for number, (name, node, addresses) in enumerate(places):
        namespace = ("red", "blue")[number % 2]
        account = accounts[number]
        inherited = (f"kns.{namespace}", *((f"ksa.{namespace}.{account}",) if account else ()))
        yield WorkloadEndpoint(
            kind="WorkloadEndpoint",
            metadata=Metadata(name=f"{node}-k8s-{name}-eth0", namespace=namespace, labels=dict(labels[number])),
            spec=WorkloadEndpointSpec(
                orchestrator="k8s",
                node=node,
                pod=name,
                endpoint="eth0",
                service_account_name=account,
                ip_networks=addresses,
                profiles=(*profiles, *inherited),
                interface_name=name,
                ports=PORTS[number % 2 :: 2],
            ),
        )
    yield GlobalNetworkSet(
        kind="GlobalNetworkSet",
        metadata=Metadata(name="g", labels={"a": "x"}),
        spec=NetworkSetSpec(nets=("10.66.0.128/25", "fd00:66::8000/113")),
    )
    yield NetworkSet(
        kind="NetworkSet",
        metadata=Metadata(name="n", namespace="red", labels={"b": "y"}),
        spec=NetworkSetSpec(nets=("192.0.2.0/24", "2001:db8::/32")),
    )
    yield _lending("kns.red", {"pcns.a": "x"})
    yield _lending("kns.blue", {"pcns.a": "y"})
    yield _lending("ksa.red.robot", {"pcsa.a": "x"})
    yield _lending("ksa.blue.robot", {"pcsa.a": "y"})


def _lending(name: str, labels: dict[str, str]) -> Profile:
    return Profile(kind="Profile", metadata=Metadata(name=name), spec=ProfileSpec(labels_to_apply=labels))
