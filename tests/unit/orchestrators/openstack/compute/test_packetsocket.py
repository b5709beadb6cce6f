"""The filters, by the kernel: a local socket takes the same ones as a packet socket, and needs no rights."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest

from calico.orchestrators.openstack.compute.bucket import Bucket
from calico.orchestrators.openstack.compute.packetsocket import PROGRAMS, attach

Passes = Callable[[bytes], bool]


def passing(version: int) -> Iterator[Passes]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with closing(ours), closing(theirs):
        ours.setblocking(False)
        attach(ours, PROGRAMS[version])

        def passes(frame: bytes) -> bool:
            theirs.send(frame)
            try:
                return ours.recv(4096) == frame
            except BlockingIOError:
                return False

        yield passes


@pytest.fixture
def passes4() -> Iterator[Passes]:
    yield from passing(4)


@pytest.fixture
def passes6() -> Iterator[Passes]:
    yield from passing(6)


def v4(dport: int = 67, protocol: int = 17, fragment: int = 0, options: bytes = b"") -> bytes:
    first = 0x45 + len(options) // 4
    ip = struct.pack("!BBHHHBBHII", first, 0, 0, 0, fragment, 64, protocol, 0, 0, 0xFFFFFFFF)
    return bytes(12) + b"\x08\0" + ip + options + struct.pack("!HHHH", 68, dport, 8, 0)


def v6(dport: int = 547, following: int = 17, kind: int = 133) -> bytes:
    payload = bytes((kind,)) + bytes(7) if following == 58 else struct.pack("!HHHH", 546, dport, 8, 0)
    return bytes(12) + b"\x86\xdd" + struct.pack("!IHBB", 6 << 28, 8, following, 255) + bytes(32) + payload


def test_of_ipv4_only_whole_datagrams_to_the_dhcp_server_pass(passes4: Passes) -> None:
    assert passes4(v4())
    assert passes4(v4(fragment=0x4000))
    assert passes4(v4(options=bytes(8)))
    for frame in (
        v4(dport=68),
        v4(dport=53),
        v4(protocol=6),
        v4(fragment=0x2000),
        v4(fragment=3),
        v4()[:30],
        v4()[:20],
    ):
        assert not passes4(frame)


def test_of_ipv6_only_dhcp_and_router_solicitations_pass(passes6: Passes) -> None:
    assert passes6(v6())
    assert passes6(v6(following=58))
    others = [v6(following=58, kind=kind) for kind in (128, 134, 135, 136)]
    for frame in (v6(dport=546), v6(following=6), v6(following=44), *others, v6()[:50]):
        assert not passes6(frame)


def test_a_bucket_lets_a_burst_through_and_then_a_rate() -> None:
    bucket = Bucket(10, 3)
    assert [bucket.take(100.0) for _ in range(4)] == [True, True, True, False]
    assert bucket.take(100.125)
    assert not bucket.take(100.15)
    assert [bucket.take(200.0) for _ in range(4)] == [True, True, True, False]
