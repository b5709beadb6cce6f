"""Hosts of a Calico network that run containers, an etcd, and what a person would ask the datastore."""

from __future__ import annotations

import ipaddress
import json
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from functional.bgp.conftest import Fabric
from functional.runtimes.node import NETWORK, Node, until

__all__ = ["NETWORK", "Cluster", "Node", "until"]


class Cluster:
    """The fabric with its hosts, and what a person would ask the datastore."""

    def __init__(self, fabric: Fabric, archive: Path, hosts: int = 2) -> None:
        self.fabric, self.archive = fabric, archive
        self.nodes: list[Node] = []
        try:
            self._start(hosts)
        except BaseException:
            self.close()
            raise

    def _start(self, hosts: int) -> None:
        fabric, archive = self.fabric, self.archive
        fabric.start_etcd()
        fabric.run(sys.executable, "-m", "calico", "datastore", "init")
        fabric.put("ippools", "pool4", "IPPool", {"cidr": "10.65.0.0/16", "blockSize": 26})
        fabric.put("ippools", "pool6", "IPPool", {"cidr": "fd65::/112", "blockSize": 122})
        for number in range(1, hosts + 1):
            self.nodes.append(Node(fabric, archive, number))
        for node in self.nodes:
            until(lambda node=node: node.felix_status["in_sync"], f"Felix of {node.host.name} programmed its host")
        if hosts > 1:
            until(lambda: all(node.host.established for node in self.nodes), "the hosts are BGP peers")

    def apply(self, *documents: dict[str, Any]) -> None:
        """Write resources; returns when every host has them in its kernel."""
        text = json.dumps({"kind": "List", "apiVersion": "v1", "items": list(documents)})
        self.nodes[0].calico("apply", "--wait", "-f", "-", stdin=text)

    def stop_etcd(self) -> None:
        assert self.fabric.etcd is not None
        self.fabric.etcd.kill()
        self.fabric.etcd.wait()

    def start_again(self) -> None:
        """Whatever a test before has ended."""
        if self.fabric.etcd is None or self.fabric.etcd.poll() is not None:
            self.fabric.restart_etcd()
        for node in self.nodes:
            node.start_again()
            node.configure()

    def clear(self) -> None:
        """Neither containers nor policies, nor the networks' profiles."""
        self.start_again()
        for node in self.nodes:
            node.remove_containers()
        for kind in ("globalnetworkpolicies", "networkpolicies", "profiles"):
            self.fabric.delete_all(kind)

    def endpoints(self) -> list[str]:
        """The keys of all workload endpoints."""
        return self.fabric.keys("/calico/resources/v3/projectcalico.org/workloadendpoints/")

    def allocations(self) -> dict[str, str]:
        """By address, the handle that has it: read from the blocks themselves, not by the code under test."""
        found: dict[str, str] = {}
        for block in self.fabric.values("/calico/ipam/v2/assignment/"):
            found |= _allocated(json.loads(block))
        return found

    def handles(self) -> list[str]:
        return self.fabric.keys("/calico/ipam/v2/handle/")

    def nothing_is_left(self) -> None:
        """No endpoint, address, handle, interface or route of any workload."""
        until(lambda: not any(node.workload_routes() for node in self.nodes), "no route to a workload is left")
        assert [node.workload_links() for node in self.nodes] == [set() for _ in self.nodes]
        assert self.endpoints() == []
        assert self.allocations() == {}
        assert self.handles() == []

    def close(self, *, quiet: bool = False) -> None:
        """End everything; what the daemons logged is printed for a test that failed."""
        for node in self.nodes:
            with suppress(Exception):
                node.close()
        for path in () if quiet else sorted(self.fabric.directory.glob("*.log")):
            print(f"--- {path.name}\n{path.read_text(errors='replace')[-3000:]}")
        self.fabric.close()


def _allocated(block: dict[str, Any]) -> dict[str, str]:
    """The addresses that a block says are in use, with the handle of each."""
    first, attributes = ipaddress.ip_network(block["cidr"])[0], block["attributes"]
    used = {index: attributes[which] for index, which in enumerate(block["allocations"]) if which is not None}
    return {
        str(first + index): str(attribute.get("handle_id"))
        for index, attribute in used.items()
        if not attribute.get("releasedAt")
    }
