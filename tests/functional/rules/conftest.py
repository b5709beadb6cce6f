"""A host with two workloads, each a namespace behind a veth, and the ruleset in its kernel."""

from __future__ import annotations

import os
import socket
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path

import pytest

from calico.calc.messages import EndpointId, EndpointUpdate, Message, QoS, TierPolicies
from calico.dataplane.links import Links
from calico.dataplane.netns import in_netns, temporary_netns
from calico.dataplane.nft.table import NftDataplane
from calico.lib.packed import net
from calico.model.keys import ResourceKey
from calico.netlink.nftables.objects import Table
from calico.rules.config import RulesConfig
from calico.rules.ruleset import Ruleset
from calico.rules.table import TableState

HOST_MAC = bytes.fromhex("eeeeeeeeeeee")
DEADLINE_S = 10.0


class Workload:
    """Namespace ``netns`` whose eth0 is the peer of the host's ``cali<number>``."""

    def __init__(self, netns: str, number: int) -> None:
        self.netns, self.number = netns, number
        self.interface = f"cali{number}"
        self.mac = bytes((2, 0, 0, 0, 0, number))
        self.v4, self.v6 = f"10.65.0.{number}", f"fd00:65::{number}"

    def udp(self, address: str, port: int) -> socket.socket:
        """A UDP socket in the workload."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET

        def make() -> socket.socket:
            made = socket.socket(family, socket.SOCK_DGRAM)
            made.settimeout(DEADLINE_S)
            made.bind((address, port))
            return made

        return in_netns(self.netns, make)

    def wire(self) -> socket.socket:
        """A raw socket on the workload's eth0."""

        def make() -> socket.socket:
            made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
            made.setsockopt(socket.SOL_SOCKET, 33, 16 << 20)  # SO_RCVBUFFORCE
            made.settimeout(DEADLINE_S)
            made.bind(("eth0", 3))
            return made

        return in_netns(self.netns, make)


class Host:
    """The host, its ruleset (not applied yet), and its two workloads."""

    def __init__(self, netns: str, workloads: tuple[Workload, Workload]) -> None:
        self.netns, self.workloads = netns, workloads
        self.use(RulesConfig())

    def use(self, config: RulesConfig) -> None:
        """Begin anew with another configuration, before anything is applied."""
        self.close()
        self.state = TableState()
        self.ruleset = Ruleset(self.state, config)
        self.dataplane = in_netns(self.netns, lambda: NftDataplane(Table("calico"), self.state))

    def close(self) -> None:
        if hasattr(self, "dataplane"):
            self.dataplane.close()

    def apply(self, *messages: Message) -> None:
        for message in messages:
            self.ruleset.on_message(message)
        assert self.dataplane.apply().failed == ()

    def nft(self, *arguments: str, text: str | None = None) -> str:
        command = ["nsenter", f"--net=/run/netns/{self.netns}", "nft", *arguments]
        done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def endpoint(
        self,
        workload: Workload,
        *,
        tiers: tuple[TierPolicies, ...] = (),
        profiles: tuple[str, ...] = (),
        nets: tuple[bytes, ...] = (),
        qos: QoS | None = None,
        nats: tuple[tuple[bytes, bytes], ...] = (),
    ) -> EndpointUpdate:
        name = f"w{workload.number}"
        return EndpointUpdate(
            id=EndpointId("k8s", f"default/{name}", "eth0"),
            key=ResourceKey("WorkloadEndpoint", "default", name),
            interface=workload.interface,
            nets=nets or (net(f"{workload.v4}/32"), net(f"{workload.v6}/128")),
            tiers=tiers,
            profiles=profiles,
            qos=qos,
            nats=nats,
        )


def set_sysctls(netns: str, values: dict[str, str]) -> None:
    """Write sysctls below ``net`` in a namespace."""

    def write() -> None:
        for name, value in values.items():
            Path("/proc/sys/net", name).write_text(value)

    in_netns(netns, write)


@pytest.fixture
def write_sysctls() -> Callable[[str, dict[str, str]], None]:
    return set_sysctls


@pytest.fixture
def host() -> Iterator[Host]:
    if os.geteuid() != 0:
        pytest.skip("needs root for network namespaces")
    prefix = f"rules-{uuid.uuid4().hex[:8]}"
    with ExitStack() as stack:
        netns = stack.enter_context(temporary_netns(prefix))
        names = [stack.enter_context(temporary_netns(f"{prefix}-w{number}")) for number in (1, 2)]
        workloads = (Workload(names[0], 1), Workload(names[1], 2))
        set_sysctls(
            netns,
            {
                "ipv4/ip_forward": "1",
                "ipv6/conf/all/forwarding": "1",
                "ipv4/conf/all/rp_filter": "0",
                "ipv4/conf/default/rp_filter": "0",
            },
        )
        with Links(netns) as links:
            links.set_up("lo")
            links.add_address("lo", "10.65.255.1/32")
            links.add_address("lo", "fd00:65::ffff/128")
            for workload in workloads:
                plug(links, workload)
        wait_until_own(netns, "10.65.255.1", "fd00:65::ffff")
        made = Host(netns, workloads)
        stack.callback(made.close)
        yield made


def plug(links: Links, workload: Workload) -> None:
    """Connect a workload: addresses, routes and neighbours on both sides."""
    links.create_veth(workload.interface, "eth0", peer_netns=workload.netns, mac=HOST_MAC, peer_mac=workload.mac)
    for address in (workload.v4, workload.v6):
        links.add_route(f"{address}/{128 if ':' in address else 32}", dev=workload.interface)
        links.add_neighbour(workload.interface, address, workload.mac)
    with Links(workload.netns) as inside:
        inside.set_up("lo")
        for address, everything, gateway in (
            (f"{workload.v4}/32", "0.0.0.0/0", "169.254.1.1"),
            (f"{workload.v6}/128", "::/0", "fe80::1"),
        ):
            inside.add_address("eth0", address)
            inside.add_neighbour("eth0", gateway, HOST_MAC)
            inside.add_route(f"{gateway}/{128 if ':' in gateway else 32}", dev="eth0")
            inside.add_route(everything, via=gateway, dev="eth0")
        wait_until_up(inside, "eth0")
    wait_until_up(links, workload.interface)
    wait_until_own(workload.netns, workload.v4, workload.v6)


def wait_until_up(links: Links, interface: str) -> None:
    """The kernel sends nothing through an interface whose carrier it has not noticed yet (operational state up)."""
    until(lambda: links.get(interface).operstate == 6, f"{interface} came up")


def wait_until_own(netns: str, *addresses: str) -> None:
    """The kernel takes packets to an IPv6 address as its own a little after the address is there."""

    def is_own(address: str) -> bool:
        with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.setblocking(False)
            probe.bind((address, 0))
            with suppress(OSError):
                probe.sendto(b"own", probe.getsockname()[:2])
                return probe.recv(10) == b"own"
        return False

    for address in addresses:
        in_netns(netns, partial(until, partial(is_own, address), f"{address} was taken as its own"))


def until(condition: Callable[[], bool], what: str) -> None:
    """Return when a condition holds; the deadline bounds a failing test only."""
    end = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < end, f"it never happened that {what}"
        time.sleep(0.01)


@pytest.fixture
def own_addresses() -> Callable[..., None]:
    return wait_until_own
