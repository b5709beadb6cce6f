"""What tests of the driver do in the cloud: networks, instances' ports, and looking at what etcd has of them."""

from __future__ import annotations

import json
import uuid
from typing import Any

from stack.hosts import Host
from stack.stack import Stack

__all__ = ["Cloud", "Port", "annotation"]

Port = dict[str, Any]


class Cloud:
    """A project with rights to do everything, and addresses that no other test has."""

    def __init__(self, stack: Stack, number: int) -> None:
        self.stack, self.api = stack, stack.client()
        self._prefix = f"10.{number // 200 + 1}.{number % 200}"
        self._subnets = 0

    # ---- making things

    def host(self) -> Host:
        """A new host that is alive."""
        return Host(self.stack).report()

    def network(self, **fields: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """A network with a subnet of 16 addresses."""
        network = self.api.create("network", **{"name": f"net-{uuid.uuid4().hex[:6]}", **fields})
        return network, self.subnet(network)

    def subnet(self, network: dict[str, Any], **fields: Any) -> dict[str, Any]:
        cidr = f"{self._prefix}.{16 * self._subnets}/28"
        self._subnets += 1
        return self.api.create("subnet", network_id=network["id"], ip_version=4, **{"cidr": cidr, **fields})

    def port(self, network: dict[str, Any], host: Host | str, **fields: Any) -> Port:
        """A port of a new instance at a host."""
        name = host if isinstance(host, str) else host.name
        given = {
            "network_id": network["id"],
            "device_owner": "compute:nova",
            "device_id": str(uuid.uuid4()),
            "binding:host_id": name,
            **fields,
        }
        return self.api.create("port", **given)

    def active(self, port: Port, host: Host) -> None:
        """Report the port up at its host, until Neutron says so."""
        with host.answers():
            host.endpoint(port, "up")
            self.until_status(port, "ACTIVE")

    # ---- looking

    def status(self, port: Port) -> str:
        return str(self.api.show("port", port["id"])["status"])

    def until_status(self, port: Port, status: str) -> None:
        self.stack.until(f"port {port['id']} is {status}", lambda: self.status(port) == status)

    def endpoints(self, port: Port) -> dict[str, Any]:
        """WorkloadEndpoints of a port, by host."""
        self.stack.settle()
        found = self.stack.resources("workloadendpoints").values()
        return {each["spec"]["node"]: each for each in found if each["spec"]["endpoint"] == port["id"]}

    def endpoint(self, port: Port) -> Any:
        """The one WorkloadEndpoint of a port."""
        found = self.endpoints(port)
        assert len(found) == 1, f"{len(found)} endpoints of {port['id']}: {list(found)}"
        return next(iter(found.values()))

    def policy(self, group: str) -> Any:
        """The NetworkPolicy of a security group; None when there is none."""
        self.stack.settle()
        return self.stack.resources("networkpolicies").get(f"ossg.default.{group}")

    def revision(self, key: str) -> int:
        """etcd's revision of the last write of a key."""
        return int(json.loads(self.stack.etcdctl("get", key, "-w", "json"))["kvs"][0]["mod_revision"])

    def events(self, port: Port) -> list[str]:
        """Names of what Nova was told of the instance."""
        return [event["name"] for event in self.stack.events() if event.get("server_uuid") == port["device_id"]]


def annotation(resource: Any, name: str) -> Any:
    """One of ours of a stored resource."""
    return resource["metadata"].get("annotations", {}).get(f"openstack.projectcalico.org/{name}")
