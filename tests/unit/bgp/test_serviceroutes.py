from __future__ import annotations

from typing import Any

import pytest

from calico.bgp.birdconf.render import render
from calico.bgp.planning.serviceroutes import ServiceAddress, ServiceRoutes

RANGES = {
    "serviceClusterIPs": [{"cidr": "10.96.0.0/12"}, {"cidr": "fd96::/108"}],
    "serviceExternalIPs": [{"cidr": "192.0.2.0/24"}],
    "serviceLoadBalancerIPs": [{"cidr": "198.51.100.0/24"}, {"cidr": "203.0.113.7/32"}],
}


def _address(kind: str, address: str, **facts: bool) -> Any:
    return ServiceAddress(kind=kind, address=address, **facts)  # type: ignore[arg-type]


def _advertised(world: Any, *addresses: Any, excluded: bool = False, **config: Any) -> list[str]:
    world.node("a", "10.0.0.1", "fd00::1").config(**RANGES, **config)
    plan = world.plan("a", services=ServiceRoutes(addresses=addresses, excluded=excluded)).plan
    return [item.cidr for item in plan.services]


WHOLE = ["10.96.0.0/12", "192.0.2.0/24", "198.51.100.0/24", "fd96::/108"]


def test_without_a_source_of_services_nothing_is_advertised_and_that_is_said(world: Any) -> None:
    planned = world.node("a", "10.0.0.1").config(**RANGES).plan("a")
    assert planned.plan.services == ()
    assert {(p.object, p.code) for p in planned.problems} == {("BGPConfiguration default", "bgp-no-service-source")}
    assert len(planned.problems) == 3


def test_with_a_source_every_host_advertises_the_ranges_and_single_addresses_only_with_an_endpoint(world: Any) -> None:
    assert _advertised(world) == WHOLE


@pytest.mark.parametrize(
    ("address", "more"),
    [
        (_address("cluster", "10.96.0.9"), []),
        (_address("cluster", "10.96.0.9", here=True), []),
        (_address("cluster", "10.96.0.9", local_only=True), []),
        (_address("cluster", "10.96.0.9", local_only=True, here=True), ["10.96.0.9/32"]),
        (_address("external", "192.0.2.9", local_only=True, here=True), ["192.0.2.9/32"]),
        (_address("external", "10.96.0.9", local_only=True, here=True), []),
        (_address("external", "192.0.9.9", local_only=True, here=True), []),
        (_address("load-balancer", "203.0.113.7"), []),
        (_address("load-balancer", "203.0.113.7", here=True), ["203.0.113.7/32"]),
        (_address("cluster", "fd96::9", local_only=True, here=True), ["fd96::9/128"]),
        (_address("cluster", "10.96.0.0/30", local_only=True, here=True), []),
        (_address("cluster", 'x"; }', local_only=True, here=True), []),
    ],
)
def test_an_address_has_a_route_of_its_own_where_its_traffic_must_end(world: Any, address: Any, more: Any) -> None:
    assert sorted(_advertised(world, address)) == sorted([*WHOLE, *more])


@pytest.mark.parametrize(
    ("address", "more"),
    [
        (_address("load-balancer", "198.51.100.9"), ["198.51.100.9/32"]),
        (_address("load-balancer", "198.51.100.9", local_only=True), []),
        (_address("load-balancer", "198.51.100.9", local_only=True, here=True), ["198.51.100.9/32"]),
    ],
)
def test_without_aggregation_each_load_balancer_address_is_a_route(world: Any, address: Any, more: Any) -> None:
    rest = [cidr for cidr in WHOLE if not cidr.startswith("198")]
    assert sorted(_advertised(world, address, serviceLoadBalancerAggregation="Disabled")) == sorted([*rest, *more])


def test_a_host_excluded_from_load_balancing_advertises_cluster_addresses_only(world: Any) -> None:
    addresses = (_address("external", "192.0.2.9", local_only=True, here=True),)
    assert _advertised(world, *addresses, excluded=True) == ["10.96.0.0/12", "fd96::/108"]


def test_service_routes_never_enter_the_kernel_and_leave_as_routes_of_their_own(world: Any, bird_refusal: Any) -> None:
    _advertised(world)
    text = render(world.plan("a", services=ServiceRoutes()).plan, "/log")
    kernel = text[text.index("filter to_kernel4 {") :]
    assert kernel.index("if net ~ 10.96.0.0/12 then reject;") < kernel.index("if source = RTS_STATIC")
    assert "protocol static services4 {\n  ipv4;\n  route 10.96.0.0/12 blackhole;" in text
    assert 'if proto = "services4" then accept;' in text
    assert bird_refusal(text) == ""


def test_a_reflector_passes_on_what_lies_in_external_and_load_balancer_ranges(world: Any) -> None:
    world.node("a", "10.0.0.1", routeReflectorClusterID="1.1.1.1").config(**RANGES)
    plan = world.plan("a").plan
    assert [item.cidr for item in plan.reflected_services] == ["192.0.2.0/24", "198.51.100.0/24", "203.0.113.7/32"]
    assert "if net ~ 192.0.2.0/24 then accept;" in render(plan, "/log")


@pytest.mark.parametrize("cidr", ["x", "", "10.0.0.0/33", "fe80::1%evil/64", '"; }'])
def test_a_range_that_is_none_is_named_and_left_out(world: Any, cidr: str) -> None:
    world.node("a", "10.0.0.1").config(serviceClusterIPs=[{"cidr": cidr}, {"cidr": "10.96.0.0/12"}])
    planned = world.plan("a", services=ServiceRoutes())
    assert [item.cidr for item in planned.plan.services] == ["10.96.0.0/12"]
    assert [problem.code for problem in planned.problems] == ["bgp-resource-invalid"]


@pytest.mark.parametrize(("value", "told"), [("true", ["10.96.0.0/12", "fd96::/108"]), ("false", WHOLE), ("", WHOLE)])
def test_the_label_of_the_node_excludes_it_from_load_balancing(world: Any, value: str, told: list[str]) -> None:
    labels = {"node.kubernetes.io/exclude-from-external-load-balancers": value}
    world.node("a", "10.0.0.1", "fd00::1", labels=labels).config(**RANGES)
    assert [item.cidr for item in world.plan("a", services=ServiceRoutes()).plan.services] == told
