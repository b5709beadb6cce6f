"""The callers themselves: with Debian's own plugins each of them attaches, reaches and detaches."""

from __future__ import annotations

from typing import Any

import pytest

from functional.runtimes.containerd_runtime import Containerd
from functional.runtimes.libcni_runner import LibCni
from functional.runtimes.podman_runtime import Podman
from functional.runtimes.site import Site

pytestmark = [pytest.mark.root, pytest.mark.runtimes]


def _ptp(site: Site) -> dict[str, Any]:
    ipam = {"type": "host-local", "subnet": "10.66.0.0/24", "dataDir": str(site.directory / "ipam")}
    return {"type": "ptp", "ipMasq": False, "ipam": {**ipam, "routes": [{"dst": "0.0.0.0/0"}]}}


def _leases(site: Site) -> list[str]:
    return sorted(path.name for path in site.directory.glob("ipam/*/10.*"))


def test_containerd_attaches_pods_and_detaches_them(site: Site, containerd: Containerd) -> None:
    site.configure(_ptp(site), {"type": "portmap", "capabilities": {"portMappings": True}})
    before = site.links()
    containerd.start()
    one, two = containerd.run_pod("one"), containerd.run_pod("two")
    (target,) = two.addresses
    code, output = one.exec("ping", "-c", "1", "-W", "2", target)
    assert code == 0, output
    assert len(_leases(site)) == 2
    one.stop()
    two.stop()
    assert _leases(site) == []
    assert site.links() == before


def test_ctr_attaches_a_container_and_detaches_it(site: Site, containerd: Containerd) -> None:
    site.configure(_ptp(site))
    before = site.links()
    containerd.start()
    output = containerd.ctr_with_network("one", "/bin/ip", "-o", "addr", "show", "eth0")
    assert "inet 10.66.0.2/24" in output
    assert _leases(site) == []
    assert site.links() == before


def test_podman_attaches_containers_and_detaches_them(site: Site, podman: Podman) -> None:
    site.configure(_ptp(site))
    before = site.links()
    podman.run("one")
    podman.run("two")
    code, output = podman.exec("one", "ping", "-c", "1", "-W", "2", podman.address("two"))
    assert code == 0, output
    assert len(_leases(site)) == 2
    podman.remove("one")
    podman.remove("two")
    assert _leases(site) == []
    assert site.links() == before


def test_libcni_attaches_checks_and_detaches(site: Site) -> None:
    site.configure(_ptp(site))
    before = site.links()
    libcni = LibCni(site)
    netns = site.workload("a")
    result = libcni.add(netns)
    assert result["ips"][0]["address"] == "10.66.0.2/24"
    libcni.call("check", netns)
    site.ip(netns, "addr", "flush", "dev", "eth0")
    refused = libcni.call("check", netns, check=False)
    assert refused["code"]
    libcni.delete(netns)
    libcni.delete(netns)
    assert _leases(site) == []
    assert site.links() == before
