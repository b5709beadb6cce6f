"""The datamodel read literally: resources and a packet, nothing in between.

The specification in ``calc`` shares with the product how single resources are decoded and compiled. This reading
shares nothing of that: it follows datamodel §14 and §15 over the resources as they are written, endpoint by endpoint
and rule by rule. It has no opinion (None) about what is not policy: odd senders, later fragments, the host's own way.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from typing import Literal

from calico.model.hostendpoint import HostEndpoint
from calico.model.meta import Resource
from calico.model.numorstring import parse_port, protocol_number
from calico.model.policy import (
    EntityRule,
    GlobalNetworkPolicy,
    GlobalNetworkPolicySpec,
    GlobalNetworkSet,
    ICMPFields,
    NetworkPolicy,
    NetworkSet,
    Profile,
    Rule,
    Tier,
)
from calico.model.selector import parse
from calico.model.workload import WorkloadEndpoint
from calico.rules.packets import ICMP, ICMPV6, SCTP, TCP, UDP, Flow
from worlds.scene import HOST, HOST_ADDRESSES, SLOTS, UPLINK
from worlds.world import Probe, World

__all__ = ["LiteralReading"]

Direction = Literal["ingress", "egress"]
Kind = Literal["normal", "forward", "untracked", "pre-dnat"]
Policy = NetworkPolicy | GlobalNetworkPolicy

_NAMESPACE, _ACCOUNT = "projectcalico.org/namespace", "projectcalico.org/serviceaccount"
_ROUTERS_WORDS = ((ICMP, 5), (ICMPV6, 134), (ICMPV6, 137))


class _Member:
    """An endpoint of any host or a network set: what selectors choose among."""

    def __init__(
        self, resource: Resource, nets: Iterable[str], parents: Iterable[str], profiles: Mapping[str, Profile]
    ):
        self.resource = resource
        self.nets = [ipaddress.ip_network(text, strict=False) for text in nets]
        self.labels = {k: v for k, v in resource.metadata.labels.items() if not k.startswith(("pcns.", "pcsa."))}
        if resource.metadata.namespace:
            self.labels[_NAMESPACE] = resource.metadata.namespace
        if isinstance(resource, WorkloadEndpoint) and resource.spec.service_account_name:
            self.labels[_ACCOUNT] = resource.spec.service_account_name
        for parent in parents:
            for name, value in profiles[parent].spec.labels_to_apply.items() if parent in profiles else ():
                self.labels.setdefault(name, value)

    def has(self, address: bytes) -> bool:
        return any(ipaddress.ip_address(address) in net for net in self.nets)

    def under(self, prefix: str) -> dict[str, str]:
        """The labels of its namespace or service account."""
        return {name[len(prefix) :]: value for name, value in self.labels.items() if name.startswith(prefix)}


class LiteralReading:
    """A world without odd fields, and what it allows."""

    def __init__(self, world: World) -> None:
        self._settings = world.settings
        self._profiles = {r.metadata.name: r for r in world.resources if isinstance(r, Profile)}
        self._tiers = {r.metadata.name: r for r in world.resources if isinstance(r, Tier)}
        self._policies = [r for r in world.resources if isinstance(r, Policy)]
        self._members = [member for r in world.resources if (member := self._member(r)) is not None]
        self._local = {
            m.resource.spec.interface_name: m
            for m in self._members
            if isinstance(m.resource, WorkloadEndpoint) and m.resource.metadata.name.startswith(f"{HOST}-")
        }
        self._own, self._default = self._of_the_uplink()

    def passes(self, probe: Probe) -> bool | None:
        """The verdict on a forwarded packet; None without an opinion."""
        flow = probe.flow
        if probe.way != "forward" or flow.fragment or not {probe.source, probe.target} <= {*SLOTS, UPLINK}:
            return None
        if probe.source in SLOTS:
            sender = self._local.get(probe.source)
            if sender is None:
                return False
            if not self._speaks_for_itself(sender, flow):
                return None
            if self._is_never_sent(flow) or not self._may(sender, "egress", flow):
                return False
        elif self._own or self._default:
            if self._is_failsafe(flow):
                return None
            arrived = self._arrives(flow)
            if arrived == "Deny" or (arrived is None and self._host_decides("forward", "ingress", flow) == "Deny"):
                return False
        if probe.target in SLOTS:
            receiver = self._local.get(probe.target)
            return receiver is not None and self._may(receiver, "ingress", flow)
        return self._host_decides("forward", "egress", flow) != "Deny"

    # -- §15.4 ---------------------------------------------------------------------------------------------------------

    def _of_the_uplink(self) -> tuple[_Member | None, _Member | None]:
        """The host endpoint that the uplink itself is, and the one that all interfaces are."""
        found: dict[str, list[_Member]] = {"named": [], "addressed": [], "every": []}
        for member in self._members:
            match member.resource:
                case HostEndpoint(spec=spec) if spec.node == HOST:
                    if spec.interface_name in (UPLINK, "*"):
                        found["every" if spec.interface_name == "*" else "named"].append(member)
                    elif not spec.interface_name and set(spec.expected_ips) & set(HOST_ADDRESSES):
                        found["addressed"].append(member)
        firsts = {how: min(members, key=_name, default=None) for how, members in found.items()}
        return firsts["named"] or firsts["addressed"], firsts["every"]

    def _is_failsafe(self, flow: Flow) -> bool:
        """Open whatever policy says, perhaps."""
        ports = {entry.port for entry in (*self._settings.failsafe_in, *self._settings.failsafe_out)}
        listeners = flow.protocol == ICMPV6 and flow.version == 6 and 130 <= flow.icmp[0] <= 143
        return listeners or bool(ports & {flow.sport, flow.dport})

    def _arrives(self, flow: Flow) -> str | None:
        """What untracked policy (not of all interfaces) and then preDNAT policy decides."""
        untracked = self._host_decides("untracked", "ingress", flow) if self._own else None
        return untracked or self._host_decides("pre-dnat", "ingress", flow)

    def _host_decides(self, kind: Kind, direction: Direction, flow: Flow) -> str | None:
        endpoint = self._own or self._default
        if endpoint is None:
            return None
        return self._tiers_decide(endpoint, kind, direction, flow, None if kind == "forward" else "Pass")

    def _member(self, resource: Resource) -> _Member | None:
        match resource:
            case WorkloadEndpoint(spec=spec):
                return _Member(resource, spec.ip_networks, spec.profiles, self._profiles)
            case HostEndpoint(spec=spec):
                return _Member(resource, spec.expected_ips, spec.profiles, self._profiles)
            case NetworkSet(spec=spec):
                return _Member(resource, spec.nets, [f"kns.{resource.metadata.namespace}"], self._profiles)
            case GlobalNetworkSet(spec=spec):
                return _Member(resource, spec.nets, (), self._profiles)
        return None

    @staticmethod
    def _speaks_for_itself(sender: _Member, flow: Flow) -> bool:
        plain = not flow.options and all(kind != 43 for kind, _ in flow.extensions)
        router = (flow.protocol, flow.icmp[0]) in _ROUTERS_WORDS
        return plain and not router and sender.has(flow.src) and not ipaddress.ip_address(flow.dst).is_loopback

    def _is_never_sent(self, flow: Flow) -> bool:
        """§15.2 (3), and no DHCP servers."""
        if flow.protocol == 4:
            return not self._settings.allow_ipip
        served = (flow.sport, flow.dport) == ((67, 68) if flow.version == 4 else (547, 546))
        vxlan = flow.dport == self._settings.vxlan_port and not self._settings.allow_vxlan
        return flow.protocol == UDP and (served or vxlan)

    # -- §15.1, §15.2 --------------------------------------------------------------------------------------------------

    def _may(self, member: _Member, direction: Direction, flow: Flow) -> bool:
        endpoint = member.resource
        assert isinstance(endpoint, WorkloadEndpoint)
        verdict = self._tiers_decide(member, "normal", direction, flow)
        if verdict in ("Allow", "Deny"):
            return verdict == "Allow"
        for name in endpoint.spec.profiles:
            if name == "projectcalico-default-allow":
                return True
            profile = self._profiles.get(name)
            verdict = "Deny" if profile is None else self._first(profile, direction, "", flow)
            if verdict in ("Allow", "Deny"):
                return verdict == "Allow"
        return False

    def _tiers_decide(
        self, member: _Member, kind: Kind, direction: Direction, flow: Flow, end: str | None = None
    ) -> str | None:
        """``end``: what every tier ends with instead of its own default."""
        applied = [policy for policy in self._policies if _is_of(policy, kind) and self._applies(policy, member)]
        for name in sorted({policy.spec.tier or "default" for policy in applied}, key=self._tier_place):
            policies = [policy for policy in applied if (policy.spec.tier or "default") == name]
            policies = [
                policy for policy in policies if not policy.spec.types or direction.title() in policy.spec.types
            ]
            verdict = self._tier(sorted(policies, key=_policy_place), direction, flow)
            if verdict is None and policies:
                tier = self._tiers.get(name)
                verdict = end or ("Pass" if tier and tier.spec.default_action == "Pass" else "Deny")
            if verdict in ("Allow", "Deny"):
                return verdict
        return None

    def _tier(self, policies: Iterable[Policy], direction: Direction, flow: Flow) -> str | None:
        for policy in policies:
            verdict = self._first(policy, direction, policy.metadata.namespace, flow)
            if verdict is not None:
                return verdict
        return None

    def _first(self, owner: Policy | Profile, direction: Direction, namespace: str, flow: Flow) -> str | None:
        for rule in owner.spec.ingress if direction == "ingress" else owner.spec.egress:
            if rule.action != "Log" and self.matches(rule, namespace, flow):
                return rule.action
        return None

    def _tier_place(self, name: str) -> tuple[bool, bool, float, str]:
        tier = self._tiers.get(name)
        order = tier.spec.order if tier else None
        return tier is None, order is None, order or 0, name

    # -- §14 -----------------------------------------------------------------------------------------------------------

    def _applies(self, policy: Policy, member: _Member) -> bool:
        spec = policy.spec
        selector, in_namespaces = spec.selector, isinstance(spec, GlobalNetworkPolicySpec) and spec.namespace_selector
        if in_namespaces:
            selector = selector.replace("all()", f"has({_NAMESPACE})")
        if selector and not parse(selector).matches(member.labels):
            return False
        if isinstance(policy, NetworkPolicy) and member.labels.get(_NAMESPACE) != policy.metadata.namespace:
            return False
        words = [spec.selector, spec.service_account_selector]
        if isinstance(spec, GlobalNetworkPolicySpec) and spec.namespace_selector:
            if not _in_namespace(spec.namespace_selector, member):
                return False
            words = [spec.service_account_selector]  # no all() is left in the selector
        if not spec.service_account_selector:
            return True
        if isinstance(spec, GlobalNetworkPolicySpec) and "all()" in words and _ACCOUNT not in member.labels:
            return False
        return parse(spec.service_account_selector).matches(member.under("pcsa."))

    def _chosen(self, entity: EntityRule, namespace: str) -> list[_Member] | None:
        """Whose addresses one side is restricted to; None without a restriction."""
        here = bool(namespace) and bool(entity.selector or entity.not_selector or entity.service_accounts)
        if not (entity.selector or entity.service_accounts or entity.namespace_selector or here):
            return None
        return [member for member in self._members if _is_chosen(entity, namespace, member)]

    # -- §15.3 ---------------------------------------------------------------------------------------------------------

    def matches(self, rule: Rule, namespace: str, flow: Flow) -> bool:
        protocol = None if rule.protocol is None else protocol_number(rule.protocol)
        if rule.ip_version not in (None, flow.version) or protocol not in (None, flow.protocol):
            return False
        if rule.not_protocol is not None and protocol_number(rule.not_protocol) == flow.protocol:
            return False
        if _restricts(rule.icmp) and not _is_icmp(rule.icmp, flow):
            return False
        if _restricts(rule.not_icmp) and _is_icmp(rule.not_icmp, flow):
            return False
        return self.side_matches(rule.source, namespace, flow, flow.src, flow.sport) and self.side_matches(
            rule.destination, namespace, flow, flow.dst, flow.dport
        )

    def side_matches(self, entity: EntityRule, namespace: str, flow: Flow, address: bytes, port: int) -> bool:
        chosen = self._chosen(entity, namespace)
        if not _nets_match(entity, address):
            return False
        if chosen is not None and not any(member.has(address) for member in chosen):
            return False
        if chosen is None and entity.not_selector:
            refused = parse(entity.not_selector)
            if any(refused.matches(member.labels) and member.has(address) for member in self._members):
                return False
        candidates = self._members if chosen is None else chosen
        if entity.ports and not _in_ports(entity.ports, candidates, flow.protocol, address, port):
            return False
        return not _in_ports(entity.not_ports, candidates, flow.protocol, address, port)


def _name(member: _Member) -> str:
    return member.resource.metadata.name


def _is_of(policy: Policy, kind: Kind) -> bool:
    """Whether a policy is of a kind."""
    spec = policy.spec
    if not isinstance(spec, GlobalNetworkPolicySpec):
        return kind == "normal"
    if spec.do_not_track or spec.pre_dnat:
        return kind == ("untracked" if spec.do_not_track else "pre-dnat")
    return kind == "normal" or (kind == "forward" and bool(spec.apply_on_forward))


def _policy_place(policy: Policy) -> tuple[bool, float, str]:
    order, meta = policy.spec.order, policy.metadata
    return order is None, order or 0, f"{meta.name}/{meta.namespace}/{policy.kind}"


def _in_namespace(selector: str, member: _Member) -> bool:
    if selector in ("all()", "global()"):
        return (_NAMESPACE in member.labels) == (selector == "all()")
    return parse(selector).matches(member.under("pcns."))


def _is_chosen(entity: EntityRule, namespace: str, member: _Member) -> bool:
    accounts = entity.service_accounts
    if entity.namespace_selector:
        if not _in_namespace(entity.namespace_selector, member):
            return False
    elif namespace and member.labels.get(_NAMESPACE) != namespace:
        return False
    if accounts and accounts.names and member.labels.get(_ACCOUNT) not in accounts.names:
        return False
    if accounts and accounts.selector and not parse(accounts.selector).matches(member.under("pcsa.")):
        return False
    if entity.selector and not parse(entity.selector).matches(member.labels):
        return False
    return not (entity.not_selector and parse(entity.not_selector).matches(member.labels))


def _nets_match(entity: EntityRule, address: bytes) -> bool:
    """A list that has nets of the other family only rules this family out; so does a negated catch-all."""
    where = ipaddress.ip_address(address)
    for texts, wanted in ((entity.nets, True), (entity.not_nets, False)):
        nets = [ipaddress.ip_network(text, strict=False) for text in texts]
        nets = [net for net in nets if net.version == where.version]
        if texts and (not nets or any(where in net for net in nets) != wanted):
            return False
    return True


def _restricts(fields: ICMPFields | None) -> bool:
    return fields is not None and fields.type is not None


def _is_icmp(fields: ICMPFields | None, flow: Flow) -> bool:
    assert fields is not None
    if flow.protocol != (ICMP if flow.version == 4 else ICMPV6):
        return False
    return fields.type == flow.icmp[0] and fields.code in (None, flow.icmp[1])


def _in_ports(
    entries: Iterable[int | str], candidates: Iterable[_Member], protocol: int, address: bytes, port: int
) -> bool:
    if protocol not in (TCP, UDP, SCTP):
        return False
    for entry in entries:
        found = parse_port(entry)
        if not isinstance(found, str):
            if found.first <= port <= found.last:
                return True
            continue
        for member in candidates:
            endpoint = member.resource
            declared = endpoint.spec.ports if isinstance(endpoint, WorkloadEndpoint | HostEndpoint) else ()
            wanted = (found, protocol, port)
            if member.has(address) and any((p.name, protocol_number(p.protocol), p.port) == wanted for p in declared):
                return True
    return False
