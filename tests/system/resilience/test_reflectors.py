"""Two route reflectors, and all that may happen to them and to their clients while packets flow."""

import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from calico.lab.change import add_workload, remove_workload
from calico.lab.topology import Workload

pytestmark = [pytest.mark.lab, pytest.mark.timeout(180), pytest.mark.xdist_group("resilience")]

PROBES, PROBES_A_SECOND = 800, 100
Event = Callable[[Any], None]
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


def kill_reflector(lab: Any) -> None:
    restarted(lab, "reflector1", signal.SIGKILL)


def terminate_reflector(lab: Any) -> None:
    restarted(lab, "reflector1", signal.SIGTERM)


def kill_host(lab: Any) -> None:
    restarted(lab, "host1", signal.SIGKILL)


def kill_all_reflectors(lab: Any) -> None:
    """Without their agents, so that they stay away until these are started again."""
    reflectors = ("reflector1", "reflector2")
    for name in reflectors:
        lab.kill(f"bgp/{name}")
    for name in reflectors:
        pid = lab.kill_bird(name)
        lab.until(lambda pid=pid: not Path(f"/proc/{pid}").exists(), f"the BIRD of {name} survives")
    assert not lab.missing_routes()
    for name in reflectors:
        lab.start(f"bgp/{name}")


def kill_agent(lab: Any) -> None:
    pid = lab.bird_pid("host1")
    lab.kill("bgp/host1")
    lab.start("bgp/host1")
    lab.await_bgp()
    assert lab.bird_pid("host1") == pid


def planned_restart(lab: Any) -> None:
    """Another choice of interfaces is applied by a graceful restart."""
    pid = lab.bird_pid("host1")
    other = lab.document("BGPConfiguration", "node.host1", ignoredInterfaces=[f"none{pid}"])
    lab.await_bgp(lab.write(other))
    assert lab.bird_pid("host1") != pid


def without_restart(happen: Event) -> Event:
    """The event, during which no BIRD may be restarted."""

    def happened(lab: Any) -> None:
        pids = {name: lab.bird_pid(name) for name in lab.hosts}
        happen(lab)
        assert {name: lab.bird_pid(name) for name in lab.hosts} == pids

    return happened


def pool_comes_and_goes(lab: Any) -> None:
    lab.await_bgp(lab.write(lab.document("IPPool", "more", cidr="10.99.0.0/16", ipipMode="Never")))
    lab.await_bgp(lab.write(delete=[("IPPool", "", "more")]))


def peer_comes_and_goes(lab: Any) -> None:
    """A session between two clients."""
    address = next(plan.uplink.address4 for plan in lab.layout.hosts if plan.host.name == "host2")
    lab.await_bgp(lab.write(lab.document("BGPPeer", "more", node="host1", peerIP=address, asNumber=64512)))
    assert address in {session["peer_ip"] for session in lab.status("host1", "bgp")["sessions"]}
    lab.await_bgp(lab.write(delete=[("BGPPeer", "", "more")]))


def filter_comes_and_goes(lab: Any) -> None:
    """On all sessions with the reflectors."""
    nobody = {"action": "Reject", "cidr": "192.0.2.0/24", "matchOperator": "In"}
    peering = {"nodeSelector": "all()", "peerSelector": "has(route-reflector)"}
    with_filter = lab.document("BGPPeer", "reflectors", **peering, filters=["some"])
    lab.await_bgp(lab.write(lab.document("BGPFilter", "some", exportV4=[nobody]), with_filter))
    lab.await_bgp(lab.write(lab.document("BGPFilter", "some", exportV4=[nobody], importV4=[nobody])))
    lab.await_bgp(lab.write(lab.document("BGPPeer", "reflectors", **peering), delete=[("BGPFilter", "", "some")]))


def block_comes_and_goes(lab: Any) -> None:
    """The block of a flow's own address: its aggregate takes the place of the address, and the other way round."""
    home = next(plan for plan in lab.layout.hosts if plan.host.name == "host1")
    for family, block in zip(("ipv4", "ipv6"), home.blocks, strict=True):
        key = f"/calico/ipam/v2/host/host1/{family}/block/{block.replace('/', '-')}"
        lab.await_bgp(lab.put_raw(key, json.dumps({"state": "confirmed"})), "host1")
        lab.until(lambda block=block: lab.has_route("host2", block), f"host2 does not learn {block}")
        lab.await_bgp(lab.put_raw(key, None), "host1")
        lab.until(lambda block=block: not lab.has_route("host2", block), f"host2 keeps {block}")


EVENTS: dict[str, Event] = {
    "a reflector is killed": kill_reflector,
    "a reflector is terminated": terminate_reflector,
    "all reflectors are killed": kill_all_reflectors,
    "the BIRD of a host is killed": kill_host,
    "a host restarts its BIRD as planned": planned_restart,
    "the agent of a host is killed": kill_agent,
    "a filter comes, changes and goes": without_restart(filter_comes_and_goes),
    "a pool comes and goes": without_restart(pool_comes_and_goes),
    "a block comes and goes": without_restart(block_comes_and_goes),
    "a peer comes and goes": without_restart(peer_comes_and_goes),
}


def restarted(lab: Any, machine: str, number: signal.Signals) -> None:
    restarts = lab.status(machine, "bgp")["bird"]["restarts"]
    old = lab.kill_bird(machine, number)
    lab.until(
        lambda: lab.status(machine, "bgp")["bird"]["restarts"] > restarts, f"the BIRD of {machine} does not come back"
    )
    lab.await_bgp()
    assert lab.bird_pid(machine) != old


@pytest.mark.parametrize("what", EVENTS)
def test_of_eight_hundred_probes_none_is_lost_when(reflected: Any, what: str) -> None:
    reflected.await_bgp()
    # whoever is told to end says so to its neighbours, who then drop its own workloads' routes: not reflected ones
    flows = [flow for flow in ALLOWED if what != "a reflector is terminated" or "web3" not in flow]
    with reflected.traffic(flows, rate=PROBES_A_SECOND, at_least=PROBES):
        EVENTS[what](reflected)
        reflected.await_bgp()
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
