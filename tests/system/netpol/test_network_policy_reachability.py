"""Kubernetes NetworkPolicy cases: worlds, policies and the reachability they must give, with real packets in a lab."""

import contextlib
import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from calico.lab.addressing import Layout, plan_layout
from calico.lab.down import take_down
from calico.lab.probe.matrix import Target, lab_targets
from calico.lab.processes import daemon_environment
from calico.lab.registrar import Request, register
from calico.lab.resources import endpoint_document
from calico.lab.topology import parse_topology
from calico.lab.up import bring_up
from calico.lab.wait import read_daemon, wait_ready
from calico.orchestrators.kubernetes.convert import (
    namespace_to_profile,
    network_policy_to_calico,
    pod_labels,
    pod_ports,
    pod_profiles,
)
from netpol.cases import ABSENT, FILES, expected, workload_name, wrong

LAB = "netpol"

pytestmark = [pytest.mark.lab, pytest.mark.timeout(300), pytest.mark.xdist_group("netpol")]


def data(resource: Any) -> dict[str, Any]:
    return {"kind": type(resource).__name__, "apiVersion": "projectcalico.org/v3", **msgspec.to_builtins(resource)}


def topology(world: Mapping[str, Any]) -> dict[str, Any]:
    pods = [item for item in world["endpoints"] if item["kind"] == "pod"]
    return {
        "name": LAB,
        "pools": [{"cidr": "10.65.0.0/16"}, {"cidr": "fd00:65::/64"}],
        "hosts": [{"name": name} for name in sorted({pod["node"] for pod in pods})],
        "workloads": [
            {
                "name": workload_name(pod["id"]),
                "host": pod["node"],
                "namespace": pod["ns"],
                "addresses": pod["ips"],
                "orchestrator": "k8s",
                "profiles": list(pod_profiles(pod["ns"])),
            }
            for pod in pods
        ],
        "externals": [
            {"name": item["id"], "addresses": item["ips"]} for item in world["endpoints"] if item["kind"] == "external"
        ],
    }


class World:
    """A lab that holds the endpoints of the cases, and the Kubernetes objects of the step that is being looked at."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.targets: list[Target] = lab_targets(layout)
        self.policies: set[tuple[str, str, str]] = set()

    def become(self, namespaces: Mapping[str, Any], endpoints: list[dict[str, Any]], policies: list[Any]) -> None:
        """Write profiles, endpoints and policies; return when every host has programmed them."""
        documents = [data(namespace_to_profile(name, labels)) for name, labels in namespaces.items()]
        documents += [self.endpoint(item) for item in endpoints if item["kind"] == "pod"]
        converted = [network_policy_to_calico(policy) for policy in policies]
        assert [item.problems for item in converted] == [()] * len(converted)
        documents += [data(item.policy) for item in converted]
        wanted = {("NetworkPolicy", item.policy.metadata.namespace, item.policy.metadata.name) for item in converted}
        stale, self.policies = self.policies - wanted, wanted
        endpoint_urls = tuple(f"http://{endpoint}" for endpoint in self.layout.etcd_endpoints)
        request = Request(endpoints=endpoint_urls, apply=tuple(documents), delete=tuple(sorted(stale)))
        self.await_revision(register(self.layout.netns("gw"), request, daemon_environment(LAB)))

    def endpoint(self, item: Mapping[str, Any]) -> dict[str, Any]:
        plan = next(p for p in self.layout.workloads if p.workload.name == workload_name(item["id"]))
        document = endpoint_document(plan)
        document["metadata"]["labels"] = pod_labels(item["ns"], item["labels"])
        ports = pod_ports({"containers": [{"ports": item["ports"]}]})
        document["spec"]["ports"] = [msgspec.to_builtins(port) | {"protocol": port.protocol} for port in ports]
        return document

    def await_revision(self, revision: int) -> None:
        deadline = time.monotonic() + 30
        for plan in self.layout.hosts:
            while read_daemon(LAB, plan.host.name, "felix").get("applied_revision", 0) < revision:
                assert time.monotonic() < deadline, f"{plan.host.name} does not reach revision {revision}"
                time.sleep(0.02)


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    case = json.loads(FILES[0].read_text())
    wanted = parse_topology(json.dumps(topology(case["world"])))
    with contextlib.ExitStack() as stack:
        stack.callback(take_down, LAB)
        state, _ = bring_up(wanted, lambda *_: None)
        wait_ready(state, lambda *_: None, 60)
        yield World(plan_layout(state.topology))


@pytest.mark.skipif(not FILES, reason=ABSENT)
@pytest.mark.parametrize("path", FILES or [Path("absent")], ids=lambda path: path.stem)
def test_policies_give_the_reachability_that_kubernetes_documents(path: Path, world: World) -> None:
    case = json.loads(path.read_text())
    namespaces, endpoints = case["world"]["namespaces"], case["world"]["endpoints"]
    for number, step in enumerate(case["steps"]):
        namespaces, endpoints = step.get("namespaces", namespaces), step.get("endpoints", endpoints)
        world.become(namespaces, endpoints, step["policies"])
        assert not wrong(world.targets, expected(step)), f"step {number}: {step['description']}"
