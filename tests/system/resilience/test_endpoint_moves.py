"""An endpoint that is added, moved to another host with its addresses, and removed."""

from collections.abc import Iterator
from typing import Any

import pytest

from calico.lab.change import add_workload, remove_workload
from calico.lab.topology import Workload

pytestmark = [pytest.mark.lab, pytest.mark.timeout(180), pytest.mark.xdist_group("resilience")]

SERVICES = [("TCP", 80), ("UDP", 53), ("ICMP", None)]
CLIENTS = ["client1", "client2", "client3"]
EVERYBODY = [*CLIENTS, "host1", "host2", "host3", "outside"]
PEERS = [*CLIENTS, "outside"]  # what a workload may reach: its own host is closed to it by default
SERVERS = ["server1", "server2", "server3"]


def mover(host: str, label: str, addresses: tuple[str, ...] = ()) -> Workload:
    return Workload(name="mover", host=host, labels={"app": label}, addresses=addresses)


def await_path(mesh: Any, addresses: tuple[str, ...], home: str) -> None:
    """Return when every host sends these addresses to their new home (its own interface, or its uplink)."""
    uplink = {plan.host.name: plan.uplink for plan in mesh.layout.hosts}

    def arrived() -> bool:
        for address in addresses:
            for host in uplink:
                path = mesh.path(host, address)
                if host == home and not path.get("dev", "").startswith("cali"):
                    return False
                if host != home and path.get("gateway") not in (uplink[home].address4, uplink[home].address6):
                    return False
        return True

    mesh.until(arrived, f"the routes to {addresses} do not all lead to {home}")


@pytest.fixture
def moving(mesh: Any) -> Iterator[Any]:
    """The lab; a workload left by a test that failed is taken away."""
    yield mesh
    if any(plan.workload.name == "mover" for plan in mesh.layout.workloads):
        remove_workload(mesh.name, "mover")
    mesh.ready()


def test_an_added_endpoint_is_reachable_from_everywhere_and_after_its_move_too(moving: Any) -> None:
    add_workload(moving.name, mover("host1", "guest"))
    addresses = moving.workload("mover").addresses
    moving.ready()
    await_path(moving, addresses, "host1")
    assert not moving.closed(EVERYBODY, ["mover"], SERVICES)
    assert not moving.closed(["mover"], PEERS, SERVICES)
    for home in ("host2", "host3", "host1"):
        remove_workload(moving.name, "mover")
        add_workload(moving.name, mover(home, "guest", addresses))
        moving.ready()
        await_path(moving, addresses, home)
        assert not moving.closed(EVERYBODY, ["mover"], SERVICES)
        assert not moving.closed(["mover"], PEERS, SERVICES)
        for plan in moving.layout.hosts:
            local = [r for a in addresses for r in moving.routes(plan.host.name, a) if r["dev"].startswith("cali")]
            assert bool(local) == (plan.host.name == home), f"{plan.host.name} still has {local}"


def test_policy_by_label_follows_an_endpoint_that_moves(moving: Any) -> None:
    add_workload(moving.name, mover("host1", "client"))
    addresses = moving.workload("mover").addresses
    for home, label in (("host1", "client"), ("host2", "client"), ("host3", "server")):
        remove_workload(moving.name, "mover")
        add_workload(moving.name, mover(home, label, addresses))
        moving.ready()
        await_path(moving, addresses, home)
        if label == "client":
            assert not moving.closed(["mover"], SERVERS, SERVICES)
            assert not moving.closed(SERVERS, ["mover"], SERVICES)
        else:
            assert not moving.opened(["mover"], SERVERS, SERVICES)
            assert not moving.opened(SERVERS, ["mover"], SERVICES)
            assert not moving.closed(CLIENTS, ["mover"], SERVICES)


def test_an_endpoint_that_is_removed_leaves_no_route_anywhere(moving: Any) -> None:
    add_workload(moving.name, mover("host1", "guest"))
    addresses = moving.workload("mover").addresses
    remove_workload(moving.name, "mover")
    add_workload(moving.name, mover("host2", "guest", addresses))
    moving.ready()
    await_path(moving, addresses, "host2")
    with moving.traffic([("client1", "client2", 4), ("client3", "client2", 6)]):
        remove_workload(moving.name, "mover")
        moving.ready()
        for machine in ("host1", "host2", "host3", "gw"):
            moving.until(
                lambda machine=machine: not any(moving.routes(machine, address) for address in addresses),
                f"{machine} still has a route to {addresses}",
            )
