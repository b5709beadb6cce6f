"""Policy lists: the ordered policies and profiles that decide about one direction of an endpoint, as one chain.

The chain is named by the list's content, so all endpoints with the same list share it. All tiers are in one chain,
because the kernel limits the depth of jumps *and* gotos to 15. A tier of which a policy may pass guards what follows
in the tier by the pass mark; other tiers need no mark.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from typing import Literal, TypeAlias

import msgspec

from calico.calc.messages import EndpointUpdate
from calico.model.keys import ResourceKey
from calico.netlink.nftables.expr import Rule, Verdict
from calico.netlink.nftables.objects import Chain
from calico.rules.chains import PolicyChains
from calico.rules.config import RulesConfig
from calico.rules.loads import DROP, INVALID, Exprs, mark_clear, mark_unset
from calico.rules.names import comment_text, list_name, policy_name, profile_name
from calico.rules.policy import denial
from calico.rules.static import WORKLOAD_GUARD
from calico.rules.table import TableState

__all__ = ["Direction", "ListChains", "PolicyList", "TierList", "policy_list"]

Direction: TypeAlias = Literal["ingress", "egress"]


class TierList(msgspec.Struct, frozen=True):
    """The policies of one tier, at least one, in order."""

    name: str
    default_action: Literal["deny", "pass"]
    policies: tuple[ResourceKey, ...]


class PolicyList(msgspec.Struct, frozen=True):
    """What decides about one direction. Equal lists have equal chains."""

    direction: Direction
    tiers: tuple[TierList, ...]
    profiles: tuple[str, ...]

    @property
    def chain(self) -> str:
        """The name of the list's chain."""
        return list_name(self.direction, msgspec.msgpack.encode(self))

    def parts(self) -> list[str]:
        """The chains that the list's chain jumps to, in order, each once."""
        policies = [policy_name(self.direction, key) for tier in self.tiers for key in tier.policies]
        return list(dict.fromkeys(policies + [profile_name(self.direction, name) for name in self.profiles]))


def policy_list(endpoint: EndpointUpdate, direction: Direction) -> PolicyList:
    """The list of an endpoint; a tier without policies in that direction is skipped."""
    tiers = [(tier, tier.ingress if direction == "ingress" else tier.egress) for tier in endpoint.tiers]
    return PolicyList(
        direction,
        tuple(TierList(tier.name, tier.default_action, keys) for tier, keys in tiers if keys),
        endpoint.profiles,
    )


class ListChains:
    """Always true: a list's chain is in the table iff an endpoint uses the list."""

    def __init__(self, state: TableState, config: RulesConfig, policies: PolicyChains) -> None:
        self._state = state
        self._config = config
        self._policies = policies
        self._users: Counter[PolicyList] = Counter()
        self._by_part: dict[str, set[PolicyList]] = {}

    def acquire(self, wanted: PolicyList) -> None:
        """One more endpoint uses the list."""
        self._users[wanted] += 1
        if self._users[wanted] == 1:
            for name in wanted.parts():
                self._policies.acquire(name)
                self._by_part.setdefault(name, set()).add(wanted)
            self._render(wanted)

    def release(self, unwanted: PolicyList) -> None:
        """One endpoint less uses the list."""
        self._users[unwanted] -= 1
        if self._users[unwanted]:
            return
        del self._users[unwanted]
        self._state.unwant_chain(unwanted.chain)
        for name in unwanted.parts():
            self._policies.release(name)
            self._by_part[name].discard(unwanted)
            if not self._by_part[name]:
                del self._by_part[name]

    def users_of(self, part: str) -> Collection[PolicyList]:
        """The lists whose chains jump to that of a policy or profile."""
        return self._by_part.get(part, ())

    def refresh(self, part: str) -> None:
        """Whether that policy passes has changed: render the lists that jump to it."""
        for found in self._by_part.get(part, ()):
            self._render(found)

    def _render(self, wanted: PolicyList) -> None:
        rules = [Rule((*INVALID, DROP), "invalid connection state")] if self._config.drop_invalid else []
        if wanted.direction == "egress":
            rules.append(Rule((Verdict("jump", WORKLOAD_GUARD),), "what no workload may send"))
        clean = False
        for tier in wanted.tiers:
            rules += self._tier(wanted.direction, tier, clean)
            clean = clean or self._passes(wanted.direction, tier)
        for profile in wanted.profiles:
            rules.append(_jump(profile_name(wanted.direction, profile), f"profile {profile}"))
        rules.append(Rule((denial(self._config),), "no profile allows it"))
        self._state.want_chain(Chain(wanted.chain, tuple(rules)))

    def _tier(self, direction: Direction, tier: TierList, clean: bool) -> list[Rule]:
        """A tier's rules. ``clean``: the pass mark is known to be clear; it is clear again afterwards."""
        bit = self._config.pass_mark
        passes = self._passes(direction, tier)
        clear = Rule(mark_clear(bit), comment_text(f"tier {tier.name}: nothing passed"))
        rules = [clear] if passes and not clean else []
        guard: Exprs = ()
        for key in tier.policies:
            name = policy_name(direction, key)
            rules.append(_jump(name, f"tier {tier.name}: {key}", guard))
            if self._policies.passes(name):
                guard = mark_unset(bit)
        if tier.default_action == "deny":
            rules.append(Rule((*guard, denial(self._config)), comment_text(f"tier {tier.name}: default deny")))
        return [*rules, clear] if passes else rules

    def _passes(self, direction: Direction, tier: TierList) -> bool:
        return any(self._policies.passes(policy_name(direction, key)) for key in tier.policies)


def _jump(chain: str, comment: str, guard: Exprs = ()) -> Rule:
    return Rule((*guard, Verdict("jump", chain)), comment_text(comment))
