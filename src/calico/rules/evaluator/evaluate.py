"""Would this packet pass? The rules of a ``TableState`` executed over a packet's bytes, as the kernel would.

Follows net/netfilter/nf_tables_core.c: a rule ends at the first expression that does not match; a base chain ends
with accept, drop or its policy; every base chain of every hook on a packet's way must accept it. What a chain changes
(mark, bytes, tracking, the connection's status) the later ones see.

Connection tracking comes into play at priority -200 of the first hook: before that there is no connection. Chains that
translate are asked about the first packet of a connection only, where the kernel translates (nf_nat_core.c), and not
again at a hook where one has translated. A packet of a known connection is given as it is after its translation.
"""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

import msgspec

from calico.errors import InvalidInput
from calico.netlink.nftables.expr import CountIn, Log, Reject, Rule, Verdict
from calico.netlink.nftables.objects import Chain, Hook
from calico.rules.evaluator.execute import Machine
from calico.rules.evaluator.headers import read_headers
from calico.rules.evaluator.rewriting import address_of
from calico.rules.table import TableState

__all__ = ["Excess", "Outcome", "Packet", "evaluate", "forward", "from_host", "to_host"]

HookName: TypeAlias = Literal["prerouting", "input", "forward", "output", "postrouting"]
CtState: TypeAlias = Literal["new", "established", "related", "invalid", "untracked"]
Excess: TypeAlias = Literal["packets", "bytes", "connections"]

_CONNTRACK_PRIORITY: Final = -200
_DNAT: Final = 32
"""The bit of a connection's status that says that its destination was translated."""

_JUMP_STACK: Final = 16
"""The kernel refuses a chain that is so many jumps away from a base chain (NFT_JUMP_STACK_SIZE)."""

_NAT_PRIORITY: Final = {"prerouting": -100, "output": -100, "postrouting": 100, "input": 100}


class Packet(msgspec.Struct, frozen=True, kw_only=True):
    """A packet on its way: ``data`` from the network header on, the mark it arrives with (host order).

    ``ct_state`` and ``ct_status`` are what connection tracking finds, ``local_addresses`` (packed) are this host's
    own, ``out_address`` is the one of the interface that it leaves by, ``exceeded`` tells what there is too much of for
    every limit that it meets. ``rerouted_to``: what a packet of this host leaves by, if that is another interface once
    its destination is translated.
    """

    data: bytes
    iifname: str = ""
    oifname: str = ""
    ct_state: CtState = "new"
    ct_status: int = 0
    mark: int = 0
    local_addresses: frozenset[bytes] = frozenset()
    out_address: bytes = b""
    exceeded: frozenset[Excess] = frozenset()
    rerouted_to: str = ""


class Outcome(msgspec.Struct, frozen=True):
    """What happens. ``trace``: (chain, comment) of every rule that matched, in order; ``logs``: prefixes logged;
    ``counted``: the counters that counted the packet.

    ``mark``, ``data`` and ``ct_status`` are as the last chain left them; ``tracked``: connection tracking knows it;
    ``source_port``: whether a rule looked at the source port, else another one would have made no difference.
    """

    verdict: Literal["accept", "drop"]
    trace: tuple[tuple[str, str], ...] = ()
    logs: tuple[str, ...] = ()
    mark: int = 0
    data: bytes = b""
    ct_status: int = 0
    tracked: bool = True
    source_port: bool = False
    counted: tuple[str, ...] = ()


def forward(state: TableState, packet: Packet, translated: Packet | None = None) -> Outcome:
    """The fate of a packet that this host forwards from ``iifname`` to ``oifname``.

    ``translated``: what others' DNAT makes of it, unless the packet is not tracked.
    """
    return _way(state, packet, ("prerouting", "forward", "postrouting"), translated)


def to_host(state: TableState, packet: Packet, translated: Packet | None = None) -> Outcome:
    """The fate of a packet from ``iifname`` to this host itself."""
    return _way(state, packet, ("prerouting", "input"), translated)


def from_host(state: TableState, packet: Packet, translated: Packet | None = None) -> Outcome:
    """The fate of a packet that this host itself sends to ``oifname``; ``translated`` may leave by another one."""
    own = {_source(each.data) for each in (packet, translated) if each is not None}
    sent = msgspec.structs.replace(packet, iifname="", local_addresses=packet.local_addresses | own)
    return _way(state, sent, ("output", "postrouting"), translated)


def evaluate(state: TableState, packet: Packet, hook: HookName, translated: Packet | None = None) -> Outcome:
    """Run the base chains of one hook in the order of their priorities; ``translated`` is met after others' DNAT.

    Those of one priority run in the order of their names; the kernel asks the youngest first, so let none share one.
    """
    journey = _Journey(state, packet, translated)
    return journey.outcome(journey.meet(hook, packet.iifname, packet.oifname))


def _way(state: TableState, packet: Packet, hooks: tuple[HookName, ...], translated: Packet | None) -> Outcome:
    """Every hook that the packet meets; it only knows the interfaces that are decided there."""
    journey = _Journey(state, packet, translated)
    verdict: Literal["accept", "drop"] = "accept"
    for hook in hooks:
        oifname = "" if hook in ("prerouting", "input") else journey.rerouted_to() or packet.oifname
        verdict = journey.meet(hook, packet.iifname, oifname)
        if verdict == "drop":
            break
    return journey.outcome(verdict)


class _Journey:
    """A packet as the chains that it met have left it, and what they said."""

    def __init__(self, state: TableState, packet: Packet, translated: Packet | None) -> None:
        self._state = state
        self._sent = packet
        self._to_be_translated = translated
        self._leaves_by = ""
        self._packet = packet
        self._left_out = False
        self._source_port = False
        self._trace: list[tuple[str, str]] = []
        self._logs: list[str] = []
        self._counted: list[str] = []

    def meet(self, hook: HookName, iifname: str, oifname: str) -> Literal["accept", "drop"]:
        """Pass the base chains of a hook."""
        self._packet = msgspec.structs.replace(self._packet, iifname=iifname, oifname=oifname)
        translated = False
        for base, place in _bases(self._state, hook):
            if _position(place) > _NAT_PRIORITY["prerouting"]:
                self._translate(hook)
            if place.type == "nat" and (translated or self._packet.ct_state != "new"):
                continue
            run = _Run(self._state, base, place, self._seen_at(place))
            verdict = run.verdict()
            translated = translated or run.machine.translated
            self._learn(run)
            if verdict == "drop":
                return "drop"
        self._translate(hook)
        return "accept"

    def rerouted_to(self) -> str:
        """What the packet leaves by, if that is not what it would have without translation; else empty."""
        before, now = self._sent, self._packet
        return self._leaves_by or (before.rerouted_to if _destination(before.data) != _destination(now.data) else "")

    def _translate(self, hook: HookName) -> None:
        """Let others' DNAT happen, once, to a packet that is tracked; the output hook is still told the old way."""
        translated = self._to_be_translated
        if translated is None or hook not in ("prerouting", "output"):
            return
        self._to_be_translated = None
        if self._packet.ct_state == "untracked":
            return
        status = self._packet.ct_status | translated.ct_status | _DNAT
        self._packet = msgspec.structs.replace(self._packet, data=translated.data, ct_status=status)
        self._leaves_by = translated.oifname

    def outcome(self, verdict: Literal["accept", "drop"]) -> Outcome:
        """What has become of the packet."""
        packet = self._packet
        tracked = packet.ct_state != "untracked"
        trace, logs, counted = tuple(self._trace), tuple(self._logs), tuple(self._counted)
        changed = (packet.mark, packet.data, packet.ct_status)
        return Outcome(verdict, trace, logs, *changed, tracked, source_port=self._source_port, counted=counted)

    def _seen_at(self, place: Hook) -> Packet:
        """Before connection tracking a packet without a connection looks like an invalid one."""
        early = place.hook in ("prerouting", "output") and _position(place) <= _CONNTRACK_PRIORITY
        if early and not self._left_out:
            return msgspec.structs.replace(self._packet, ct_state="invalid")
        return self._packet

    def _learn(self, run: _Run) -> None:
        self._trace += run.trace
        self._logs += run.logs
        self._counted += run.counted
        machine = run.machine
        self._left_out = self._left_out or machine.untracked
        self._source_port = self._source_port or machine.source_port
        self._packet = msgspec.structs.replace(
            self._packet,
            mark=machine.mark,
            data=machine.data,
            ct_status=machine.ct_status,
            ct_state="untracked" if machine.untracked else self._packet.ct_state,
        )


def _bases(state: TableState, hook: HookName) -> list[tuple[Chain, Hook]]:
    """The base chains of a hook in the order in which packets meet them."""
    found = [(chain, chain.hook) for chain in state.base_chains.values() if chain.hook is not None]
    here = [(chain, place) for chain, place in found if place.hook == hook]
    return sorted(here, key=lambda pair: (_position(pair[1]), pair[1].priority, pair[0].name))


def _position(place: Hook) -> int:
    """Chains that translate are called by the kernel's own hook; their priority only orders them among themselves."""
    return _NAT_PRIORITY[place.hook] if place.type == "nat" else place.priority


def _source(data: bytes) -> bytes:
    return address_of(data, read_headers(data).version, "src")


def _destination(data: bytes) -> bytes:
    return address_of(data, read_headers(data).version, "dst")


class _Run:
    """One packet in one base chain."""

    def __init__(self, state: TableState, base: Chain, place: Hook, packet: Packet) -> None:
        self._state = state
        self._base = base
        self._place = place
        self.machine = Machine(state, place, packet.data, read_headers(packet.data), packet)
        self.trace: list[tuple[str, str]] = []
        self.logs: list[str] = []
        self.counted: list[str] = []

    def verdict(self) -> Literal["accept", "drop"]:
        """The base chain's verdict; its policy when no rule decides."""
        return self._chain(self._base.name, 0) or self._place.policy

    def _chain(self, name: str, depth: int) -> Literal["accept", "drop"] | None:
        """A chain's terminal verdict, or None when it returns to where it was jumped from."""
        if depth >= _JUMP_STACK:
            raise InvalidInput("jumps are deeper than the kernel allows", subject=f"chain {name}")
        for rule in self._state.chains[name].rules:
            verdict = self._rule(name, rule)
            match verdict:
                case None:
                    pass
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
            result: bool | Verdict = True
            if isinstance(expr, Verdict):
                result = expr
            elif isinstance(expr, Reject):
                result = Verdict("drop")
            elif isinstance(expr, Log):
                self.logs.append(expr.prefix)
            elif isinstance(expr, CountIn):
                self.counted.append(expr.counter)
            else:
                result = self.machine.step(expr)
            if isinstance(result, Verdict) and result.kind != "continue":
                self.trace.append((chain, rule.comment))
                return result
            if not result:
                return None
        self.trace.append((chain, rule.comment))
        return None
