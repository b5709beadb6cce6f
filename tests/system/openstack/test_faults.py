"""What fails between Neutron and packets, and what is seen of it from both ends."""

from __future__ import annotations

from calico.lab.core import kill_member, start_member
from cloud import Cloud


def test_calls_succeed_while_etcd_is_away_and_packets_follow_when_it_is_back(cloud: Cloud) -> None:
    group = cloud.group()
    with cloud.with_groups("b", group):
        cloud.closes(cloud.outside, cloud.b.address)
        cloud.settle()
        kill_member(cloud.name, "etcd1")
        try:
            cloud.rule(group, protocol="tcp")
            port = cloud.api.create("port", network_id=cloud.network["id"])
            assert not cloud.outside.connects(cloud.b.address)
        finally:
            start_member(cloud.name, "etcd1")
        cloud.opens(cloud.outside, cloud.b.address)
        cloud.api.call("DELETE", f"ports/{port['id']}")


def test_a_host_whose_felix_is_killed_takes_no_new_ports_until_it_is_back(cloud: Cloud) -> None:
    host = "compute2"
    cloud.kill_felix(host)
    try:
        cloud.until(f"Neutron knows that {host} is dead", lambda: not cloud.agent(host)["alive"])
        assert cloud.a.connects(cloud.b.address), "what is in the kernel stays"
        refused = cloud.api.create(
            "port",
            network_id=cloud.network["id"],
            device_id="11111111-2222-3333-4444-555555555555",
            device_owner="compute:nova",
            **{"binding:host_id": host},
        )
        assert refused["binding:vif_type"] == "binding_failed"
        cloud.api.call("DELETE", f"ports/{refused['id']}")
    finally:
        cloud.start_felix(host)
    cloud.until(f"Neutron knows that {host} is back", lambda: cloud.agent(host)["alive"])
    cloud.until("Felix is in sync", lambda: cloud.felix(host).get("in_sync"))


def test_nothing_differs_between_neutron_and_etcd(cloud: Cloud) -> None:
    found = cloud.resync()
    assert found["compared"] > 0
    assert (found["objects"], found["failed"]) == ([], [])
