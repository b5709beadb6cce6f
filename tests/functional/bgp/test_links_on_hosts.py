"""How sessions reach their far ends, and what their options do to routes: seen in kernels and by packets."""

from __future__ import annotations

import subprocess
from typing import Any

import pytest

pytestmark = [pytest.mark.root, pytest.mark.bird, pytest.mark.etcd]

OVER = {"bgp.calico-network/ipv4-over-ipv6": "true"}
ROUTER = """\
{{log}}
router id 10.77.0.{number};
protocol device {{ scan time 2; }}
protocol direct {{ ipv4; ipv6; }}
protocol kernel {{ ipv4 {{ export where source = RTS_BGP; }}; }}
protocol kernel {{ ipv6 {{ export where source = RTS_BGP; }}; }}
protocol static {{ ipv4; {routes} }}
"""
TIMERS = "connect delay time 1; connect retry time 1; error wait time 1, 2;"


def _router(number: int, *protocols: str, routes: str = "") -> str:
    return ROUTER.format(number=number, routes=routes) + "\n".join(protocols)


def _pools(fabric: Any) -> None:
    fabric.put("ippools", "v4", "IPPool", {"cidr": "10.65.0.0/16"})
    fabric.put("ippools", "v6", "IPPool", {"cidr": "fd65::/48"})


def _answers(host: Any, target: str, source: str) -> bool:
    command = ["nsenter", f"--net=/run/netns/{host}", "ping", "-n", "-c", "1", "-W", "1", "-I", source, target]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def test_a_peer_behind_a_gateway_is_reached_through_it(fabric: Any) -> None:
    fabric.config(nodeToNodeMeshEnabled=False)
    router = fabric.bare_host(9)
    router.ip("addr", "add", "10.77.0.9/32", "dev", "lo")
    protocol = f"protocol bgp p {{ local 10.77.0.9 as 65009; neighbor 10.99.0.1 as 64512; multihop; {TIMERS}"
    router.start_bird(_router(9, protocol + " ipv4 { import all; export where source = RTS_STATIC; }; }",
                              routes="route 10.65.9.0/24 blackhole;"))  # fmt: skip
    fabric.peer("behind", node="node1", peerIP="10.77.0.9", asNumber=65009)
    host = fabric.add_host(1)
    fabric.until(lambda: "Node_10_77_0_9" in host.since(), "the session is tried")
    assert host.established == []
    fabric.peer("behind", node="node1", peerIP="10.77.0.9", asNumber=65009, reachableBy="10.99.0.9")
    fabric.until(lambda: host.established == ["Node_10_77_0_9"], "the gateway leads there")
    fabric.until(lambda: host.has_route("10.65.9.0/24", via="10.99.0.9"), "its routes are resolved through the gateway")
    assert "10.77.0.9 via 10.99.0.9" in host.ip("route", "show", "proto", "bird")
    assert "10.77.0.9/32" not in host.ask_bird("show route export Node_10_77_0_9")


def test_ipv4_workloads_of_a_host_without_ipv4_are_reached_over_ipv6(fabric: Any) -> None:
    _pools(fabric)
    fabric.config(OVER)
    first = fabric.add_host(1)
    second = fabric.add_host(2, node={"ipv4Address": ""})
    for host in (first, second):
        fabric.until(lambda host=host: host.is_settled(sessions=1), "there is one session, over IPv6")
    inside = first.workload(1, "10.65.1.1", "fd65::1:1")
    second.workload(1, "10.65.2.1", "fd65::2:1")
    fabric.until(lambda: first.has_route("10.65.2.1", via="inet6 fd99::2"), "IPv4 goes by an IPv6 next hop")
    fabric.until(lambda: second.has_route("10.65.1.1", via="inet6 fd99::1"), "in both directions")
    fabric.until(lambda: first.has_route("fd65::2:1", via="fd99::2"), "and IPv6 as ever")
    fabric.until(lambda: _answers(inside, "10.65.2.1", "10.65.1.1"), "packets pass from workload to workload")


def _link(fabric: Any, host: Any, router: Any) -> tuple[str, str]:
    """A wire of its own between two hosts; the link-local addresses of its ends."""
    host.ip("link", "add", "up0", "type", "veth", "peer", "name", "down0", "netns", router.netns)
    for end, name, address in ((host, "up0", "fe80::1"), (router, "down0", "fe80::9")):
        end.ip("link", "set", name, "addrgenmode", "none")
        end.ip("addr", "add", f"{address}/64", "dev", name, "nodad")
        end.ip("link", "set", name, "up")
    return "fe80::1", "fe80::9"


UNNUMBERED = {**OVER, "bgp.calico-network/interface": "up0"}
CHANNELS = """
  ipv4 { import all; export where source = RTS_STATIC; extended next hop on; next hop self; };
  ipv6 { import all; export where source = RTS_STATIC; next hop self; }; }"""


@pytest.mark.parametrize("who", ["we call", "we are called"])
def test_a_router_without_addresses_on_a_link_exchanges_routes_of_both_families(fabric: Any, who: str) -> None:
    _pools(fabric)
    host, router = fabric.bare_host(1), fabric.bare_host(9)
    _, far = _link(fabric, host, router)
    neighbor = "range fe80::/10" if who == "we call" else "fe80::1"
    dynamic = 'dynamic name "dyn"; passive;' if who == "we call" else ""
    protocol = f'protocol bgp p {{ local as 65009; neighbor {neighbor} as 64512; interface "down0"; {dynamic}{TIMERS}'
    router.start_bird(_router(9, protocol + CHANNELS, routes="route 10.65.9.0/24 blackhole;"))
    fabric.put("nodes", host.name, "Node", {"bgp": {"ipv4Address": f"{host.ipv4}/24"}})
    fabric.peer("tor", UNNUMBERED, node="node1", peerIP=far if who == "we call" else "::", asNumber=65009)
    host.start_agent()
    fabric.until(lambda: host.has_route("10.65.9.0/24", via="inet6 fe80::9 dev up0"), "an IPv4 route by a link address")
    host.workload(1, "10.65.1.1", "fd65::1:1")
    fabric.until(lambda: router.has_route("10.65.1.1", via="inet6 fe80::1 dev down0"), "ours go there by ours")
    fabric.until(lambda: router.has_route("fd65::1:1", via="fe80::1 dev down0"), "and those of IPv6")
    names = {"we call": "Node_fe80__9_on_up0", "we are called": "Node_any_on_up0_1"}
    fabric.until(lambda: names[who] in host.established, "the agent sees the session")


def test_bfd_takes_a_silent_neighbours_routes_away_at_once(fabric: Any) -> None:
    _pools(fabric)
    fabric.config({"bgp.calico-network/bfd": "100ms"})
    first, second = (fabric.add_host(number) for number in (1, 2))
    second.workload(1, "10.65.2.1")
    _watched(fabric, first, second)
    fabric.until(lambda: first.has_route("10.65.2.1"), "the route arrives")
    fabric.cut(second)
    fabric.until(lambda: not first.has_route("10.65.2.1"), "it is gone, long before the hold time of 90 s")
    assert "BFD session down" in first.ask_bird("show protocols all Mesh_10_99_0_2")
    fabric.mend(second)
    fabric.until(lambda: first.has_route("10.65.2.1"), "the route is back with the link")


def _watched(fabric: Any, *hosts: Any) -> None:
    for host in hosts:
        fabric.until(lambda host=host: host.is_settled(sessions=2), "the sessions are up")
        fabric.until(lambda host=host: host.ask_bird("show bfd sessions").count(" Up ") == 2, "both are watched")


def test_the_intervals_of_bfd_change_without_a_reset(fabric: Any) -> None:
    fabric.config({"bgp.calico-network/bfd": "200ms"})
    first, second = (fabric.add_host(number) for number in (1, 2))
    _watched(fabric, first, second)
    before = {host.name: host.since() for host in (first, second)}
    fabric.config({"bgp.calico-network/bfd": "100ms x5"})
    intervals = "0.100    0.500"
    for host in (first, second):
        fabric.until(
            lambda host=host: host.ask_bird("show bfd sessions").count(intervals) == 2, "they are the new ones"
        )
    assert {host.name: host.since() for host in (first, second)} == before


def test_with_bfd_a_change_resets_its_sessions_but_never_restarts_bird(fabric: Any) -> None:
    """Neighbours take a restart for a failure, so that it would reset every session that has BFD."""
    fabric.config({"bgp.calico-network/bfd": "100ms"})
    first, second = (fabric.add_host(number) for number in (1, 2))
    _watched(fabric, first, second)
    birds, before = [host.bird_pid for host in (first, second)], first.since()
    fabric.config({"bgp.calico-network/bfd": "100ms"}, nodeMeshMaxRestartTime="90s")
    for host in (first, second):
        fabric.until(lambda host=host: "restart time 90" in (host.run_dir / "bird.conf").read_text(), "it is in force")
    _watched(fabric, first, second)
    assert first.since() != before
    assert [host.bird_pid for host in (first, second)] == birds
    fabric.config()
    for host in (first, second):
        fabric.until(lambda host=host: host.status["in_sync"] and not host.has_bfd, "BFD can be taken away again")
        fabric.until(lambda host=host: host.is_settled(sessions=2), "the sessions are back")


def test_a_workload_can_peer_with_its_own_host_and_its_routes_reach_the_others(fabric: Any) -> None:
    _pools(fabric)
    fabric.config(localWorkloadPeeringIPV4="169.254.1.1")
    first, second = (fabric.add_host(number) for number in (1, 2))
    inside = first.workload(1, "10.65.1.1")
    fabric.peer("routers", localWorkloadSelector="role == 'router'", asNumber=64900)
    router = fabric.adopt(inside, "router")
    protocol = f"protocol bgp p {{ local 10.65.1.1 as 64900; neighbor 169.254.1.1 as 64512; multihop; {TIMERS}"
    router.start_bird(_router(7, protocol + " ipv4 { import all; export where source = RTS_STATIC; }; }",
                              routes="route 10.65.70.0/24 blackhole;"))  # fmt: skip
    for host in (first, second):
        fabric.until(lambda host=host: host.is_settled(sessions=2), "the mesh is up")
    before = {host.name: host.since() for host in (first, second)}
    fabric.endpoint(second, "elsewhere", {"role": "router"}, "10.65.2.9/32")
    fabric.endpoint(first, "w1", {"role": "router"}, "10.65.1.1/32")
    fabric.until(lambda: "Local_Workload_10_65_1_1" in first.established, "the workload is a peer")
    fabric.until(lambda: first.has_route("10.65.70.0/24", via="10.65.1.1"), "its host has its routes")
    fabric.until(lambda: second.has_route("10.65.70.0/24", via=first.ipv4), "other hosts reach them through its host")
    fabric.until(lambda: "Local_Workload_10_65_2_9" in second.since(), "the other host waits for its own workload")
    assert "Local_Workload_10_65_2_9" not in first.since(), "workloads peer with their own host only"
    sessions = first.since()
    assert {name: sessions[name] for name in before[first.name]} == before[first.name]
    first.kill_agent()
    first.start_agent()
    fabric.until(lambda: first.status["in_sync"], "the successor is in sync")
    assert first.since() == sessions, "a restart of the agent does not end the workload's session"
    fabric.endpoint(first, "w1", {"role": "web"}, "10.65.1.1/32")
    fabric.until(lambda: "Local_Workload_10_65_1_1" not in first.since(), "without the label it is none")


def test_where_bird_listens_on_the_nodes_address_workloads_find_it_at_theirs(fabric: Any) -> None:
    _pools(fabric)
    fabric.config(localWorkloadPeeringIPV4="169.254.77.1", bindMode="NodeIP")
    first = fabric.add_host(1)
    second = fabric.add_host(2)
    fabric.peer("routers", localWorkloadSelector="all()", asNumber=64900, node="node1")
    fabric.endpoint(first, "w1", {}, "10.65.1.1/32")
    fabric.until(lambda: "Local_Workload_10_65_1_1" in first.since(), "the session is configured")
    inside = first.workload(1, "10.65.1.1")
    first.ip("addr", "add", "169.254.77.1/32", "dev", "cali1")
    router = fabric.adopt(inside, "router")
    protocol = f"protocol bgp p {{ local 10.65.1.1 as 64900; neighbor 169.254.77.1 as 64512; multihop; {TIMERS}"
    router.start_bird(_router(7, protocol + " ipv4 { import all; export none; }; }"))
    fabric.until(lambda: "Local_Workload_10_65_1_1" in first.established, "the workload is a peer")
    fabric.until(lambda: len(second.established) == 2, "and the mesh is up")
