"""What the datastore tells of services gets into the sets of rules that name them."""

from __future__ import annotations

import json
from typing import Any

from calico.calc.dataplane_state import DataplaneState
from calico.calc.graph import Graph
from calico.datastore.api import SyncStatus, Update
from calico.felix.inputs import Inputs
from calico.lib.packed import addr_port_str
from calico.model.kubernetes.services import (
    SOURCE_KEY,
    EndpointSliceRecord,
    SliceEndpoint,
    SliceKey,
    SlicePort,
    encode_record,
    service_path,
)
from calico.obs.conditions import Conditions

RESOURCES = "/calico/resources/v3/projectcalico.org/"
RULE = {"action": "Allow", "destination": {"services": {"name": "web"}}}


class Host:
    """What a host would have programmed, and what it says is wrong."""

    def __init__(self) -> None:
        self.graph, self.conditions, self.state = Graph("h1"), Conditions(), DataplaneState()
        self.inputs = Inputs("h1", self.graph, self.conditions, lambda: None)
        self.put(f"{RESOURCES}networkpolicies/shop/out", {"spec": {"egress": [RULE], "types": ["Egress"]}})
        spec = {"orchestrator": "cni", "node": "h1", "containerID": "a", "endpoint": "eth0", "interfaceName": "cali1"}
        self.put(f"{RESOURCES}workloadendpoints/shop/h1-cni-a-eth0", {"spec": {**spec, "ipNetworks": ["10.0.0.1/32"]}})
        self.inputs.on_status(SyncStatus.IN_SYNC)

    def put(self, path: str, value: Any) -> None:
        raw = value if isinstance(value, bytes | None) else json.dumps(value).encode()
        self.inputs.on_updates([Update(path, raw, 1)], 1)

    def slice(self, name: str, *addresses: str, ready: bool = True) -> None:
        record = EndpointSliceRecord((SlicePort(80),), tuple(SliceEndpoint((a,), ready=ready) for a in addresses))
        self.put(service_path(SliceKey("shop", "web", name)), encode_record(record))

    def members(self) -> list[str]:
        self.state.replay(self.graph.flush())
        (found,) = (members.members for name, members in self.state.ip_sets.items() if members.kind == "ports")
        return sorted(map(addr_port_str, found))

    def wrong(self) -> dict[str, str]:
        self.state.replay(self.graph.flush())
        return {item.object: item.message for item in self.conditions} | {
            str(key): "; ".join(said) for key, said in self.state.problems.items()
        }


def test_a_rule_that_names_a_service_is_a_problem_until_somebody_tells_services() -> None:
    host = Host()
    assert "services are not known" in host.wrong()["NetworkPolicy shop/out"]
    host.put(SOURCE_KEY, {})
    assert not host.wrong()
    assert host.members() == []


def test_all_slices_of_a_service_count_together_and_each_goes_alone() -> None:
    host = Host()
    host.put(SOURCE_KEY, {})
    host.slice("web-1", "10.65.0.1", "10.65.0.2")
    host.slice("web-2", "10.65.0.2", "fd00::2", ready=False)
    assert len(host.members()) == 3
    host.put(service_path(SliceKey("shop", "web", "web-1")), None)
    assert len(host.members()) == 2
    host.put(service_path(SliceKey("shop", "web", "web-2")), None)
    assert host.members() == []


def test_a_slice_that_cannot_be_read_brings_nothing_and_is_named_until_it_is_mended() -> None:
    host = Host()
    host.put(SOURCE_KEY, {})
    host.slice("web-1", "10.65.0.1")
    host.slice("web-2", "10.65.0.2")
    host.put(service_path(SliceKey("shop", "web", "web-1")), {"endpoints": [{"addresses": ["pod.example"]}]})
    assert len(host.members()) == 1
    assert host.wrong()["EndpointSlice shop/web-1"].startswith("endpoints[0].addresses")
    host.slice("web-1", "10.65.0.1")
    assert len(host.members()) == 2
    assert not host.wrong()
