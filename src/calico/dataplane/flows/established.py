"""Established flows after a change of policy: those that it forbids are ended, soon after and beside all other work.

Told of every apply that reached the kernel. Changes that come while a pass is being made lead to one more.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

import structlog

from calico.dataplane.flows.recheck import Cut, Figures, FlowPass
from calico.dataplane.flows.tombstones import Tombstones
from calico.dataplane.flows.tracked import FlowTable
from calico.dataplane.flows.ways import Ways
from calico.errors import CalicoError
from calico.lib.packed import addr_str
from calico.rules.affected import Affected
from calico.rules.ended import EndedFlows
from calico.rules.evaluator.judge import Judge
from calico.rules.packets import ICMP, ICMPV6, SCTP, TCP, UDP
from calico.rules.table import TableState

__all__ = ["EstablishedFlows"]

log = structlog.get_logger(__name__)

_GATHER_S: Final = 0.02
"""From a commit to the pass: bursts lead to one pass, and packets that were judged before are tracked by then."""

_PAUSE_MAX_S: Final = 1.0
_RETRY_FIRST_S: Final = 0.2
_RETRY_MAX_S: Final = 10.0
_LAST_CUT: Final = 20
_NAMES: Final = {ICMP: "icmp", ICMPV6: "icmpv6", TCP: "tcp", UDP: "udp", SCTP: "sctp"}


class EstablishedFlows:
    """Always true: what the last passes have not looked at is pending. Lives in the namespace of its thread."""

    def __init__(
        self,
        state: TableState,
        *,
        commit: Callable[[], object],
        interface_of: Callable[[bytes], str | None],
        name_of: Callable[[str], str] = lambda interface: interface,
        on_problems: Callable[[dict[str, str]], None] = lambda problems: None,
        recheck: bool = True,
    ) -> None:
        """``commit`` brings the kernel to ``state`` or raises. ``interface_of`` tells the interface of the local
        endpoint that has an address, ``name_of`` the endpoint at an interface. ``on_problems`` is told what is wrong
        now, by object."""
        self._table = FlowTable()
        self._ways = Ways(interface_of)
        self._judge = Judge(state)
        self._tombstones = Tombstones(EndedFlows(state), commit)
        self._name_of = name_of
        self._on_problems = on_problems
        self._recheck = recheck
        self._pending = Affected()
        self._since: float | None = None
        self._wake = asyncio.Event()
        self._in_force = asyncio.Event()
        self._adopted = False
        self._retry_s = 0.0
        self._last_cut: deque[dict[str, str]] = deque(maxlen=_LAST_CUT)
        self._totals = Figures()
        self._passing: Figures | None = None
        self._passes = 0
        self._took_ms = self._lag_ms = 0.0

    def close(self) -> None:
        """Close the sockets; tombstones stay in the kernel."""
        self._table.close()
        self._ways.close()

    def on_applied(self, affected: Affected) -> None:
        """The kernel has the ruleset; what changed since the last time concerns these flows."""
        self._judge.forget()
        self._ways.forget()
        if not self._adopted:
            self._tombstones.adopt()
            self._adopted = True
        if self._recheck:
            self._pending.merge(affected)
        else:
            self._pending.changed = self._pending.changed or affected.changed
        if self._pending or (self._pending.changed and len(self._tombstones)):
            self._since = self._since if self._since is not None else time.monotonic()
            self._wake.set()
        else:
            self._pending = Affected()
        self._in_force.set()

    def on_failed(self) -> None:
        """The kernel is behind the desired ruleset: nothing can be judged by it until the next apply."""
        self._in_force.clear()

    def switch(self, recheck: bool) -> bool:
        """Whether flows are ended from now on; returns whether that is news. When it is on again, all of them must be
        said to be affected."""
        news = recheck and not self._recheck
        self._recheck = recheck
        if not recheck:
            self._pending = _without_flows(self._pending)
        return news

    async def run(self) -> None:
        """Make passes until cancelled."""
        while True:
            await self._wait()
            if not self._wake.is_set():
                continue
            await asyncio.sleep(_GATHER_S)
            self._wake.clear()
            took_s = await self._pass()
            await asyncio.sleep(min(took_s, _PAUSE_MAX_S))

    def as_data(self) -> dict[str, Any]:
        """For the status document."""
        totals = self._totals.plus(self._passing or Figures())
        return {
            "mode": "recheck" if self._recheck else "keep",
            "pending": bool(self._pending) or self._passing is not None or self._wake.is_set(),
            "passes": self._passes,
            "read": totals.read,
            "examined": totals.examined,
            "cut": totals.cut,
            "undecided": totals.undecided,
            "tombstones": len(self._tombstones),
            "last_took_ms": round(self._took_ms, 3),
            "last_lag_ms": round(self._lag_ms, 3),
            "last_cut": list(self._last_cut),
        }

    async def _wait(self) -> None:
        """Until there is something to look at, or to try again, or a tombstone is too old."""
        wait_s = self._retry_s or None
        if self._in_force.is_set():
            try:
                expiry_s = self._tombstones.expire()
            except CalicoError as error:  # the next apply of anything brings it to the kernel
                log.warning("tombstones were not removed", error=str(error))
                expiry_s = None
            wait_s = min(filter(None, (wait_s, expiry_s)), default=None)
        try:
            async with asyncio.timeout(wait_s):
                await self._wake.wait()
        except TimeoutError:
            if self._retry_s:
                self._wake.set()

    async def _pass(self) -> float:
        """One pass over what is pending; the seconds it took."""
        started, affected, since = time.monotonic(), self._pending, self._since
        self._pending, self._since = Affected(), None
        work = FlowPass(
            affected, self._table, self._ways, self._judge, self._tombstones, self._wait_in_force, self._note_cut
        )
        self._passing = work.figures
        try:
            await work.run()
        except CalicoError as error:
            self._pending.merge(affected if self._recheck else _without_flows(affected))
            self._since = since
            self._retry_s = min(max(self._retry_s * 2, _RETRY_FIRST_S), _RETRY_MAX_S)
            log.warning("established flows were not all rechecked", error=str(error), retry_s=self._retry_s)
            self._on_problems({"conntrack": str(error)})
        else:
            self._retry_s = 0.0
            self._on_problems(_undecided(work.figures.undecided))
        finally:
            self._totals, self._passing = self._totals.plus(work.figures), None
        took_s = time.monotonic() - started
        if affected and not self._retry_s:
            self._note_pass(work.figures, took_s, since or started)
        return took_s

    def _note_pass(self, figures: Figures, took_s: float, since: float) -> None:
        self._passes += 1
        self._took_ms, self._lag_ms = took_s * 1000, (time.monotonic() - since) * 1000
        log.info(
            "established flows rechecked",
            read=figures.read,
            examined=figures.examined,
            cut=figures.cut,
            took_ms=round(self._took_ms, 1),
            lag_ms=round(self._lag_ms, 1),
        )

    async def _wait_in_force(self) -> None:
        if not self._in_force.is_set():
            await self._in_force.wait()

    def _note_cut(self, cut: Cut) -> None:
        connection, (chain, comment) = cut.connection, cut.reason
        has_ports = connection.protocol in (TCP, UDP, SCTP)
        self._last_cut.append(
            {
                "time": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
                "protocol": _NAMES.get(connection.protocol, str(connection.protocol)),
                "source": _end(connection.src, connection.sport, has_ports),
                "destination": _end(connection.dst, connection.dport, has_ports),
                "from": self._name(connection.came_from),
                "to": self._name(connection.goes_to),
                "chain": chain,
                "reason": comment,
            }
        )

    def _name(self, interface: str | None) -> str:
        return "host" if interface is None else self._name_of(interface)


def _without_flows(affected: Affected) -> Affected:
    left = Affected()
    left.changed = affected.changed
    return left


def _undecided(count: int) -> dict[str, str]:
    return {"ruleset": f"{count} flows could not be judged by the ruleset and were kept"} if count else {}


def _end(address: bytes, port: int, has_ports: bool) -> str:
    text = addr_str(address)
    if not has_ports:
        return text
    return f"[{text}]:{port}" if len(address) == 16 else f"{text}:{port}"
