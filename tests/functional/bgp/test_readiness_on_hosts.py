"""Readiness as scripts see it: by exit code, from the start of a host to the loss of its neighbour."""

from __future__ import annotations

import json
import os
import signal
from typing import Any

import pytest

pytestmark = [pytest.mark.root, pytest.mark.bird, pytest.mark.etcd]


def _code(host: Any) -> tuple[int, str]:
    """Exit code of ``calico bgp status``, and why the host is not ready."""
    done = host.calico("bgp", "status", "-o", "json")
    return done.returncode, json.loads(done.stdout)["not_ready"]


def test_a_host_is_ready_when_its_sessions_are_up_and_no_longer_when_all_are_gone(fabric: Any) -> None:
    second = fabric.bare_host(2)
    fabric.put("nodes", "node2", "Node", {"bgp": {"ipv4Address": "10.99.0.2/24"}})
    first = fabric.add_host(1)
    fabric.until(lambda: first.status.get("not_ready", "").startswith("1 sessions are still coming up"), "it waits")
    code, why = _code(first)
    assert code == 1
    assert why in ("1 sessions are still coming up (Mesh_10_99_0_2)", "no session is up")
    second.start_agent()
    for host in (first, second):
        fabric.until(lambda host=host: _code(host) == (0, ""), "both are ready")
    os.kill(first.bird_pid, signal.SIGKILL)
    fabric.until(lambda: first.status["bird"]["restarts"] == 1 and _code(first) == (0, ""), "it is ready again")
    second.kill_agent()
    os.kill(second.bird_pid, signal.SIGKILL)
    fabric.until(lambda: _code(first) == (1, "no session is up"), "the loss of the last session is seen")
    assert first.has_condition("bgp-no-session")
    shown = first.calico("node", "status")
    assert shown.returncode == 1
    assert "Ready       no: no session is up" in shown.stdout


def test_a_host_without_sessions_is_ready_as_soon_as_bird_runs(fabric: Any) -> None:
    fabric.config(nodeToNodeMeshEnabled=False)
    host = fabric.add_host(1)
    fabric.until(lambda: _code(host) == (0, ""), "it is ready")
