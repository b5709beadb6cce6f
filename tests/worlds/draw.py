"""Worlds by chance: every kind and field of policy, from few names, labels and addresses, so that they collide.

One generator for both uses: a seeded ``Random`` draws thousands of worlds a second, and Hypothesis's ``randoms()``
makes the same draws its own. A new kind of resource is one more method here, a new field one more line.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Any, Literal, TypeVar

from calico.model.hostendpoint import HostEndpoint, HostEndpointPort, HostEndpointSpec
from calico.model.meta import Metadata, Resource
from calico.model.policy import (
    GlobalNetworkPolicy,
    GlobalNetworkPolicySpec,
    GlobalNetworkSet,
    NetworkPolicy,
    NetworkPolicySpec,
    NetworkSet,
    NetworkSetSpec,
    Profile,
    ProfileSpec,
    Rule,
    Tier,
    TierSpec,
)
from calico.model.staged import StagedGlobalNetworkPolicy, StagedGlobalNetworkPolicySpec
from calico.model.workload import EndpointPort, WorkloadEndpoint, WorkloadEndpointSpec
from calico.rules.config import RulesConfig
from worlds.rules import RuleDraw
from worlds.scene import HOST, HOST_ADDRESSES, OUTSIDE, POOLS, SLOTS, UPLINK
from worlds.vocabulary import LABEL_NAMES, NAMESPACES, NETS, ORDERS, PORTS, PROFILES, SELECTORS, TIERS, VALUES
from worlds.world import Resources, World

__all__ = ["Draw", "draw_settings", "draw_world"]

T = TypeVar("T")

_OF_HOSTS = ("do_not_track", "apply_on_forward"), ("pre_dnat", "apply_on_forward"), ("apply_on_forward",)
_ODD_WORLDS = 0.25
_ODD_FIELDS = 0.06


def draw_settings(random: Random) -> RulesConfig:
    """Settings that change verdicts, and flow logs, which must not."""
    to_host: list[Literal["drop", "accept", "return"]] = ["drop", "accept", "return"]
    deny: list[Literal["drop", "reject"]] = ["drop", "reject"]
    return RulesConfig(
        endpoint_to_host=random.choice(to_host),
        deny=random.choice(deny),
        allow_vxlan=random.random() < 0.3,
        allow_ipip=random.random() < 0.3,
        flow_log_group=random.choice([None, None, 80]),
    )


def draw_world(random: Random, settings: RulesConfig | None = None) -> World:
    """A world; in one of four some fields are odd: malformed, or at odds with other fields."""
    odd = _ODD_FIELDS if random.random() < _ODD_WORLDS else 0.0
    return World(resources=Draw(random, odd).resources(), settings=settings or draw_settings(random))


class Draw:
    """Draws resources. ``odd`` is the chance of a field to be odd."""

    def __init__(self, random: Random, odd: float) -> None:
        self.random = random
        self.odd = odd
        self._guarded = random.random() < 0.5
        self._rules = RuleDraw(random, odd)

    def resources(self) -> Resources:
        """Everything, in the order of the kinds."""
        found: list[Resource] = []
        found += self._each([(slot, HOST) for slot in SLOTS], 0.9, lambda at: self._endpoint(*at))
        found += self._each([(slot, "there") for slot in SLOTS[:3]], 0.5, lambda at: self._endpoint(*at))
        found += self._host_endpoints()
        found += self._each(PROFILES, 0.7, self._profile)
        found += self._each(TIERS, 0.7, self._tier)
        found += self._each([(space, name) for space in NAMESPACES for name in "st"], 0.4, lambda at: self._netset(*at))
        found += self._each([("", name) for name in "st"], 0.6, lambda at: self._netset(*at))
        found += self._each(
            [(space, name) for space in NAMESPACES for name in "pq"], 0.35, lambda at: self._policy(*at)
        )
        found += self._each([("", name) for name in "pqr"], 0.4, lambda at: self._policy(*at))
        found += self._each("uvw" if self._guarded else "", 0.6, self._policy_of_hosts)
        found += self._each("s", 0.3, self._staged)
        return tuple(found)

    # -- choices -----------------------------------------------------------------------------------------------------

    def _each(self, names: Sequence[T], share: float, make: Callable[[T], Resource]) -> list[Resource]:
        return [make(name) for name in names if self.random.random() < share]

    def _some(self, values: Sequence[T], most: int, least: int = 0) -> tuple[T, ...]:
        return tuple(self.random.choice(values) for _ in range(self.random.randint(least, most)))

    def _usually(self, usual: T, *odd: Any) -> T:
        return self.random.choice(odd) if self.random.random() < self.odd else usual

    def _labels(self) -> dict[str, str]:
        return {name: self.random.choice(VALUES) for name in self._some(LABEL_NAMES, 2)}

    def _rule_list(self, most: int) -> tuple[Rule, ...]:
        return tuple(self._rules.rule() for _ in range(self.random.randint(0, most)))

    # -- kinds -------------------------------------------------------------------------------------------------------

    def _endpoint(self, slot: str, node: str) -> WorkloadEndpoint:
        pod = slot[-1]
        own = POOLS[slot] if node == HOST else OUTSIDE
        spec = WorkloadEndpointSpec(
            orchestrator="k8s",
            node=self._usually(node, "elsewhere"),
            pod=pod,
            endpoint="eth0",
            service_account_name=self.random.choice(("", "robot", "human")),
            ip_networks=self._usually(self._addresses(own), ("10.65.1.0/30",), ()),
            profiles=self._endpoint_profiles(),
            interface_name=self._usually(slot, "cali1", "eth0", "not a name"),
            ports=self._some(PORTS, 3),
            allow_spoofed_source_prefixes=self._spoofed(),
        )
        namespace = self.random.choice(NAMESPACES)
        metadata = Metadata(name=f"{node}-k8s-{pod}-eth0", namespace=namespace, labels=self._labels())
        return WorkloadEndpoint(kind="WorkloadEndpoint", metadata=metadata, spec=spec)

    def _spoofed(self) -> tuple[str, ...]:
        some = self._some(NETS, 3) if self.random.random() < 0.15 else ()
        return some + self._usually((), ("nonsense",))

    def _host_endpoints(self) -> list[Resource]:
        """In half of the worlds; some are of another host or another interface."""
        return self._each(("every", "named", "other", "addressed") if self._guarded else (), 0.5, self._host_endpoint)

    def _host_endpoint(self, name: str) -> HostEndpoint:
        usual = {"every": "*", "named": UPLINK, "other": "eth1", "addressed": ""}[name]
        spec = HostEndpointSpec(
            node=HOST if self.random.random() < 0.85 else "there",
            interface_name=self._usually(usual, "cali1", "not a name", ""),
            expected_ips=self._usually(self._some(HOST_ADDRESSES + OUTSIDE, 2, int(not usual)), ("nonsense",)),
            profiles=self._endpoint_profiles(),
            ports=tuple(HostEndpointPort(name=p.name, protocol=p.protocol, port=p.port) for p in self._named_ports()),
        )
        return HostEndpoint(kind="HostEndpoint", metadata=Metadata(name=name, labels=self._labels()), spec=spec)

    def _named_ports(self) -> list[EndpointPort]:
        return [port for port in self._some(PORTS, 2) if port.name]

    def _addresses(self, own: Sequence[str]) -> tuple[str, ...]:
        """Mostly those that lead to the endpoint, sometimes one of another's."""
        usual = tuple(self.random.sample(own, self.random.randint(min(2, len(own)), len(own))))
        strange = self.random.choice(POOLS[self.random.choice(SLOTS)])
        return (*usual, strange) if self.random.random() < 0.15 else usual

    def _endpoint_profiles(self) -> tuple[str, ...]:
        usual = ("projectcalico-default-allow",) if self.random.random() < 0.6 else ()
        strange = ("missing",) if self.random.random() < 0.05 else ()
        return self._some(PROFILES, 2) + strange + usual

    def _profile(self, name: str) -> Profile:
        spec = ProfileSpec(ingress=self._rule_list(2), egress=self._rule_list(2), labels_to_apply=self._labels())
        return Profile(kind="Profile", metadata=Metadata(name=name), spec=spec)

    def _tier(self, name: str) -> Tier:
        action = self._usually(self.random.choice((None, "Deny", "Pass", "Pass")), "Allow", "pass")
        spec = TierSpec(order=self.random.choice(ORDERS), default_action=action)
        return Tier(kind="Tier", metadata=Metadata(name=name), spec=spec)

    def _netset(self, namespace: str, name: str) -> NetworkSet | GlobalNetworkSet:
        nets = self._some(NETS, 4, 1) + self._usually((), ("nonsense",))
        metadata = Metadata(name=name, namespace=namespace, labels=self._labels())
        if namespace:
            return NetworkSet(kind="NetworkSet", metadata=metadata, spec=NetworkSetSpec(nets=nets))
        return GlobalNetworkSet(kind="GlobalNetworkSet", metadata=metadata, spec=NetworkSetSpec(nets=nets))

    def _policy(self, namespace: str, name: str) -> NetworkPolicy | GlobalNetworkPolicy:
        metadata = Metadata(name=name, namespace=namespace)
        if namespace:
            spec = NetworkPolicySpec(**self._policy_fields())
            return NetworkPolicy(kind="NetworkPolicy", metadata=metadata, spec=spec)
        flags = self.random.choice((*((),) * 8, *_OF_HOSTS))
        return GlobalNetworkPolicy(kind="GlobalNetworkPolicy", metadata=metadata, spec=self._global_spec(flags))

    def _policy_of_hosts(self, name: str) -> GlobalNetworkPolicy:
        """Of those that only host endpoints have."""
        spec = self._global_spec(self.random.choice((*_OF_HOSTS, ())))
        return GlobalNetworkPolicy(kind="GlobalNetworkPolicy", metadata=Metadata(name=name), spec=spec)

    def _staged(self, name: str) -> StagedGlobalNetworkPolicy:
        spec = StagedGlobalNetworkPolicySpec(staged_action="Set", **self._global_fields())
        return StagedGlobalNetworkPolicy(kind="StagedGlobalNetworkPolicy", metadata=Metadata(name=name), spec=spec)

    def _global_spec(self, flags: tuple[str, ...]) -> GlobalNetworkPolicySpec:
        odd = (*flags, "pre_dnat"), flags[:1], (*flags, "apply_on_forward", "do_not_track")
        fields = self._global_fields() | dict.fromkeys(self._usually(flags, *odd), True)
        if "pre_dnat" in flags:
            fields |= self._usually({"egress": (), "types": self.random.choice(((), ("Ingress",)))}, {})
        return GlobalNetworkPolicySpec(**fields)

    def _global_fields(self) -> dict[str, Any]:
        namespaces = self.random.choice(("", "", "", "all()", "a == 'x'", "has(a)"))
        return {"namespace_selector": namespaces, **self._policy_fields()}

    def _policy_fields(self) -> dict[str, Any]:
        return {
            "tier": self.random.choice(("", *TIERS)),
            "order": self.random.choice(ORDERS),
            "selector": self._usually(self.random.choice(SELECTORS), "a ==", "a == 'x') || (has(a)", "global()"),
            "types": self._usually(self._types(), ("Sideways",)),
            "ingress": self._rule_list(3),
            "egress": self._rule_list(3),
            "service_account_selector": self.random.choice(("", "", "", "", "a == 'x'", "all()")),
            "performance_hints": self.random.choice(((), (), ("AssumeNeededOnEveryNode",))),
        }

    def _types(self) -> tuple[str, ...]:
        return self.random.choice(((), ("Ingress",), ("Egress",), ("Ingress", "Egress")))
