"""Tunnels against a real kernel: two hosts, what they are told of each other, and packets between them."""

from __future__ import annotations

import asyncio
import errno
import re
from collections.abc import Awaitable, Callable, Iterator

import pytest

from calico.calc.messages import IpipRemove, IpipUpdate, RouteRemove, RouteUpdate, VtepRemove, VtepUpdate
from calico.dataplane.encap import ipdevice
from calico.dataplane.encap.tunnels import TunnelManager, TunnelSettings
from calico.dataplane.interfaces import InterfaceMonitor
from calico.dataplane.links import Links
from calico.dataplane.netns import in_netns
from calico.dataplane.removal import KernelRemoval
from calico.lib.packed import addr_bytes, net
from calico.netlink.nftables.objects import Table
from calico.netlink.rtnetlink.link import delete_link, new_plain
from calico.netlink.socket import NETLINK_ROUTE, NetlinkError, NetlinkSocket

NAMES = ("a", "b")
UNDERLAY = {4: ("192.0.2.1", "192.0.2.2"), 6: ("2001:db8::1", "2001:db8::2")}
TUNNEL = {4: ("10.65.0.1", "10.65.1.1"), 6: ("fd65::1", "fd65::41")}
BLOCK = {4: "10.65.1.0/26", 6: "fd65::40/122"}
POOL = {4: "10.65.0.0/16", 6: "fd65::/64"}
DEVICE = {4: "vxlan.calico", 6: "vxlan-v6.calico"}


def end(n: int, version: int = 4, **changed: bytes) -> VtepUpdate:
    given = {
        "address": addr_bytes(TUNNEL[version][n]),
        "mac": bytes.fromhex("6600000000") + bytes((16 * version + n,)),
        "parent": addr_bytes(UNDERLAY[version][n]),
    }
    return VtepUpdate(node=NAMES[n], version=version, **{**given, **changed})


def route(version: int = 4, n: int = 1) -> RouteUpdate:
    return RouteUpdate(dst=net(BLOCK[version]), kind="vxlan", node=NAMES[n], gateway=addr_bytes(TUNNEL[version][n]))


class Side:
    """One of the two hosts."""

    def __init__(self, name: str, netns: str) -> None:
        self.name, self.netns = name, netns
        self.make()

    def make(self, settings: TunnelSettings | None = None) -> None:
        """A new run of the manager; the kernel keeps what the last one left."""
        self.settings = settings or TunnelSettings()

    def do(self, work: Callable[[TunnelManager], Awaitable[object]]) -> None:
        """Run the manager inside the host; what it does stays."""

        async def main() -> None:
            manager = TunnelManager(self.name, self.settings)
            monitor = InterfaceMonitor(manager.on_interface, prefixes=("",), on_route=manager.on_route)
            monitor.start()
            try:
                manager.monitor = monitor  # type: ignore[attr-defined]
                async with asyncio.timeout(20):
                    await work(manager)
            finally:
                monitor.stop()
                manager.close()

        in_netns(self.netns, lambda: asyncio.run(main()))


async def settle(manager: TunnelManager, repaired: set[str] | None = None) -> None:
    """Apply until the device that was made has been told by the kernel, and its routes are there.

    ``repaired`` gets what was put right.
    """
    while True:
        manager.monitor.on_readable()  # type: ignore[attr-defined]
        done = await manager.apply()
        if repaired is not None:
            repaired.update(manager.repaired)
        wanted, there = manager.routes.desired, manager.routes.installed
        if done and wanted.keys() == there.keys():
            return
        await asyncio.sleep(0.01)


@pytest.fixture
def pair(host) -> Iterator[tuple[Side, Side]]:
    """Two hosts on one wire, with IPv4 and IPv6 addresses on eth0."""
    other = f"{host.prefix}-o"
    host._make(other)
    host.links.create_veth("eth0", "eth0", peer_netns=other)
    for n, netns in enumerate((host.name, other)):
        with Links(netns) as links:
            links.set_up("lo")
            links.add_address("eth0", f"{UNDERLAY[4][n]}/24")
            links.add_address("eth0", f"{UNDERLAY[6][n]}/64")
    return Side("a", host.name), Side("b", other)


def tell(side: Side, *messages: object) -> None:
    async def work(manager: TunnelManager) -> None:
        for message in messages:
            manager.on_message(message)  # type: ignore[arg-type]
        await settle(manager)

    side.do(work)


def view(host, netns: str) -> list[str]:
    """What there is of tunnels in a namespace, by iproute2, without numbers that the kernel counts."""
    lines = []
    for command in (
        ("-d", "-o", "link", "show", "type", "vxlan"),
        ("-o", "addr", "show", "scope", "global"),
        ("neigh", "show", "nud", "permanent"),
        ("-6", "neigh", "show", "nud", "permanent"),
        ("route", "show", "proto", "81"),
        ("-6", "route", "show", "proto", "81"),
    ):
        lines += host.ip(*command, netns=netns).splitlines()
    return sorted(re.sub(r"^\d+: ", "", line) for line in lines)


@pytest.mark.parametrize("version", [4, 6])
def test_packets_go_through_the_tunnel_and_nothing_of_the_pool_goes_beside_it(host, pair, version: int) -> None:
    a, b = pair
    guard = RouteUpdate(dst=net(POOL[version]), kind="unreachable")
    tell(a, end(0, version), end(1, version), route(version), guard)
    back = RouteUpdate(
        dst=net(f"{TUNNEL[version][0]}/{32 if version == 4 else 128}"),
        kind="vxlan",
        node="a",
        gateway=addr_bytes(TUNNEL[version][0]),
    )
    tell(b, end(0, version), end(1, version), back, guard)
    assert host.ping(a.netns, TUNNEL[version][1])
    asked = "10.65.9.9" if version == 4 else "fd65::9:9"
    flag = ("-6",) if version == 6 else ()
    host.ip(*flag, "route", "add", "default", "via", UNDERLAY[version][1], netns=a.netns)
    assert "unreachable" in host.ip(*flag, "route", "show", POOL[version], netns=a.netns)
    assert not host.ping(a.netns, asked)
    shown = host.ip("-d", "link", "show", DEVICE[version], netns=a.netns)
    assert f"mtu {1500 - (50 if version == 4 else 70)} " in shown
    assert "vxlan id 4096" in shown
    assert "dstport 4789" in shown
    assert "nolearning" in shown


def test_a_new_run_changes_nothing_that_is_right(host, pair) -> None:
    a, _ = pair
    told = [end(0), end(1), route(), RouteUpdate(dst=net(POOL[4]), kind="unreachable")]
    told += [end(0, 6), end(1, 6), route(6), RouteUpdate(dst=net(POOL[6]), kind="unreachable")]
    tell(a, *told)
    before = view(host, a.netns)

    async def again(manager: TunnelManager) -> None:
        for message in told:
            manager.on_message(message)
        sent = []
        original = manager._sock.transact
        asked = manager._sock.request
        manager._sock.transact = lambda messages: sent.extend(messages) or original(messages)
        manager._sock.request = lambda message: sent.append(message) or asked(message)
        await settle(manager)
        getlink = 18
        assert [m for m in sent if int.from_bytes(m[4:6], "little") != getlink] == []

    a.do(again)
    assert view(host, a.netns) == before


def test_what_an_earlier_run_left_goes_when_nobody_wants_it(host, pair) -> None:
    a, _ = pair
    clean = view(host, a.netns)
    tell(a, end(0), end(1), route(), end(0, 6), end(1, 6), route(6))
    assert view(host, a.netns) != clean
    tell(a)
    assert view(host, a.netns) == clean


def test_other_settings_make_the_device_anew_and_nothing_is_lost(host, pair) -> None:
    a, _ = pair
    tell(a, end(0), end(1), route())
    a.make(TunnelSettings(vni=99, port=8472, mtu_v4=1300))
    tell(a, end(0), end(1), route())
    shown = host.ip("-d", "link", "show", DEVICE[4], netns=a.netns)
    assert "vxlan id 99" in shown
    assert "dstport 8472" in shown
    assert "mtu 1300 " in shown
    assert TUNNEL[4][1] in host.ip("neigh", "show", "dev", DEVICE[4], netns=a.netns)
    assert "via 10.65.1.1" in host.ip("route", "show", BLOCK[4], netns=a.netns)


def test_what_others_change_is_mended(host, pair) -> None:
    a, _ = pair

    async def work(manager: TunnelManager) -> None:
        for message in (end(0), end(1), route()):
            manager.on_message(message)
        await settle(manager)
        before = view(host, a.netns)
        for command in (
            ("link", "set", DEVICE[4], "down"),
            ("link", "set", DEVICE[4], "mtu", "1000"),
            ("addr", "flush", "dev", DEVICE[4]),
            ("link", "del", DEVICE[4]),
        ):
            host.ip(*command, netns=a.netns)
            named: set[str] = set()
            while view(host, a.netns) != before:
                await settle(manager, named)
                await asyncio.sleep(0.01)
            assert DEVICE[4] in named, command

    a.do(work)


def test_what_we_change_ourselves_is_nobodys_drift(host, pair) -> None:
    a, _ = pair
    named: set[str] = set()

    async def work(manager: TunnelManager) -> None:
        for message in (end(0), end(1), route()):
            manager.on_message(message)
        for change in (None, end(0, mac=bytes.fromhex("660000000077")), end(0, address=addr_bytes("10.65.0.9"))):
            if change is not None:
                manager.on_message(change)
            for _ in range(5):
                await settle(manager, named)
                await asyncio.sleep(0.01)
        manager.resync()
        await settle(manager, named)

    a.do(work)
    assert not named


def test_an_end_that_changes_changes_only_what_leads_to_it(host, pair) -> None:
    a, _ = pair

    async def work(manager: TunnelManager) -> None:
        for message in (end(0), end(1), route()):
            manager.on_message(message)
        await settle(manager)
        index = host.ip("-o", "link", "show", DEVICE[4], netns=a.netns).partition(":")[0]
        manager.on_message(end(1, mac=bytes.fromhex("660000000099"), parent=addr_bytes("192.0.2.77")))
        await settle(manager)
        assert host.ip("-o", "link", "show", DEVICE[4], netns=a.netns).partition(":")[0] == index
        neighbours = host.ip("neigh", "show", "dev", DEVICE[4], netns=a.netns)
        assert "66:00:00:00:00:99" in neighbours
        assert neighbours.count("PERMANENT") == 1
        manager.on_message(RouteRemove(dst=net(BLOCK[4])))
        manager.on_message(VtepRemove(node="b", version=4))
        await settle(manager)
        assert host.ip("neigh", "show", "dev", DEVICE[4], netns=a.netns) == ""
        assert host.ip("route", "show", "proto", "81", netns=a.netns) == ""

    a.do(work)


def test_hosts_in_the_same_subnet_are_reached_plainly_by_the_interface_that_has_our_address(host, pair) -> None:
    a, _ = pair
    near = RouteUpdate(
        dst=net(BLOCK[4]), kind="direct", node="b", gateway=addr_bytes("192.0.2.2"), local=addr_bytes("192.0.2.1")
    )
    tell(a, near)
    assert "via 192.0.2.2 dev eth0" in host.ip("route", "show", BLOCK[4], netns=a.netns)


def test_where_our_address_is_not_found_a_near_network_is_unreachable_and_said_so(host, pair) -> None:
    a, _ = pair
    lost = RouteUpdate(
        dst=net(BLOCK[4]), kind="direct", node="b", gateway=addr_bytes("192.0.2.2"), local=addr_bytes("192.0.2.99")
    )

    async def work(manager: TunnelManager) -> None:
        manager.on_message(lost)
        await settle(manager)
        assert manager.failed == {"192.0.2.99": "this host's address is on none of its interfaces"}

    a.do(work)
    assert "unreachable" in host.ip("route", "show", BLOCK[4], netns=a.netns)


IPIP_END = IpipUpdate(address=addr_bytes("10.65.0.1"), parent=addr_bytes(UNDERLAY[4][0]))
IN_IP = RouteUpdate(dst=net(BLOCK[4]), kind="ipip", node="b", gateway=addr_bytes(UNDERLAY[4][1]))
ALL_OF_POOL = RouteUpdate(dst=net(POOL[4]), kind="unreachable")


@pytest.fixture
def kernel_knows_ipip(pair) -> bool:
    """Whether the kernel has IP in IP; asking for it loads its module where there is one."""

    def ask() -> bool:
        with NetlinkSocket(NETLINK_ROUTE) as sock:
            try:
                sock.request(new_plain(sock.next_seq(), "probe", "ipip"))
                sock.request(delete_link(sock.next_seq(), "probe"))
            except NetlinkError as error:
                return error.errno != errno.EOPNOTSUPP
            return True

    return in_netns(pair[0].netns, ask)


def test_where_the_kernel_has_no_ip_in_ip_it_says_what_to_do_and_nothing_is_sent(host, pair, kernel_knows_ipip) -> None:
    if kernel_knows_ipip:
        pytest.skip("this kernel has IP in IP")
    a, b = pair

    async def work(manager: TunnelManager) -> None:
        for message in (IPIP_END, IN_IP, ALL_OF_POOL):
            manager.on_message(message)
        await settle(manager)
        assert set(manager.failed) == {"tunl0"}
        assert "modprobe ipip" in manager.failed["tunl0"]
        assert "unreachable networks: 1" in manager.failed["tunl0"]
        manager.on_message(RouteRemove(dst=IN_IP.dst))
        manager.on_message(IpipRemove())
        await settle(manager)
        assert manager.failed == {}
        for message in (IPIP_END, IN_IP):
            manager.on_message(message)
        await settle(manager)

    a.do(work)
    there = TUNNEL[4][1]
    host.ip("addr", "add", f"{there}/32", "dev", "lo", netns=b.netns)
    host.ip("route", "add", "default", "via", UNDERLAY[4][1], netns=a.netns)
    assert "unreachable" in host.ip("route", "show", BLOCK[4], netns=a.netns)
    assert not host.ping(a.netns, there)
    host.ip("route", "del", "unreachable", BLOCK[4], "metric", "1100", netns=a.netns)
    host.ip("route", "del", "unreachable", POOL[4], "metric", "1100", netns=a.netns)
    assert host.ping(a.netns, there), "only these routes kept it from being sent in the open"


def test_packets_go_in_ip_to_the_host_where_the_block_is(host, pair, kernel_knows_ipip) -> None:
    if not kernel_knows_ipip:
        pytest.skip("this kernel has no IP in IP")
    a, b = pair
    tell(a, IPIP_END, IN_IP, ALL_OF_POOL)
    back = RouteUpdate(dst=net("10.65.0.0/26"), kind="ipip", node="a", gateway=addr_bytes(UNDERLAY[4][0]))
    tell(b, IpipUpdate(address=addr_bytes(TUNNEL[4][1]), parent=addr_bytes(UNDERLAY[4][1])), back, ALL_OF_POOL)
    assert host.ping(a.netns, TUNNEL[4][1])
    assert not host.ping(a.netns, "10.65.9.9")


@pytest.fixture
def stand_in(monkeypatch) -> None:
    """Where kernels have no IP in IP, a device of another kind shows all but the wrapping."""
    monkeypatch.setattr(ipdevice, "_KIND", "ifb")


def test_the_device_of_ip_in_ip_its_address_and_its_routes_come_and_go(host, pair, stand_in) -> None:
    a, _ = pair
    clean = view(host, a.netns)
    tell(a, IPIP_END, IN_IP, ALL_OF_POOL)
    route = host.ip("route", "show", BLOCK[4], netns=a.netns)
    assert "via 192.0.2.2 dev tunl0 proto 81 metric 1100 onlink" in route
    assert "mtu 1480 " in host.ip("link", "show", "tunl0", netns=a.netns)
    assert "10.65.0.1/32" in host.ip("-o", "addr", "show", "dev", "tunl0", netns=a.netns)
    before = view(host, a.netns)
    tell(a, IPIP_END, IN_IP, ALL_OF_POOL)
    assert view(host, a.netns) == before
    a.make(TunnelSettings(mtu_ipip=1300))
    moved = IpipUpdate(address=addr_bytes("10.65.0.9"), parent=addr_bytes(UNDERLAY[4][0]))
    tell(a, moved, IN_IP, ALL_OF_POOL)
    assert "mtu 1300 " in host.ip("link", "show", "tunl0", netns=a.netns)
    shown = host.ip("-o", "addr", "show", "dev", "tunl0", "scope", "global", netns=a.netns)
    assert shown.count("inet ") == 1
    assert "10.65.0.9/32" in shown
    assert "dev tunl0" in host.ip("route", "show", BLOCK[4], netns=a.netns)
    tell(a)
    assert view(host, a.netns) == clean
    assert "tunl0" not in host.ip("link", "show", netns=a.netns)


def test_of_a_device_that_others_use_as_well_only_what_is_ours_is_taken_away(host, pair, stand_in) -> None:
    a, _ = pair
    host.ip("link", "add", "tunl0", "type", "ifb", netns=a.netns)
    host.ip("addr", "add", "203.0.113.80/32", "dev", "tunl0", netns=a.netns)
    host.ip("link", "set", "tunl0", "up", netns=a.netns)
    tell(a)
    before = view(host, a.netns)
    assert any("203.0.113.80" in line for line in before)
    tell(a, IPIP_END, IN_IP)
    assert view(host, a.netns) != before
    tell(a)
    assert view(host, a.netns) == before
    assert ",UP" in host.ip("link", "show", "tunl0", netns=a.netns)


def test_an_uninstall_finds_and_removes_the_device_of_ip_in_ip(host, pair, stand_in, tmp_path) -> None:
    a, _ = pair
    clean = view(host, a.netns)
    tell(a, IPIP_END, IN_IP, ALL_OF_POOL)
    there = view(host, a.netns)

    def removed(*, dry_run: bool) -> list[tuple[str, str, str]]:
        removal = KernelRemoval(Table("calico"), tmp_path / "record", dry_run=dry_run)
        return [(i.kind, i.name, i.fault) for i in in_netns(a.netns, lambda: asyncio.run(removal.run()))]

    routes = {("route", BLOCK[4], ""), ("route", POOL[4], "")}
    assert set(removed(dry_run=True)) == {*routes, ("tunnel", "tunl0", "")}
    assert view(host, a.netns) == there
    assert set(removed(dry_run=False)) == {*routes, ("tunnel", "tunl0", "")}
    assert view(host, a.netns) == clean
    assert removed(dry_run=False) == []


def test_what_others_change_of_ip_in_ip_is_mended(host, pair, stand_in) -> None:
    a, _ = pair

    async def work(manager: TunnelManager) -> None:
        for message in (IPIP_END, IN_IP, ALL_OF_POOL):
            manager.on_message(message)
        await settle(manager)
        before = view(host, a.netns)
        for command in (
            ("link", "set", "tunl0", "down"),
            ("link", "set", "tunl0", "mtu", "1000"),
            ("addr", "flush", "dev", "tunl0"),
            ("link", "del", "tunl0"),
        ):
            host.ip(*command, netns=a.netns)
            named: set[str] = set()
            while view(host, a.netns) != before or "tunl0" not in named:
                await settle(manager, named)
                await asyncio.sleep(0.01)

    a.do(work)


def test_an_interface_that_has_the_name_of_ip_in_ip_and_is_another_is_left_alone(host, pair) -> None:
    a, _ = pair
    host.links.create_bridge("tunl0")
    tell(a, IPIP_END, IN_IP)
    assert "unreachable" in host.ip("route", "show", BLOCK[4], netns=a.netns)
    assert "bridge" in host.ip("-d", "link", "show", "tunl0", netns=a.netns)


def test_an_interface_that_has_the_name_and_is_no_tunnel_is_left_alone_and_said_so(host, pair) -> None:
    a, _ = pair
    host.links.create_bridge(DEVICE[4])

    async def work(manager: TunnelManager) -> None:
        for message in (end(0), end(1), route(), RouteUpdate(dst=net(POOL[4]), kind="unreachable")):
            manager.on_message(message)
        manager.monitor.on_readable()
        assert not await manager.apply()
        assert "is no VXLAN device" in manager.failed[DEVICE[4]]

    a.do(work)
    assert "bridge" in host.ip("-d", "link", "show", DEVICE[4], netns=a.netns)


def test_the_mtu_follows_the_interfaces_of_the_host(host, pair) -> None:
    a, _ = pair

    async def work(manager: TunnelManager) -> None:
        for message in (end(0), end(1)):
            manager.on_message(message)
        await settle(manager)
        assert manager.mtu == 1450
        host.ip("link", "set", "eth0", "mtu", "1400", netns=a.netns)
        while manager.mtu != 1350 or "mtu 1350 " not in host.ip("link", "show", DEVICE[4], netns=a.netns):
            await settle(manager)
            await asyncio.sleep(0.01)

    a.do(work)
