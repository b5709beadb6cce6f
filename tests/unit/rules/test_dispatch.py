"""Endpoints as elements of maps and sets."""

from __future__ import annotations

from typing import Any

from calico.calc.messages import EndpointId, EndpointRemove

DYNAMIC = ("wl-from", "wl-to", "wl-interfaces", "wl-src4", "wl-src6")


def test_the_maps_and_sets_of_endpoints_are_declared_larger_before_they_are_full(host: Any) -> None:
    for number in range(3500):
        address = f"10.1.{number // 250}.{number % 250 + 1}"
        host.workload(number, interface=f"cali{number}", nets=(address, f"fd00::{number + 1:x}"))
    for name in DYNAMIC:
        assert len(host.state.elements(name)) == 3500
        assert host.state.sets[name].size * 3 >= 3500 * 4


def test_an_endpoint_that_is_not_known_or_has_no_workloads_interface_changes_nothing(host: Any) -> None:
    host.state.take()
    host.say(EndpointRemove(id=EndpointId("k8s", "ns/never", "eth0")))
    host.workload(1, interface="eth0")
    assert not host.state.take()
    host.workload(1, interface="cali1")
    host.workload(1, interface="eth0")
    assert all(not host.state.elements(name) for name in DYNAMIC)
