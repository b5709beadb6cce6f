"""Health and metrics of a running Felix, asked where a monitoring system would: over HTTP on its host."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from felix_world import World, resource, until
from prometheus_client.parser import text_string_to_metric_families

ENDING = str(Path(__file__).with_name("felix_ending.py"))
ASK = """
import sys, urllib.error, urllib.request
try:
    answer = urllib.request.urlopen(sys.argv[1], timeout=5)
except urllib.error.HTTPError as error:
    answer = error
print(answer.status if hasattr(answer, "status") else answer.code)
print(answer.read().decode())
"""


def ask(world: World, url: str) -> tuple[int, str]:
    """Status and body; 0 when nobody listens."""
    done = subprocess.run(
        [*world.enter("h"), sys.executable, "-c", ASK, url], capture_output=True, text=True, check=False
    )
    if done.returncode:
        return 0, done.stderr
    status, _, body = done.stdout.partition("\n")
    return int(status), body


def metrics(world: World) -> dict[str, float]:
    status, body = ask(world, "http://localhost:9091/metrics")
    assert status == 200, body
    return {
        sample.name + "".join(f"{{{value}}}" for _, value in sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(body)
        for sample in family.samples
    }


def test_felix_is_ready_when_it_was_in_sync_and_the_host_is_programmed(new_world: Callable[..., World]) -> None:
    world = new_world("a", "b")
    world.start_felix(FELIX_HEALTHENABLED="true", FELIX_PROMETHEUSMETRICSENABLED="true")
    until(lambda: ask(world, "http://localhost:9099/liveness")[0] == 200, "Felix lives")
    status, body = ask(world, "http://localhost:9099/readiness")
    assert status == 503
    assert json.loads(body)["problems"][0].startswith("datastore: wait-for-datastore")
    assert metrics(world)["felix_resync_state"] == 1
    world.start_etcd()
    world.cluster()
    world.settle()
    assert ask(world, "http://localhost:9099/readiness")[0] == 200
    world.stop_etcd()
    assert ask(world, "http://localhost:9099/readiness")[0] == 200, "the last state is in force"
    assert ask(world, "http://localhost:9099/liveness")[0] == 200
    world.kill_felix()


def test_metrics_say_what_felix_holds(new_world: Callable[..., World]) -> None:
    world = new_world("a", "b", "c")
    world.start_etcd()
    world.cluster()
    world.apply(resource("Node", "h1", {}), settle=False)
    world.start_felix(FELIX_PROMETHEUSMETRICSENABLED="true")
    world.settle()
    before = metrics(world)
    assert before["felix_host{h1}"] == 1
    assert before["felix_resync_state"] == 3
    assert before["felix_active_local_endpoints"] == before["calico_felix_endpoints{up}"] == 3
    assert before["felix_cluster_num_workload_endpoints"] == 3
    assert before["felix_cluster_num_hosts"] == 1
    assert before["felix_active_local_policies"] == 0
    spec = {
        "selector": "app == 'b'",
        "types": ["Ingress"],
        "ingress": [{"action": "Allow", "source": {"selector": "app == 'a'"}}],
    }
    world.apply(resource("GlobalNetworkPolicy", "p", spec))
    after = metrics(world)
    assert after["felix_active_local_policies"] == after["felix_cluster_num_policies"] == 1
    assert after["felix_ipsets_calico"] == 1
    assert after["felix_nft_chains"] > before["felix_nft_chains"]
    assert after["felix_int_dataplane_messages_total{PolicyUpdate}"] == 1
    assert (
        after["calico_felix_programming_latency_seconds_count"]
        > before["calico_felix_programming_latency_seconds_count"]
    )
    assert (
        after["felix_int_dataplane_apply_time_seconds_count"] > before["felix_int_dataplane_apply_time_seconds_count"]
    )
    assert after["calico_felix_applied_revision"] == world.status["applied_revision"]
    assert after["process_resident_memory_bytes"] > 10e6
    world.put_raw({"felixconfigurations/default": '{"spec":{"bpfEnabled":true}}'})
    assert metrics(world)["calico_felix_conditions{config-without-effect}{warning}"] == 1
    assert after["calico_felix_dropped_packets_total{tier-default}"] == 0
    world.expect(4, "!c>b tcp:80")
    assert metrics(world)["calico_felix_dropped_packets_total{tier-default}"] == 1
    assert metrics(world)["calico_felix_dropped_bytes_total{tier-default}"] > 40
    world.delete("GlobalNetworkPolicy", "p")
    assert metrics(world)["felix_active_local_policies"] == 0
    assert metrics(world)["felix_ipsets_calico"] == 0


def test_listening_begins_and_ends_with_the_settings(world: World) -> None:
    assert world.felix is not None
    pid = world.felix.pid
    assert ask(world, "http://localhost:9099/liveness")[0] == 0
    spec = {"healthEnabled": True, "prometheusMetricsEnabled": True, "prometheusMetricsPort": 9092}
    world.apply(resource("FelixConfiguration", "default", spec))
    until(lambda: ask(world, "http://localhost:9099/liveness")[0] == 200, "health is answered")
    until(lambda: ask(world, "http://localhost:9092/metrics")[0] == 200, "metrics are offered")
    world.apply(resource("FelixConfiguration", "default", {**spec, "healthHost": "192.0.2.254"}))
    troubles = until(lambda: world.conditions("listener-failed"), "an address that is not the host's is named")
    assert list(troubles) == ["health on 192.0.2.254:9099"]
    world.delete("FelixConfiguration", "default")
    until(lambda: not world.conditions("listener-failed"), "nothing is wanted")
    until(lambda: ask(world, "http://localhost:9092/metrics")[0] == 0, "nobody listens")
    assert world.felix.poll() is None
    assert world.status["pid"] == pid, "without a new start"


def test_a_kernel_that_hangs_makes_felix_dead_but_not_silent(new_world: Callable[..., World]) -> None:
    world = new_world("a", "b")
    world.start_etcd()
    world.cluster()
    world.start_felix(ENDING, "--slow", "2", FELIX_HEALTHENABLED="true", FELIX_HEALTHTIMEOUTOVERRIDES="apply=300ms")
    seen: list[Any] = []

    def is_dead() -> bool:
        status, body = ask(world, "http://localhost:9099/liveness")
        seen.append((status, body))
        return status == 503 and "apply: has been programming" in body

    until(is_dead, "an apply takes too long")
    world.settle()
    until(lambda: ask(world, "http://localhost:9099/liveness")[0] == 200, "it lives again")


def test_systemd_is_told_when_felix_runs_and_that_it_lives(new_world: Callable[..., World]) -> None:
    world = new_world("a")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(world.directory / "notify"))
        sock.settimeout(30)
        world.start_felix(NOTIFY_SOCKET=sock.getsockname(), WATCHDOG_USEC="600000")
        said: list[str] = []

        def hears(text: str) -> bool:
            said.extend(sock.recv(1000).decode().split("\n"))
            return any(text in line for line in said)

        until(lambda: hears("STATUS=datastore: wait-for-datastore"), "what it waits for")
        assert said[0] == "READY=1"
        until(lambda: hears("WATCHDOG=1"), "the watchdog")
        world.start_etcd()
        world.cluster()
        until(lambda: hears("STATUS=in sync"), "that it is in sync")
        assert world.felix is not None
        world.felix.terminate()
        until(lambda: hears("STOPPING=1"), "that it stops")
        assert world.felix.wait() == 0
