"""Endpoints that name one interface."""

from __future__ import annotations

from calico.calc.endpoints import Endpoint, decode_endpoint
from calico.calc.interface_claims import InterfaceClaims
from calico.calc.settings import CalcSettings
from calico.model.keys import ResourceKey
from calico.model.workload import WorkloadEndpoint, WorkloadEndpointSpec
from retained import retained


def named(pod: str) -> ResourceKey:
    return ResourceKey("WorkloadEndpoint", "red", f"here-k8s-{pod}-eth0")


def claiming(pod: str, interface: str) -> Endpoint:
    spec = WorkloadEndpointSpec(node="here", ip_networks=("10.0.0.1",), interface_name=interface)
    return decode_endpoint(named(pod), WorkloadEndpoint(spec=spec), CalcSettings())


def test_each_of_many_rivals_is_told_all_others_by_name_and_gets_nothing() -> None:
    claims, pods = InterfaceClaims(), [f"p{number}" for number in range(9)]
    for pod in pods:
        told = {key: (usable, said) for key, usable, said in claims.on_endpoint(named(pod), claiming(pod, "cali1"))}
    for pod in pods:
        others = ", ".join(f"red/here-k8s-{other}-eth0" for other in pods if other != pod)
        problem = f"spec.interfaceName: 'cali1' is also the interface of {others}"
        assert told[named(pod)] == (None, (problem,))


def test_nothing_is_kept_of_claims_that_are_gone() -> None:
    claims = InterfaceClaims()
    for interface in ("cali1", "cali2"):
        for pod in ("p", "q"):
            list(claims.on_endpoint(named(pod), claiming(pod, interface)))
    for pod in ("p", "q"):
        list(claims.on_endpoint(named(pod), None))
    assert retained(claims) == retained(InterfaceClaims())
