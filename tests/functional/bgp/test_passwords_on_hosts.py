"""Passwords of sessions: TCP itself checks them, so what counts is which sessions come up."""

from __future__ import annotations

import json
import stat
from typing import Any

import pytest

pytestmark = [pytest.mark.root, pytest.mark.bird, pytest.mark.etcd]

MESH = {"nodeMeshPassword": {"secretKeyRef": {"name": "mesh", "key": "md5"}}}
WORDS = ("correct-horse", "battery-staple")


def _up(host: Any, sessions: int) -> Any:
    return lambda: host.is_settled(sessions=sessions)


def test_two_hosts_with_one_password_peer_and_it_shows_nowhere_but_in_birds_private_file(fabric: Any) -> None:
    fabric.secret("mesh", "md5", WORDS[0])
    fabric.config(**MESH, logSeverityScreen="Debug")
    first, second = (fabric.add_host(number, options=("--log-level", "trace")) for number in (1, 2))
    for host in (first, second):
        fabric.until(_up(host, 2), "the sessions are up")
    assert first.terminate_agent() == 0
    first.start_agent()
    fabric.until(lambda: first.status["in_sync"], "the successor is in sync")
    shown = [json.dumps(host.status) for host in (first, second)]
    assert not any(WORDS[0] in text for text in shown)
    for path in fabric.directory.rglob("*"):
        if path.is_file() and "etcd" not in path.parts and WORDS[0].encode() in path.read_bytes():
            assert path.name == "bird.conf"
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert WORDS[0] in (first.run_dir / "bird.conf").read_text()


def test_ends_with_different_passwords_do_not_peer_and_the_one_that_is_called_says_why(fabric: Any) -> None:
    """The kernel of the called end drops the caller's segments in silence, so the caller learns nothing."""
    fabric.config(**MESH)
    first, second = fabric.bare_host(1), fabric.bare_host(2)
    for host, word in ((first, WORDS[0]), (second, WORDS[1])):
        host.secret("mesh", "md5", word)
        fabric.put("nodes", host.name, "Node", {"bgp": {"ipv4Address": f"{host.ipv4}/24"}})
        host.start_agent()
    (condition,) = fabric.until(lambda: first.has_condition("bgp-password-mismatch"), "it is noticed")
    assert "Mesh_10_99_0_2: " in condition["message"]
    assert "another password" in condition["message"]
    assert (first.established, second.established) == ([], [])
    (session,) = first.status["sessions"]
    assert "another password" in session["info"]
    second.secret("mesh", "md5", WORDS[0])
    for host in (first, second):
        fabric.until(_up(host, 1), "the sessions come up once the passwords agree")
        fabric.until(lambda host=host: not host.has_condition("bgp-password-mismatch"), "and nothing is wrong")


def test_an_end_without_password_says_that_the_other_has_one(fabric: Any) -> None:
    fabric.config(nodeToNodeMeshEnabled=False)
    fabric.secret("p", "k", WORDS[0])
    fabric.peer("one", node="node1", peerIP="10.99.0.2", asNumber=64512, reversePeering="Manual",
                password={"secretKeyRef": {"name": "p", "key": "k"}})  # fmt: skip
    fabric.peer("other", node="node2", peerIP="10.99.0.1", asNumber=64512, reversePeering="Manual")
    first, second = (fabric.add_host(number) for number in (1, 2))
    (condition,) = fabric.until(lambda: first.has_condition("bgp-password-mismatch"), "the signing end notices")
    assert "the other end has no password" in condition["message"]
    (condition,) = fabric.until(lambda: second.has_condition("bgp-password-mismatch"), "the other end notices")
    assert "this one has none" in condition["message"]


def test_a_peering_waits_for_its_password_and_ends_when_the_file_is_no_longer_private(fabric: Any) -> None:
    fabric.config(nodeToNodeMeshEnabled=False)
    fabric.peer("p", nodeSelector="all()", peerSelector="all()",
                password={"secretKeyRef": {"name": "p", "key": "k"}})  # fmt: skip
    first, second = (fabric.add_host(number) for number in (1, 2))
    (condition,) = fabric.until(lambda: first.has_condition("bgp-password-unavailable"), "the password is missed")
    assert (condition["object"], "p/k" in condition["message"]) == ("BGPPeer p", True)
    fabric.until(lambda: first.status["in_sync"], "all else is in force")
    assert "protocol bgp" not in (first.run_dir / "bird.conf").read_text()
    for host in (first, second):
        host.secret("p", "k", WORDS[0])
    for host in (first, second):
        fabric.until(_up(host, 2), "the peering runs")
    first.secret("p", "k", WORDS[0], mode=0o644)
    fabric.until(lambda: first.status["sessions"] == [], "it is stopped")
    (condition,) = first.has_condition("bgp-password-unavailable")
    assert "can be read by others" in condition["message"]
    assert WORDS[0] not in (first.run_dir / "bird.conf").read_text()


def test_a_changed_password_resets_the_sessions_by_graceful_restart_and_loses_no_packet(fabric: Any) -> None:
    fabric.put("ippools", "v4", "IPPool", {"cidr": "10.65.0.0/16"})
    fabric.secret("mesh", "md5", WORDS[0])
    fabric.config(**MESH)
    first, second = (fabric.add_host(number) for number in (1, 2))
    for host in (first, second):
        host.workload(1, f"10.65.{host.number}.1")
        fabric.until(_up(host, 2), "the sessions are up")
    fabric.until(lambda: first.has_route("10.65.2.1"), "the route arrives")
    fabric.until(lambda: second.has_route("10.65.1.1"), "and one in the other direction")
    pings = [fabric.ping(first, "10.65.2.1"), fabric.ping(second, "10.65.1.1")]
    birds = {host.name: host.bird_pid for host in (first, second)}
    fabric.secret("mesh", "md5", WORDS[1])
    for host in (first, second):
        fabric.until(lambda host=host: WORDS[1] in (host.run_dir / "bird.conf").read_text(), "it is in force")
    for host in (first, second):
        fabric.until(_up(host, 2), "the sessions are back and recovery is over")
    fabric.until(lambda: first.has_route("10.65.2.1"), "the route is still there")
    for host in (first, second):
        assert host.bird_pid != birds[host.name]
    for sent, lost in (ping.stop() for ping in pings):
        assert sent > 10
        assert lost == 0
