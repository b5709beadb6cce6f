"""Daemons that are killed on one host while traffic flows: nothing is lost, and they carry on when they are back."""

from datetime import datetime, timedelta
from typing import Any

import pytest

pytestmark = [pytest.mark.lab, pytest.mark.timeout(180), pytest.mark.xdist_group("resilience")]

SERVICES = [("TCP", 80), ("UDP", 53)]
ALLOWED = [
    ("client2", "server1", 4),
    ("client1", "client3", 4),
    ("client3", "server1", 6),
    ("server1", "client2", 6),
]
FORBIDDEN = [("client2", "server1", 4), ("server3", "server1", 6)]


def test_killing_bird_loses_no_packet_and_it_comes_back_by_itself_with_all_sessions(mesh: Any) -> None:
    mesh.until(lambda: not mesh.sessions_down("host1"), "host1 is not whole before the test")
    before = {session["name"] for session in mesh.status("host1", "bgp")["sessions"]}
    restarts = mesh.status("host1", "bgp")["bird"]["restarts"]
    with mesh.traffic([*ALLOWED, ("client1", "outside", 4), ("outside", "client1", 6)], FORBIDDEN):
        old = mesh.kill_bird("host1")
        mesh.until(
            lambda: mesh.status("host1", "bgp")["bird"]["restarts"] > restarts and not mesh.sessions_down("host1"),
            "the BIRD of host1 is not back with its sessions",
        )
        for host in ("host2", "host3"):
            mesh.until(lambda host=host: not mesh.sessions_down(host), f"{host} misses a session")
    assert mesh.bird_pid("host1") != old
    assert {session["name"] for session in mesh.status("host1", "bgp")["sessions"]} == before
    assert not mesh.missing_routes()


def test_a_bgp_agent_that_is_killed_adopts_the_running_bird_and_no_packet_is_lost(mesh: Any) -> None:
    mesh.until(lambda: not mesh.sessions_down("host1"), "host1 is not whole before the test")
    bird = mesh.bird_pid("host1")
    agent = mesh.status("host1", "bgp")["pid"]
    since = {session["name"]: session["since"] for session in mesh.status("host1", "bgp")["sessions"]}
    with mesh.traffic(ALLOWED, FORBIDDEN):
        mesh.kill("bgp/host1")
        assert not mesh.missing_routes()
        mesh.start("bgp/host1")
        mesh.until(lambda: not mesh.sessions_down("host1"), "the agent of host1 is not in sync again")
    status = mesh.status("host1", "bgp")
    assert status["pid"] != agent
    assert mesh.bird_pid("host1") == bird
    now = {session["name"]: session["since"] for session in status["sessions"]}
    assert now.keys() == since.keys()
    for name, moment in since.items():  # BIRD counts back from now: the same moment may be milliseconds off
        apart = datetime.fromisoformat(now[name]) - datetime.fromisoformat(moment)
        assert abs(apart) < timedelta(seconds=0.1), f"{name} was restarted"
    assert not mesh.missing_routes()


def test_without_felix_policy_stays_both_ways_and_a_change_is_applied_when_it_is_back(mesh: Any) -> None:
    with mesh.traffic(ALLOWED, FORBIDDEN):
        mesh.kill("felix/host1")
        assert not mesh.closed(["client2", "client3"], ["server1", "client1"], SERVICES)
        assert not mesh.closed(["client1"], ["server2", "client3"], SERVICES)
        assert not mesh.opened(["server2", "server3", "outside"], ["server1"], SERVICES)
        assert not mesh.opened(["server1"], ["server2", "server3"], SERVICES)
        change = mesh.global_policy(
            "swap",
            "app == 'server'",
            order=10,
            ingress=[
                {"action": "Allow", "protocol": "TCP", "destination": {"ports": [80]}},
                {"action": "Deny", "protocol": "UDP", "destination": {"ports": [53]}},
            ],
        )
        revision = mesh.write(change)
        mesh.await_revision(revision, ["host2", "host3"])
        assert not mesh.closed(["server1"], ["server2"], [("TCP", 80)])
        assert not mesh.opened(["server2", "outside"], ["server1"], [("TCP", 80)])
        mesh.start("felix/host1")
        mesh.await_revision(revision)
        assert not mesh.closed(["server2", "outside", "client2"], ["server1"], [("TCP", 80)])
        assert not mesh.opened(["server2", "client2"], ["server1"], [("UDP", 53)])
        mesh.programmed(delete=[("GlobalNetworkPolicy", "", "swap")])
        assert not mesh.opened(["server2", "outside"], ["server1"], SERVICES)
        assert not mesh.closed(["client2", "client3"], ["server1"], SERVICES)
