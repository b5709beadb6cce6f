"""Agents, BIRDs and kernels together: what routes and packets do, not what configuration says."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

pytestmark = [pytest.mark.root, pytest.mark.bird, pytest.mark.etcd]


def _pools(fabric: Any) -> None:
    fabric.put("ippools", "v4", "IPPool", {"cidr": "10.65.0.0/16"})
    fabric.put("ippools", "v6", "IPPool", {"cidr": "fd65::/48"})


def _meshed(fabric: Any, *numbers: int) -> list[Any]:
    _pools(fabric)
    hosts = [fabric.add_host(number) for number in numbers]
    for host in hosts:
        fabric.until(
            lambda host=host: len(host.established) == 2 * (len(hosts) - 1), f"{host.name} has all its sessions"
        )
    return hosts


def _condition(host: Any, code: str) -> Callable[[], Any]:
    return lambda: [c for c in host.status["conditions"] if c["code"] == code]


def test_a_workload_route_of_one_host_is_in_the_kernel_of_every_other(fabric: Any) -> None:
    first, second = _meshed(fabric, 1, 2)
    first.workload(1, "10.65.1.1", "fd65::1:1")
    fabric.until(lambda: second.has_route("10.65.1.1", via=first.ipv4), "the IPv4 route arrives")
    fabric.until(lambda: second.has_route("fd65::1:1", via=first.ipv6), "the IPv6 route arrives")
    first.ip("route", "del", "10.65.1.1/32", "dev", "cali1")
    fabric.until(lambda: not second.has_route("10.65.1.1"), "the route goes when the workload does")


def test_addresses_outside_every_pool_and_in_unexported_pools_stay_at_home(fabric: Any) -> None:
    fabric.put("ippools", "secret", "IPPool", {"cidr": "10.66.0.0/16", "disableBGPExport": True})
    first, second = _meshed(fabric, 1, 2)
    first.workload(1, "10.66.1.1", "10.67.1.1", "10.65.1.1")
    fabric.until(lambda: second.has_route("10.65.1.1"), "the exported one arrives")
    assert not second.has_route("10.66.1.1")
    assert not second.has_route("10.67.1.1")


def test_a_block_is_advertised_as_one_route_and_its_unused_addresses_die_on_their_host(fabric: Any) -> None:
    first, second = _meshed(fabric, 1, 2)
    before = second.since()
    fabric.put_raw("/calico/ipam/v2/host/node1/ipv4/block/10.65.1.0-26", '{"state":"confirmed","deleted":false}')
    first.workload(1, "10.65.1.1", "10.65.9.9")
    fabric.until(lambda: second.has_route("10.65.1.0/26", via=first.ipv4), "the block arrives")
    fabric.until(lambda: second.has_route("10.65.9.9"), "an address borrowed from elsewhere arrives by itself")
    fabric.until(lambda: not second.has_route("10.65.1.1"), "the addresses inside the block are not advertised")
    assert "blackhole 10.65.1.0/26" in first.ip("route", "show", "proto", "bird")
    assert second.since() == before, "a change of blocks and filters resets no session"


def test_adding_and_removing_a_node_keeps_the_sessions_between_the_others(fabric: Any) -> None:
    first, _ = _meshed(fabric, 1, 2)
    before = first.since()
    third = fabric.add_host(3)
    fabric.until(lambda: len(third.established) == 4, "the new node joins")
    assert {name: since for name, since in first.since().items() if name in before} == before
    fabric.delete("nodes", "node3")
    fabric.until(lambda: len(first.status["sessions"]) == 2, "the node leaves the mesh")
    assert first.since() == before
    fabric.until(_condition(third, "bgp-not-configured"), "the removed node says why it has no sessions")
    fabric.until(lambda: third.status["sessions"] == [], "it has none")
    assert third.status["bird"]["state"] == "up"


def test_a_killed_agent_leaves_bird_forwarding_and_its_successor_adopts_it(fabric: Any) -> None:
    first, second = _meshed(fabric, 1, 2)
    bird, before = first.bird_pid, second.since()
    first.kill_agent()
    first.workload(1, "10.65.1.1")
    fabric.until(lambda: second.has_route("10.65.1.1"), "BIRD still announces routes without its agent")
    first.start_agent()
    fabric.until(lambda: first.status["in_sync"], "the successor is in sync")
    assert first.bird_pid == bird
    assert second.since() == before
    assert first.terminate_agent() == 0
    os.kill(bird, 0)
    assert second.since() == before


def test_a_killed_bird_is_restarted_and_not_one_packet_is_lost(fabric: Any) -> None:
    first, second = _meshed(fabric, 1, 2)
    second.workload(1, "10.65.2.1", "fd65::2:1")
    fabric.until(lambda: first.has_route("10.65.2.1") and first.has_route("fd65::2:1"), "the routes arrive")
    pings = [fabric.ping(first, "10.65.2.1"), fabric.ping(first, "fd65::2:1")]
    for host in (first, second):
        dead, before = host.bird_pid, host.since()
        os.kill(dead, signal.SIGKILL)
        fabric.until(lambda host=host: host.status["bird"].get("restarts") == 1, "the agent notices")
        fabric.until(lambda host=host, before=before: host.since() != before, "the sessions are new ones")
        for end in (first, second):
            fabric.until(lambda end=end: end.is_settled(sessions=2), "all are established and recovery is over")
        assert host.bird_pid != dead
    for sent, lost in (ping.stop() for ping in pings):
        assert sent > 10
        assert lost == 0


def test_a_change_that_would_reset_sessions_goes_through_graceful_restart_without_loss(fabric: Any) -> None:
    first, second = _meshed(fabric, 1, 2)
    second.workload(1, "10.65.2.1")
    fabric.until(lambda: first.has_route("10.65.2.1"), "the route arrives")
    ping, birds = fabric.ping(first, "10.65.2.1"), {first.bird_pid, second.bird_pid}
    revisions = {host.name: host.status["config_revision"] for host in (first, second)}
    fabric.put("bgpconfigurations", "default", "BGPConfiguration", {"nodeMeshMaxRestartTime": "90s"})
    for host in (first, second):
        fabric.until(lambda host=host: host.status["config_revision"] > revisions[host.name], "it is in force")
    for host in (first, second):
        fabric.until(lambda host=host: host.is_settled(sessions=2), "the sessions are back and recovery is over")
    assert {first.bird_pid, second.bird_pid} != birds, "BIRD has a successor where sessions were worth it"
    fabric.until(lambda: first.has_route("10.65.2.1"), "the route is still there")
    sent, lost = ping.stop()
    assert sent > 10
    assert lost == 0


def test_a_far_end_that_sends_more_prefixes_than_it_may_loses_its_session(fabric: Any) -> None:
    _pools(fabric)
    fabric.put("bgpconfigurations", "default", "BGPConfiguration", {"nodeToNodeMeshEnabled": False})
    limit = {"bgp.calico-network/max-prefixes": "2"}
    fabric.put("bgppeers", "tor", "BGPPeer", {"node": "node1", "peerSelector": "has(tor)"}, annotations=limit)
    first, second = fabric.add_host(1), fabric.add_host(2, labels={"tor": ""})
    fabric.until(lambda: len(first.established) == 2, "both families are up")
    for number in (1, 2):
        second.workload(number, f"10.65.2.{number}")
    fabric.until(lambda: first.has_route("10.65.2.2"), "as many as it may are taken")
    second.workload(3, "10.65.2.3")
    fabric.until(lambda: len(first.established) == 1, "the third is one too many")
    assert not first.has_route("10.65.2.3")
    second.ip("link", "del", "cali3")
    fabric.until(lambda: first.has_route("10.65.2.2"), "the session is back when the far end has mended its ways")


def test_a_route_reflector_serves_nodes_that_have_no_mesh(fabric: Any) -> None:
    _pools(fabric)
    fabric.put("bgpconfigurations", "default", "BGPConfiguration", {"nodeToNodeMeshEnabled": False})
    fabric.put("bgppeers", "rr", "BGPPeer", {"nodeSelector": "all()", "peerSelector": "has(rr)"})
    reflector = fabric.add_host(9, node={"routeReflectorClusterID": "224.0.0.1"}, labels={"rr": ""})
    clients = [fabric.add_host(1), fabric.add_host(2)]
    fabric.until(lambda: len(reflector.established) == 4, "the reflector has all clients")
    assert [name for name in clients[0].established if "99_0_2" in name] == []
    clients[0].workload(1, "10.65.1.1", "fd65::1:1")
    fabric.until(
        lambda: clients[1].has_route("10.65.1.1", via=clients[0].ipv4), "the next hop is the client, not the reflector"
    )
    fabric.until(lambda: clients[1].has_route("fd65::1:1", via=clients[0].ipv6), "the same for IPv6")


def test_next_hops_of_nodes_in_other_subnets_are_resolved_through_the_default_route(fabric: Any) -> None:
    _pools(fabric)
    first, second = (fabric.add_host(number, routed=True) for number in (1, 2))
    for host in (first, second):
        fabric.until(lambda host=host: len(host.established) == 2, "the sessions cross the router")
    first.workload(1, "10.65.1.1", "fd65::1:1")
    fabric.until(lambda: second.has_route("10.65.1.1", via="10.98.2.254"), "the route points to the router")
    fabric.until(lambda: second.has_route("fd65::1:1", via="fd98:2::fe"), "the same for IPv6")


def test_an_ebgp_session_with_ttl_security_and_another_local_as_comes_up(fabric: Any) -> None:
    _pools(fabric)
    fabric.put("bgpconfigurations", "default", "BGPConfiguration", {"nodeToNodeMeshEnabled": False, "listenPort": 1790})
    spec = {"node": "node1", "peerSelector": "has(tor)", "localASNumber": 65010, "ttlSecurity": 1}
    fabric.put("bgppeers", "tor", "BGPPeer", {**spec, "keepaliveTime": "5s"})
    first = fabric.add_host(1)
    second = fabric.add_host(2, node={"asNumber": 65020}, labels={"tor": ""})
    for host in (first, second):
        fabric.until(lambda host=host: len(host.established) == 2, "both families are up")
    first.workload(1, "10.65.1.1")
    fabric.until(lambda: second.has_route("10.65.1.1", via=first.ipv4), "routes cross the border")
    said = second.ask_bird("show route 10.65.1.1/32 all")
    assert "BGP.as_path: 65010" in said or "bgp_path: 65010" in said, "in the words of BIRD 2 or 3"


def test_a_bird_that_died_with_its_agent_is_started_on_the_last_good_file_without_the_datastore(fabric: Any) -> None:
    first, second = _meshed(fabric, 1, 2)
    second.workload(1, "10.65.2.1")
    fabric.until(lambda: first.has_route("10.65.2.1"), "the route arrives")
    ping = fabric.ping(first, "10.65.2.1")
    first.kill_agent()
    os.kill(first.bird_pid, signal.SIGKILL)
    fabric.etcd.kill()
    first.start_agent()
    fabric.until(lambda: first.is_settled(sessions=2), "the sessions are back")
    sent, lost = ping.stop()
    assert sent > 10
    assert lost == 0
    (condition,) = fabric.until(_condition(first, "datastore-not-in-sync"), "the agent says what is missing")
    assert condition["object"] == "datastore"


def test_a_peering_that_cannot_be_honoured_is_stopped_and_named_and_blocks_nothing_else(fabric: Any) -> None:
    first, _ = _meshed(fabric, 1, 2)
    fabric.peer("filtered", peerIP="10.99.0.250", asNumber=65000, filters=["absent"])
    fabric.peer("plain", peerIP="10.99.0.251", asNumber=65000)
    fabric.until(lambda: "Global_10_99_0_251" in first.since(), "the good peering runs")
    (condition,) = fabric.until(_condition(first, "bgp-resource-invalid"), "the other is named")
    assert condition["object"] == "BGPPeer filtered"
    assert "spec.filters" in condition["message"]
    assert "10.99.0.250" not in (first.run_dir / "bird.conf").read_text()
    assert len(first.established) == 2


def test_a_port_that_somebody_else_has_is_reported_and_taken_as_soon_as_it_is_free(fabric: Any) -> None:
    _pools(fabric)
    holder = fabric.bare_host(1)
    squatter = ["nsenter", f"--net=/run/netns/{holder.netns}", "python3", "-c"]
    squatter += ["import socket,time; s=socket.create_server(('', 179)); print(1, flush=True); time.sleep(1000)"]
    process = subprocess.Popen(squatter, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        process.stdout.readline()
        fabric.put("nodes", holder.name, "Node", {"bgp": {"ipv4Address": f"{holder.ipv4}/24"}})
        fabric.put("bgppeers", "plain", "BGPPeer", {"peerIP": "10.99.0.251", "asNumber": 65000})
        holder.start_agent()
        fabric.until(_condition(holder, "bird-listen-failed"), "the agent says that BIRD cannot listen")
    finally:
        process.kill()
        process.communicate()
    fabric.until(lambda: holder.status["sessions"][0]["state"] == "Active", "the session is tried again")
    fabric.until(lambda: not _condition(holder, "bird-listen-failed")(), "all is well once the port is free")
