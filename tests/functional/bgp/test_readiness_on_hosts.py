"""Readiness as scripts see it: by exit code, from the start of a host to the loss of its neighbour."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

pytestmark = [pytest.mark.root, pytest.mark.bird, pytest.mark.etcd]


ASK = """
import sys, urllib.error, urllib.request
try:
    answer = urllib.request.urlopen(sys.argv[1], timeout=5)
except urllib.error.HTTPError as error:
    answer = error
print(answer.status)
print(answer.read().decode())
"""


def _ask(host: Any, url: str) -> tuple[int, str]:
    """Status and body of an answer over HTTP on the host; 0 when nobody listens."""
    command = ["nsenter", f"--net=/run/netns/{host.netns}", sys.executable, "-c", ASK, url]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    status, _, body = done.stdout.partition("\n")
    return (int(status), body) if done.returncode == 0 else (0, done.stderr)


def _metrics(host: Any) -> dict[str, float]:
    status, body = _ask(host, "http://localhost:9092/metrics")
    assert status == 200, body
    return {
        sample.name + "".join(f"{{{value}}}" for _, value in sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(body)
        for sample in family.samples
    }


def _code(host: Any) -> tuple[int, str]:
    """Exit code of ``calico bgp status``, and why the host is not ready."""
    done = host.calico("bgp", "status", "-o", "json")
    return done.returncode, json.loads(done.stdout)["not_ready"]


def test_a_host_is_ready_when_its_sessions_are_up_and_no_longer_when_all_are_gone(fabric: Any) -> None:
    second = fabric.bare_host(2)
    fabric.put("nodes", "node2", "Node", {"bgp": {"ipv4Address": "10.99.0.2/24"}})
    first = fabric.add_host(1, options=("--health-port", "9098", "--metrics-port", "9092"))
    fabric.until(lambda: first.status.get("not_ready", "").startswith("1 sessions are still coming up"), "it waits")
    code, why = _code(first)
    assert code == 1
    assert why in ("1 sessions are still coming up (Mesh_10_99_0_2)", "no session is up")
    assert _ask(first, "http://localhost:9098/liveness")[0] == 200
    assert _ask(first, "http://localhost:9098/readiness")[0] == 503
    assert _metrics(first)["calico_bgp_ready"] == 0
    second.start_agent()
    for host in (first, second):
        fabric.until(lambda host=host: _code(host) == (0, ""), "both are ready")
    assert _ask(first, "http://localhost:9098/readiness")[0] == 200
    fabric.until(lambda: _metrics(first).get("calico_bgp_sessions{Established}{NodeMesh}") == 1, "the session is up")
    before = _metrics(first)
    assert (before["calico_bgp_ready"], before["calico_bgp_in_sync"], before["calico_bgp_bird_up"]) == (1, 1, 1)
    assert before["calico_bgp_session_up{10.99.0.2}{NodeMesh}"] == 1
    assert before["calico_bgp_routes_imported{10.99.0.2}{NodeMesh}"] >= 0
    assert before["calico_bgp_configurations_total{started}"] == 1
    assert before["calico_bgp_config_revision"] == first.status["config_revision"]
    assert before["calico_bgp_config_age_seconds"] > 0
    assert before["calico_bgp_bird_restarts_total"] == 0
    assert before["process_resident_memory_bytes"] > 0
    os.kill(first.bird_pid, signal.SIGKILL)
    fabric.until(lambda: first.status["bird"]["restarts"] == 1 and _code(first) == (0, ""), "it is ready again")
    assert _metrics(first)["calico_bgp_bird_restarts_total"] == 1
    second.kill_agent()
    os.kill(second.bird_pid, signal.SIGKILL)
    fabric.until(lambda: _code(first) == (1, "no session is up"), "the loss of the last session is seen")
    assert first.has_condition("bgp-no-session")
    assert _metrics(first)["calico_bgp_conditions{bgp-no-session}{error}"] == 1
    assert _ask(first, "http://localhost:9098/readiness")[0] == 503
    shown = first.calico("node", "status")
    assert shown.returncode == 1
    assert "Ready       no: no session is up" in shown.stdout


def test_a_host_without_sessions_is_ready_as_soon_as_bird_runs(fabric: Any) -> None:
    fabric.config(nodeToNodeMeshEnabled=False)
    host = fabric.add_host(1)
    fabric.until(lambda: _code(host) == (0, ""), "it is ready")
