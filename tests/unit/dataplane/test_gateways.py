"""When the kernel answers ARP for a gateway by its routes alone."""

from __future__ import annotations

import pytest

from calico.dataplane.routing.gateways import answered_without_us
from calico.lib.packed import addr_bytes, net
from calico.netlink.rtnetlink.route import TABLE_LOCAL, TYPE_BLACKHOLE, TYPE_LOCAL, KernelRoute, NextHop

GATEWAY = addr_bytes("10.65.0.1")


def route(dst, oif=5, **fields):
    return KernelRoute(dst=net(dst), hops=(NextHop(oif=oif),) if oif else (), **fields)


BLACKHOLE = route("10.65.0.0/26", oif=0, type=TYPE_BLACKHOLE)
DEFAULT = route("0.0.0.0/0")


@pytest.mark.parametrize(
    ("routes", "answered"),
    [
        ([], False),
        ([route("10.66.0.0/16")], False),
        ([DEFAULT], True),
        ([route("10.65.0.0/24")], True),
        ([DEFAULT, BLACKHOLE], False),
        ([BLACKHOLE, route("10.65.0.1/32")], True),
        ([route("0.0.0.0/0", oif=0, type=TYPE_BLACKHOLE, metric=10), DEFAULT], True),
        ([route("0.0.0.0/0", metric=10), route("0.0.0.0/0", oif=0, type=TYPE_BLACKHOLE)], False),
        ([route("10.65.0.1/32", oif=1, table=TABLE_LOCAL, type=TYPE_LOCAL)], False),
        ([route("10.65.0.1/32", oif=9, table=TABLE_LOCAL, type=TYPE_LOCAL)], True),
        ([route("10.65.0.1/32", oif=1, table=TABLE_LOCAL, type=TYPE_LOCAL), DEFAULT], True),
    ],
)
def test_the_best_route_decides(routes, answered):
    assert answered_without_us(GATEWAY, routes) is answered
    assert answered_without_us(GATEWAY, reversed(routes)) is answered
