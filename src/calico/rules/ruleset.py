"""The whole ruleset: what the calculation says, kept as the desired content of one nf_tables table.

The table's content is a function of the configuration and the last message about each thing (only the declared sizes
of sets remember that they were larger). User-space cost per message is O(change).
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from calico.calc.messages import (
    EndpointRemove,
    EndpointUpdate,
    HostEndpointRemove,
    HostEndpointUpdate,
    IPSetDelta,
    IPSetRemove,
    IPSetUpdate,
    Message,
    PolicyRemove,
    PolicyUpdate,
    ProfileRemove,
    ProfileUpdate,
)
from calico.model.keys import ResourceKey
from calico.rules.affected import Affected, AffectedFlows
from calico.rules.chains import Definition, PolicyChains
from calico.rules.config import RulesConfig
from calico.rules.dispatch import Dispatch
from calico.rules.floating import FloatingMaps
from calico.rules.forwards import ForwardMaps
from calico.rules.host.dispatch import HostDispatch
from calico.rules.ipsets import IPSets
from calico.rules.lists import Direction, ListChains
from calico.rules.logprefix import log_prefix
from calico.rules.names import Style, policy_name, profile_name
from calico.rules.nat import NatChains
from calico.rules.policy import Outcome
from calico.rules.qos import Limits
from calico.rules.static import write_static
from calico.rules.table import TableState
from calico.rules.tunnels import TunnelGuard

__all__ = ["Ruleset", "StagedChain"]

_STYLES: dict[str, Style] = {"untracked": "untracked", "pre-dnat": "pre-dnat"}
_DIRECTIONS: tuple[Direction, Direction] = ("ingress", "egress")


class StagedChain(msgspec.Struct, frozen=True):
    """A chain of a staged policy, and what each of its rules counts, in order."""

    key: ResourceKey
    direction: Direction
    chain: str
    counts: tuple[Outcome, ...]


class Ruleset:
    """Writes into a ``TableState``: at once the static part (the boot guard), then what messages say."""

    def __init__(self, state: TableState, config: RulesConfig) -> None:
        write_static(state, config)
        self._config = config
        self._staged: set[ResourceKey] = set()
        self._sets = IPSets(state)
        self._policies = PolicyChains(state, config, self._sets)
        self._lists = ListChains(state, config, self._policies)
        self._limits = Limits(state, self._sets)
        floating = FloatingMaps(state)
        forwards = ForwardMaps(state)
        self._nat = NatChains(state, config, self._sets, floating, forwards)
        self._dispatch = Dispatch(state, config, self._lists, floating, forwards, self._nat, self._limits)
        self._hosts = HostDispatch(state, config, self._lists)
        self._tunnels = TunnelGuard(state, config, self._sets, self._hosts)
        self._affected = AffectedFlows(self._policies, self._lists, self._dispatch, self._hosts)

    def on_host_interface(self, name: str, addresses: frozenset[bytes] | None) -> None:
        """An interface is there with these (packed) addresses, or (None) gone. Host endpoints may be the host's own
        interfaces only, whatever is told here."""
        self._hosts.on_interface(name, addresses)

    def host_endpoint_interfaces(self) -> dict[str, tuple[str, ...]]:
        """By host endpoint, the present interfaces that it is."""
        return self._hosts.interfaces()

    def staged_chains(self) -> Iterator[StagedChain]:
        """The chains of staged policies that are in the table."""
        for key in sorted(self._staged):
            for direction in _DIRECTIONS:
                for chain, counts in self._policies.counts(policy_name(direction, key)).items():
                    yield StagedChain(key, direction, chain, counts)

    def on_message(self, message: Message) -> None:
        """Take one message of the calculation into account; those that rules do not depend on are ignored."""
        match message:
            case EndpointUpdate():
                self._dispatch.put(message)
            case EndpointRemove():
                self._dispatch.remove(message.id)
            case HostEndpointUpdate():
                self._hosts.put(message)
            case HostEndpointRemove():
                self._hosts.remove(message.name)
            case IPSetUpdate():
                before = self._sets.members(message.id)
                self._affected.on_members(message.id, message.members - before, before - message.members)
                self._refresh(message.id, self._sets.replace(message))
            case IPSetDelta():
                self._affected.on_members(message.id, message.added, message.removed)
                self._refresh(message.id, self._sets.change(message))
            case IPSetRemove():
                self._affected.on_members(message.id, (), self._sets.members(message.id))
                self._sets.remove(message.id)
                self._refresh(message.id, True)
            case PolicyUpdate():
                self._define_policy(message)
            case PolicyRemove():
                self._staged.discard(message.key)
                for direction in _DIRECTIONS:
                    self._undefine(policy_name(direction, message.key))
            case ProfileUpdate():
                self._define_profile(message)
            case ProfileRemove():
                for direction in _DIRECTIONS:
                    self._undefine(profile_name(direction, message.name))
            case _:
                pass

    def police_bandwidth(self, on: bool) -> None:
        """Whether the rules limit bandwidth from workloads, since nothing else can (they do unless told otherwise)."""
        self._limits.police(on)

    def take_affected(self) -> Affected:
        """Which flows what was said since the last call may forbid; the first time, any flow of an endpoint."""
        return self._affected.take()

    def affect_everything(self) -> None:
        """The kernel may have had any other ruleset: every flow of an endpoint is affected."""
        self._affected.on_everything()

    def endpoint_at(self, interface: str) -> EndpointUpdate | None:
        """The endpoint that has a workload interface."""
        return self._dispatch.shown(interface)

    def decided_by(self, chain: str) -> tuple[ResourceKey, str] | None:
        """The policy or profile whose chain (as flow logs name it) that is, and its tier; None: it is gone."""
        return self._policies.owner(chain)

    def _refresh(self, set_id: str, changed: bool) -> None:
        if changed:
            self._policies.refresh(set_id)
            self._limits.refresh(set_id)
            self._nat.refresh(set_id)
            self._tunnels.refresh(set_id)

    def _define_policy(self, policy: PolicyUpdate) -> None:
        is_staged = policy.kind == "staged"
        (self._staged.add if is_staged else self._staged.discard)(policy.key)
        for direction in _DIRECTIONS:
            found = Definition(
                kind="staged" if is_staged else "policy",
                label=f"{policy.key} {direction}",
                rules=policy.ingress if direction == "ingress" else policy.egress,
                key=policy.key,
                tier=policy.tier,
                log_prefix=log_prefix(self._config.log_prefix, policy.key, policy.tier),
                ready=_STYLES.get(policy.kind, "plain") if policy.preload else None,
            )
            self._define(policy_name(direction, policy.key), found)

    def _define_profile(self, profile: ProfileUpdate) -> None:
        key = ResourceKey("Profile", "", profile.name)
        for direction in _DIRECTIONS:
            found = Definition(
                kind="profile",
                label=f"profile {profile.name} {direction}",
                rules=profile.ingress if direction == "ingress" else profile.egress,
                key=key,
                log_prefix=log_prefix(self._config.log_prefix, key, ""),
            )
            self._define(profile_name(direction, profile.name), found)

    def _define(self, name: str, found: Definition) -> None:
        if self._policies.define(name, found):
            self._lists.refresh(name)

    def _undefine(self, name: str) -> None:
        if self._policies.undefine(name):
            self._lists.refresh(name)
