"""A steady stream of packets between two workloads: what must pass and what must never, to be counted afterwards."""

from __future__ import annotations

import itertools
import select
import threading
import time

from felix_packets import Packet, build
from felix_world import World, arrivals

__all__ = ["CONNECTION", "Stream"]

_PERIOD_S = 0.002
CONNECTION = ("a>b udp:7001:7000", "b>a udp:7000:7001")
_FORBIDDEN, _ALLOWED, _ESTABLISHED, _REPLIES = "forbidden", "allowed", "established", "replies"


class Stream:
    """Every 2 ms a new forbidden and a new allowed connection and both ways of an established one: 2000 packets/s, of
    one family or of both in turn."""

    def __init__(self, world: World, *families: int) -> None:
        self.sent: dict[str, dict[int, float]] = {kind: {} for kind in (_FORBIDDEN, _ALLOWED, _ESTABLISHED, _REPLIES)}
        self.seen: set[int] = set()
        self._world, self._families = world, families
        self._stop = threading.Event()
        self._ports = (world.ports["a"], world.ports["b"])
        self._threads = [threading.Thread(target=work) for work in (self._send, self._receive)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def passed(self) -> set[int]:
        """Forbidden packets that arrived."""
        return self.sent[_FORBIDDEN].keys() & self.seen

    def lost(self) -> dict[str, int]:
        """How many of each kind that must pass did not arrive."""
        kinds = (_ESTABLISHED, _REPLIES, _ALLOWED)
        return {kind: len(self.sent[kind].keys() - self.seen) for kind in kinds}

    @property
    def count(self) -> int:
        """All packets sent."""
        return sum(map(len, self.sent.values()))

    @property
    def seconds(self) -> float:
        first, *_, last = self.sent[_FORBIDDEN].values()
        return last - first

    def _send(self) -> None:
        a, b = self._ports
        connections = itertools.cycle(
            [tuple(self._world.packet(flow, family) for flow in CONNECTION) for family in self._families]
        )
        tag, due = 1 << 20, time.monotonic()
        while not self._stop.is_set():
            known, reply = next(connections)
            port = 10000 + tag // 4 % 50000
            new: dict[str, Packet] = {
                _FORBIDDEN: known._replace(sport=port, dport=9999),
                _ALLOWED: known._replace(sport=port, dport=8000),
                _ESTABLISHED: known,
                _REPLIES: reply,
            }
            for kind, packet in new.items():
                tag += 1
                self.sent[kind][tag] = time.monotonic()
                (b if kind == _REPLIES else a).send(build(packet, tag))
            due = max(due + _PERIOD_S, time.monotonic() - 0.1)
            time.sleep(max(0.0, due - time.monotonic()))

    def _receive(self) -> None:
        socks = [sock for port in self._ports for sock in port.seen]
        last = 0.0
        while not self._stop.is_set() or time.monotonic() < last:
            if not self._stop.is_set():
                last = time.monotonic() + 0.5  # what was sent last may still be on its way
            for sock in select.select(socks, [], [], 0.05)[0]:
                self.seen.update(arrivals(sock))
