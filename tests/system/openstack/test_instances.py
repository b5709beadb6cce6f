"""Instances from boot to end: addresses by a real DHCP client, metadata, status of ports, words to Nova, migration."""

from __future__ import annotations

import json
from collections.abc import Callable

from calico.lab.openstack import compute
from calico.lab.probe.flow import FlowSettings, Prober
from cloud import Cloud


def test_an_instance_gets_its_address_and_default_route_by_dhcp(cloud: Cloud) -> None:
    cloud.until("the instance has its address", lambda: f"{cloud.a.address}/24" in cloud.a.run("ip", "-o", "addr"))
    assert f"default via {cloud.subnet['gateway_ip']} " in cloud.a.run("ip", "route")
    mtu = cloud.api.call("GET", f"networks/{cloud.network['id']}")["network"]["mtu"]
    (link,) = json.loads(cloud.a.run("ip", "-j", "link", "show", cloud.instance("a").interface))
    assert link["mtu"] == mtu
    assert link["address"] == cloud.port("a")["mac_address"]


def test_metadata_say_which_instance_asks_and_are_signed_with_the_clouds_secret(cloud: Cloud) -> None:
    """The stand-in for nova-metadata refuses what is not signed with the secret in the topology."""
    said = json.loads(cloud.a.run("curl", "-sS", "-m", "20", "http://169.254.169.254/openstack/latest/meta_data.json"))
    assert said["uuid"] == cloud.instance("a").device
    assert said["project_id"] == cloud.api.project
    assert said["address"] == cloud.a.address


def test_a_port_is_active_and_nova_hears_of_it_only_when_its_tap_is_there_and_programmed(cloud: Cloud) -> None:
    port = cloud.api.create("port", network_id=cloud.network["id"])
    bound = cloud.api.update_port(
        port["id"], device_id=cloud.instance("a").device, device_owner="compute:nova", **{"binding:host_id": "compute1"}
    )
    assert bound["binding:vif_type"] == "tap"
    cloud.settle()
    assert cloud.api.port(port["id"])["status"] == "DOWN"
    assert not [event for event in compute.events(cloud.layout) if event["name"] == "network-vif-plugged"
                and event.get("tag") == port["id"]]  # fmt: skip
    cloud.api.update_port(port["id"], device_id="", device_owner="", **{"binding:host_id": ""})
    cloud.boot("late", "compute1", port=port["id"])
    assert "network-vif-plugged" in cloud.events("late")
    assert cloud.port("late")["status"] == "ACTIVE"
    cloud.delete("late")
    cloud.api.call("DELETE", f"ports/{port['id']}")


def test_a_port_whose_tap_goes_down_is_down_and_comes_back(cloud: Cloud) -> None:
    instance = cloud.instance("b")
    inside = ("nsenter", f"--net=/run/netns/{cloud.layout.netns(instance.host)}", "ip", "link", "set", instance.tap)
    cloud.becomes("b", "ACTIVE")
    cloud.outside.run(*inside, "down")
    cloud.becomes("b", "DOWN")
    cloud.outside.run(*inside, "up")
    cloud.becomes("b", "ACTIVE")
    cloud.opens(cloud.a, cloud.b.address)


def test_a_live_migration_loses_nothing_but_while_the_guest_is_paused(
    cloud: Cloud, record_property: Callable[[str, object], None]
) -> None:
    """Once towards the host of who speaks to it, and back; ``other`` is on a third host or outside.

    What was sent within ``_ON_ITS_WAY_S`` of the pause's end may have been at the old host then.
    """
    source, target = cloud.instance("b").host, "compute1"
    assert source != target
    for host in (target, source):
        pauses: list[tuple[float, float]] = []
        flows = [
            FlowSettings(src_netns=sender.netns, dst_netns=cloud.b.netns, address=cloud.b.address, rate=100, port=port)
            for sender, port in ((cloud.a, 7007), (cloud.outside, 7009))
        ]
        with cloud.with_groups("b", cloud.group({"protocol": "udp"}, {"protocol": "tcp"})):
            cloud.opens(cloud.outside, cloud.b.address)
            with Prober(flows[0]) as near, Prober(flows[1]) as far:
                compute.migrate(cloud.name, "b", host, on_resumed=lambda *times, to=pauses: to.append(times))
                cloud.becomes("b", "ACTIVE")
                cloud.until("the other host has no tap of it", lambda host=host: _has_route(cloud, host))
            ((paused, resumed),) = pauses
            for name, prober in (("neighbour", near), ("outside", far)):
                report = prober.report
                assert report is not None
                assert report.tcp_connected, report
                assert not report.tcp_broken, report
                lost = sum(interval.count for interval in report.lost)
                astray = [run for run in report.lost if run.start_s < paused - 0.01 or run.end_s > resumed]
                told = f"{lost} of {report.sent} lost, guest paused for {1000 * (resumed - paused):.0f} ms"
                runs = [
                    (f"{1000 * (r.start_s - paused):.0f}", f"{1000 * (r.end_s - paused):.0f}", r.count) for r in astray
                ]
                record_property("counted", f"{name}: {told}; besides {runs}")
                print(name, told, runs)
        assert cloud.port("b")["binding:host_id"] == host
        cloud.opens(cloud.a, cloud.b.address)


def _has_route(cloud: Cloud, host: str) -> bool:
    netns = cloud.layout.netns(host)
    told = cloud.outside.run("nsenter", f"--net=/run/netns/{netns}", "ip", "route", "show", cloud.b.address)
    return f"dev {cloud.instance('b').tap}" in told
