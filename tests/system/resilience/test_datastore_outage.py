"""The datastore is away for a while: what is programmed stays, and what changes afterwards is applied everywhere.

``CALICO_TEST_OUTAGE_S`` sets how long (seconds, 20 by default).
"""

import os
import time
from typing import Any

import pytest

OUTAGE_S = float(os.environ.get("CALICO_TEST_OUTAGE_S", "20"))

pytestmark = [pytest.mark.lab, pytest.mark.timeout(180 + OUTAGE_S), pytest.mark.xdist_group("resilience")]

SERVICES = [("TCP", 80), ("UDP", 53)]
CLIENTS = ["client1", "client2", "client3"]
SERVERS = ["server1", "server2", "server3"]
ALLOWED = [("client2", "server1", 4), ("server1", "client3", 4), ("client1", "server3", 6), ("client3", "outside", 6)]
FORBIDDEN = [("client2", "server1", 4), ("server3", "server2", 6)]


def enforced(mesh: Any) -> None:
    assert not mesh.closed(CLIENTS, [*CLIENTS, *SERVERS], SERVICES)
    assert not mesh.opened(["outside"], SERVERS, SERVICES)
    assert not mesh.opened(SERVERS, SERVERS, SERVICES)


def test_an_outage_of_the_datastore_loses_no_packet_and_a_change_afterwards_is_applied_everywhere(mesh: Any) -> None:
    pids = {(host, kind): mesh.status(host, kind)["pid"] for host in mesh.hosts for kind in ("felix", "bgp")}
    with mesh.traffic(ALLOWED, FORBIDDEN):
        mesh.kill("etcd/etcd1")
        end = time.monotonic() + OUTAGE_S
        enforced(mesh)
        time.sleep(max(0.0, end - time.monotonic()))
        enforced(mesh)
        assert not mesh.missing_routes()
        mesh.start("etcd/etcd1")
        outside = [f"{mesh.address('outside', 4)}/32", f"{mesh.address('outside', 6)}/128"]
        change = mesh.global_policy(
            "outsiders",
            "app == 'server'",
            order=10,
            ingress=[{"action": "Allow", "source": {"nets": [net]}} for net in outside],
        )
        mesh.programmed(change)
        assert not mesh.closed(["outside"], SERVERS, SERVICES)
        assert not mesh.opened(SERVERS, SERVERS, SERVICES)
        mesh.programmed(delete=[("GlobalNetworkPolicy", "", "outsiders")])
        enforced(mesh)
    mesh.ready()
    assert pids == {(host, kind): mesh.status(host, kind)["pid"] for host, kind in pids}, "a daemon has ended"
