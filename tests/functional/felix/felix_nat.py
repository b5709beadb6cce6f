"""What packets look like where they arrive: the addresses and ports that NAT gave them, and the answers to them."""

from __future__ import annotations

import ipaddress
import select
import socket
import time
from contextlib import closing
from typing import NamedTuple

from felix_packets import Packet, build, tags_in
from felix_world import World

__all__ = ["Seen", "caught", "peer_of", "seen"]

_DEADLINE_S = 5.0


class Seen(NamedTuple):
    """The ends of a packet; ports are 0 where there are none."""

    source: str
    destination: str
    sport: int
    dport: int


def seen(world: World, source: str, target: str, packet: Packet) -> Seen:
    """How a packet sent from one machine looks where it arrives."""
    (found,) = caught(world, source, packet, target)
    return found


def caught(world: World, source: str, packet: Packet, *machines: str) -> list[Seen]:
    """The first packet with this one's tag on the wire of each machine, in any direction but out of it."""
    socks = {world.ports[name].seen[0]: name for name in machines}
    for sock in socks:
        _drain(sock)
    tag = world.new_tag()
    world.ports[source].send(build(packet, tag))
    found: dict[str, Seen] = {}
    end = time.monotonic() + _DEADLINE_S
    while len(found) < len(machines):
        ready, _, _ = select.select(list(socks), [], [], max(0.0, end - time.monotonic()))
        assert ready, f"{packet} was seen only at {found}; {world.status['conditions']}"
        for sock in ready:
            data, address = sock.recvfrom(2048)
            if address[2] != socket.PACKET_OUTGOING and tags_in(data) == tag and socks[sock] not in found:
                found[socks[sock]] = _ends(data)
    return [found[name] for name in machines]


def peer_of(
    world: World, client: str, server: str, family: int, kind: int, address: str, port: int, *, asked: int = 0
) -> str:
    """A connection or datagram and its answer between ordinary sockets of the machines' own addresses: the client's
    address as the server sees it.

    ``address`` is what the client asks for, on ``asked`` if not on the port where the server listens;
    AssertionError (TimeoutError) when no answer comes.
    """
    with closing(world.socket(server, family, kind)) as listener, closing(world.socket(client, family, kind)) as asking:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((world.address(server, family), port))
        asking.bind((world.address(client, family), 0))
        if kind == socket.SOCK_STREAM:
            listener.listen()
            asking.connect((address, asked or port))
            accepted, peer = listener.accept()
            with accepted:
                accepted.sendall(b"answer")
                assert asking.recv(100) == b"answer"
        else:
            asking.connect((address, asked or port))
            asking.send(b"question")
            _, peer = listener.recvfrom(100)
            listener.sendto(b"answer", peer)
            assert asking.recv(100) == b"answer"
        return str(peer[0])


def _drain(sock: socket.socket) -> None:
    try:
        while True:
            sock.recv(2048)
    except BlockingIOError:
        return


def _ends(data: bytes) -> Seen:
    v4 = data[0] >> 4 == 4
    addresses = (data[12:16], data[16:20]) if v4 else (data[8:24], data[24:40])
    source, destination = (str(ipaddress.ip_address(address)) for address in addresses)
    protocol, at = (data[9], 20) if v4 else (data[6], 40)
    if protocol not in (6, 17, 132):
        return Seen(source, destination, 0, 0)
    return Seen(source, destination, *(int.from_bytes(data[at + i : at + i + 2], "big") for i in (0, 2)))
