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


def test_of_several_endpoints_that_claim_an_interface_the_lowest_has_it_and_the_next_follows(host: Any) -> None:
    one = host.workload(1, interface="cali7")
    two = host.workload(2, interface="cali7")
    packet_of = {number: host.flow(f"10.0.0.{number}", "9.9.9.9") for number in (1, 2)}
    assert host.forwards("cali7", "eth0", packet_of[1])
    assert not host.forwards("cali7", "eth0", packet_of[2])
    host.say(EndpointRemove(id=one))
    assert host.forwards("cali7", "eth0", packet_of[2])
    host.say(EndpointRemove(id=two))
    assert all(not host.state.elements(name) for name in DYNAMIC)


def test_an_endpoint_that_moves_to_another_interface_leaves_the_one_it_had(host: Any) -> None:
    host.workload(1, interface="cali7")
    host.workload(1, interface="cali8")
    packet = host.flow("10.0.0.1", "9.9.9.9")
    assert (host.forwards("cali7", "eth0", packet), host.forwards("cali8", "eth0", packet)) == (False, True)


def test_an_endpoint_that_is_not_known_or_has_no_workloads_interface_changes_nothing(host: Any) -> None:
    host.state.take()
    host.say(EndpointRemove(id=EndpointId("k8s", "ns/never", "eth0")))
    host.workload(1, interface="eth0")
    assert not host.state.take()
    host.workload(1, interface="cali1")
    host.workload(1, interface="eth0")
    assert all(not host.state.elements(name) for name in DYNAMIC)
