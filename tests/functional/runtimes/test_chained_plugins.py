"""Debian's plugins behind ours in one list: port mappings, rates and settings of the container's kernel."""

from __future__ import annotations

import json
from typing import Any

import pytest

from functional.runtimes.cluster import Cluster, Node, until
from functional.runtimes.serving import WEB, fetch, policy

pytestmark = [pytest.mark.root, pytest.mark.etcd, pytest.mark.bird, pytest.mark.runtimes]

PORTMAP = {"type": "portmap", "snat": True, "capabilities": {"portMappings": True}}
BANDWIDTH = {"type": "bandwidth", "capabilities": {"bandwidth": True}}
TUNING = {"type": "tuning", "sysctl": {"net.ipv4.conf.eth0.log_martians": "1"}, "mtu": 1400}
RATE = 8_000_000


def _qdiscs(node: Node) -> list[dict[str, Any]]:
    found = json.loads(node.site.run("tc", "-j", "qdisc", "show"))
    return [qdisc for qdisc in found if qdisc["kind"] == "tbf"]


def _nat(node: Node) -> str:
    done = node.site.attempt("nft", "list", "table", "ip", "nat")
    return done.stdout if done.returncode == 0 else ""


def test_a_port_of_the_host_leads_to_the_pod_as_policy_says(cluster: Cluster) -> None:
    one, other = cluster.nodes
    one.configure(PORTMAP)
    ports = [{"protocol": 0, "container_port": 80, "host_port": 8080}]
    web = one.containerd.run_pod("web", *WEB, namespace="back", ports=ports)
    friend, stranger = (other.containerd.run_pod(name, namespace=name) for name in ("front", "other"))
    until(lambda: fetch(friend.exec, one.host.ipv4, 8080), "the host's port leads to the pod")
    assert fetch(stranger.exec, one.host.ipv4, 8080)
    cluster.apply(policy("only-front", "back", "front"))
    assert fetch(friend.exec, one.host.ipv4, 8080)
    assert not fetch(stranger.exec, one.host.ipv4, 8080)
    web.stop()
    assert "CNI-DN-" not in _nat(one)


def test_rates_and_settings_apply_and_go_with_the_container(cluster: Cluster) -> None:
    node = cluster.nodes[0]
    node.configure(PORTMAP, BANDWIDTH, TUNING)
    libcni = node.libcni()
    netns = node.site.workload("w")
    rates = {"ingressRate": RATE, "ingressBurst": RATE, "egressRate": RATE, "egressBurst": RATE}
    capabilities = {"bandwidth": rates}
    before = node.site.links()
    result = libcni.add(netns, capabilities=capabilities)
    host = result["interfaces"][0]["name"]
    (mtu,) = [link["mtu"] for link in json.loads(node.site.ip(netns, "-j", "link")) if link["ifname"] == "eth0"]
    assert mtu == 1400
    limited = {qdisc["dev"]: qdisc["options"]["rate"] for qdisc in _qdiscs(node)}
    assert limited.pop(host) == RATE / 8
    assert list(limited.values()) == [RATE / 8]
    cluster.apply(policy("x", "back", "front"))  # Felix works on while the limits of others are there
    assert host in {qdisc["dev"] for qdisc in _qdiscs(node)}
    libcni.call("check", netns, capabilities=capabilities)
    libcni.delete(netns, capabilities=capabilities)
    assert _qdiscs(node) == []
    assert node.site.links() == before
