"""The whole ruleset: what the calculation says, kept as the desired content of one nf_tables table.

The table's content is a function of the configuration and the last message about each thing (only the declared sizes
of sets remember that they were larger). User-space cost per message is O(change).
"""

from __future__ import annotations

from typing import Literal

from calico.calc.messages import (
    EndpointRemove,
    EndpointUpdate,
    IPSetDelta,
    IPSetRemove,
    IPSetUpdate,
    Message,
    PolicyRemove,
    PolicyUpdate,
    ProfileRemove,
    ProfileUpdate,
)
from calico.rules.affected import Affected, AffectedFlows
from calico.rules.chains import PolicyChains
from calico.rules.config import RulesConfig
from calico.rules.dispatch import Dispatch
from calico.rules.ipsets import IPSets
from calico.rules.lists import Direction, ListChains
from calico.rules.names import policy_name, profile_name
from calico.rules.static import write_static
from calico.rules.table import TableState

__all__ = ["Ruleset"]

_DIRECTIONS: tuple[Direction, Direction] = ("ingress", "egress")


class Ruleset:
    """Writes into a ``TableState``: at once the static part (the boot guard), then what messages say."""

    def __init__(self, state: TableState, config: RulesConfig) -> None:
        write_static(state, config)
        self._sets = IPSets(state)
        self._policies = PolicyChains(state, config, self._sets)
        self._lists = ListChains(state, config, self._policies)
        self._dispatch = Dispatch(state, config, self._lists)
        self._affected = AffectedFlows(self._policies, self._lists, self._dispatch)

    def on_message(self, message: Message) -> None:
        """Take one message of the calculation into account; those that rules do not depend on are ignored."""
        match message:
            case EndpointUpdate():
                self._dispatch.put(message)
            case EndpointRemove():
                self._dispatch.remove(message.id)
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
                for direction in _DIRECTIONS:
                    name = policy_name(direction, message.key)
                    self._define(name, "policy", f"{message.key} {direction}", message, direction)
            case PolicyRemove():
                for direction in _DIRECTIONS:
                    self._undefine(policy_name(direction, message.key))
            case ProfileUpdate():
                for direction in _DIRECTIONS:
                    name = profile_name(direction, message.name)
                    self._define(name, "profile", f"profile {message.name} {direction}", message, direction)
            case ProfileRemove():
                for direction in _DIRECTIONS:
                    self._undefine(profile_name(direction, message.name))
            case _:
                pass

    def take_affected(self) -> Affected:
        """Which flows what was said since the last call may forbid; the first time, any flow of an endpoint."""
        return self._affected.take()

    def affect_everything(self) -> None:
        """The kernel may have had any other ruleset: every flow of an endpoint is affected."""
        self._affected.on_everything()

    def endpoint_at(self, interface: str) -> EndpointUpdate | None:
        """The endpoint that has a workload interface."""
        return self._dispatch.shown(interface)

    def _refresh(self, set_id: str, changed: bool) -> None:
        if changed:
            self._policies.refresh(set_id)

    def _define(
        self,
        name: str,
        kind: Literal["policy", "profile"],
        label: str,
        message: PolicyUpdate | ProfileUpdate,
        direction: Direction,
    ) -> None:
        rules = message.ingress if direction == "ingress" else message.egress
        if self._policies.define(name, kind, label, rules):
            self._lists.refresh(name)

    def _undefine(self, name: str) -> None:
        if self._policies.undefine(name):
            self._lists.refresh(name)
