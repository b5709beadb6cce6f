"""ICMP errors that a workload makes up about connections of others, as real packets."""

from __future__ import annotations

import errno
import ipaddress
import socket
from typing import Any

import pytest

from calico.calc.messages import ActiveRule, ProfileUpdate
from calico.dataplane.netns import in_netns

pytestmark = pytest.mark.root

OPEN = ProfileUpdate(name="open", ingress=(ActiveRule(action="allow"),), egress=(ActiveRule(action="allow"),))
HOST = {"v4": "10.65.255.1", "v6": "fd00:65::ffff"}
HOST_MAC = bytes.fromhex("eeeeeeeeeeee")
DEADLINE_S = 10.0


def checksum(data: bytes) -> bytes:
    total = sum(int.from_bytes(data[i : i + 2], "big") for i in range(0, len(data), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return (total ^ 0xFFFF).to_bytes(2, "big")


def ip(src: str, dst: str, protocol: int, body: bytes) -> bytes:
    """A packet of either version; ``body`` is complete."""
    ends = ipaddress.ip_address(src).packed + ipaddress.ip_address(dst).packed
    if ":" in src:
        return b"\x60\0\0\0" + len(body).to_bytes(2, "big") + bytes((protocol, 64)) + ends + body
    start = b"\x45\0" + (20 + len(body)).to_bytes(2, "big") + bytes(4) + bytes((64, protocol))
    return start + checksum(start + b"\0\0" + ends) + ends + body


def unreachable_port(src: str, dst: str, quoted: bytes) -> bytes:
    """The ICMP error from ``src`` that the port of a packet from ``dst`` is unreachable."""
    v6 = ":" in src
    head, number = (b"\x01\x04", 58) if v6 else (b"\x03\x03", 1)
    size = 8 + len(quoted)
    ends = ipaddress.ip_address(src).packed + ipaddress.ip_address(dst).packed
    pseudo = ends + size.to_bytes(4, "big") + bytes((0, 0, 0, number)) if v6 else b""
    body = head + checksum(pseudo + head + bytes(6) + quoted) + bytes(4) + quoted
    return ip(src, dst, number, body)


def udp_of(address: str, peer: str) -> socket.socket:
    """A connected UDP socket in the caller's namespace that has sent one datagram."""
    made = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
    made.settimeout(DEADLINE_S)
    made.bind((address, 0))
    made.connect((peer, 9))
    made.send(b"probe!!!")
    return made


def forge(attacker: Any, source: str, victim: str, peer: str, port: int) -> None:
    """From the attacker's wire: ``source`` says that port 9 of ``peer`` cannot be reached from ``victim``:``port``."""
    datagram = port.to_bytes(2, "big") + b"\0\x09\0\x10\0\0" + b"probe!!!"
    frame = HOST_MAC + attacker.mac + (b"\x86\xdd" if ":" in source else b"\x08\0")
    with attacker.wire() as wire:
        wire.send(frame + unreachable_port(source, victim, ip(victim, peer, 17, datagram)))


@pytest.mark.parametrize("family", ["v4", "v6"])
def test_a_workload_ends_no_connection_of_others_by_an_icmp_error(host: Any, family: str) -> None:
    attacker, other = host.workloads
    mine, peer, here = getattr(attacker, family), getattr(other, family), HOST[family]
    for workload in host.workloads:
        host.apply(OPEN, host.endpoint(workload, profiles=("open",)))
    receiver = other.udp(peer, 9)
    with receiver, in_netns(host.netns, lambda: udp_of(here, peer)) as victim:
        assert receiver.recv(100) == b"probe!!!"
        forge(attacker, mine, here, peer, victim.getsockname()[1])
        attacker_ends = in_netns(host.netns, lambda: udp_of(here, mine))
        with attacker_ends, pytest.raises(ConnectionRefusedError):
            attacker_ends.recv(100)  # an error about a packet to itself arrives, and after the forged one
        assert victim.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != errno.ECONNREFUSED
