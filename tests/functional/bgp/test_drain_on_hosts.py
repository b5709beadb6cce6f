"""A host that is drained: traffic that has another way takes it before anything is lost, and comes back afterwards."""

from __future__ import annotations

import json
import os
import signal
from typing import Any

import pytest

pytestmark = [pytest.mark.root, pytest.mark.bird, pytest.mark.etcd]

ANYCAST = "10.65.9.9"
ROUTER = """
{log}
router id 10.99.0.9;
protocol device { }
protocol direct { ipv4; interface "eth0"; }
protocol kernel { ipv4 { export where source = RTS_BGP; }; }
filter take { if (65535,0) ~ bgp_community then bgp_local_pref = 0; accept; }
template bgp host {
  local 10.99.0.9 as 65009; direct; graceful restart on; connect delay time 1; connect retry time 1;
  ipv4 { import filter take; export none; };
}
protocol bgp one from host { neighbor 10.99.0.1 as 64512; }
protocol bgp two from host { neighbor 10.99.0.2 as 64512; }
"""


def _drain(host: Any, *arguments: str) -> str:
    done = host.calico("bgp", "drain", *arguments)
    assert done.returncode == 0, done.stderr
    return str(done.stdout)


def _ways(host: Any) -> set[str]:
    """The next hops to the shared address in a host's kernel."""
    words = host.ip("-4", "route", "show", ANYCAST, "proto", "bird").split()
    return {words[index + 1] for index, word in enumerate(words) if word == "via"}


@pytest.fixture
def cluster(fabric: Any) -> Any:
    """Two hosts with the same address, each in a workload, and a third and a router of another system that use it."""
    fabric.put("ippools", "v4", "IPPool", {"cidr": "10.65.0.0/16"})
    fabric.peer("rack", nodeSelector="all()", peerIP="10.99.0.9", asNumber=65009)
    router = fabric.bare_host(9)
    router.start_bird(ROUTER)
    hosts = [fabric.add_host(number) for number in (1, 2, 3)]
    for host in hosts:
        fabric.until(lambda host=host: len(host.established) >= 4, "the sessions are up")
    for host in hosts[:2]:
        host.workload(1, ANYCAST)
    fabric.until(lambda: _ways(hosts[2]) == {"10.99.0.1", "10.99.0.2"}, "the third host has both ways")
    fabric.until(lambda: _ways(router), "the router has a way")
    return *hosts, router


def test_traffic_leaves_a_drained_host_without_loss_and_comes_back(fabric: Any, cluster: Any) -> None:
    first, second, third, router = cluster
    sessions = first.since()
    pings = [fabric.ping(third, ANYCAST), fabric.ping(router, ANYCAST)]
    assert "node1 is drained; " in _drain(third, "node1")
    for host in (third, router):
        fabric.until(lambda host=host: _ways(host) == {"10.99.0.2"}, "nobody uses the drained host")
    assert (first.status["drained"], second.status["drained"]) == (True, False)
    first.ip("link", "set", "cali1", "down")  # its workload can go now
    first.ip("link", "set", "cali1", "up")
    first.ip("route", "replace", f"{ANYCAST}/32", "dev", "cali1", "proto", "80")
    fabric.until(lambda: ANYCAST in first.ask_bird("show route"), "it is back")
    assert "node1 is in service" in _drain(first, "node1", "--undo")
    fabric.until(lambda: _ways(third) == {"10.99.0.1", "10.99.0.2"}, "the third host uses both again")
    assert "node2 is drained; " in _drain(first, "node2")
    for host in (third, router):
        fabric.until(lambda host=host: _ways(host) == {"10.99.0.1"}, "the other one is not used now")
    _drain(first, "node2", "--undo")
    fabric.until(lambda: _ways(third) == {"10.99.0.1", "10.99.0.2"}, "all is as before")
    for ping in pings:
        sent, lost = ping.stop()
        assert lost == 0
        assert sent > 0
    assert first.since() == sessions, "no session was reset"
    assert first.has_condition("bgp-drained") == []


def test_a_drain_outlives_agent_and_bird_and_shows_where_one_looks(fabric: Any, cluster: Any) -> None:
    first, _, third, _ = cluster
    _drain(first, "node1")
    fabric.until(lambda: _ways(third) == {"10.99.0.2"}, "it is drained")
    first.kill_agent()
    os.kill(first.bird_pid, signal.SIGKILL)
    first.start_agent()
    fabric.until(lambda: first.status.get("ready"), "both are back")
    (condition,) = first.has_condition("bgp-drained")
    assert condition["severity"] == "warning"
    assert json.loads(first.calico("bgp", "status", "-o", "json").stdout)["drained"]
    fabric.until(lambda: _ways(third) == {"10.99.0.2"}, "it still is")


def test_what_only_a_drained_host_has_stays_reachable(fabric: Any, cluster: Any) -> None:
    first, _, third, router = cluster
    first.workload(2, "10.65.1.1")
    fabric.until(lambda: third.has_route("10.65.1.1") and router.has_route("10.65.1.1"), "the route arrives")
    pings = [fabric.ping(third, "10.65.1.1"), fabric.ping(router, "10.65.1.1")]
    _drain(third, "node1")
    fabric.until(lambda: "(65535,0)" in router.ask_bird("show route 10.65.1.1/32 all"), "the router is told")
    assert third.has_route("10.65.1.1", via="10.99.0.1")
    _drain(third, "node1", "--undo")
    fabric.until(lambda: "(65535,0)" not in router.ask_bird("show route 10.65.1.1/32 all"), "the router is told")
    assert [ping.stop()[1] for ping in pings] == [0, 0]


def test_a_host_that_cannot_confirm_and_one_that_does_not_exist_are_named(fabric: Any, cluster: Any) -> None:
    first, second, *_ = cluster
    done = first.calico("bgp", "drain", "node9")
    assert done.returncode == 1
    assert "Node node9 does not exist" in done.stderr
    second.kill_agent()
    done = first.calico("bgp", "drain", "node2", "--timeout", "1")
    assert done.returncode == 1
    assert "it is written to Node node2, but not in force there: the BGP agent did not answer" in done.stderr
    second.start_agent()
    fabric.until(lambda: second.status.get("drained"), "it comes into force when the agent is back")
