"""Datastore states written down as tables, planned as the agent would, and the real parser of BIRD."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from calico.bgp.planning.plan import Planned, build_plan
from calico.bgp.planning.serviceroutes import ServiceRoutes
from calico.bgp.planning.snapshot import SnapshotStore
from calico.datastore.api import Update

sys.path.insert(0, str(Path(__file__).parent))

_RESOURCES = "/calico/resources/v3/projectcalico.org"
_KINDS = {
    "nodes": "Node",
    "bgpfilters": "BGPFilter",
    "bgppeers": "BGPPeer",
    "bgpconfigurations": "BGPConfiguration",
    "ippools": "IPPool",
}


class World:
    """A datastore as the raw keys and values of five kinds and of one host's affinities."""

    def __init__(self) -> None:
        self.updates: list[Update] = []

    def put(
        self,
        plural: str,
        name: str,
        spec: Any,
        labels: dict[str, str] | None = None,
        annotations: dict[str, str] | None = None,
    ) -> World:
        metadata = {"name": name, "labels": labels or {}, "annotations": annotations or {}}
        document = {"kind": _KINDS[plural], "metadata": metadata, "spec": spec}
        return self.put_raw(f"{_RESOURCES}/{plural}/{name}", json.dumps(document))

    def put_raw(self, key: str, value: str | None) -> World:
        self.updates.append(Update(key, None if value is None else value.encode(), len(self.updates) + 1))
        return self

    def node(
        self,
        name: str,
        ipv4: str = "",
        ipv6: str = "",
        labels: dict[str, str] | None = None,
        annotations: dict[str, str] | None = None,
        **bgp: Any,
    ) -> World:
        addresses = {"ipv4Address": f"{ipv4}/24"} if ipv4 else {}
        addresses |= {"ipv6Address": f"{ipv6}/64"} if ipv6 else {}
        return self.put("nodes", name, {"bgp": addresses | bgp}, labels, annotations)

    def peer(self, name: str, annotations: dict[str, str] | None = None, **spec: Any) -> World:
        return self.put("bgppeers", name, spec, None, annotations)

    def config(self, name: str = "default", annotations: dict[str, str] | None = None, **spec: Any) -> World:
        return self.put("bgpconfigurations", name, spec, None, annotations)

    def secret(self, name: str, key: str, password: str) -> World:
        return self.put_raw(f"/calico/bgp/v1/secrets/{name}/{key}", password)

    def endpoint(self, host: str, name: str, *addresses: str, labels: dict[str, str] | None = None) -> World:
        spec = {"node": host, "orchestrator": "lab", "workload": name, "endpoint": "eth0", "ipNetworks": addresses}
        document = {"kind": "WorkloadEndpoint", "metadata": {"labels": labels or {}}, "spec": spec}
        key = f"{_RESOURCES}/workloadendpoints/default/{host.replace('-', '--')}-lab-{name}-eth0"
        return self.put_raw(key, json.dumps(document))

    def pool(self, name: str, cidr: str, **spec: Any) -> World:
        return self.put("ippools", name, {"cidr": cidr, **spec})

    def filter(self, name: str, **spec: Any) -> World:
        return self.put("bgpfilters", name, spec)

    def block(self, host: str, cidr: str, value: str = '{"state":"confirmed"}') -> World:
        family = "ipv6" if ":" in cidr else "ipv4"
        return self.put_raw(f"/calico/ipam/v2/host/{host}/{family}/block/{cidr.replace('/', '-')}", value)

    def plan(self, node: str, services: ServiceRoutes | None = None, **options: Any) -> Planned:
        store = SnapshotStore(node)
        store.apply(self.updates)
        store.services = services
        return build_plan(store.view(), node, **options)

    def sessions(self, node: str) -> dict[str, Any]:
        return {peer.name: peer for peer in self.plan(node).plan.peers}


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def new_world() -> Callable[[], World]:
    return World


@pytest.fixture(scope="session")
def bird_refusal(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """What BIRD's own parser says against a configuration; empty when it accepts it."""
    bird = shutil.which("bird", path="/usr/sbin:/sbin:/usr/bin:/bin")
    if bird is None:
        pytest.skip("needs the program bird")
    path: Path = tmp_path_factory.mktemp("bird") / "bird.conf"

    def check(text: str) -> str:
        path.write_text(text)
        done = subprocess.run([bird, "-p", "-c", str(path)], capture_output=True, text=True, check=False)
        return "" if done.returncode == 0 else done.stdout + done.stderr or "refused"

    return check
