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


class Packet(msgspec.Struct, frozen=True, kw_only=True):
    """A packet on its way: ``data`` from the network header on, the mark it arrives with (host order)."""

    data: bytes
    iifname: str = ""
    oifname: str = ""
    ct_state: CtState = "new"
    mark: int = 0


class Outcome(msgspec.Struct, frozen=True):
    """What happens. ``trace``: (chain, comment) of every rule that matched, in order; ``logs``: prefixes logged;
    ``source_port``: whether a rule looked at the source port, else another one would have made no difference."""

    verdict: Literal["accept", "drop"]
    trace: tuple[tuple[str, str], ...] = ()
    logs: tuple[str, ...] = ()
    mark: int = 0
    source_port: bool = False

    def then(self, later: Outcome) -> Outcome:
        """This, and then what happened later on the way."""
        trace, logs = self.trace + later.trace, self.logs + later.logs
        return Outcome(later.verdict, trace, logs, later.mark, self.source_port or later.source_port)


def forward(state: TableState, packet: Packet) -> Outcome:
    """The fate of a packet that this host forwards from ``iifname`` to ``oifname``."""
    return _way(state, packet, ("prerouting", "forward", "postrouting"))


def to_host(state: TableState, packet: Packet) -> Outcome:
    """The fate of a packet from ``iifname`` to this host itself."""
    return _way(state, packet, ("prerouting", "input"))


def from_host(state: TableState, packet: Packet) -> Outcome:
    """The fate of a packet that this host itself sends to ``oifname``."""
    return _way(state, packet, ("output", "postrouting"))


def evaluate(state: TableState, packet: Packet, hook: HookName) -> Outcome:
    """Run the base chains of one hook in the order of their priorities."""
    bases = [chain for chain in state.base_chains.values() if chain.hook is not None and chain.hook.hook == hook]
    outcome = Outcome("accept", mark=packet.mark)
    for base in sorted(bases, key=lambda chain: (chain.hook.priority if chain.hook else 0, chain.name)):
        run = _Run(state, msgspec.structs.replace(packet, mark=outcome.mark))
        verdict = run.base(base)
        machine = run.machine
        outcome = outcome.then(Outcome(verdict, tuple(run.trace), tuple(run.logs), machine.mark, machine.source_port))
        if verdict == "drop":
            break
    return outcome


def _way(state: TableState, packet: Packet, hooks: tuple[HookName, ...]) -> Outcome:
    """Every hook that the packet meets; it only knows the interfaces that are decided there."""
    outcome = Outcome("accept", mark=packet.mark)
    for hook in hooks:
        seen = msgspec.structs.replace(
            packet,
            mark=outcome.mark,
            iifname="" if hook in ("output", "postrouting") else packet.iifname,
            oifname="" if hook in ("prerouting", "input") else packet.oifname,
        )
        here = evaluate(state, seen, hook)
        outcome = outcome.then(here)
        if outcome.verdict == "drop":
            break
    return outcome


class _Run:
    """One packet in one base chain."""

    def __init__(self, state: TableState, packet: Packet) -> None:
        self._state = state
        self.machine = Machine(state, packet.data, read_headers(packet.data), packet)
        self.trace: list[tuple[str, str]] = []
        self.logs: list[str] = []

    def base(self, chain: Chain) -> Literal["accept", "drop"]:
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
