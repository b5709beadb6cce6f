"""A continuous flow between two namespaces, to see what a change or a crash does to traffic meanwhile.

A process of its own sends numbered UDP packets at a steady rate and keeps one TCP connection busy; afterwards it says
which packets were lost and when. Times are CLOCK_MONOTONIC seconds, so they compare with ``time.monotonic()`` of the
caller. Sockets are made inside the namespaces; the process itself stays in none of them.
"""

from __future__ import annotations

import os
import select
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Self

import msgspec

from calico.errors import Transient

__all__ = ["FlowReport", "FlowSettings", "Interval", "Prober", "intervals"]

_GRACE_S = 0.4
_READY_S = 10.0
_MAX_BURST = 50  # packets


class FlowSettings(msgspec.Struct, frozen=True, kw_only=True):
    """From ``src_netns`` to ``address`` in ``dst_netns``; ``rate`` in packets a second; ``source`` binds the sender.

    A flow that is told to stop ends when it has sent ``at_least`` so many packets.
    """

    src_netns: str
    dst_netns: str
    address: str
    port: int = 7007
    rate: int = 500
    at_least: int = 0
    tcp: bool = True
    source: str = ""


class Interval(msgspec.Struct, frozen=True):
    """``count`` packets in a row, the first sent at ``start_s`` and the last at ``end_s``."""

    start_s: float
    end_s: float
    count: int


class FlowReport(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the flow. ``tcp_stall_s``: the longest time for which the TCP connection got no answer."""

    sent: int
    received: int
    lost: tuple[Interval, ...]
    passed: tuple[Interval, ...]
    duration_s: float
    tcp_connected: bool
    tcp_broken: bool
    tcp_echoed: int
    tcp_stall_s: float


def intervals(times: list[float], received: set[int], *, passed: bool) -> tuple[Interval, ...]:
    """Maximal runs of packets (numbered by their index in ``times``) that all did, or all did not, arrive."""
    found: list[Interval] = []
    run: list[float] = []
    for number, sent_at in enumerate([*times, None]):
        if sent_at is not None and (number in received) == passed:
            run.append(sent_at)
        elif run:
            found.append(Interval(run[0], run[-1], len(run)))
            run = []
    return tuple(found)


class Prober:
    """Runs a flow for as long as a with block, or between ``start`` and ``stop``; ``report`` holds the outcome."""

    def __init__(self, settings: FlowSettings) -> None:
        self._settings = settings
        self._process: subprocess.Popen[bytes] | None = None
        self.report: FlowReport | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()

    def start(self) -> None:
        """Return once packets flow; Transient when the flow cannot start."""
        argument = msgspec.json.encode(self._settings).decode()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "calico.lab.probe.flow", argument],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], _READY_S)
        if not ready or self._process.stdout.readline() != b"ready\n":
            self._process.kill()
            _, said = self._process.communicate()
            raise Transient(f"the flow to {self._settings.address} did not start: {said.decode(errors='replace')}")

    def stop(self) -> FlowReport:
        """End the flow and say what became of it; the same report when called again."""
        if self.report is None:
            assert self._process is not None, "start comes before stop"
            output, said = self._process.communicate()
            if self._process.returncode != 0:
                raise Transient(f"the flow to {self._settings.address} failed: {said.decode(errors='replace')}")
            self.report = msgspec.json.decode(output, type=FlowReport)
        return self.report


class _Flow:
    """The sockets and counts of a running flow."""

    def __init__(self, settings: FlowSettings) -> None:
        from calico.dataplane.netns import in_netns

        self.settings = settings
        self.family = socket.AF_INET6 if ":" in settings.address else socket.AF_INET
        self.times: list[float] = []
        self.received: set[int] = set()
        self.tcp_connected = self.tcp_broken = False
        self.tcp_echoed = 0
        self.tcp_stall_s = 0.0
        self._tcp_heard = 0.0
        self.poll = select.epoll()
        self.handlers: dict[int, Callable[[], None]] = {}
        self.sink, self.listener = in_netns(settings.dst_netns, self._servers)
        self.sender, self.client = in_netns(settings.src_netns, self._clients)
        self.accepted: socket.socket | None = None
        self._watch(self.sink, self._on_packet)
        if settings.tcp:
            self._watch(self.listener, self._on_accept)
            self._watch(self.client, self._on_echo)

    def run(self, stop: threading.Event, ready: Callable[[], None]) -> FlowReport:
        """Send until told to stop, wait for what is on its way, report."""
        begin = time.monotonic()
        self._tcp_heard = begin
        interval = 1 / self.settings.rate
        ready()
        start = begin  # of the schedule
        while not stop.is_set() or len(self.times) < self.settings.at_least:
            due = int((time.monotonic() - start) / interval) + 1
            if due - len(self.times) > _MAX_BURST:
                # this process was kept waiting: what it missed is left out, for a burst would overflow our own queues
                start += (due - len(self.times) - 1) * interval
                due = len(self.times) + 1
            while len(self.times) < due:
                self._send()
            self._turn(max(0.0, start + due * interval - time.monotonic()))
        end = time.monotonic()
        while (left := end + _GRACE_S - time.monotonic()) > 0 and len(self.received) < len(self.times):
            self._turn(left)
        return FlowReport(
            sent=len(self.times),
            received=len(self.received),
            lost=intervals(self.times, self.received, passed=False),
            passed=intervals(self.times, self.received, passed=True),
            duration_s=end - begin,
            tcp_connected=self.tcp_connected,
            tcp_broken=self.tcp_broken,
            tcp_echoed=self.tcp_echoed,
            tcp_stall_s=max(self.tcp_stall_s, end - self._tcp_heard),
        )

    def _servers(self) -> tuple[socket.socket, socket.socket]:
        sink = socket.socket(self.family, socket.SOCK_DGRAM)
        listener = socket.socket(self.family, socket.SOCK_STREAM)
        for sock in (sink, listener):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.setblocking(False)
            sock.bind((self.settings.address, self.settings.port))
        sink.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        listener.listen(4)
        return sink, listener

    def _clients(self) -> tuple[socket.socket, socket.socket]:
        sender = socket.socket(self.family, socket.SOCK_DGRAM)
        client = socket.socket(self.family, socket.SOCK_STREAM)
        for sock in (sender, client):
            sock.setblocking(False)
            if self.settings.source:
                sock.bind((self.settings.source, 0))
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.settings.tcp:
            client.connect_ex((self.settings.address, self.settings.port))
        return sender, client

    def _send(self) -> None:
        number = len(self.times)
        self.times.append(time.monotonic())
        with suppress(OSError):  # refused by our own kernel: a lost packet like any other
            self.sender.sendto(struct.pack("!Q", number), (self.settings.address, self.settings.port))
        if self.tcp_connected and not self.tcp_broken and number % 5 == 0:
            try:
                self.client.send(b"x")
            except BlockingIOError:
                pass
            except OSError:
                self.tcp_broken = True

    def _turn(self, timeout_s: float) -> None:
        for fd, _ in self.poll.poll(timeout_s, 64):
            handler = self.handlers.get(fd)
            if handler is not None:
                handler()

    def _watch(self, sock: socket.socket, handler: Callable[[], None]) -> None:
        self.handlers[sock.fileno()] = handler
        self.poll.register(sock.fileno(), select.EPOLLIN)

    def _unwatch(self, sock: socket.socket) -> None:
        self.handlers.pop(sock.fileno(), None)
        self.poll.unregister(sock.fileno())

    def _on_packet(self) -> None:
        with suppress(BlockingIOError):
            while True:
                self.received.add(struct.unpack("!Q", self.sink.recv(64))[0])

    def _on_accept(self) -> None:
        with suppress(OSError):
            self.accepted, _ = self.listener.accept()
            self.accepted.setblocking(False)
            self._watch(self.accepted, self._on_request)
            self.tcp_connected = True

    def _on_request(self) -> None:
        assert self.accepted is not None
        try:
            data = self.accepted.recv(4096)
            self.accepted.send(data) if data else self._unwatch(self.accepted)
        except BlockingIOError:
            pass
        except OSError:
            self._unwatch(self.accepted)

    def _on_echo(self) -> None:
        try:
            data = self.client.recv(4096)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.tcp_broken = self.tcp_connected
            self._unwatch(self.client)
            return
        now = time.monotonic()
        self.tcp_stall_s = max(self.tcp_stall_s, now - self._tcp_heard)
        self._tcp_heard = now
        self.tcp_echoed += len(data)


def main() -> None:
    """Entry point of the flow's process: settings as JSON argument; ends when standard input does."""
    settings = msgspec.json.decode(sys.argv[1], type=FlowSettings)
    stop = threading.Event()
    flow = _Flow(settings)

    def wait_for_end() -> None:
        while os.read(0, 64):
            pass
        stop.set()

    threading.Thread(target=wait_for_end, daemon=True).start()

    def ready() -> None:
        os.write(1, b"ready\n")

    report = flow.run(stop, ready)
    os.write(1, msgspec.json.encode(report))


if __name__ == "__main__":
    main()
