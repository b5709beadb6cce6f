"""Would this packet pass? The rules of a ``TableState`` executed over a packet's bytes, as the kernel would.

Follows net/netfilter/nf_tables_core.c: a rule ends at the first expression that does not match; a base chain ends
with accept, drop or its policy; every base chain of every hook on a packet's way must accept it.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from calico.errors import InvalidInput
from calico.netlink.nftables.expr import Log, Reject, Rule, Verdict
from calico.netlink.nftables.objects import Chain
from calico.rules.execute import Machine
from calico.rules.headers import read_headers
from calico.rules.table import TableState

__all__ = ["Outcome", "Packet", "evaluate", "forward", "from_host", "to_host"]

HookName: TypeAlias = Literal["prerouting", "input", "forward", "output", "postrouting"]
CtState: TypeAlias = Literal["new", "established", "related", "invalid", "untracked"]
_CONNTRACK_PRIORITY, _DNAT_PRIORITY = -200, -100
_DNAT = 32
"""The bit of a connection's status that says that its destination was translated."""


class Packet(msgspec.Struct, frozen=True, kw_only=True):
    """A packet on its way: ``data`` from the network header on, the mark it arrives with (host order), the status of
    its connection (bits as in ``expr.Ct``), whether its source is an address of this host."""

    data: bytes
    iifname: str = ""
    oifname: str = ""
    ct_state: CtState = "new"
    ct_status: int = 0
    from_here: bool = False
    mark: int = 0


class Outcome(msgspec.Struct, frozen=True):
    """What happens. ``trace``: (chain, comment) of every rule that matched, in order; ``logs``: prefixes logged."""

    verdict: Literal["accept", "drop"]
    trace: tuple[tuple[str, str], ...] = ()
    logs: tuple[str, ...] = ()
    mark: int = 0
    untracked: bool = False


def forward(state: TableState, packet: Packet, translated: Packet | None = None) -> Outcome:
    """The fate of a packet that this host forwards from ``iifname`` to ``oifname``.

    ``translated``: what others' DNAT makes of it, unless the packet is not tracked.
    """
    return _way(state, packet, ("prerouting", "forward", "postrouting"), translated)


def to_host(state: TableState, packet: Packet, translated: Packet | None = None) -> Outcome:
    """The fate of a packet from ``iifname`` to this host itself."""
    return _way(state, packet, ("prerouting", "input"), translated)


def from_host(state: TableState, packet: Packet, translated: Packet | None = None) -> Outcome:
    """The fate of a packet that this host itself sends to ``oifname``; ``translated`` may have another one."""
    return _way(state, _of_this_host(packet), ("output", "postrouting"), translated and _of_this_host(translated))


def evaluate(state: TableState, packet: Packet, hook: HookName, translated: Packet | None = None) -> Outcome:
    """Run the base chains of one hook in the order of their priorities; ``translated`` is met after DNAT."""
    bases = [chain for chain in state.chains.values() if chain.hook is not None and chain.hook.hook == hook]
    outcome = Outcome("accept", mark=packet.mark, untracked=packet.ct_state == "untracked")
    for base in sorted(bases, key=lambda chain: (chain.hook.priority if chain.hook else 0, chain.name)):
        is_late = translated is not None and base.hook is not None and base.hook.priority > _DNAT_PRIORITY
        seen = translated if is_late and translated and not outcome.untracked else packet
        ct_state = "untracked" if outcome.untracked else _ct_state(base, seen)
        run = _Run(state, msgspec.structs.replace(seen, mark=outcome.mark, ct_state=ct_state))
        outcome = _then(outcome, run.outcome(base))
        if outcome.verdict == "drop":
            break
    return outcome


def _ct_state(base: Chain, packet: Packet) -> CtState:
    """Before connection tracking has seen a packet, no connection is known and the kernel calls it invalid."""
    is_first = base.hook is not None and base.hook.hook in ("prerouting", "output")
    return "invalid" if is_first and base.hook and base.hook.priority < _CONNTRACK_PRIORITY else packet.ct_state


def _way(state: TableState, packet: Packet, hooks: tuple[HookName, ...], translated: Packet | None) -> Outcome:
    """Every hook that the packet meets; it only knows the interfaces that are decided there."""
    outcome = Outcome("accept", mark=packet.mark, untracked=packet.ct_state == "untracked")
    for hook in hooks:
        now, later = packet, translated if not outcome.untracked else None
        if later is not None:
            later = msgspec.structs.replace(later, ct_status=later.ct_status | _DNAT)
            if hook == "output":  # the hook is still told where the packet would have gone
                later = msgspec.structs.replace(later, oifname=packet.oifname)
            elif hook != "prerouting":
                now, later = later, None
        ct_state: CtState = "untracked" if outcome.untracked else now.ct_state
        seen = msgspec.structs.replace(_at(now, hook), mark=outcome.mark, ct_state=ct_state)
        outcome = _then(outcome, evaluate(state, seen, hook, later and _at(later, hook)))
        if outcome.verdict == "drop":
            break
    return outcome


def _at(packet: Packet, hook: HookName) -> Packet:
    """The packet with the interfaces that a hook knows."""
    return msgspec.structs.replace(packet, oifname="") if hook in ("prerouting", "input") else packet


def _of_this_host(packet: Packet) -> Packet:
    return msgspec.structs.replace(packet, iifname="", from_here=True)


def _then(before: Outcome, after: Outcome) -> Outcome:
    """What happened first and what happened then."""
    untracked = before.untracked or after.untracked
    return Outcome(after.verdict, before.trace + after.trace, before.logs + after.logs, after.mark, untracked)


class _Run:
    """One packet in one base chain."""

    def __init__(self, state: TableState, packet: Packet) -> None:
        self._state = state
        self.machine = Machine(state, packet.data, read_headers(packet.data), packet)
        self.trace: list[tuple[str, str]] = []
        self.logs: list[str] = []

    def outcome(self, chain: Chain) -> Outcome:
        """What a base chain makes of the packet."""
        verdict = self._base(chain)
        return Outcome(verdict, tuple(self.trace), tuple(self.logs), self.machine.mark, self.machine.untracked)

    def _base(self, chain: Chain) -> Literal["accept", "drop"]:
        """The base chain's verdict; its policy when no rule decides."""
        verdict = self._chain(chain.name, 0)
        if verdict is not None:
            return verdict
        return chain.hook.policy if chain.hook else "accept"

    def _chain(self, name: str, depth: int) -> Literal["accept", "drop"] | None:
        """A chain's terminal verdict, or None when it returns to where it was jumped from."""
        if depth > 16:
            raise InvalidInput("jumps are deeper than the kernel allows", subject=f"chain {name}")
        for rule in self._state.chains[name].rules:
            verdict = self._rule(name, rule)
            match verdict:
                case None | Verdict(kind="continue"):
                    continue
                case Verdict(kind="accept"):
                    return "accept"
                case Verdict(kind="drop"):
                    return "drop"
                case Verdict(kind="return"):
                    return None
                case Verdict(kind="goto"):
                    return self._chain(verdict.chain, depth + 1)
                case Verdict(kind="jump"):
                    inner = self._chain(verdict.chain, depth + 1)
                    if inner is not None:
                        return inner
        return None

    def _rule(self, chain: str, rule: Rule) -> Verdict | None:
        """The verdict of a rule that matches and has one."""
        for expr in rule.exprs:
            if isinstance(expr, Verdict):
                self.trace.append((chain, rule.comment))
                return expr
            if isinstance(expr, Reject):
                self.trace.append((chain, rule.comment))
                return Verdict("drop")
            if isinstance(expr, Log):
                self.logs.append(expr.prefix)
                continue
            result = self.machine.step(expr)
            if isinstance(result, Verdict):
                self.trace.append((chain, rule.comment))
                return result
            if not result:
                return None
        self.trace.append((chain, rule.comment))
        return None
