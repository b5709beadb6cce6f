"""The rules of a policy or profile as the rules of one chain."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import msgspec

from calico.calc.messages import ActiveRule
from calico.netlink.nftables.expr import Expr, Log, Reject, Rule
from calico.rules.config import RulesConfig
from calico.rules.constants import ConstantSet
from calico.rules.loads import ACCEPT, DROP, RETURN, Exprs, mark_set
from calico.rules.match import SetParts, match_rule
from calico.rules.names import comment_text

__all__ = ["RenderedRules", "SetUse", "deciding", "denial", "missing_rules", "render_rules", "set_uses"]


class RenderedRules(msgspec.Struct, frozen=True):
    """A chain's rules and the constant sets that they look into; ``too_large``: one rule that denies stands for all."""

    rules: tuple[Rule, ...]
    constants: tuple[ConstantSet, ...] = ()
    too_large: bool = False


def render_rules(
    label: str, kind: Literal["policy", "profile"], rules: Iterable[ActiveRule], sets: SetParts, config: RulesConfig
) -> RenderedRules:
    """The rules of a policy in one direction; ``label`` names it in comments.

    Allow accepts (ends the base chain), Deny drops or rejects, Pass of a policy marks the packet and leaves the
    chain, Pass of a profile only leaves the chain, Log goes on. Conditions too large for the kernel make the whole
    chain deny, so that they cost only their owner.
    """
    out: list[Rule] = []
    constants: list[ConstantSet] = []
    for index, rule in enumerate(rules):
        found = match_rule(rule, sets)
        if found.too_large:
            denied = Rule((denial(config),), comment_text(f"{label} rule {index} is too large: deny"))
            return RenderedRules((denied,), too_large=True)
        comment = comment_text(f"{label} rule {index}" + (f": {rule.comment}" if rule.comment else ""))
        action = _action(rule, kind, config)
        out += [Rule(exprs + action, comment) for exprs in found.alternatives]
        constants += found.constants
    return RenderedRules(tuple(out), tuple(dict.fromkeys(constants)))


def missing_rules(label: str, config: RulesConfig) -> RenderedRules:
    """The chain of something that nobody has defined: it denies everything."""
    return RenderedRules((Rule((denial(config),), comment_text(f"{label} does not exist: deny")),))


def denial(config: RulesConfig) -> Expr:
    """What is done to a packet that a policy denies."""
    return DROP if config.deny == "drop" else Reject("icmpx-port-unreachable")


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
    return tuple(msgspec.structs.replace(rule, comment="") for rule in rules if rule.action != "log")


def _action(rule: ActiveRule, kind: Literal["policy", "profile"], config: RulesConfig) -> Exprs:
    match rule.action:
        case "allow":
            return (ACCEPT,)
        case "deny":
            return (denial(config),)
        case "pass":
            return (RETURN,) if kind == "profile" else (*mark_set(config.pass_mark), RETURN)
        case "log":
            return (Log(f"{config.log_prefix}: "),)
