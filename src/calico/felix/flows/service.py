"""Flow logs of a running Felix: what the kernel logged becomes records, in slices, at most half of the time.

Nothing of this is there while flow logs are off. What is lost, and where, is counted.
"""

from __future__ import annotations

import asyncio
import functools
import time
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

import structlog

from calico.dataplane.flows.log_reader import FlowReader
from calico.errors import CalicoError
from calico.felix.flows.feed import Feed
from calico.felix.flows.journal import Journal
from calico.felix.flows.names import Names
from calico.felix.flows.record import Decided, FlowRecord, encode_record, protocol_name
from calico.felix.flows.table import FlowKey, FlowTable, Told, flow_key
from calico.model.keys import ResourceKey
from calico.netlink.conntrack import decode_counts, decode_flow, peek_ends
from calico.netlink.nflog import LoggedPacket
from calico.netlink.wire import WireError
from calico.obs.conditions import Conditions
from calico.rules.flowlogs import Decision, decision_of
from calico.rules.packets import ICMP, ICMPV6

__all__ = ["FlowLogs"]

log = structlog.get_logger(__name__)

_SLICE_S: Final = 0.005
_PAUSE_S: Final = 0.005
_SOON_S: Final = 0.05
_ENDS_WAIT_S: Final = 0.25
"""The kernel tells ends at once, what rules logged in batches: the end of a short flow is looked at after its begin."""

_ENDS_WAITING_MAX: Final = 16384
_PREFIXES_KEPT: Final = 4096

DecidedBy = Callable[[str], tuple[ResourceKey, str] | None]


class FlowLogs:
    """``decided_by`` tells the policy or profile, and its tier, of a chain. Lives in the namespace of its thread."""

    def __init__(
        self,
        node: str,
        reader: FlowReader,
        decided_by: DecidedBy,
        names: Names,
        feed: Feed,
        journal: Journal | None,
        conditions: Conditions,
        interval_s: Callable[[], float],
    ) -> None:
        self._node = node
        self._reader = reader
        self._decided_by = decided_by
        self._names = names
        self.feed = feed
        self._journal = journal
        self._conditions = conditions
        self._interval_s = interval_s
        self._table = FlowTable()
        self._decision = functools.lru_cache(maxsize=_PREFIXES_KEPT)(decision_of)
        self._offset = time.time() - time.monotonic()
        self._records = 0
        self._packets = 0
        self._unknown = 0
        self._ends: deque[tuple[float, bytes]] = deque()
        self._ends_lost = 0
        self._wake = asyncio.Event()

    def as_data(self) -> dict[str, Any]:
        """For the status document and metrics."""
        return {
            "flows": len(self._table),
            "packets": self._packets,
            "records": self._records,
            "clients": self.feed.clients,
            "lost": {
                "kernel": self._reader.lost,
                "ends": self._reader.lost_ends + self._ends_lost,
                "flows": self._table.forgotten,
                "clients": self.feed.lost,
                "file": self._journal.lost if self._journal else 0,
                "unknown": self._unknown,
            },
        }

    async def run(self) -> None:
        """Read and tell until cancelled."""
        loop = asyncio.get_running_loop()
        flush_at = time.monotonic() + self._interval_s()
        for fd in self._reader.filenos():
            loop.add_reader(fd, self._wake.set)
        try:
            while True:
                soon = self._table.is_waiting or self._ends
                timeout = _SOON_S if soon else max(0.0, flush_at - time.monotonic())
                await self._readable(min(timeout, self._interval_s()))
                started = time.monotonic()
                if self._read():
                    self._wake.set()
                now = time.monotonic()
                while self._ends and self._ends[0][0] <= now - _ENDS_WAIT_S:
                    self._look_at_end(now, self._ends.popleft()[1])
                if now >= flush_at:
                    self._table.tick(now, self._interval_s())
                    flush_at = now + self._interval_s()
                self._tell(self._table.take(now))
                await asyncio.sleep(max(_PAUSE_S, time.monotonic() - started))
        finally:
            for fd in self._reader.filenos():
                loop.remove_reader(fd)
            self.close()

    def close(self) -> None:
        self._reader.close()
        if self._journal is not None:
            self._journal.close()

    def _read(self) -> bool:
        """One slice; whether there may be more. What goes wrong here must cost nothing but records."""
        try:
            return self._reader.read(_SLICE_S, self._on_packet, self._on_end)
        except CalicoError as error:
            self._unknown += 1
            log.warning("flow logs were not read", error=str(error))
            return True

    async def _readable(self, timeout: float) -> None:
        try:
            async with asyncio.timeout(timeout):
                await self._wake.wait()
        except TimeoutError:
            pass
        self._wake.clear()

    def _on_packet(self, packet: LoggedPacket) -> None:
        self._packets += 1
        decision, key = self._decision(packet.prefix), flow_key(packet.data)
        if decision is None or key is None:
            self._unknown += 1
            return
        self._table.on_packet(time.monotonic(), key, packet.data, decision)

    def _on_end(self, payload: bytes) -> None:
        if len(self._ends) < _ENDS_WAITING_MAX:
            self._ends.append((time.monotonic(), payload))
        else:
            self._ends_lost += 1

    def _look_at_end(self, now: float, payload: bytes) -> None:
        """Of all the connections of the host only those between the ends of followed flows are looked at."""
        try:
            if not self._table.is_followed(peek_ends(payload)):
                return
            flow, counts = decode_flow(payload), decode_counts(payload)
        except WireError:
            self._unknown += 1
            return
        orig, reply = flow.orig, flow.reply
        if orig.protocol in (ICMP, ICMPV6):
            key: FlowKey = (orig.src, reply.src, orig.protocol, 0, orig.icmp[0])
        else:
            key = (orig.src, reply.src, orig.protocol, orig.sport, reply.sport)
        self._table.on_end(now, key, counts)

    def _tell(self, told: list[Told]) -> None:
        if not told:
            return
        lines = [encode_record(self._record(item)) for item in told]
        self._records += len(lines)
        self.feed.publish(lines)
        if self._journal is not None:
            self._journal.write(lines)
            trouble = {"file": self._journal.trouble} if self._journal.trouble else {}
            self._conditions.replace("flow-logs-incomplete", trouble)

    def _record(self, told: Told) -> FlowRecord:
        src, dst, protocol, sport, dport = told.key
        decisions = tuple(map(self._decided, told.decisions))
        there, back = told.counts or ((0, 0), (0, 0))
        return FlowRecord(
            time=_utc(time.time()),
            node=self._node,
            state=told.state,
            verdict="deny" if any(each.verdict == "deny" for each in decisions) else "allow",
            protocol=protocol_name(protocol),
            src=self._names.end(src, sport),
            dst=self._names.end(dst, dport),
            start=_utc(self._offset + told.start),
            decisions=decisions,
            attempts=told.attempts,
            duration_s=told.duration_s,
            packets=(there[0], back[0]) if told.counts else None,
            bytes=(there[1], back[1]) if told.counts else None,
        )

    def _decided(self, decision: Decision) -> Decided:
        if not decision.chain:
            return Decided("deny", decision.direction, decision.reason, decision.tier)
        owner = self._decided_by(decision.chain)
        key, tier = owner if owner is not None else (ResourceKey("", "", decision.chain), "")
        return Decided(
            decision.verdict,
            decision.direction,
            decision.reason,
            tier,
            key.kind,
            key.namespace,
            key.name,
            None if decision.reason == "policy-missing" else decision.rule,
        )


def _utc(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
