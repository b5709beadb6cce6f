"""A cluster of whole nodes in the lab: what a person would call a Kubernetes cluster with our network."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from calico.lab.processes import daemon_environment
from calico.lab.topology import parse_topology
from cluster.binaries import kubernetes_binaries
from cluster.machine import Machine
from cluster.network import Network
from cluster.node import Node, node_users
from functional.runtimes.images import docker_archive

__all__ = ["AGNHOST", "whole_cluster"]

AGNHOST = "k8s.gcr.io/e2e-test-images/agnhost:2.21"
"""Kubernetes' own program for tests of networks, with busybox beside it; the name is that of its own tests."""


@contextmanager
def whole_cluster(lab: str, names: Sequence[str] = ("node1", "node2")) -> Iterator[Network]:
    """Every node is ready, with IPv4; the scheduler and all controllers of Kubernetes run."""
    binaries = kubernetes_binaries()
    topology = {"name": lab, "pools": [{"cidr": "10.65.0.0/16"}], "hosts": [{"name": name} for name in names]}
    with tempfile.TemporaryDirectory(prefix="kwhole", ignore_cleanup_errors=True) as folder:
        archive = Path(folder, "images.tar")
        docker_archive(archive, {AGNHOST: binaries / "agnhost"})
        options = {"users": node_users(*names), "controllers": "*", "scheduler": True}
        with Network(parse_topology(json.dumps(topology)), **options) as network:
            network.at_end(Machine(network.plane.directory).restore)
            for node in list(_start(network, archive)):
                node.await_ready()
            yield network


def _start(network: Network, archive: Path) -> Iterator[Node]:
    for plan in network.layout.hosts:
        host = network.hosts[plan.host.name]
        host.network["ipam"] = {"type": "calico-ipam", "assign_ipv4": "true", "assign_ipv6": "false"}
        node = Node(host, archive, plan.uplink.address4, daemon_environment(network.layout.name))
        network.at_end(node.close)
        node.start()
        yield node
