"""Flows that stay: connections between machines of a world, what the host tracks of them, and Felix's figures."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from felix_world import World, resource, until

from calico.dataplane.flows.tracked import FlowTable
from calico.dataplane.netns import in_netns
from calico.lib.packed import addr_bytes
from calico.netlink.conntrack import Flow, decode_flow

__all__ = ["SHUT", "Talk", "counted", "figures", "forget_all", "tcp", "tracked", "udp"]

T = TypeVar("T")
SILENCE_S = 0.5

DENY_A = {"action": "Deny", "source": {"selector": "app == 'a'"}}
SHUT = resource("GlobalNetworkPolicy", "p", {"selector": "app == 'b'", "types": ["Ingress"], "ingress": [
    DENY_A, {"action": "Allow"}]})  # fmt: skip


class Talk:
    """A flow between two machines: ``ask`` and ``tell`` say whether what one end sends arrives at the other."""

    def __init__(self, client: socket.socket, server: socket.socket, peer: Any = None) -> None:
        self.client, self.server, self.peer = client, server, peer
        self._number = 0

    def ask(self) -> bool:
        return self._goes(self.client.send, self.server)

    def tell(self) -> bool:
        send = self.server.send if self.peer is None else lambda data: self.server.sendto(data, self.peer)
        return self._goes(send, self.client)

    def _goes(self, send: Callable[[bytes], int], receiver: socket.socket) -> bool:
        self._number += 1
        data = b"%08d\r\n" % self._number
        receiver.settimeout(SILENCE_S)
        send(data)
        try:
            while True:
                found = receiver.recv(2000)
                if not found:
                    return False
                if found.endswith(data):
                    return True
        except TimeoutError:
            return False


@contextmanager
def tcp(world: World, family: int, source: str, target: str, port: int = 0, via: str = "") -> Iterator[Talk]:
    with (
        world.socket(target, family, socket.SOCK_STREAM) as listener,
        world.socket(source, family, socket.SOCK_STREAM) as client,
    ):
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((world.address(target, family), port))
        listener.listen()
        client.bind((world.address(source, family), 0))
        client.connect((via or world.address(target, family), listener.getsockname()[1]))
        server, _ = listener.accept()
        with server:
            for end in (client, server):  # closed at once: nothing is sent again when the test is over
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            talk = Talk(client, server)
            assert talk.ask()
            assert talk.tell()
            yield talk


@contextmanager
def udp(world: World, family: int, source: str, target: str) -> Iterator[Talk]:
    with (
        world.socket(target, family, socket.SOCK_DGRAM) as server,
        world.socket(source, family, socket.SOCK_DGRAM) as client,
    ):
        server.bind((world.address(target, family), 0))
        client.bind((world.address(source, family), 0))
        client.connect((world.address(target, family), server.getsockname()[1]))
        client.send(b"first")
        data, peer = server.recvfrom(100)
        assert data == b"first"
        talk = Talk(client, server, peer)
        assert talk.tell()
        yield talk


def with_table(world: World, work: Callable[[FlowTable], T]) -> T:
    def inside() -> T:
        table = FlowTable()
        try:
            return work(table)
        finally:
            table.close()

    return in_netns(world.netns("h"), inside)


def tracked(world: World, source: str, target: str, family: int = 0) -> list[Flow]:
    """The host's flows from one machine to another, as packet filters saw them."""
    ends = [{addr_bytes(world.address(name, version)) for version in (4, 6)} for name in (source, target)]

    flows = with_table(world, lambda table: [decode_flow(payload) for payload in table.read()])
    flows = [f for f in flows if f.orig.src in ends[0] and f.reply.src in ends[1]]
    return [f for f in flows if not family or len(f.orig.src) == (4 if family == 4 else 16)]


def figures(world: World) -> dict[str, Any]:
    """Felix's figures when it has looked at all that the last change concerns."""
    return until(lambda: (e := world.status.get("established")) and not e["pending"] and e, "flows were rechecked")


@contextmanager
def counted(world: World) -> Iterator[Callable[[str], int]]:
    """How much a figure has grown since the beginning."""
    before = figures(world)
    yield lambda name: figures(world)[name] - before[name]


def forget_all(world: World) -> None:
    """The host tracks nothing any more."""
    with_table(world, lambda table: table.delete([decode_flow(payload) for payload in table.read()]))
