"""Our plugin under libcni's own runner: every version of the protocol that it knows."""

from __future__ import annotations

import pytest

from functional.runtimes.cluster import Cluster
from functional.runtimes.libcni_runner import LibCni

pytestmark = [pytest.mark.root, pytest.mark.etcd, pytest.mark.bird, pytest.mark.runtimes]


@pytest.mark.parametrize("version", ["0.3.1", "0.4.0", "1.0.0"])
def test_a_namespace_is_attached_checked_and_detached_in_every_version(cluster: Cluster, version: str) -> None:
    node = cluster.nodes[0]
    node.configure(version=version)
    libcni = node.libcni()
    netns = node.site.workload("v" + version.replace(".", ""))
    result = libcni.add(netns)
    (ip,) = result["ips"]
    assert result["cniVersion"] == version
    assert list(cluster.allocations()) == [ip["address"].partition("/")[0]]
    assert node.workload_links() == {result["interfaces"][0]["name"]}
    assert ("version" in ip) == (version < "1")
    if version != "0.3.1":
        libcni.call("check", netns)
        node.site.ip(netns, "addr", "flush", "dev", "eth0", "scope", "global")
        refused = libcni.call("check", netns, check=False)
        assert ip["address"].partition("/")[0] in refused["msg"]
    libcni.delete(netns)
    assert cluster.allocations() == {}
    libcni.delete(netns)


def test_an_address_that_is_asked_for_is_given_or_refused(cluster: Cluster) -> None:
    node = cluster.nodes[0]
    libcni = node.libcni()
    one, two = node.site.workload("a"), node.site.workload("b")
    result = libcni.add(one, args="IP=10.65.77.7")
    assert result["ips"][0]["address"] == "10.65.77.7/32"
    refused = libcni.call("add", two, args="IP=10.65.77.7", check=False)
    assert "10.65.77.7" in refused["msg"]
    libcni.delete(two)
    assert list(cluster.allocations()) == ["10.65.77.7"]
    libcni.delete(one)


def test_containers_whose_ids_begin_alike_are_both_attached(cluster: Cluster) -> None:
    """ctr's ids are its namespace and a name: ``default-web1`` and ``default-web2`` share eleven characters."""
    node = cluster.nodes[0]
    libcni = node.libcni()
    first, second = node.site.workload("i1"), node.site.workload("i2")
    libcni.add(first, container="default-web1")
    libcni.add(second, container="default-web2")
    assert len(node.workload_links()) == 2
    libcni.call("check", first, container="default-web1")
    libcni.call("check", second, container="default-web2")
    libcni.delete(first, container="default-web1")
    libcni.call("check", second, container="default-web2")
    libcni.delete(second, container="default-web2")


def test_a_runtime_of_cni_1_1_asks_for_the_status_and_collects_what_it_does_not_know(cluster: Cluster) -> None:
    """libcni 1.3 is the only caller of GC and STATUS here that is not ours."""
    node = cluster.nodes[0]
    libcni = node.newer_libcni()
    node.configure(version="1.1.0")
    try:
        stays, lost, forgotten = (node.site.workload(name) for name in ("g1", "g2", "g3"))
        assert libcni.call("status") is None
        result = libcni.add(stays)
        assert result["cniVersion"] == "1.1.0"
        assert result["interfaces"][0]["mtu"] == 1500
        libcni.add(lost)
        LibCni(node.site, newer=True, cache="forgetful").add(forgotten)  # GC must find it without libcni's own memory
        assert len(cluster.allocations()) == 3
        libcni.collect(stays)
        assert list(cluster.allocations()) == [result["ips"][0]["address"].partition("/")[0]]
        assert node.workload_links() == {result["interfaces"][0]["name"]}
        libcni.call("check", stays)
        libcni.collect()
        assert cluster.allocations() == {}
        node.kill_daemon()
        assert libcni.call("status", check=False)["code"] == 50
        assert libcni.collect(stays, check=False) is not None
        node.start_daemon()
        libcni.delete(stays)
        libcni.delete(lost)
    finally:
        node.configure()
