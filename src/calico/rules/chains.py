"""Chains of policies and profiles: in the table while a policy list jumps to them, always with current rules."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Literal

import msgspec

from calico.calc.messages import ActiveRule
from calico.netlink.nftables.objects import Chain
from calico.rules.config import RulesConfig
from calico.rules.constants import ConstantSets
from calico.rules.ipsets import IPSets
from calico.rules.policy import RenderedRules, SetUse, deciding, missing_rules, render_rules, set_uses
from calico.rules.table import TableState

__all__ = ["PolicyChains"]


class _Definition(msgspec.Struct, frozen=True):
    kind: Literal["policy", "profile"]
    label: str
    rules: tuple[ActiveRule, ...]

    @property
    def passes(self) -> bool:
        """Whether it can hand a packet to the next tier."""
        return self.kind == "policy" and any(rule.action == "pass" for rule in self.rules)


class PolicyChains:
    """Always true: a chain is in the table iff a policy list uses it; one used but not defined denies."""

    def __init__(self, state: TableState, config: RulesConfig, sets: IPSets) -> None:
        self._state = state
        self._config = config
        self._sets = sets
        self._constants = ConstantSets(state)
        self._defined: dict[str, _Definition] = {}
        self._users: Counter[str] = Counter()
        self._by_set: dict[str, dict[str, SetUse]] = {}
        self._too_large: set[str] = set()
        self._changed: set[str] = set()

    def define(self, name: str, kind: Literal["policy", "profile"], label: str, rules: Iterable[ActiveRule]) -> bool:
        """Give a chain its rules; whether ``passes`` has changed."""
        before = self._defined.get(name)
        after = self._defined[name] = _Definition(kind, label, tuple(rules))
        if after != before:
            self._index(name, before, after)
            self._render(name)
            if before is None or deciding(before.rules) != deciding(after.rules):
                self._changed.add(name)
        return after.passes != (before is not None and before.passes)

    def undefine(self, name: str) -> bool:
        """Take a chain's rules; whether ``passes`` has changed."""
        before = self._defined.pop(name, None)
        self._index(name, before, None)
        self._render(name)
        self._changed.add(name)
        return before is not None and before.passes

    def passes(self, name: str) -> bool:
        """Whether the chain may mark a packet to be passed to the next tier."""
        return name in self._defined and self._defined[name].passes

    def acquire(self, name: str) -> None:
        """One more policy list jumps to the chain."""
        self._users[name] += 1
        if self._users[name] == 1:
            self._render(name)

    def release(self, name: str) -> None:
        """One policy list less jumps to the chain."""
        self._users[name] -= 1
        if not self._users[name]:
            del self._users[name]
            self._state.unwant_chain(name)
            self._constants.use(name, ())
            self._too_large.discard(name)

    def users_of(self, set_id: str) -> Mapping[str, SetUse]:
        """The chains that refer to a set, and how."""
        return self._by_set.get(set_id, {})

    def take_changed(self) -> set[str]:
        """The chains that may decide otherwise than when this was last asked, sets aside."""
        changed, self._changed = self._changed, set()
        return changed

    def refresh(self, set_id: str) -> None:
        """A set is made of other kernel sets than before: render what refers to it."""
        for name in self._by_set.get(set_id, ()):
            self._render(name)

    def _render(self, name: str) -> None:
        if not self._users[name]:
            return
        definition = self._defined.get(name)
        if definition is None:
            rendered = missing_rules(name, self._config)
        else:
            rendered = render_rules(definition.label, definition.kind, definition.rules, self._sets, self._config)
        self._note_size(name, rendered)
        self._constants.use(name, rendered.constants)
        self._state.want_chain(Chain(name, rendered.rules))

    def _note_size(self, name: str, rendered: RenderedRules) -> None:
        """A set that is made of other kernel sets can make a rule too large, or no longer so: all packets matter."""
        if rendered.too_large != (name in self._too_large):
            self._too_large ^= {name}
            self._changed.add(name)

    def _index(self, name: str, before: _Definition | None, after: _Definition | None) -> None:
        old = set_uses(before.rules) if before else {}
        new = set_uses(after.rules) if after else {}
        for set_id in old.keys() - new.keys():
            del self._by_set[set_id][name]
            if not self._by_set[set_id]:
                del self._by_set[set_id]
        for set_id, use in new.items():
            self._by_set.setdefault(set_id, {})[name] = use
