"""Two route reflectors: one of them may die."""

from collections.abc import Iterator
from typing import Any

import pytest

from calico.lab.change import add_workload, remove_workload
from calico.lab.topology import Workload

pytestmark = [pytest.mark.lab, pytest.mark.timeout(180), pytest.mark.xdist_group("resilience")]

SERVICES = [("TCP", 80), ("UDP", 53), ("ICMP", None)]
ALLOWED = [
    ("web1", "web2", 4),
    ("web2", "web1", 6),
    ("web3", "web2", 4),
    ("web1", "outside", 4),
    ("outside", "web2", 6),
]
TOPOLOGY = {
    "name": "reflectors",
    "hosts": [
        {"name": "reflector1", "reflector": True},
        {"name": "reflector2", "reflector": True},
        {"name": "host1"},
        {"name": "host2"},
    ],
    "workloads": [
        {"name": "web1", "host": "host1"},
        {"name": "web2", "host": "host2"},
        {"name": "web3", "host": "reflector1"},
    ],
    "externals": [{"name": "outside"}],
}


@pytest.fixture(scope="module")
def reflected(start_lab: Any) -> Iterator[Any]:
    with start_lab(TOPOLOGY) as lab:
        yield lab


def test_hosts_peer_with_the_reflectors_only_and_all_reach_each_other(reflected: Any) -> None:
    reflectors = [plan.uplink for plan in reflected.layout.hosts if plan.host.reflector]
    expected = {address for uplink in reflectors for address in (uplink.address4, uplink.address6)}
    for host in ("host1", "host2"):
        assert {session["peer_ip"] for session in reflected.status(host, "bgp")["sessions"]} == expected
    machines = ["web1", "web2", "web3", "outside"]
    assert not reflected.closed(machines, machines, SERVICES)


def test_killing_the_bird_of_one_reflector_loses_no_packet_and_leaves_every_route(reflected: Any) -> None:
    restarts = reflected.status("reflector1", "bgp")["bird"]["restarts"]
    with reflected.traffic(ALLOWED):
        old = reflected.kill_bird("reflector1")
        assert not reflected.missing_routes()
        reflected.until(
            lambda: reflected.status("reflector1", "bgp")["bird"]["restarts"] > restarts,
            "the BIRD of reflector1 does not come back",
        )
        for host in reflected.hosts:
            reflected.until(lambda host=host: not reflected.sessions_down(host), f"{host} misses a session")
    assert reflected.bird_pid("reflector1") != old
    assert not reflected.missing_routes()


def test_with_one_reflector_down_for_good_a_new_workload_is_still_reachable_everywhere(reflected: Any) -> None:
    everybody = ["web1", "web2", "web3", "outside"]
    with reflected.traffic(ALLOWED):
        reflected.kill("bgp/reflector1")
        reflected.kill_bird("reflector1")
        add_workload(reflected.name, Workload(name="late", host="host1"))
        reflected.until(lambda: not unreached(reflected, ["host1", "host2", "reflector2", "gw"]), "routes are missing")
        assert not reflected.closed(["web1", "web2", "outside"], ["late"], SERVICES)
        reflected.start("bgp/reflector1")
        for host in reflected.hosts:
            reflected.until(lambda host=host: not reflected.sessions_down(host), f"{host} misses a session")
        reflected.until(lambda: not reflected.missing_routes(), "routes are missing")
        assert not reflected.closed(everybody, ["late"], SERVICES)
        remove_workload(reflected.name, "late")
        reflected.ready()


def unreached(lab: Any, machines: list[str]) -> list[str]:
    """What of the missing routes is on these machines."""
    return [problem for problem in lab.missing_routes() if problem.partition(" ")[0] in machines]
