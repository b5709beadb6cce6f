"""Policy lists: the ordered policies and profiles that decide about one direction of an endpoint at one place of a
packet's way, as one chain.

The chain is named by the list's content, so all endpoints with the same list share it. All tiers are in one chain,
because the kernel limits the depth of jumps *and* gotos to 15. A tier of which a policy may pass guards what follows
in the tier by the pass mark; other tiers need no mark. Staged policies are jumped to at their place and decide nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from typing import Literal, TypeAlias

import msgspec

from calico.calc.messages import EndpointUpdate, TierPolicies
from calico.model.keys import ResourceKey
from calico.netlink.nftables.expr import Rule, Verdict
from calico.netlink.nftables.objects import Chain
from calico.rules.chains import PolicyChains
from calico.rules.config import RulesConfig
from calico.rules.drops import Reason, drop
from calico.rules.flowlogs import denied
from calico.rules.host.failsafe import FAILSAFE_CHAINS, FailsafeChains
from calico.rules.loads import INVALID, Exprs, mark_clear, mark_unset
from calico.rules.names import Style, comment_text, list_name, policy_name, profile_name, styled
from calico.rules.policy import denial
from calico.rules.static import WORKLOAD_GUARD
from calico.rules.table import TableState

__all__ = ["Direction", "ListChains", "ListKind", "PolicyList", "TierList", "policy_list", "tier_lists"]

Direction: TypeAlias = Literal["ingress", "egress"]
ListKind: TypeAlias = Literal["workload", "host", "translated", "forward", "untracked", "pre-dnat"]
"""Where a list decides: for a workload; for a host endpoint about packets to and from the host, about what the host
sends to a translated destination, about what it forwards, before connection tracking, before DNAT."""

_STYLES: dict[ListKind, Style] = {"untracked": "untracked", "pre-dnat": "pre-dnat", "translated": "translated"}
_WITH_FAILSAFE = ("host", "translated", "untracked", "pre-dnat")
_ENDING_WITH_DENIAL = ("workload", "host", "translated")


class TierList(msgspec.Struct, frozen=True):
    """The policies of one tier, at least one, in order."""

    name: str
    default_action: Literal["deny", "pass"]
    policies: tuple[ResourceKey, ...]


class PolicyList(msgspec.Struct, frozen=True):
    """What decides about one direction. Equal lists have equal chains. Only lists that end with a denial have
    profiles."""

    direction: Direction
    tiers: tuple[TierList, ...]
    profiles: tuple[str, ...] = ()
    kind: ListKind = "workload"

    @property
    def chain(self) -> str:
        """The name of the list's chain."""
        return list_name(self.direction, msgspec.msgpack.encode(self))

    @property
    def style(self) -> Style:
        """The style of the policies and profiles that the list's chain jumps to."""
        return _STYLES.get(self.kind, "plain")

    def parts(self) -> list[str]:
        """The policies and profiles that the list's chain jumps to, by their plain chains, in order, each once."""
        policies = [policy_name(self.direction, key) for tier in self.tiers for key in tier.policies]
        return list(dict.fromkeys(policies + [profile_name(self.direction, name) for name in self.profiles]))


def policy_list(endpoint: EndpointUpdate, direction: Direction) -> PolicyList:
    """The list of an endpoint; a tier without policies in that direction is skipped."""
    return PolicyList(direction, tier_lists(endpoint.tiers, direction), endpoint.profiles)


def tier_lists(tiers: Iterable[TierPolicies], direction: Direction) -> tuple[TierList, ...]:
    """The tiers that have policies in a direction."""
    chosen = [(tier, tier.ingress if direction == "ingress" else tier.egress) for tier in tiers]
    return tuple(TierList(tier.name, tier.default_action, keys) for tier, keys in chosen if keys)


class ListChains:
    """Always true: a list's chain is in the table iff an endpoint uses the list."""

    def __init__(self, state: TableState, config: RulesConfig, policies: PolicyChains) -> None:
        self._state = state
        self._config = config
        self._policies = policies
        self._failsafe = FailsafeChains(state, config)
        self._users: Counter[PolicyList] = Counter()
        self._by_part: dict[str, set[PolicyList]] = {}

    def acquire(self, wanted: PolicyList) -> None:
        """One more endpoint uses the list."""
        self._users[wanted] += 1
        if self._users[wanted] == 1:
            if wanted.kind in _WITH_FAILSAFE:
                self._failsafe.acquire(wanted.direction, raw=wanted.kind == "untracked")
            for name in wanted.parts():
                self._policies.acquire(name, wanted.style)
                self._by_part.setdefault(name, set()).add(wanted)
            self._render(wanted)

    def release(self, unwanted: PolicyList) -> None:
        """One endpoint less uses the list."""
        self._users[unwanted] -= 1
        if self._users[unwanted]:
            return
        del self._users[unwanted]
        self._state.unwant_chain(unwanted.chain)
        if unwanted.kind in _WITH_FAILSAFE:
            self._failsafe.release(unwanted.direction, raw=unwanted.kind == "untracked")
        for name in unwanted.parts():
            self._policies.release(name, unwanted.style)
            self._by_part[name].discard(unwanted)
            if not self._by_part[name]:
                del self._by_part[name]

    def users_of(self, part: str) -> Collection[PolicyList]:
        """The lists whose chains jump to that of a policy or profile."""
        return self._by_part.get(part, ())

    def refresh(self, part: str) -> None:
        """Whether that policy passes or is staged has changed: render the lists that jump to it."""
        for found in self._by_part.get(part, ()):
            self._render(found)

    def _render(self, wanted: PolicyList) -> None:
        rules: list[Rule] = []
        if self._config.drop_invalid and wanted.kind != "untracked":
            rules.append(Rule((*INVALID, *drop("invalid-connection")), "invalid connection state"))
        if wanted.kind == "workload" and wanted.direction == "egress":
            rules.append(Rule((Verdict("jump", WORKLOAD_GUARD),), "what no workload may send"))
        if wanted.kind in _WITH_FAILSAFE:
            failsafe = FAILSAFE_CHAINS[wanted.direction, wanted.kind == "untracked"]
            rules.append(_jump(failsafe, "failsafe ports"))
        clean = False
        for tier in wanted.tiers:
            rules += self._tier(wanted, tier, clean)
            clean = clean or self._passes(wanted.direction, tier)
        for profile in wanted.profiles:
            rules.append(_jump(styled(profile_name(wanted.direction, profile), wanted.style), f"profile {profile}"))
        if wanted.kind in _ENDING_WITH_DENIAL:
            why: Reason = "no-profile-allows" if wanted.kind == "workload" else "host-endpoint-default"
            logged = denied(self._config, wanted.style, wanted.direction, why)
            rules.append(Rule((*logged, *denial(self._config, wanted.style, why)), "no profile allows it"))
        self._state.want_chain(Chain(wanted.chain, tuple(rules)))

    def _tier(self, wanted: PolicyList, tier: TierList, clean: bool) -> list[Rule]:
        """A tier's rules. ``clean``: the pass mark is known to be clear; it is clear again afterwards."""
        bit = self._config.pass_mark
        passes = self._passes(wanted.direction, tier)
        clear = Rule(mark_clear(bit), comment_text(f"tier {tier.name}: nothing passed"))
        rules = [clear] if passes and not clean else []
        guard: Exprs = ()
        for key in tier.policies:
            name = policy_name(wanted.direction, key)
            rules.append(_jump(styled(name, wanted.style), f"tier {tier.name}: {key}", guard))
            if self._policies.passes(name):
                guard = mark_unset(bit)
        if tier.default_action == "deny" and self._decides(wanted.direction, tier):
            action = denial(self._config, wanted.style, "tier-default")
            logged = denied(self._config, wanted.style, wanted.direction, "tier-default", tier=tier.name)
            rules.append(Rule((*guard, *logged, *action), comment_text(f"tier {tier.name}: default deny")))
        return [*rules, clear] if passes else rules

    def _passes(self, direction: Direction, tier: TierList) -> bool:
        return any(self._policies.passes(policy_name(direction, key)) for key in tier.policies)

    def _decides(self, direction: Direction, tier: TierList) -> bool:
        """Whether the tier has a policy that is not only staged."""
        return not all(self._policies.is_staged(policy_name(direction, key)) for key in tier.policies)


def _jump(chain: str, comment: str, guard: Exprs = ()) -> Rule:
    return Rule((*guard, Verdict("jump", chain)), comment_text(comment))
