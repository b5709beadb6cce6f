"""One look at the tracked flows that a change concerns: those that policy now forbids are ended.

The work is done in slices between which the event loop goes on. Within a slice nothing else runs, so a flow is judged
and deleted by the same ruleset.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import closing
from typing import Final, TypeVar

import msgspec

from calico.dataplane.flows.tombstones import Tombstones
from calico.dataplane.flows.tracked import FlowTable, Lookup
from calico.dataplane.flows.ways import Ways
from calico.netlink.conntrack import Flow, Way, decode_flow, decode_way, peek_ends
from calico.netlink.socket import NetlinkError
from calico.rules.affected import Affected
from calico.rules.ended import EndedFlow
from calico.rules.evaluator.evaluate import Outcome
from calico.rules.evaluator.judge import Connection, Judge
from calico.rules.host.failsafe import FAILSAFE_CHAINS
from calico.rules.packets import SCTP, TCP

__all__ = ["Cut", "Figures", "FlowPass"]

T = TypeVar("T")

_SLICE_S: Final = 0.005
_MASTERS: Final = 4
"""How many flows may have led to one another by helpers before we stop asking for the first."""

_FAILSAFE: Final = frozenset(name for (_, raw), name in FAILSAFE_CHAINS.items() if not raw)


class Cut(msgspec.Struct, frozen=True):
    """A flow that was ended, and the last rule that decided: chain and comment."""

    connection: Connection
    reason: tuple[str, str]


class Figures(msgspec.Struct):
    """Flows read, judged, ended; and those that could not be judged."""

    read: int = 0
    examined: int = 0
    cut: int = 0
    undecided: int = 0

    def plus(self, other: Figures) -> Figures:
        """The sums."""
        return Figures(
            self.read + other.read,
            self.examined + other.examined,
            self.cut + other.cut,
            self.undecided + other.undecided,
        )


class FlowPass:
    """A pass over the flows that ``affected`` concerns. ``in_force`` waits until the kernel has the desired ruleset."""

    def __init__(
        self,
        affected: Affected,
        table: FlowTable,
        ways: Ways,
        judge: Judge,
        tombstones: Tombstones,
        in_force: Callable[[], Awaitable[None]],
        on_cut: Callable[[Cut], None],
    ) -> None:
        self._affected = affected
        self._table = table
        self._ways = ways
        self._judge = judge
        self._tombstones = tombstones
        self._in_force = in_force
        self._on_cut = on_cut
        self._found: list[tuple[Flow, Cut]] = []
        self._cut_tuples: set[bytes] = set()
        self._helped: set[bytes] = set()
        self.figures = Figures()

    async def run(self) -> None:
        """Look at everything once. Raises what the kernel refuses; then the same must be looked at again."""
        if self._affected:
            with closing(self._table.read(self._lookups())) as payloads:
                await self._sliced(payloads, self._look, self._cut)
        if self._helped:
            with closing(self._table.read()) as payloads:
                await self._sliced(payloads, self._look_for_children, self._cut)
        if self._affected.changed and len(self._tombstones):
            allowed: list[EndedFlow] = []

            def lift() -> None:
                self._tombstones.remove(allowed)
                allowed.clear()

            await self._sliced(iter(self._tombstones), lambda flow: self._review(flow, allowed), lift)

    def _lookups(self) -> list[Lookup] | None:
        lookups = self._affected.lookups(self._table.most_lookups())
        if lookups is None:
            return None
        return [("orig-src" if end == "source" else "reply-src", address) for end, address in sorted(lookups)]

    async def _sliced(self, things: Iterator[T], look: Callable[[T], None], settle: Callable[[], None]) -> None:
        more = True
        while more:
            await self._in_force()
            more = False
            end = time.monotonic() + _SLICE_S
            for thing in things:
                look(thing)
                if time.monotonic() > end:
                    more = True
                    break
            settle()
            if more:
                await asyncio.sleep(0)

    def _look(self, payload: bytes) -> None:
        self.figures.read += 1
        ends = peek_ends(payload)
        if not self._affected.concerns(*ends) or any(map(_is_link_local, ends)):
            return
        self.figures.examined += 1
        flow = decode_flow(payload)
        outcome = self._outcome(flow)
        if outcome is None:
            self.figures.undecided += 1
        elif outcome.verdict == "drop" and not self._is_failsafe_turned_round(flow):
            self._found.append((flow, Cut(self._connection(flow.orig, flow.reply), outcome.trace[-1])))

    def _is_failsafe_turned_round(self, flow: Flow) -> bool:
        """Whether this is a session of a failsafe port that tracking took up when its responder spoke."""
        if not flow.picked_up:
            return False
        turned = self._connection(flow.reply, flow.orig)
        outcome = self._judge.judge(turned) if None in (turned.came_from, turned.goes_to) else None
        return outcome is not None and outcome.verdict == "accept" and any(c in _FAILSAFE for c, _ in outcome.trace)

    def _look_for_children(self, payload: bytes) -> None:
        """What a helper made a flow expect ends with it, whatever its own ends are."""
        if not any(attrs in payload for attrs in self._helped):
            return
        flow = decode_flow(payload)
        if flow.master in self._cut_tuples:
            self.figures.examined += 1
            self._found.append((flow, Cut(self._connection(flow.orig, flow.reply), ("", "its master was ended"))))

    def _outcome(self, flow: Flow) -> Outcome | None:
        """What policy says to a flow, or to the one that it is a consequence of."""
        for _ in range(_MASTERS):
            if not flow.master:
                break
            if flow.master in self._cut_tuples:
                return Outcome("drop", (("", "its master was ended"),))
            master = self._table.find(flow.family, flow.master, flow.zone)
            if master is None:
                way = decode_way(flow.family, flow.master)
                return self._judge.judge(self._connection(way, _turned(way)))
            flow = master
        return self._judge.judge(self._connection(flow.orig, flow.reply))

    def _connection(self, orig: Way, reply: Way) -> Connection:
        is_translated = (orig.dst, orig.dport) != (reply.src, reply.sport)
        return Connection(
            came_from=self._ways.way(orig.src),
            goes_to=self._ways.way(reply.src),
            src=orig.src,
            dst=reply.src,
            protocol=orig.protocol,
            sport=orig.sport,
            dport=reply.sport,
            icmp=orig.icmp,
            asked_dst=orig.dst if is_translated else b"",
            asked_dport=orig.dport if is_translated else 0,
        )

    def _cut(self) -> None:
        """End what was found: first what keeps it from coming back, then the flow itself."""
        found, self._found = self._found, []
        if not found:
            return
        self._tombstones.add(_ended(flow for flow, _ in found))
        gone, refused = self._table.delete([flow for flow, _ in found])
        self.figures.cut += gone
        if refused is not None:
            raise NetlinkError(refused)
        for flow, cut in found:
            self._cut_tuples.add(flow.orig_attrs)
            if flow.helped:
                self._helped.add(flow.orig_attrs)
            self._on_cut(cut)

    def _review(self, flow: EndedFlow, allowed: list[EndedFlow]) -> None:
        way = Way(src=flow.src, dst=flow.dst, protocol=flow.protocol, sport=flow.sport, dport=flow.dport)
        outcome = self._judge.judge(self._connection(way, _turned(way)))
        if outcome is not None and outcome.verdict == "accept":
            allowed.append(flow)


def _is_link_local(address: bytes) -> bool:
    """Whether it is in fe80::/10: on every link, so that no route says which one a flow is on."""
    return len(address) == 16 and address[0] == 0xFE and address[1] & 0xC0 == 0x80


def _ended(flows: Iterable[Flow]) -> Iterator[EndedFlow]:
    """Connections whose responder speaks to the initiator itself. With a translated source it speaks to the
    translator, to whom its packets are nothing known."""
    for flow in flows:
        orig, reply = flow.orig, flow.reply
        if orig.protocol in (TCP, SCTP) and (reply.dst, reply.dport) == (orig.src, orig.sport):
            yield EndedFlow(orig.src, reply.src, orig.protocol, orig.sport, reply.sport)


def _turned(way: Way) -> Way:
    return msgspec.structs.replace(way, src=way.dst, dst=way.src, sport=way.dport, dport=way.sport)
