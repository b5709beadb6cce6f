"""A host and its workloads as network namespaces, and ways to act inside them."""

from __future__ import annotations

import asyncio
import itertools
import os
import socket
import struct
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from calico.calc.messages import EndpointId, EndpointUpdate
from calico.dataplane.endpoints import EndpointManager
from calico.dataplane.interfaces import InterfaceMonitor
from calico.dataplane.links import Links
from calico.dataplane.netns import create_netns, delete_netns, in_netns
from calico.lib import packed
from calico.model.keys import ResourceKey

T = TypeVar("T")
_serial = itertools.count()

HOST_MAC = bytes.fromhex("eeeeeeeeeeee")
WORKLOAD_MAC = bytes.fromhex("020000000001")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything here needs root; without it the tests are skipped, with the reason printed."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.root)
            if os.geteuid() != 0:
                item.add_marker(pytest.mark.skip(reason="needs root to make network namespaces"))


class Host:
    """A namespace that plays a host; workloads are namespaces of its own making. All vanish at the end."""

    def __init__(self) -> None:
        self.prefix = f"cph{os.getpid() % 100000}-{next(_serial)}"
        self.name = f"{self.prefix}-h"
        self.names: list[str] = []
        self._make(self.name)
        self.links = Links(self.name)
        self.links.set_up("lo")

    def workload(self, n: int, *, interface: str = "", address: str = "", address6: str = "") -> str:
        """A workload wired to the host; its default routes go through 169.254.1.1 when it has an IPv4 address."""
        name = f"{self.prefix}-w{n}"
        self._make(name)
        self.wire(n, interface=interface, address=address, address6=address6)
        return name

    def wire(self, n: int, *, interface: str = "", address: str = "", address6: str = "") -> None:
        name = f"{self.prefix}-w{n}"
        mac = bytes.fromhex("0200000000") + bytes((n,))
        self.links.create_veth(interface or f"cali{n}", "eth0", peer_netns=name, mac=HOST_MAC, peer_mac=mac, up=False)
        for netns, end in ((self.name, interface or f"cali{n}"), (name, "eth0")):  # as a CNI plugin does, before up
            no_dad = Path(f"/proc/sys/net/ipv6/conf/{end}/accept_dad")
            in_netns(netns, lambda path=no_dad: path.write_text("0"))  # type: ignore[misc]
        with Links(name) as inside:
            inside.set_up("lo")
            inside.set_up("eth0")
            self.links.set_up(interface or f"cali{n}")
            if address:
                inside.add_address("eth0", f"{address}/32")
                inside.add_route("169.254.1.1/32", dev="eth0")
                inside.add_route("default", via="169.254.1.1", dev="eth0")
            if address6:
                inside.add_address("eth0", f"{address6}/128")

    def _make(self, name: str) -> None:
        create_netns(name)
        self.names.append(name)

    def run(self, work: Callable[[], Awaitable[T]]) -> T:
        """Run a coroutine function inside the host, in an event loop of its own."""

        async def main() -> T:
            async with asyncio.timeout(30):
                return await work()

        return in_netns(self.name, lambda: asyncio.run(main()))

    def sysctl(self, path: str) -> str:
        return in_netns(self.name, lambda: Path("/proc/sys/net", path).read_text().strip())

    def arp(self, netns: str, target: str, sender: str, timeout: float = 1.0) -> bytes | None:
        """Ask for ``target`` on eth0 with a real ARP request; the MAC that answers, or None."""
        sock = in_netns(netns, lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0806)))
        with sock:
            sock.bind(("eth0", 0x0806))
            mac = sock.getsockname()[4]
            sock.settimeout(timeout)
            ask = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1) + mac + packed.addr_bytes(sender) + bytes(6)
            sock.send(b"\xff" * 6 + mac + b"\x08\x06" + ask + packed.addr_bytes(target))
            try:
                while True:
                    operation, source_mac, source = struct.unpack("!H6s4s", sock.recv(2048)[20:32])
                    if operation == 2 and source == packed.addr_bytes(target):
                        return bytes(source_mac)
            except TimeoutError:
                return None

    def ping(self, netns: str, target: str, *options: str) -> bool:
        """Four echo requests out of a namespace; whether any was answered within a second."""
        command = ["nsenter", f"--net=/run/netns/{netns}", "ping", "-n", "-c4", "-i0.25", "-W1", *options, target]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    def ip(self, *arguments: str, netns: str = "") -> str:
        """iproute2 in the host: an independent reader, and somebody else who changes things."""
        command = ["ip", "-n", netns or self.name, *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    def close(self) -> None:
        self.links.close()
        for name in self.names:
            delete_netns(name)


@pytest.fixture
def host() -> Iterator[Host]:
    made = Host()
    try:
        yield made
    finally:
        made.close()


class Felix:
    """The manager and the monitor wired as a daemon does; ``settle`` lets events arrive and applies."""

    def __init__(self, rcvbuf: int = 1 << 20, **options: object) -> None:
        self.resyncs = 0
        self.statuses: list[tuple[str, str]] = []
        self.latest: dict[str, str] = {}
        self.woken = asyncio.Event()
        self.manager = EndpointManager(on_status_change=self._note, wake=self.woken.set, **options)  # type: ignore[arg-type]
        self.monitor = InterfaceMonitor(
            self._on_interface, on_route=self.manager.on_route, on_resync=self._on_resync, rcvbuf=rcvbuf
        )
        self.monitor.start()

    def _on_interface(self, name: str, interface: object) -> None:
        self.manager.on_interface(name, interface)  # type: ignore[arg-type]
        self.woken.set()

    def _on_resync(self) -> None:
        self.resyncs += 1
        self.manager.resync()
        self.woken.set()

    def _note(self, endpoint: EndpointId, status: object) -> None:
        self.statuses.append((endpoint.workload, getattr(status, "state", "gone")))
        self.latest[endpoint.workload] = "; ".join(getattr(status, "reasons", ()))

    async def apply(self) -> None:
        """Take in what the kernel has told, and apply once."""
        self.monitor.on_readable()
        await self.manager.apply()

    async def settle(self) -> None:
        """Apply until no interface is on its way up: the kernel tells of carrier a little later."""
        await self.apply()
        await self.until(lambda: not any("is not up" in reason for reason in self.latest.values()))

    async def until(self, condition: Callable[[], bool]) -> None:
        """Apply on every wake-up until the condition holds (bounded by the loop's own limit)."""
        while not condition():
            await self.woken.wait()
            self.woken.clear()
            await self.manager.apply()

    def state(self, name: str) -> str:
        status = self.manager.status(endpoint_id(name))
        return status.state if status else "unknown"

    def reasons(self, name: str) -> str:
        status = self.manager.status(endpoint_id(name))
        return "; ".join(status.reasons) if status else ""

    def close(self) -> None:
        self.monitor.stop()
        self.manager.close()


@pytest.fixture
def felix(host: Host) -> Callable[[Callable[[Felix], Awaitable[T]]], T]:
    """Run a scenario inside the host with a fresh manager and monitor; call again for a restart."""

    def run(scenario: Callable[[Felix], Awaitable[T]], **options: object) -> T:
        async def work() -> T:
            daemon = Felix(**options)
            try:
                return await scenario(daemon)
            finally:
                daemon.close()

        return host.run(work)

    return run


@pytest.fixture
def endpoint() -> Callable[..., EndpointUpdate]:
    """Build an endpoint update from text."""
    return _endpoint


def endpoint_id(name: str) -> EndpointId:
    return EndpointId("k8s", f"default/{name}", "eth0")


def _endpoint(name: str, interface: str, *addresses: str, **fields: object) -> EndpointUpdate:
    nets = tuple(packed.net_of_host(packed.addr_bytes(address)) for address in addresses)
    key = ResourceKey("WorkloadEndpoint", "default", name)
    return EndpointUpdate(id=endpoint_id(name), key=key, interface=interface, nets=nets, **fields)  # type: ignore[arg-type]
