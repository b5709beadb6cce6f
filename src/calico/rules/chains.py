"""Chains of policies and profiles: in the table while a policy list jumps to them, always with current rules."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Literal

import msgspec

from calico.calc.messages import ActiveRule
from calico.model.keys import ResourceKey
from calico.netlink.nftables.objects import Chain
from calico.rules.config import RulesConfig
from calico.rules.constants import ConstantSets
from calico.rules.ipsets import IPSets
from calico.rules.names import Style, styled
from calico.rules.needs import needed_sets
from calico.rules.policy import (
    Outcome,
    RenderedRules,
    SetUse,
    deciding,
    missing_rules,
    render_rules,
    render_staged,
    set_uses,
)
from calico.rules.table import TableState

__all__ = ["Definition", "PolicyChains"]


class Definition(msgspec.Struct, frozen=True, kw_only=True):
    """One direction of a policy or profile. ``label`` names it in comments, ``log_prefix`` in the log.


    ``key`` and ``tier`` (of a policy) say whose rules these are.
    ``ready``: the style in which its chain is in the table even while no policy list uses it.
    """

    kind: Literal["policy", "staged", "profile"]
    label: str
    rules: tuple[ActiveRule, ...]
    log_prefix: str = ""
    ready: Style | None = None
    key: ResourceKey = ResourceKey("", "", "")
    tier: str = ""

    @property
    def decides(self) -> tuple[ActiveRule, ...]:
        """What of it decides about packets: nothing of a staged policy does."""
        return () if self.kind == "staged" else deciding(self.rules)

    @property
    def set_uses(self) -> dict[str, SetUse]:
        """Every set that the rules refer to, and how a change of it may forbid a packet."""
        uses = set_uses(self.rules)
        return dict.fromkeys(uses, SetUse()) if self.kind == "staged" else uses

    @property
    def passes(self) -> bool:
        """Whether it can hand a packet to the next tier."""
        return self.kind == "policy" and any(rule.action == "pass" for rule in self.rules)


class PolicyChains:
    """Always true: a chain is in the table iff a policy list uses it or it is kept ready; one used but not defined
    denies.

    What is defined once is there as one chain for each style that lists use it in.
    """

    def __init__(self, state: TableState, config: RulesConfig, sets: IPSets) -> None:
        self._state = state
        self._config = config
        self._sets = sets
        self._constants = ConstantSets(state)
        self._defined: dict[str, Definition] = {}
        self._users: dict[str, Counter[Style]] = {}
        self._by_set: dict[str, dict[str, SetUse]] = {}
        self._counts: dict[str, tuple[Outcome, ...]] = {}
        self._too_large: set[str] = set()
        self._changed: set[str] = set()

    def define(self, name: str, after: Definition) -> bool:
        """Give a chain its rules; whether ``passes`` or ``is_staged`` has changed."""
        before = self._defined.get(name)
        said = self.passes(name), self.is_staged(name)
        self._defined[name] = after
        if after != before:
            self._index(name, before, after)
            self._render(name)
            self._keep_ready(name, before, after)
            if before is None or before.decides != after.decides:
                self._changed.add(name)
        return said != (self.passes(name), self.is_staged(name))

    def undefine(self, name: str) -> bool:
        """Take a chain's rules; whether ``passes`` or ``is_staged`` has changed."""
        said = self.passes(name), self.is_staged(name)
        before = self._defined.pop(name, None)
        self._index(name, before, None)
        self._render(name)
        self._keep_ready(name, before, None)
        self._changed.add(name)
        return any(said)

    def passes(self, name: str) -> bool:
        """Whether the chain may mark a packet to be passed to the next tier."""
        return name in self._defined and self._defined[name].passes

    def is_staged(self, name: str) -> bool:
        """Whether the chain only counts what it would decide."""
        return name in self._defined and self._defined[name].kind == "staged"

    def counts(self, name: str) -> dict[str, tuple[Outcome, ...]]:
        """The chains in the table that a staged policy is, and what each of their rules counts."""
        chains = [styled(name, style) for style in self._users.get(name, ())]
        return {chain: self._counts[chain] for chain in chains}

    def owner(self, name: str) -> tuple[ResourceKey, str] | None:
        """The policy or profile that a chain (its plain name) is of, and its tier; None: nobody has defined it."""
        found = self._defined.get(name)
        return (found.key, found.tier) if found is not None else None

    def acquire(self, name: str, style: Style) -> None:
        """One more policy list jumps to the chain in that style."""
        users = self._users.setdefault(name, Counter())
        users[style] += 1
        if users[style] == 1:
            self._render_style(name, style)

    def release(self, name: str, style: Style) -> None:
        """One policy list less jumps to the chain in that style."""
        users = self._users[name]
        users[style] -= 1
        if not users[style]:
            del users[style]
            chain = styled(name, style)
            self._state.unwant_chain(chain)
            self._constants.use(chain, ())
            del self._counts[chain]
            self._too_large.discard(chain)
        if not users:
            del self._users[name]

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
        for style in self._users.get(name, ()):
            self._render_style(name, style)

    def _render_style(self, name: str, style: Style) -> None:
        rendered = self._rendered(name, style)
        chain = styled(name, style)
        self._note_size(name, chain, rendered)
        self._constants.use(chain, rendered.constants)
        needs = frozenset[str]() if self.is_staged(name) else needed_sets(rendered.rules)
        self._state.want_chain(Chain(chain, rendered.rules), needs)
        self._counts[chain] = rendered.counts

    def _rendered(self, name: str, style: Style) -> RenderedRules:
        found = self._defined.get(name)
        if found is None:
            return missing_rules(name, self._config, style)
        if found.kind == "staged":
            return render_staged(found.label, found.rules, self._sets)
        return render_rules(
            found.label, found.kind, found.rules, self._sets, self._config, style, found.log_prefix, name
        )

    def _keep_ready(self, name: str, before: Definition | None, after: Definition | None) -> None:
        was, is_now = before.ready if before else None, after.ready if after else None
        if is_now is not None:
            self.acquire(name, is_now)
        if was is not None:
            self.release(name, was)

    def _note_size(self, name: str, chain: str, rendered: RenderedRules) -> None:
        """A set that is made of other kernel sets can make a rule too large, or no longer so: all packets matter."""
        was = chain in self._too_large
        if rendered.too_large:
            self._too_large.add(chain)
        else:
            self._too_large.discard(chain)
        if was != rendered.too_large:
            self._changed.add(name)

    def _index(self, name: str, before: Definition | None, after: Definition | None) -> None:
        old = before.set_uses if before else {}
        new = after.set_uses if after else {}
        for set_id in old.keys() - new.keys():
            del self._by_set[set_id][name]
            if not self._by_set[set_id]:
                del self._by_set[set_id]
        for set_id, use in new.items():
            self._by_set.setdefault(set_id, {})[name] = use
