"""Options of a BGPPeer and of the BGPConfiguration, judged by what a BIRD that is not ours sees of them."""

from __future__ import annotations

import re
from typing import Any

import pytest

pytestmark = [pytest.mark.root, pytest.mark.bird, pytest.mark.etcd]

ROUTER = """\
{{log}}
router id 10.99.0.{number};
protocol device {{ scan time 2; }}
protocol direct {{ ipv4; }}
protocol static {{ ipv4; {routes} }}
protocol bgp p {{
  local 10.99.0.{number} as {as_number}; neighbor 10.99.0.1 as 64512; multihop; graceful restart on;
  connect delay time 1; connect retry time 1; error wait time 1, 2;
  ipv4 {{ import all; export filter {{ if source != RTS_STATIC then reject; {extra} accept; }}; }};
}}
"""


def _router(fabric: Any, number: int, as_number: int, routes: str = "", extra: str = "") -> Any:
    host = fabric.bare_host(number)
    host.start_bird(ROUTER.format(number=number, as_number=as_number, routes=routes, extra=extra))
    return host


def _host(fabric: Any) -> Any:
    fabric.put("ippools", "v4", "IPPool", {"cidr": "10.65.0.0/16"})
    fabric.config(nodeToNodeMeshEnabled=False)
    return fabric.add_host(1)


def _peer(fabric: Any, number: int, as_number: int, **spec: Any) -> None:
    fabric.peer(f"p{number}", node="node1", peerIP=f"10.99.0.{number}", asNumber=as_number, **spec)


def _next_hop(router: Any, cidr: str) -> str:
    found = re.search(r"BGP\.next_hop: (\S+)", router.ask_bird(f"show route {cidr} all"))
    return found[1] if found else ""


@pytest.mark.parametrize(
    ("as_number", "spec", "wanted"),
    [
        (65008, {}, "10.99.0.1"),
        (65008, {"nextHopMode": "Auto"}, "10.99.0.1"),
        (65008, {"keepOriginalNextHop": True}, "10.99.0.9"),
        (65008, {"nextHopMode": "Keep"}, "10.99.0.9"),
        (64512, {}, "10.99.0.9"),
        (64512, {"keepOriginalNextHop": True}, "10.99.0.9"),
        (64512, {"nextHopMode": "Self"}, "10.99.0.1"),
    ],
)
def test_a_route_of_another_router_is_told_with_the_next_hop_that_is_asked_for(
    fabric: Any, as_number: int, spec: Any, wanted: str
) -> None:
    _router(fabric, 9, 65009, "route 10.65.60.0/24 blackhole;")
    reader = _router(fabric, 8, as_number)
    _peer(fabric, 9, 65009)
    _peer(fabric, 8, as_number, **spec)
    _host(fabric)
    fabric.until(lambda: _next_hop(reader, "10.65.60.0/24"), "the route arrives")
    assert _next_hop(reader, "10.65.60.0/24") == wanted


def test_our_own_as_number_in_a_path_is_taken_as_often_as_is_allowed(fabric: Any) -> None:
    extra = "bgp_path.prepend(64512); if net = 10.65.62.0/24 then bgp_path.prepend(64512);"
    _router(fabric, 9, 65009, "route 10.65.61.0/24 blackhole; route 10.65.62.0/24 blackhole;", extra)
    _peer(fabric, 9, 65009)
    host = _host(fabric)
    fabric.until(lambda: host.is_settled(sessions=1), "the session is up")
    _peer(fabric, 9, 65009, numAllowedLocalASNumbers=1)
    fabric.until(lambda: host.has_route("10.65.61.0/24"), "the path with one is taken")
    assert not host.has_route("10.65.62.0/24")


def test_the_far_end_is_told_of_times_and_sees_the_address_that_is_asked_for(fabric: Any) -> None:
    router = _router(fabric, 9, 65009)
    _peer(fabric, 9, 65009, maxRestartTime="45s", keepaliveTime="50s", sourceAddress="None")
    host = _host(fabric)
    fabric.until(lambda: host.is_settled(sessions=1), "the session is up")
    seen = router.ask_bird("show protocols all p")
    assert re.search(r"Restart time: 45\b", seen)
    assert re.search(r"Hold timer: +[0-9.]+/150\b", seen)
    assert "local 10.99.0.1" not in (host.run_dir / "bird.conf").read_text()
    _peer(fabric, 9, 65009)
    fabric.until(lambda: "local 10.99.0.1 as" in (host.run_dir / "bird.conf").read_text(), "the usual is back")
    fabric.until(lambda: re.search(r"Hold timer: +[0-9.]+/90\b", router.ask_bird("show protocols all p")), "at 90 s")


def test_nodes_listen_on_ports_and_addresses_of_their_own(fabric: Any) -> None:
    fabric.config(bindMode="NodeIP", ignoredInterfaces=["dum*"])
    for number in (1, 2):
        spec = {"listenPort": 1790 + number}
        fabric.put("bgpconfigurations", f"node.node{number}", "BGPConfiguration", spec)
    hosts = [fabric.add_host(number) for number in (1, 2)]
    for host in hosts:
        host.ip("link", "add", "dum0", "type", "veth", "peer", "name", "own1")
        for name, address in (("dum0", "10.55.0.1/24"), ("own1", "10.56.0.1/24")):
            host.ip("addr", "add", address, "dev", name)
            host.ip("link", "set", name, "up")
        fabric.until(lambda host=host: host.is_settled(sessions=2), "the sessions are up")
        port = 1790 + host.number
        sockets = host.run("ss", "-Hltn", "sport", "=", f":{port}").splitlines()
        assert {line.split()[3] for line in sockets} == {f"{host.ipv4}:{port}", f"[{host.ipv6}]:{port}"}
        question = "show route protocol direct_all"
        fabric.until(lambda host=host, question=question: "10.56.0.0/24" in host.ask_bird(question), "it is connected")
        assert "10.55.0.0/24" not in host.ask_bird(question)


def test_a_reverse_peering_can_be_left_to_the_operator(fabric: Any) -> None:
    fabric.config(nodeToNodeMeshEnabled=False)
    fabric.peer("p", nodeSelector="has(client)", peerSelector="has(server)", reversePeering="Manual")
    client, server = fabric.add_host(1, labels={"client": ""}), fabric.add_host(2, labels={"server": ""})
    fabric.until(lambda: len(client.since()) == 2, "one side tries")
    fabric.until(lambda: server.status["in_sync"], "the other has its configuration")
    assert server.since() == {}
    fabric.peer("p", nodeSelector="has(client)", peerSelector="has(server)")
    for host in (client, server):
        fabric.until(lambda host=host: host.is_settled(sessions=2), "both sides peer")
