"""The rules of a policy or profile as the rules of one chain."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, TypeAlias

import msgspec

from calico.calc.messages import ActiveRule
from calico.netlink.nftables.expr import Counter, Limit, Log, Notrack, Reject, Rule
from calico.rules.config import RulesConfig
from calico.rules.constants import ConstantSet
from calico.rules.drops import Reason, drop_with
from calico.rules.flowlogs import allowed, denied
from calico.rules.loads import ACCEPT, DROP, RETURN, Exprs, mark_set
from calico.rules.match import SetParts, match_rule
from calico.rules.names import Style, comment_text, direction_of

__all__ = [
    "Outcome",
    "RenderedRules",
    "SetUse",
    "deciding",
    "denial",
    "missing_rules",
    "render_rules",
    "render_staged",
    "set_uses",
]

Outcome: TypeAlias = Literal["allow", "deny", "pass", "undecided"]
"""What a staged policy would have done to a packet."""

_DENIED_BECAUSE: dict[str, Reason] = {"": "policy-deny", "damaged": "policy-damaged", "missing": "profile-missing"}


class RenderedRules(msgspec.Struct, frozen=True):
    """A chain's rules and the constant sets that they look into; of a staged policy also what each rule counts;
    ``too_large``: one rule that denies stands for all."""

    rules: tuple[Rule, ...]
    constants: tuple[ConstantSet, ...] = ()
    counts: tuple[Outcome, ...] = ()
    too_large: bool = False


def render_rules(
    label: str,
    kind: Literal["policy", "profile"],
    rules: Iterable[ActiveRule],
    sets: SetParts,
    config: RulesConfig,
    style: Style,
    log_prefix: str,
    name: str = "",
) -> RenderedRules:
    """The rules of a policy in one direction; ``label`` names it in comments, ``log_prefix`` in the log, ``name`` (of
    its plain chain) in flow logs.

    Allow accepts (ends the base chain), Deny drops or rejects, Pass of a policy marks the packet and leaves the
    chain, Pass of a profile only leaves the chain, Log goes on. Before DNAT (style pre-dnat) Allow also marks the
    packet as accepted, before connection tracking (untracked) it leaves it out of that, too. Conditions too large for
    the kernel make the whole chain deny, so that they cost only their owner.
    """
    out: list[Rule] = []
    constants: list[ConstantSet] = []
    for index, rule in enumerate(rules):
        found = match_rule(rule, sets)
        if found.too_large:
            text = comment_text(f"{label} rule {index} is too large: deny")
            logged = denied(config, style, direction_of(name), "policy-too-large", chain=name, rule=index)
            denying = Rule((*logged, *denial(config, style, "policy-too-large")), text)
            return RenderedRules((denying,), too_large=True)
        comment = comment_text(f"{label} rule {index}" + (f": {rule.comment}" if rule.comment else ""))
        action = (*_flow_log(rule, config, style, name, index), *_action(rule, kind, config, style, log_prefix))
        out += [Rule(exprs + action, comment) for exprs in found.alternatives]
        constants += found.constants
    return RenderedRules(tuple(out), tuple(dict.fromkeys(constants)))


def render_staged(label: str, rules: Iterable[ActiveRule], sets: SetParts) -> RenderedRules:
    """The rules of a staged policy in one direction: they count what they would do, and leave the chain.

    The last one counts what none of them matches. Log rules would log, so they are left out.
    """
    out: list[tuple[Rule, Outcome]] = []
    constants: list[ConstantSet] = []
    for index, rule in enumerate(rules):
        if rule.action == "log":
            continue
        found = match_rule(rule, sets)
        if found.too_large:
            text = comment_text(f"{label} rule {index} is too large: would deny")
            return RenderedRules((Rule((Counter(), RETURN), text),), counts=("deny",))
        note = f": {rule.comment}" if rule.comment else ""
        comment = comment_text(f"{label} rule {index} would {rule.action}{note}")
        out += [(Rule((*exprs, Counter(), RETURN), comment), rule.action) for exprs in found.alternatives]
        constants += found.constants
    out.append((Rule((Counter(),), comment_text(f"{label} would not decide")), "undecided"))
    return RenderedRules(
        tuple(rule for rule, _ in out), tuple(dict.fromkeys(constants)), tuple(outcome for _, outcome in out)
    )


def missing_rules(label: str, config: RulesConfig, style: Style) -> RenderedRules:
    """The chain (plain: ``label``) of something that nobody has defined: it denies everything."""
    logged = denied(config, style, direction_of(label), "policy-missing", chain=label)
    action = (*logged, *denial(config, style, "policy-missing"))
    return RenderedRules((Rule(action, comment_text(f"{label} does not exist: deny")),))


def denial(config: RulesConfig, style: Style, reason: Reason) -> Exprs:
    """What is done to a packet that a policy denies. Only on input, forward and output it can be answered: after
    routing the kernel takes no rejection, and before connection tracking an answer would be a connection's first."""
    drops = config.deny == "drop" or style != "plain"
    return drop_with(reason, DROP if drops else Reject("icmpx-port-unreachable"))


class SetUse(msgspec.Struct, frozen=True, gc=False):
    """Whether packets that rules allowed may be denied when the set ``gains`` a member, and when it ``loses`` one."""

    gains: bool = False
    loses: bool = False


def set_uses(rules: Iterable[ActiveRule]) -> dict[str, SetUse]:
    """Every set that rules refer to, and how. Whether a packet is passed to the next tier may matter either way."""
    gains, loses, found = set[str](), set[str](), dict[str, SetUse]()
    for rule in rules:
        for side in (rule.src, rule.dst):
            wanted, unwanted = (*side.ip_sets, *side.named_ports), (*side.not_ip_sets, *side.not_named_ports)
            found |= dict.fromkeys((*wanted, *unwanted), SetUse())
            if rule.action in ("allow", "pass"):
                loses.update(wanted)
                gains.update(unwanted)
            if rule.action in ("deny", "pass"):
                gains.update(wanted)
                loses.update(unwanted)
    return {set_id: SetUse(set_id in gains, set_id in loses) for set_id in found}


def deciding(rules: Iterable[ActiveRule]) -> tuple[ActiveRule, ...]:
    """What of rules decides about packets: without logging, and without the words for people."""
    return tuple(msgspec.structs.replace(rule, comment="", why="") for rule in rules if rule.action != "log")


def _flow_log(rule: ActiveRule, config: RulesConfig, style: Style, name: str, index: int) -> Exprs:
    """Only what decides is logged."""
    if rule.action == "allow":
        return allowed(config, style, direction_of(name), name, index)
    if rule.action == "deny":
        return denied(config, style, direction_of(name), _DENIED_BECAUSE[rule.why], chain=name, rule=index)
    return ()


def _action(
    rule: ActiveRule, kind: Literal["policy", "profile"], config: RulesConfig, style: Style, log_prefix: str
) -> Exprs:
    match rule.action:
        case "allow":
            accepted = mark_set(config.accept_mark) if style in ("untracked", "pre-dnat") else ()
            return (*accepted, Notrack(), ACCEPT) if style == "untracked" else (*accepted, ACCEPT)
        case "deny":
            return denial(config, style, _DENIED_BECAUSE[rule.why])
        case "pass":
            return (RETURN,) if kind == "profile" else (*mark_set(config.pass_mark), RETURN)
        case "log":
            limit = (Limit(*config.log_rate, burst=max(1, config.log_burst)),) if config.log_rate else ()
            return (*limit, Log(log_prefix))
