"""The flows that are followed: a bounded table from logged first packets and ended connections to what is to be told.

Pure: time is an argument. Cost of a packet or an end is O(1); ``tick`` visits all denied flows, once a flush interval.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

import msgspec

from calico.felix.flows.record import State
from calico.rules.evaluator.headers import read_headers
from calico.rules.flowlogs import Decision
from calico.rules.packets import ICMP, ICMPV6, SCTP, TCP, UDP

__all__ = ["FLOWS_MAX", "FlowKey", "FlowTable", "Told", "flow_key"]

FLOWS_MAX: Final = 16384
"""Flows followed at once; a flow takes about 1 KB."""

_DECISIONS_MAX: Final = 8
_SETTLED_S: Final = 0.05
_WITH_PORTS: Final = (TCP, UDP, SCTP)
_PINGS: Final = (ICMP, ICMPV6)

FlowKey = tuple[bytes, bytes, int, int, int]
"""Source and destination (packed), protocol, source and destination port (of ICMP: 0 and its type)."""

Counts = tuple[tuple[int, int], tuple[int, int]]
"""(packets, bytes) there and back."""


class Told(msgspec.Struct, frozen=True):
    """What is to be told of a flow now."""

    state: State
    key: FlowKey
    decisions: tuple[Decision, ...]
    attempts: int
    start: float
    duration_s: float = 0.0
    counts: Counts | None = None


class _Flow(msgspec.Struct):
    start: float
    last: float
    packet: bytes
    decisions: list[Decision]
    attempts: int = 1
    told: tuple[Decision, ...] = ()
    told_attempts: int = 0

    @property
    def is_denied(self) -> bool:
        return any(decision.reason for decision in self.decisions)


def flow_key(data: bytes) -> FlowKey | None:
    """The flow of a packet by its first bytes; None: it is no IP, or ends before its addresses do."""
    headers = read_headers(data)
    if headers.version == 4:
        src, dst = data[12:16], data[16:20]
    elif headers.version == 6:
        src, dst = data[8:24], data[24:40]
    else:
        return None
    protocol, at = headers.protocol or 0, headers.transport
    if at is None or len(data) < at + 4:
        return src, dst, protocol, 0, 0
    if protocol in _WITH_PORTS:
        return (
            src,
            dst,
            protocol,
            int.from_bytes(data[at : at + 2], "big"),
            int.from_bytes(data[at + 2 : at + 4], "big"),
        )
    return src, dst, protocol, 0, data[at] if protocol in _PINGS else 0


class FlowTable:
    """Always true: at most ``limit`` flows, what is still to be settled is in ``_fresh``, the oldest
    first, and the denied ones are in ``_denied``."""

    def __init__(self, limit: int = FLOWS_MAX) -> None:
        self._limit = limit
        self._flows: dict[FlowKey, _Flow] = {}
        self._fresh: dict[FlowKey, None] = {}
        self._denied: dict[FlowKey, None] = {}
        self._ends: Counter[tuple[bytes, bytes]] = Counter()
        self._told: list[Told] = []
        self.forgotten = 0
        """Flows that there was no room to follow to their end."""

    def __len__(self) -> int:
        return len(self._flows)

    def on_packet(self, now: float, key: FlowKey, packet: bytes, decision: Decision) -> None:
        """A rule decided about a packet that no known connection has. Rules that one packet meets come together."""
        flow = self._flows.get(key)
        if flow is None:
            if len(self._flows) >= self._limit:
                self._forget(now)
            self._flows[key] = _Flow(now, now, packet, [decision])
            self._ends[key[:2]] += 1
        elif packet != flow.packet or decision in flow.decisions:
            flow.packet, flow.decisions, flow.last = packet, [decision], now
            flow.attempts += 1
        elif len(flow.decisions) < _DECISIONS_MAX:
            flow.decisions.append(decision)
            flow.last = now
        else:
            return
        self._fresh.pop(key, None)
        self._fresh[key] = None
        self._denied.pop(key, None)
        if self._flows[key].is_denied:
            self._denied[key] = None

    @property
    def is_waiting(self) -> bool:
        """Whether something is to be told soon."""
        return bool(self._fresh or self._told)

    def is_followed(self, ends: tuple[bytes, bytes]) -> bool:
        """Whether a flow between two addresses is followed, so that its end matters."""
        return ends in self._ends

    def on_end(self, now: float, key: FlowKey, counts: Counts) -> None:
        """A connection ended; ``key`` as policy saw it."""
        flow = self._flows.get(key)
        if flow is None or flow.is_denied:
            return
        self._settle(key, flow)
        counted = counts if any(map(any, counts)) else None
        self._tell("end", key, flow, now, counted)
        self._remove(key)

    def take(self, now: float) -> list[Told]:
        """What is to be told since the last call. A first packet is told when all rules that it met had the time to
        say what they decided."""
        while self._fresh:
            key = next(iter(self._fresh))
            flow = self._flows[key]
            if now - flow.last < _SETTLED_S:
                break
            del self._fresh[key]
            self._settle(key, flow)
        told, self._told = self._told, []
        return told

    def tick(self, now: float, interval: float) -> None:
        """Once a flush interval: tell of denied flows that were tried again, let go of those that were not."""
        for key in list(self._denied):
            flow = self._flows[key]
            self._settle(key, flow)
            if flow.attempts > flow.told_attempts:
                self._tell("update", key, flow, now)
            elif now - flow.last >= interval:
                self._remove(key)

    def _settle(self, key: FlowKey, flow: _Flow) -> None:
        decisions = tuple(flow.decisions)
        if decisions != flow.told:
            self._tell("changed" if flow.told else "new", key, flow, flow.last)
            flow.told = decisions

    def _forget(self, now: float) -> None:
        """Of the denied flows the one that was quiet for longest, so that nobody who only tries pushes a connection
        out; without one the flow that came first."""
        key = next(iter(self._denied or self._flows))
        flow = self._flows[key]
        self._settle(key, flow)
        if not flow.is_denied or flow.attempts > flow.told_attempts:
            self._tell("forgotten", key, flow, now)
        self.forgotten += not flow.is_denied
        self._remove(key)

    def _remove(self, key: FlowKey) -> None:
        del self._flows[key]
        self._fresh.pop(key, None)
        self._denied.pop(key, None)
        self._ends[key[:2]] -= 1
        if not self._ends[key[:2]]:
            del self._ends[key[:2]]

    def _tell(self, state: State, key: FlowKey, flow: _Flow, now: float, counts: Counts | None = None) -> None:
        flow.told_attempts = flow.attempts
        duration = round(now - flow.start, 3)
        self._told.append(Told(state, key, tuple(flow.decisions), flow.attempts, flow.start, duration, counts))
