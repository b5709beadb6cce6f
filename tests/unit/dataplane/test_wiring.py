"""What an endpoint needs of the kernel besides policy."""

from __future__ import annotations

from calico.calc.messages import EndpointId, EndpointUpdate
from calico.dataplane.interfaces import Interface
from calico.dataplane.wiring import wiring_of
from calico.lib.packed import addr_bytes, net
from calico.model.keys import ResourceKey

OWN, EXTERNAL = addr_bytes("10.0.0.1"), addr_bytes("192.0.2.9")
ENDPOINT = EndpointUpdate(
    id=EndpointId("k8s", "default/a", "eth0"),
    key=ResourceKey("WorkloadEndpoint", "default", "a"),
    interface="cali1",
    mac=b"\2\0\0\0\0\1",
    nets=(net("10.0.0.1"),),
    nats=((OWN, EXTERNAL),),
)
UP = Interface(name="cali1", index=7, up=True, oper_up=True)


def test_an_external_address_is_routed_to_the_workload_and_has_no_neighbour() -> None:
    wiring = wiring_of(ENDPOINT, (net("10.0.0.1"), net("192.0.2.9")), UP)
    assert {route.dst for route in wiring.routes} == {net("10.0.0.1"), net("192.0.2.9")}
    assert {key.address for key in wiring.neighbours} == {OWN}
    assert wiring.nats == {(OWN, EXTERNAL)}


def test_an_external_address_that_another_endpoint_has_is_neither_routed_nor_remembered() -> None:
    wiring = wiring_of(ENDPOINT, (net("10.0.0.1"),), UP)
    assert {route.dst for route in wiring.routes} == {net("10.0.0.1")}
    assert wiring.nats == frozenset()
