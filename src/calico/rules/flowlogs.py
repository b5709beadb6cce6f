"""What a rule tells the reader of flow logs: which decision was made, as the prefix of an nflog message.

The prefix names the decision by what the ruleset already has a name for (the chain of a policy, a tier), so nothing
has to be numbered, and a packet logged before Felix started anew is still understood. Rules log only when they decide
about a packet that no known connection has; without flow logs there is no such rule.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from calico.netlink.nftables.expr import Log
from calico.rules.config import RulesConfig
from calico.rules.drops import Reason
from calico.rules.loads import Exprs
from calico.rules.names import Style, printable

__all__ = ["Decision", "Direction", "allowed", "decision_of", "denied"]

Direction = Literal["ingress", "egress"]

_ALLOWED: Final = "A"
_CODES: Final[dict[Reason, str]] = {
    "policy-deny": "D",
    "policy-damaged": "X",
    "policy-missing": "M",
    "policy-too-large": "L",
    "profile-missing": "P",
    "tier-default": "T",
    "no-profile-allows": "N",
    "host-endpoint-default": "H",
}
_REASONS: Final = {_ALLOWED: "", **{code: reason for reason, code in _CODES.items()}}
_TIER_MAX: Final = 110
"""With the rest, and with the longest name of a chain, the kernel keeps all of a prefix (127 bytes)."""

_SHORT: Final[dict[Direction, str]] = {"ingress": "i", "egress": "e"}
_LONG: Final[dict[str, Direction]] = {"i": "ingress", "e": "egress"}
_LOGGED_STYLES: Final = ("plain", "translated")
"""Before connection tracking and DNAT no packet is a connection's first."""


class Decision(msgspec.Struct, frozen=True):
    """A decision as the prefix tells it: by a ``rule`` (counted from 0, among those rendered) of the policy or profile
    whose chain is ``chain``; or, without a chain, by what stands at the end of a tier (``tier``) or of all.

    ``reason`` is empty when the packet was allowed.
    """

    direction: Direction
    reason: str = ""
    chain: str = ""
    rule: int = -1
    tier: str = ""

    @property
    def verdict(self) -> Literal["allow", "deny"]:
        return "deny" if self.reason else "allow"


def allowed(config: RulesConfig, style: Style, direction: Direction, chain: str, rule: int) -> Exprs:
    """Log that a rule allows; nothing without flow logs."""
    return _log(config, style, f"{_ALLOWED} {_SHORT[direction]} {rule} {chain}")


def denied(
    config: RulesConfig,
    style: Style,
    direction: Direction,
    reason: Reason,
    *,
    chain: str = "",
    rule: int = 0,
    tier: str = "",
) -> Exprs:
    """Log that a rule, or (no chain) the end of a tier or of all, denies; nothing without flow logs."""
    where = f"{rule} {chain}" if chain else f"- {printable(tier)[:_TIER_MAX]}"
    return _log(config, style, f"{_CODES[reason]} {_SHORT[direction]} {where}")


def decision_of(prefix: str) -> Decision | None:
    """The decision that a prefix tells; None: it is none of ours."""
    words = prefix.split(" ", 3)
    if len(words) != 4 or words[1] not in _LONG or words[0] not in _REASONS:
        return None
    reason, direction = _REASONS[words[0]], _LONG[words[1]]
    if words[2] == "-":
        return Decision(direction, reason, tier=words[3])
    if not (words[2].isascii() and words[2].isdigit()):
        return None
    return Decision(direction, reason, words[3], int(words[2]))


def _log(config: RulesConfig, style: Style, prefix: str) -> Exprs:
    if config.flow_log_group is None or style not in _LOGGED_STYLES:
        return ()
    return (Log(prefix, config.flow_log_group),)
