"""What leaves a host and what enters a kernel: pools, blocks, services, priorities, the OpenStack mode."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent

pytestmark = [pytest.mark.root, pytest.mark.bird, pytest.mark.etcd]


def _mesh(fabric: Any, *numbers: int, **keywords: Any) -> list[Any]:
    hosts = [fabric.add_host(number, **keywords) for number in numbers]
    for host in hosts:
        fabric.until(lambda host=host: host.is_settled(sessions=2 * (len(hosts) - 1)), f"{host.name} is up")
    return hosts


def _block(fabric: Any, host: Any, cidr: str) -> None:
    family = "ipv6" if ":" in cidr else "ipv4"
    key = f"/calico/ipam/v2/host/{host.name}/{family}/block/{cidr.replace('/', '-')}"
    fabric.put_raw(key, '{"state":"confirmed"}')


def test_routes_of_tunnelled_pools_are_told_to_peers_and_left_to_felix_in_the_kernel(fabric: Any) -> None:
    fabric.put("ippools", "plain", "IPPool", {"cidr": "10.65.0.0/16"})
    fabric.put("ippools", "vxlan", "IPPool", {"cidr": "10.66.0.0/16", "vxlanMode": "Always"})
    fabric.put("ippools", "ipip", "IPPool", {"cidr": "10.67.0.0/16", "ipipMode": "CrossSubnet"})
    first, second = _mesh(fabric, 1, 2)
    first.workload(1, "10.65.1.1", "10.66.1.1", "10.67.1.1")
    fabric.until(lambda: second.has_route("10.65.1.1"), "the plain route is in the kernel")
    fabric.until(lambda: _learned(second) == {"10.65.1.1/32", "10.66.1.1/32", "10.67.1.1/32"}, "all are known to BIRD")
    assert not second.has_route("10.66.1.1")
    assert not second.has_route("10.67.1.1")


def test_blocks_leave_as_one_route_single_and_borrowed_addresses_by_themselves(fabric: Any) -> None:
    fabric.put("ippools", "v4", "IPPool", {"cidr": "10.65.0.0/16"})
    fabric.put("ippools", "v6", "IPPool", {"cidr": "fd65::/48"})
    first, second = _mesh(fabric, 1, 2)
    for cidr in ("10.65.1.0/26", "10.65.1.64/32", "fd65::100/122"):
        _block(fabric, first, cidr)
    first.workload(1, "10.65.1.1", "10.65.1.64", "10.65.9.9", "fd65::101", "fd65::999")
    for cidr in ("10.65.1.0/26", "10.65.1.64", "10.65.9.9", "fd65::100/122", "fd65::999"):
        fabric.until(lambda cidr=cidr: second.has_route(cidr), f"{cidr} arrives")
    fabric.until(
        lambda: not second.has_route("10.65.1.1") and not second.has_route("fd65::101"), "what is inside stays"
    )
    own = first.ip("route", "show", "proto", "bird") + first.ip("-6", "route", "show", "proto", "bird")
    assert "blackhole 10.65.1.0/26" in own
    assert "blackhole fd65::100/122" in own
    assert "blackhole 10.65.1.64" not in own, "an address has no unused part"


def test_a_workload_that_moves_in_wins_by_its_priority_over_the_one_that_is_still_here(fabric: Any) -> None:
    fabric.put("ippools", "v4", "IPPool", {"cidr": "10.65.0.0/16"})
    first, second, third = _mesh(fabric, 1, 2, 3)
    _block(fabric, first, "10.65.1.0/26")
    for host in (second, third):
        fabric.until(lambda host=host: host.has_route("10.65.1.0/26", via=first.ipv4), "the block arrives")
    first.workload(1)
    second.workload(1)
    first.ip("route", "add", "10.65.1.1/32", "dev", "cali1", "proto", "80", "metric", "1024")
    second.ip("route", "add", "10.65.1.1/32", "dev", "cali1", "proto", "80", "metric", "512")
    better = "10.65.1.1 via 10.99.0.2 dev eth0 proto bird metric 512"
    for host in (first, third):
        fabric.until(lambda host=host: better in host.ip("route", "show", "10.65.1.1"), "the better route has won")
    first.ip("route", "del", "10.65.1.1/32", "dev", "cali1")
    second.ip("route", "replace", "10.65.1.1/32", "dev", "cali1", "proto", "80", "metric", "1024")
    second.ip("route", "del", "10.65.1.1/32", "dev", "cali1", "metric", "512")
    normal = "10.65.1.1 via 10.99.0.2 dev eth0 proto bird metric 1024"
    fabric.until(lambda: normal in third.ip("route", "show", "10.65.1.1"), "it is an ordinary route after the move")


def test_in_the_openstack_mode_workloads_need_no_pool(fabric: Any) -> None:
    hosts = _mesh(fabric, 1, 2, options=("--export-mode", "interfaces"))
    first, second = hosts
    first.workload(1, "192.168.5.1", "fd68::5")
    first.ip("route", "add", "192.168.6.0/24", "dev", "cali1", "proto", "80")
    first.ip("route", "add", "192.168.7.7/32", "dev", "eth0", "proto", "80")
    fabric.until(lambda: second.has_route("192.168.5.1", via=first.ipv4), "a workload's address arrives")
    fabric.until(lambda: second.has_route("fd68::5", via=first.ipv6), "also that of IPv6")
    first.ip("link", "add", "tap0a1b2c3d-4e", "type", "veth", "peer", "name", "instance")
    for name in ("tap0a1b2c3d-4e", "instance"):
        first.ip("link", "set", name, "up")
    for address in ("10.65.0.11/32", "fd00:61::11/128"):
        first.ip("route", "add", address, "dev", "tap0a1b2c3d-4e", "proto", "80", "metric", "1024")
    fabric.until(lambda: second.has_route("10.65.0.11", via=first.ipv4), "that of an instance behind its tap")
    fabric.until(lambda: second.has_route("fd00:61::11", via=first.ipv6), "also by IPv6")
    assert not second.has_route("192.168.6.0/24"), "a network is no workload"
    assert not second.has_route("192.168.7.7"), "nor is what another interface leads to"


def test_many_changes_at_once_are_one_reconfiguration(fabric: Any) -> None:
    first, _ = _mesh(fabric, 1, 2)
    sessions = first.since()
    first.run(sys.executable, str(HERE / "pool_burst.py"), fabric.etcd_url)
    fabric.until(lambda: "10.149.0.0/16" in (first.run_dir / "bird.conf").read_text(), "the last one is in force")
    log = (fabric.directory / f"{first.name}.log").read_text()
    assert log.count("bird reconfigured") < 10
    assert first.since() == sessions


SERVICES = {"serviceClusterIPs": [{"cidr": "10.96.0.0/12"}], "serviceExternalIPs": [{"cidr": "192.0.2.0/24"}]}


def test_without_a_source_of_services_their_addresses_are_not_advertised_and_that_is_said(fabric: Any) -> None:
    fabric.config(**SERVICES)
    first, second = _mesh(fabric, 1, 2)
    conditions = fabric.until(lambda: first.has_condition("bgp-no-service-source"), "its absence is named")
    assert [c["message"].partition(":")[0] for c in conditions] == ["spec.serviceClusterIPs", "spec.serviceExternalIPs"]
    assert "10.96.0.0/12" not in second.ask_bird("show route")


def test_service_addresses_leave_a_host_that_knows_of_services_and_stay_out_of_every_kernel(fabric: Any) -> None:
    fabric.config(**SERVICES)
    second = fabric.add_host(2)
    first = fabric.bare_host(1)
    fabric.put("nodes", first.name, "Node", {"bgp": {"ipv4Address": f"{first.ipv4}/24"}})
    wanted = {"10.96.0.0/12", "192.0.2.0/24", "192.0.2.7/32"}
    command = [sys.executable, str(HERE / "service_agent.py"), fabric.etcd_url, first.name, str(first.run_dir)]
    with (fabric.directory / f"{first.name}.log").open("ab") as output:
        enter = ["nsenter", f"--net=/run/netns/{first.netns}"]
        first.agent = subprocess.Popen([*enter, *command], stdout=output, stderr=output)
    fabric.until(lambda: _learned(second) >= wanted, "the routes arrive")
    assert _learned(second) == wanted
    for host in (first, second):
        assert host.ip("route", "show", "proto", "bird") == ""


TOLD = "/calico/kubernetes/v1/"


def test_a_service_whose_traffic_must_not_change_hosts_is_advertised_where_a_ready_endpoint_is(fabric: Any) -> None:
    fabric.config(**SERVICES)
    first, second = _mesh(fabric, 1, 2)
    third = fabric.add_host(3)
    web = {"clusterIPs": ["10.96.0.7"], "externalIPs": ["192.0.2.7"], "localOnly": True}
    fabric.put_raw(f"{TOLD}services/shop/web", json.dumps(web))

    def tell(name: str, node: str, *, ready: bool = True) -> None:
        endpoints = [{"addresses": ["10.65.0.7"], "node": node, "ready": ready}]
        fabric.put_raw(f"{TOLD}endpointslices/shop/web/{name}", json.dumps({"endpoints": endpoints}))

    tell("web-1", first.name)
    tell("web-2", second.name, ready=False)
    fabric.until(lambda: third.is_settled(sessions=4), "the third is up")
    assert _learned(third) == set(), "nobody has said yet that all is told"
    ranges, single = {"10.96.0.0/12", "192.0.2.0/24"}, {"10.96.0.7/32", "192.0.2.7/32"}
    fabric.put_raw(f"{TOLD}source", "{}")
    fabric.until(lambda: _learned(third) == ranges | single, "the ranges, and the service from where it is")
    fabric.until(lambda: _learned(third, second) == ranges, "not from where it is not ready")
    tell("web-2", second.name)
    fabric.until(lambda: _learned(third, second) == ranges | single, "it is ready there too")
    tell("web-1", first.name, ready=False)
    fabric.until(lambda: _learned(third) == ranges, "the first has none any more")
    labels = {"node.kubernetes.io/exclude-from-external-load-balancers": "true"}
    addresses = {"ipv4Address": f"{second.ipv4}/24"}
    fabric.put("nodes", second.name, "Node", {"bgp": addresses}, labels=labels)
    fabric.until(lambda: _learned(third, second) == {"10.96.0.0/12", "10.96.0.7/32"}, "an excluded node: cluster only")


def test_a_restarted_agent_withdraws_no_service_while_it_reads_the_datastore_again(fabric: Any) -> None:
    fabric.config(**SERVICES)
    fabric.put_raw(f"{TOLD}source", "{}")
    first, second = _mesh(fabric, 1, 2)
    fabric.until(lambda: _learned(second) == {"10.96.0.0/12", "192.0.2.0/24"}, "the ranges arrive")
    log = fabric.directory / f"{first.name}.log"
    before, text = log.read_text().count("configuration applied"), (first.run_dir / "bird.conf").read_text()
    first.terminate_agent()
    first.start_agent()
    fabric.until(lambda: first.is_settled(sessions=2), "the agent is back")
    assert (first.run_dir / "bird.conf").read_text() == text
    assert log.read_text().count("configuration applied") == before, "BIRD was given the same or nothing"


def _learned(host: Any, peer: Any = None) -> set[str]:
    address = "10_99_0_1" if peer is None else peer.ipv4.replace(".", "_")
    lines = host.ask_bird(f"show route protocol Mesh_{address}").splitlines()
    return {word for line in lines for word in line.removeprefix("1007-").split()[:1] if "/" in word}


def test_filters_come_change_and_go_without_a_reset_and_routes_follow_them(fabric: Any) -> None:
    fabric.put("ippools", "v4", "IPPool", {"cidr": "10.65.0.0/16"})
    fabric.config(nodeToNodeMeshEnabled=False)
    everyone = {"nodeSelector": "all()", "peerSelector": "all()"}
    fabric.peer("all", **everyone)
    hosts = [fabric.add_host(number) for number in (1, 2)]
    first, second = hosts
    for host in hosts:
        fabric.until(lambda host=host: host.is_settled(sessions=2), "the sessions are up")
    first.workload(1, "10.65.1.1", "10.65.2.1")
    for address in ("10.65.1.1", "10.65.2.1"):
        fabric.until(lambda address=address: second.has_route(address), "the routes arrive")
    before = {host.name: host.since() for host in hosts}
    rule = {"action": "Reject", "cidr": "10.65.1.0/24", "matchOperator": "In"}
    fabric.put("bgpfilters", "f", "BGPFilter", {"exportV4": [rule]})
    fabric.peer("all", **everyone, filters=["f"])
    fabric.until(lambda: not second.has_route("10.65.1.1"), "what the filter rejects goes")
    fabric.put("bgpfilters", "f", "BGPFilter", {"importV4": [{**rule, "cidr": "10.65.2.0/24"}]})
    fabric.until(lambda: second.has_route("10.65.1.1") and not second.has_route("10.65.2.1"), "the filter has changed")
    fabric.peer("all", **everyone)
    fabric.until(lambda: second.has_route("10.65.2.1"), "without the filter everything is back")
    assert {host.name: host.since() for host in hosts} == before


def test_what_takes_connected_routes_away_for_a_moment_is_done_by_a_graceful_restart_without_loss(fabric: Any) -> None:
    fabric.put("ippools", "v4", "IPPool", {"cidr": "10.65.0.0/16"})
    first, second = _mesh(fabric, 1, 2)
    second.workload(1, "10.65.2.1")
    fabric.until(lambda: first.has_route("10.65.2.1"), "the route arrives")
    ping, birds = fabric.ping(first, "10.65.2.1"), [host.bird_pid for host in (first, second)]
    fabric.config(ignoredInterfaces=["dum*"])
    for host in (first, second):
        fabric.until(lambda host=host: '-"dum*"' in (host.run_dir / "bird.conf").read_text(), "it is in force")
    for host in (first, second):
        fabric.until(lambda host=host: host.is_settled(sessions=2), "the sessions are back")
    fabric.until(lambda: first.has_route("10.65.2.1"), "the route is still there")
    assert first.bird_pid != birds[0]
    sent, lost = ping.stop()
    assert sent > 10
    assert lost == 0


def test_where_wireguard_leads_to_a_node_bird_programs_no_route_in_the_clear(fabric: Any) -> None:
    fabric.put("ippools", "v4", "IPPool", {"cidr": "10.65.0.0/16"})
    first, second, third = _mesh(fabric, 1, 2, 3)
    for host in (first, second):
        addresses = {"ipv4Address": f"{host.ipv4}/24", "ipv6Address": f"{host.ipv6}/64"}
        spec = {"bgp": addresses, "wireguard": {"interfaceIPv4Address": f"10.200.0.{host.number}"}}
        fabric.put("nodes", host.name, "Node", spec)
    first.workload(1, "10.65.1.1")
    fabric.until(lambda: third.has_route("10.65.1.1"), "a node without WireGuard has the route")
    fabric.until(lambda: "bgp_next_hop = 10.99.0.1" in (second.run_dir / "bird.conf").read_text(), "it is in force")
    fabric.until(lambda: "10.65.1.1/32" in _learned(second), "BIRD knows the route")
    fabric.until(lambda: not second.has_route("10.65.1.1"), "and leaves it to Felix")
