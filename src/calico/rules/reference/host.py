"""The executable specification of host endpoints: what their messages mean for the first packet of a connection.

Naive like ``calico.rules.reference.verdict``, which asks it and lends it its judgement of policies.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal, TypeAlias

from calico.calc.messages import HostEndpointUpdate, TierPolicies
from calico.model.keys import ResourceKey
from calico.rules.config import FailsafePort, RulesConfig
from calico.rules.packets import ICMPV6, SCTP, TCP, UDP, Flow

__all__ = ["Arrival", "HostEndpoints"]

Arrival: TypeAlias = Literal["denied", "untracked", "accepted", "undecided"]
"""What untracked and preDNAT policy make of a packet that comes in."""

Tier: TypeAlias = Callable[[Iterable[ResourceKey], str, Flow], str]
"""The decision of one tier's policies: allow, deny, pass, none, or skipped when none of them is enforced."""
Profile: TypeAlias = Callable[[str, str, Flow], str]

_DISCOVERY, _LISTENERS = (133, 134, 135, 136), (130, 131, 132, 143)


class HostEndpoints:
    """Host endpoints and the interfaces that there are."""

    def __init__(self, config: RulesConfig, tier: Tier, profile: Profile) -> None:
        self._config = config
        self._tier = tier
        self._profile = profile
        self.endpoints: dict[str, HostEndpointUpdate] = {}
        self.addresses: dict[str, frozenset[bytes]] = {}

    def arrives(self, interface: str, flow: Flow) -> Arrival:
        """Before anything is translated."""
        endpoint = self._specific(interface)
        if endpoint is not None and endpoint.untracked_tiers:
            decision = self._raw(endpoint.untracked_tiers, "ingress", flow)
            if decision != "none":
                return "untracked" if decision == "allow" else "denied"
        endpoint = self._owner(interface)
        if endpoint is not None and not self._is_failsafe("ingress", flow):
            decision = self._tiers(endpoint.pre_dnat_tiers, "ingress", flow, ends=False)
            if decision != "none":
                return "accepted" if decision == "allow" else "denied"
        return "undecided"

    def reaches(self, interface: str, flow: Flow) -> bool:
        """To this host, undecided so far."""
        endpoint = self._owner(interface)
        return endpoint is None or self._normal(endpoint, "ingress", flow)

    def forwards(self, interface: str, direction: Literal["ingress", "egress"], flow: Flow) -> bool:
        """Through this host, in or out by an interface of its own."""
        endpoint = self._owner(interface)
        return endpoint is None or self._tiers(endpoint.forward_tiers, direction, flow, ends=True) != "deny"

    def leaves_untracked(self, interface: str, flow: Flow) -> Literal["allow", "deny", "none"]:
        """Sent by this host, before anything is translated."""
        endpoint = self._specific(interface)
        return self._raw(endpoint.untracked_tiers, "egress", flow) if endpoint is not None else "none"

    def leaves(self, interface: str, flow: Flow) -> bool:
        """Sent by this host, undecided so far, out of an interface of its own."""
        endpoint = self._owner(interface)
        return endpoint is None or self._normal(endpoint, "egress", flow)

    # -- whose an interface is ---------------------------------------------------------------------------------------

    def _specific(self, interface: str) -> HostEndpointUpdate | None:
        if interface == "lo" or interface.startswith(self._config.interface_prefixes):
            return None
        addresses = self.addresses.get(interface, frozenset())
        by_name = [endpoint for _, endpoint in sorted(self.endpoints.items())]
        for endpoint in by_name:
            if endpoint.interface == interface:
                return endpoint
        for endpoint in by_name:
            if not endpoint.interface and addresses & set(endpoint.expected_ips):
                return endpoint
        return None

    def _owner(self, interface: str) -> HostEndpointUpdate | None:
        if interface == "lo" or interface.startswith(self._config.interface_prefixes):
            return None
        everything = [name for name, endpoint in self.endpoints.items() if endpoint.interface == "*"]
        return self._specific(interface) or (self.endpoints[min(everything)] if everything else None)

    # -- what its policies say ---------------------------------------------------------------------------------------

    def _normal(self, endpoint: HostEndpointUpdate, direction: str, flow: Flow) -> bool:
        if self._is_failsafe(direction, flow):
            return True
        decision: str = self._tiers(endpoint.tiers, direction, flow, ends=True)
        for name in endpoint.profiles:
            if decision == "none":
                decision = self._profile(name, direction, flow).replace("pass", "none")
        return decision == "allow"

    def _raw(self, tiers: Iterable[TierPolicies], direction: str, flow: Flow) -> Literal["allow", "deny", "none"]:
        """Before connections are known: replies of failsafe ports go on as well."""
        if self._is_failsafe(direction, flow) or self._is_failsafe_reply(direction, flow):
            return "none"
        return self._tiers(tiers, direction, flow, ends=False)

    def _tiers(
        self, tiers: Iterable[TierPolicies], direction: str, flow: Flow, *, ends: bool
    ) -> Literal["allow", "deny", "none"]:
        """The first tier's decision; ``ends``: also that at the end of a tier."""
        for tier in tiers:
            keys = tier.ingress if direction == "ingress" else tier.egress
            decision = self._tier(keys, direction, flow)
            if decision == "none" and keys and ends:
                decision = tier.default_action
            if decision == "allow":
                return "allow"
            if decision == "deny":
                return "deny"
        return "none"

    # -- what is never closed ----------------------------------------------------------------------------------------

    def _is_failsafe(self, direction: str, flow: Flow) -> bool:
        if flow.version == 6 and flow.protocol == ICMPV6 and not flow.fragment:
            known = {255: _DISCOVERY, 1: _LISTENERS}.get(flow.hop_limit, ())
            return flow.icmp[0] in known
        return _any_open(self._ports(direction), direction, flow, flow.dport)

    def _is_failsafe_reply(self, direction: str, flow: Flow) -> bool:
        opposite = "egress" if direction == "ingress" else "ingress"
        return _any_open(self._ports(opposite), direction, flow, flow.sport)

    def _ports(self, direction: str) -> tuple[FailsafePort, ...]:
        return self._config.failsafe_in if direction == "ingress" else self._config.failsafe_out


def _any_open(ports: Iterable[FailsafePort], direction: str, flow: Flow, number: int) -> bool:
    if flow.fragment or flow.protocol not in (TCP, UDP, SCTP):
        return False
    peer = flow.src if direction == "ingress" else flow.dst
    return any(
        (entry.protocol, entry.port) == (flow.protocol, number) and (entry.net is None or _within(peer, entry.net))
        for entry in ports
    )


def _within(address: bytes, net: bytes) -> bool:
    bits = len(address) * 8 - net[-1]
    return (
        len(net) == len(address) + 1
        and int.from_bytes(address, "big") >> bits == int.from_bytes(net[:-1], "big") >> bits
    )
