"""What the ruleset says to a flow: its first packet, made up from what connection tracking knows, and evaluated."""

from __future__ import annotations

from typing import Final

import msgspec

from calico.errors import InvalidInput
from calico.rules.evaluator.evaluate import Outcome, Packet, forward, from_host, to_host
from calico.rules.packets import Flow
from calico.rules.table import TableState

__all__ = ["Connection", "Judge"]

_MEMORY: Final = 1 << 16


class Connection(msgspec.Struct, frozen=True, kw_only=True):
    """A flow as policy sees its first packet: after translation of the destination, before that of the source.

    ``came_from`` and ``goes_to`` are interfaces, None for this host itself; ports are 0 and ``icmp`` (type, code) is
    (0, 0) where there are none. ``asked_dst`` and ``asked_dport`` are the destination before its translation, empty
    when there was none.
    """

    came_from: str | None
    goes_to: str | None
    src: bytes
    dst: bytes
    protocol: int
    sport: int
    dport: int
    icmp: tuple[int, int]
    asked_dst: bytes
    asked_dport: int


class Judge:
    """Evaluates connections over a ``TableState`` and remembers the outcomes until told that something changed, or
    until it has ``most`` of them."""

    def __init__(self, state: TableState, most: int = _MEMORY) -> None:
        self._state = state
        self._most = most
        self._known: dict[Connection, Outcome] = {}
        self._by_port: dict[Connection, Outcome | None] = {}

    def forget(self) -> None:
        """The ruleset is another than before."""
        self._known.clear()
        self._by_port.clear()

    def judge(self, connection: Connection) -> Outcome | None:
        """Whether the connection could be made now, with the rules that say so; None when that cannot be told.

        An outcome for which no rule looked at the source port holds for connections from any other.
        """
        any_port = msgspec.structs.replace(connection, sport=0)
        if any_port in self._known:
            return self._known[any_port]
        if connection in self._by_port:
            return self._by_port[connection]
        outcome = self._evaluate(connection)
        if len(self._known) + len(self._by_port) >= self._most:
            self.forget()
        if outcome is None or outcome.source_port:
            self._by_port[connection] = outcome
        else:
            self._known[any_port] = outcome
        return outcome

    def _evaluate(self, connection: Connection) -> Outcome | None:
        came_from, goes_to = connection.came_from, connection.goes_to
        if came_from is None and goes_to is None:
            return Outcome("accept")
        flow = Flow(
            src=connection.src,
            dst=connection.dst,
            protocol=connection.protocol,
            sport=connection.sport,
            dport=connection.dport,
            icmp=connection.icmp,
        )
        # what masquerading would make of the source is decided after all policy, so any address will do
        packet = Packet(data=flow.data(), iifname=came_from or "", oifname=goes_to or "", out_address=connection.src)
        translated = None
        if connection.asked_dst:
            asked = msgspec.structs.replace(flow, dst=connection.asked_dst, dport=connection.asked_dport)
            packet, translated = msgspec.structs.replace(packet, data=asked.data()), packet
        way = from_host if came_from is None else to_host if goes_to is None else forward
        try:
            return way(self._state, packet, translated)
        except InvalidInput:
            return None
