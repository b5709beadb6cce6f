"""The route table against a real kernel: batches, partial failure, other people's routes."""

from __future__ import annotations

import pytest

from calico.dataplane.interfaces import Interface
from calico.dataplane.netns import in_netns
from calico.dataplane.routing.routes import Route, RouteTable
from calico.errors import InvalidInput
from calico.lib.packed import addr_bytes, net
from calico.netlink.rtnetlink.route import TYPE_BLACKHOLE
from calico.netlink.socket import NETLINK_ROUTE, NetlinkSocket


@pytest.fixture
def sock(host):
    with in_netns(host.name, lambda: NetlinkSocket(NETLINK_ROUTE)) as made:
        yield made


@pytest.fixture
def interface(host):
    """Build an interface called ``name`` and say what the monitor would."""

    def make(name):
        host.links.create_veth(name, f"{name}-p")
        return Interface(name=name, index=host.links.index(name), up=True, oper_up=True)

    return make


def ours(host):
    return {route.dst for route in host.links.routes() if route.protocol == 80}


def host_net(n):
    return bytes((10, 1, n >> 8, n & 255, 32))


async def test_two_and_a_half_batches_arrive_whole_and_go_again(host, sock, interface):
    table = RouteTable(sock)
    table.on_interface("cali1", interface("cali1"))
    for n in range(2500):
        table.want(Route(dst=host_net(n), interface="cali1"))
    assert await table.apply() == {}
    assert ours(host) == {host_net(n) for n in range(2500)}
    for n in range(2400):
        table.unwant(host_net(n))
    assert await table.apply() == {}
    assert ours(host) == {host_net(n) for n in range(2400, 2500)}


async def test_refused_routes_of_a_large_batch_are_named_and_the_others_go_through(host, sock, interface):
    table = RouteTable(sock)
    table.on_interface("cali1", interface("cali1"))
    table.on_interface("cali2", Interface(name="cali2", index=99999, up=True, oper_up=True))
    for n in range(2100):
        table.want(Route(dst=host_net(n), interface="cali2" if n in (3, 999, 1000, 2099) else "cali1"))
    failed = await table.apply()
    assert {dst for dst, _ in failed} == {host_net(n) for n in (3, 999, 1000, 2099)}
    assert "ENODEV" in table.problem(host_net(999))
    assert len(ours(host)) == 2096
    table.on_interface("cali2", interface("cali2"))
    assert await table.apply() == {}
    assert len(ours(host)) == 2100


async def test_a_route_moves_to_another_interface_without_a_moment_of_absence(host, sock, interface):
    table = RouteTable(sock)
    for name in ("cali1", "cali2"):
        table.on_interface(name, interface(name))
    table.want(Route(dst=net("10.1.0.1"), interface="cali1"))
    table.want(Route(dst=net("fd00::1"), interface="cali1"))
    await table.apply()
    table.want(Route(dst=net("10.1.0.1"), interface="cali2"))
    table.want(Route(dst=net("fd00::1"), interface="cali2"))
    assert await table.apply() == {}
    assert {route.oif for route in host.links.routes() if route.protocol == 80} == {host.links.index("cali2")}


async def test_routes_without_an_interface_and_with_gateway_source_and_metric_are_kept_as_wanted(host, sock, interface):
    host.links.add_address("lo", "192.0.2.1/32")
    table = RouteTable(sock)
    table.on_interface("up0", interface("up0"))
    host.links.add_address("up0", "198.51.100.1/24")
    wanted = (
        Route(dst=net("10.2.0.0/26"), kind="blackhole"),
        Route(dst=net("fd02::/64"), kind="unreachable", metric=7),
        Route(
            dst=net("10.3.0.0/26"),
            interface="up0",
            gateway=addr_bytes("198.51.100.9"),
            source=addr_bytes("192.0.2.1"),
            metric=512,
        ),
    )
    for route in wanted:
        table.want(route)
    assert await table.apply() == {}
    shown = host.ip("route")
    assert "blackhole 10.2.0.0/26 proto 80" in shown
    assert "10.3.0.0/26 via 198.51.100.9 dev up0 proto 80 src 192.0.2.1 metric 512" in shown
    assert "unreachable fd02::/64 dev lo proto 80 metric 7" in host.ip("-6", "route")
    table.resync()
    before = host.ip("route")
    assert await table.apply() == {}
    assert host.ip("route") == before


async def test_nothing_is_sent_when_nothing_differs(host, sock, interface):
    table = RouteTable(sock)
    table.on_interface("cali1", interface("cali1"))
    table.want(Route(dst=net("10.1.0.1"), interface="cali1"))
    table.want(Route(dst=net("fd00::1"), interface="cali1"))
    await table.apply()
    restarted = RouteTable(sock)
    restarted.on_interface(
        "cali1", table_interface := Interface(name="cali1", index=host.links.index("cali1"), up=True, oper_up=True)
    )
    restarted.want(Route(dst=net("10.1.0.1"), interface=table_interface.name))
    restarted.want(Route(dst=net("fd00::1"), interface=table_interface.name))
    with in_netns(host.name, lambda: NetlinkSocket(NETLINK_ROUTE, groups=(7, 11))) as watcher:
        assert await restarted.apply() == {}
        assert list(watcher.drain()) == []
        restarted.unwant(net("10.1.0.1"))
        await restarted.apply()
        assert len(list(watcher.drain())) == 1


async def test_a_better_foreign_route_is_named_though_ours_is_in_place(host, sock, interface):
    table = RouteTable(sock)
    table.on_interface("cali1", interface("cali1"))
    interface("other")
    host.links.add_route("fd00::1/128", dev="other", metric=10)
    host.links.add_route("10.1.0.1/32", kind=TYPE_BLACKHOLE)
    host.links.add_address("lo", "10.1.0.2/32")
    table.want(Route(dst=net("fd00::1"), interface="cali1"))
    table.want(Route(dst=net("10.1.0.1"), interface="cali1", metric=5))
    table.want(Route(dst=net("10.1.0.2"), interface="cali1"))
    assert await table.apply() == {}
    assert ours(host) == {net("fd00::1"), net("10.1.0.1"), net("10.1.0.2")}
    assert "dev other metric 10" in table.problem(net("fd00::1"))
    assert "foreign route" in table.problem(net("10.1.0.1"), 5)
    assert "the host's own address" in table.problem(net("10.1.0.2"))


@pytest.mark.parametrize("protocol", [0, 2, 3, 4, 12, 256])
async def test_protocol_numbers_of_others_are_refused(sock, protocol):
    with pytest.raises(InvalidInput):
        RouteTable(sock, protocol=protocol)
