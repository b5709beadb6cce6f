"""The world of a published case, made through the Kubernetes API, and changed from step to step."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from calico.lab.probe.matrix import Probe, Target, lab_targets
from cluster.mirrored import CLUSTER_POLICIES
from cluster.network import Network
from netpol.cases import workload_name, wrong
from stack.process import until

__all__ = ["KubernetesWorld", "topology"]

_POLICIES = "networkpolicies"
_GROUP = "/apis/networking.k8s.io/v1"
_SERVED = "80", "81"


def topology(name: str, worlds: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A lab for all these worlds: their hosts and the machines outside, no workloads."""
    endpoints = [item for world in worlds for item in world["endpoints"]]
    outside = {item["id"]: item["ips"] for item in endpoints if item["kind"] == "external"}
    return {
        "name": name,
        "pools": [{"cidr": "10.65.0.0/16"}, {"cidr": "fd00:65::/64"}],
        "hosts": [{"name": node} for node in sorted({item["node"] for item in endpoints if item["kind"] == "pod"})],
        "externals": [{"name": name, "addresses": addresses} for name, addresses in outside.items()],
    }


class KubernetesWorld:
    """Namespaces, pods and policies of the API are those of the step; only what differs is touched."""

    def __init__(self, network: Network) -> None:
        self.network, self.api = network, network.plane.api
        self._given: dict[str, Mapping[str, Any]] = {}
        self._namespaces: dict[str, Mapping[str, str]] = {}

    def become(
        self,
        namespaces: Mapping[str, Mapping[str, str]],
        endpoints: Sequence[Mapping[str, Any]],
        policies: Sequence[Mapping[str, Any]],
        cluster_policies: Sequence[Mapping[str, Any]],
    ) -> None:
        """Returns when every host has it in its kernel."""
        pods = {workload_name(item["id"]): item for item in endpoints if item["kind"] == "pod"}
        self._end_pods(pods)
        self._make_namespaces(namespaces)
        made = [self._make_pod(name, item) for name, item in pods.items()]
        if any(made):
            self._join()
        self._write(f"{_GROUP}/{_POLICIES}", policies)
        self._write(CLUSTER_POLICIES, cluster_policies)
        self.network.settle()

    @property
    def targets(self) -> list[Target]:
        """Pods, hosts and machines outside."""
        pods = [Target(name=name, netns=p.netns, addresses=p.addresses) for name, p in self.network.pods.items()]
        return [*pods, *lab_targets(self.network.layout)]

    def _end_pods(self, wanted: Mapping[str, Mapping[str, Any]]) -> None:
        for name, pod in list(self.network.pods.items()):
            if name not in wanted or _fixed(wanted[name]) != _fixed(self._given[name]):
                self.network.delete(pod)
                del self._given[name]

    def _make_namespaces(self, wanted: Mapping[str, Mapping[str, str]]) -> None:
        for name in self._namespaces.keys() - wanted.keys():
            self.api.delete(f"/api/v1/namespaces/{name}")
            until(f"namespace {name} is gone", lambda name=name: name not in self._names())
        for name, labels in wanted.items():
            if name not in self._namespaces:
                self.network.plane.add_namespace(name, labels)
            elif labels != self._namespaces[name]:
                self.api.set_labels(f"/api/v1/namespaces/{name}", labels)
        self._namespaces = dict(wanted)

    def _names(self) -> list[str]:
        return [one["metadata"]["name"] for one in self.api.list("/api/v1/namespaces")]

    def _make_pod(self, name: str, item: Mapping[str, Any]) -> bool:
        """Whether it had to be made."""
        before, self._given[name] = self._given.get(name), item
        if before is None:
            asked = {"cni.projectcalico.org/ipAddrs": json.dumps(item["ips"])}
            metadata = {"name": item["name"], "namespace": item["ns"], "labels": item["labels"], "annotations": asked}
            main = {"name": "main", "image": "none", "ports": item["ports"]}
            pod = self.network.run(item["node"], {"metadata": metadata, "spec": {"containers": [main]}})
            assert list(pod.addresses) == item["ips"], f"{name} got {pod.addresses}"
        elif before["labels"] != item["labels"]:
            self.api.set_labels(self.network.pods[name].path, item["labels"])
        return before is None

    def _join(self) -> None:
        """Without policies everybody reaches everybody: routes are everywhere."""
        self._write(f"{_GROUP}/{_POLICIES}", [])
        self._write(CLUSTER_POLICIES, [])
        self.network.settle()
        targets = [one for one in self.targets if one.kind != "host"]
        probes = {
            Probe(src=src.name, dst=dst.name, protocol="TCP", port=80, family=family): True
            for src in targets for dst in targets for family in (4, 6) if src != dst
        }  # fmt: skip
        until("every pod reaches every other", lambda: not wrong(targets, probes), 60)

    def _write(self, collection: str, wanted: Sequence[Mapping[str, Any]]) -> None:
        """The objects of a collection, in all namespaces, are these."""
        root, plural = collection.rsplit("/", 1)

        def place(metadata: Mapping[str, Any]) -> str:
            return f"{root}/namespaces/{metadata['namespace']}/{plural}" if "namespace" in metadata else collection

        names = {(place(one["metadata"]), one["metadata"]["name"]) for one in wanted}
        for stale in self.api.list(collection):
            path = place(stale["metadata"])
            if (path, stale["metadata"]["name"]) not in names:
                self.api.delete(f"{path}/{stale['metadata']['name']}")
        for one in wanted:
            self.api.put(place(one["metadata"]), one)


def _fixed(item: Mapping[str, Any]) -> tuple[Any, ...]:
    """What of a pod cannot be changed."""
    return item["node"], item["ips"], item["ports"]
