"""Sending the probes: one thread, one epoll loop, sockets in every namespace.

A socket belongs to the namespace in which it was made, whoever uses it afterwards. So the thread visits each
namespace, makes its sockets there, and then serves and asks for all machines at once. Every run has source ports and
echo identifiers of its own (see ``sourceports``): an established connection would be let through whatever the policy
says now.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress

from calico.dataplane.netns import enter_netns, open_netns
from calico.errors import InvalidInput, Transient
from calico.lab.probe.matrix import Probe, Row, Target
from calico.lab.probe.sourceports import fresh_ports
from calico.lab.probe.wire import (
    INIT,
    INIT_ACK,
    echo_reply_key,
    echo_request,
    ip_payload,
    parse_sctp,
    sctp_packet,
)

__all__ = ["measure"]

_IN_FLIGHT = 600  # clients; with the servers' ends well below the usual limit of open files
_TRIES = 3
_SCTP = 132
_FAMILY = {4: socket.AF_INET, 6: socket.AF_INET6}
_LINGER_RESET = struct.pack("ii", 1, 0)


def measure(targets: Sequence[Target], probes: Iterable[Probe], timeout_s: float = 1.2) -> list[Row]:
    """The answers, in the order of the probes. A probe fails when no try of three is answered within the timeout.

    Servers run for as long as the measurement; where a machine has a TCP server of its own on a port, to connect
    counts. Transient when the namespaces cannot be entered.
    """
    wanted = list(probes)
    result: list[Row] = []
    failures: list[BaseException] = []

    def run() -> None:
        try:
            result.extend(_Run(targets, wanted, timeout_s).rows())
        except BaseException as error:  # handed to the caller's thread
            failures.append(error)

    thread = threading.Thread(target=run, name="probe")
    thread.start()
    thread.join()
    if failures:
        raise failures[0]
    return result


class _Run:
    """One measurement. ``_handlers`` maps a descriptor to what is done when it is ready."""

    def __init__(self, targets: Sequence[Target], probes: list[Probe], timeout_s: float) -> None:
        self._targets = {target.name: target for target in targets}
        self._probes = probes
        self._timeout_s = timeout_s
        self._epoll = select.epoll()
        self._sockets: dict[int, socket.socket] = {}
        self._handlers: dict[int, Callable[[int], None]] = {}
        self._answers: dict[Probe, bool] = {}
        self._foreign: set[tuple[str, str, int | None, int]] = set()
        self._raw: dict[tuple[str, int, int], socket.socket] = {}
        self._waiting: dict[tuple[str, int, int, int, str], Probe] = {}
        self._own_ports: dict[tuple[str, int], set[int]] = {}
        self._clients: deque[tuple[float, int, _Client]] = deque()
        self._ports = fresh_ports(_TRIES)
        self._port = self._ports[0]

    def rows(self) -> list[Row]:
        """Serve, ask in waves, and close everything."""
        try:
            for name, wanted in self._services().items():
                self._enter(name)
                for protocol, port, family in wanted:
                    self._serve(name, protocol, port, family)
            self._ask_all()
        finally:
            for sock in self._sockets.values():
                sock.close()
            self._epoll.close()
        return [
            Row(src=p.src, dst=p.dst, protocol=p.protocol, port=p.port, family=p.family, reachable=self._answers[p])
            for p in self._probes
        ]

    def _services(self) -> dict[str, set[tuple[str, int | None, int]]]:
        wanted: dict[str, set[tuple[str, int | None, int]]] = {}
        for probe in self._probes:
            wanted.setdefault(probe.dst, set()).add((probe.protocol, probe.port, probe.family))
        return wanted

    def _address(self, name: str, family: int) -> str:
        address = self._targets[name].address(family)
        if address is None:
            raise InvalidInput(f"{name} has no IPv{family} address")
        return address

    def _enter(self, name: str) -> None:
        fd = open_netns(self._targets[name].netns)
        try:
            enter_netns(fd)
        finally:
            os.close(fd)

    # ---- serving

    def _serve(self, name: str, protocol: str, port: int | None, family: int) -> None:
        address = self._address(name, family)
        if protocol == "SCTP":
            self._own_ports.setdefault((name, family), set()).add(port or 0)
            self._raw_socket(name, _SCTP, family)
        elif protocol in ("TCP", "UDP"):
            kind = socket.SOCK_STREAM if protocol == "TCP" else socket.SOCK_DGRAM
            server = socket.socket(_FAMILY[family], kind)
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            server.setblocking(False)
            try:
                server.bind((address, port))
            except OSError as error:
                server.close()
                if error.errno != errno.EADDRINUSE:
                    raise Transient(f"{name} cannot listen on {address} port {port}: {error.strerror}") from error
                self._foreign.add((name, protocol, port, family))
                return
            if protocol == "TCP":
                server.listen(512)
            self._watch(server, self._accept if protocol == "TCP" else self._echo)

    def _accept(self, fd: int) -> None:
        with suppress(OSError):
            connection, _ = self._sockets[fd].accept()
            connection.setblocking(False)
            self._watch(connection, self._forget)  # the client ends it
            connection.send(b"k")

    def _echo(self, fd: int) -> None:
        with suppress(OSError):
            data, sender = self._sockets[fd].recvfrom(64)
            self._sockets[fd].sendto(data, sender)

    # ---- asking

    def _ask_all(self) -> None:
        """Ask what is unanswered, three times; what stays silent is not reachable."""
        for port in self._ports:
            self._port = port
            by_source: dict[str, list[Probe]] = {}
            for probe in self._probes:
                if probe not in self._answers:
                    by_source.setdefault(probe.src, []).append(probe)
            for name, asked in by_source.items():
                self._enter(name)
                for number, probe in enumerate(asked):
                    self._ask(probe)
                    if number % 64 == 63:
                        self._poll(0)  # keep the servers' queues short
                        self._make_room()
            # asking itself may take long on a busy machine, so the time runs from the last question
            deadline = time.monotonic() + self._timeout_s / _TRIES
            while len(self._answers) < len(self._probes) and (left := deadline - time.monotonic()) > 0:
                self._poll(left)
        for probe in self._probes:
            self._answers.setdefault(probe, False)

    def _make_room(self) -> None:
        """Give up the oldest clients that have had their time, until few enough are left."""
        while len(self._clients) > _IN_FLIGHT:
            self._clients = deque(entry for entry in self._clients if self._handlers.get(entry[1]) is entry[2])
            if len(self._clients) <= _IN_FLIGHT:
                return
            asked_at, fd, _ = self._clients[0]
            if (left := asked_at + self._timeout_s / _TRIES - time.monotonic()) > 0:
                self._poll(left)
            else:
                self._forget(fd)

    def _ask(self, probe: Probe) -> None:
        with suppress(OSError):  # no route, refused by our own kernel: not reached by this try
            if probe.protocol in ("TCP", "UDP"):
                self._connect(probe)
            else:
                self._send_raw(probe)

    def _connect(self, probe: Probe) -> None:
        stream = probe.protocol == "TCP"
        client = socket.socket(_FAMILY[probe.family], socket.SOCK_STREAM if stream else socket.SOCK_DGRAM)
        client.setblocking(False)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # one port for all destinations
        address = self._address(probe.dst, probe.family)
        foreign = (probe.dst, probe.protocol, probe.port, probe.family) in self._foreign
        try:
            client.bind((self._address(probe.src, probe.family), self._port))
            if stream:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_RESET)
                failure = client.connect_ex((address, probe.port))
                if failure not in (0, errno.EINPROGRESS):
                    raise OSError(failure, os.strerror(failure))
            else:
                client.connect((address, probe.port))
                client.send(b"q")
        except OSError:
            client.close()
            raise
        events = select.EPOLLOUT if stream and foreign else select.EPOLLIN
        handler = _Client(self, probe, events == select.EPOLLOUT)
        self._watch(client, handler, events)
        self._clients.append((time.monotonic(), client.fileno(), handler))

    def _send_raw(self, probe: Probe) -> None:
        address = self._address(probe.dst, probe.family)
        protocol = _SCTP if probe.protocol == "SCTP" else _icmp(probe.family)
        sock = self._raw_socket(probe.src, protocol, probe.family)
        number = self._ports[0]
        self._waiting[probe.src, protocol, number, probe.port or 1, address] = probe
        if protocol == _SCTP:
            assert probe.port is not None
            packet = sctp_packet(number, probe.port, INIT, verification_tag=0, tag=number + 1)
        else:
            packet = echo_request(probe.family, number, 1)
        sock.sendto(packet, (address, 0))

    # ---- raw sockets: one for each machine, protocol and family, for asking and for serving

    def _raw_socket(self, name: str, protocol: int, family: int) -> socket.socket:
        """The socket; made on first use, when the thread is in the machine's namespace."""
        sock = self._raw.get((name, protocol, family))
        if sock is None:
            sock = socket.socket(_FAMILY[family], socket.SOCK_RAW, protocol)
            sock.setblocking(False)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 21)
            sock.bind((self._address(name, family), 0))
            self._raw[name, protocol, family] = sock
            self._watch(sock, _RawHandler(self, name, protocol, family))
        return sock

    def on_raw(self, fd: int, name: str, protocol: int, family: int) -> None:
        """A packet has come to a raw socket."""
        try:
            data, sender = self._sockets[fd].recvfrom(2048)
        except OSError:
            return
        payload = ip_payload(data, family)
        if protocol != _SCTP:
            key = echo_reply_key(payload, family)
            if key is not None:
                self._answered((name, protocol, *key, sender[0]))
            return
        packet = parse_sctp(payload)
        if packet is None:
            return
        if packet.chunk == INIT_ACK:
            self._answered((name, protocol, packet.destination, packet.source, sender[0]))
        elif packet.chunk == INIT and packet.destination in self._own_ports.get((name, family), ()):
            answer = sctp_packet(
                packet.destination, packet.source, INIT_ACK, verification_tag=packet.tag, tag=packet.tag ^ 1 or 1
            )
            with suppress(OSError):
                self._sockets[fd].sendto(answer, (sender[0], 0))

    def _answered(self, place: tuple[str, int, int, int, str]) -> None:
        probe = self._waiting.get(place)
        if probe is not None:
            self._answers[probe] = True

    # ---- the loop

    def on_client(self, fd: int, probe: Probe, connecting: bool) -> None:
        """A TCP or UDP client has an answer or an error."""
        sock = self._sockets[fd]
        failure = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if failure == 0 and not connecting:
            try:
                failure = 0 if sock.recv(64) else errno.ECONNRESET
            except BlockingIOError:
                return
            except OSError as error:
                failure = error.errno or errno.EIO
        if failure == 0:
            self._answers[probe] = True
        self._forget(fd)

    def _watch(self, sock: socket.socket, handler: Callable[[int], None], events: int = select.EPOLLIN) -> None:
        self._sockets[sock.fileno()] = sock
        self._handlers[sock.fileno()] = handler
        self._epoll.register(sock.fileno(), events)

    def _forget(self, fd: int) -> None:
        self._handlers.pop(fd, None)
        sock = self._sockets.pop(fd, None)
        if sock is not None:
            sock.close()

    def _poll(self, timeout_s: float) -> None:
        for fd, _ in self._epoll.poll(timeout_s, 512):
            handler = self._handlers.get(fd)
            if handler is not None:
                handler(fd)


class _Client:
    """What is done when a client's socket is ready."""

    def __init__(self, run: _Run, probe: Probe, connecting: bool) -> None:
        self._run, self._probe, self._connecting = run, probe, connecting

    def __call__(self, fd: int) -> None:
        self._run.on_client(fd, self._probe, self._connecting)


class _RawHandler:
    """What is done when a raw socket is ready."""

    def __init__(self, run: _Run, name: str, protocol: int, family: int) -> None:
        self._run, self._place = run, (name, protocol, family)

    def __call__(self, fd: int) -> None:
        self._run.on_raw(fd, *self._place)


def _icmp(family: int) -> int:
    return socket.IPPROTO_ICMP if family == 4 else socket.IPPROTO_ICMPV6
