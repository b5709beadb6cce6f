"""Instances from boot to end: addresses by a real DHCP client, metadata, status of ports, words to Nova, migration."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

from calico.lab.openstack import compute
from calico.lab.probe.flow import FlowSettings, Prober
from cloud import Cloud

_RATE = 100
_HELD_S = 0.5


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


def test_packets_follow_a_migrating_guest_as_soon_as_it_speaks_at_its_new_host(
    cloud: Cloud, record_property: Callable[[str, object], None]
) -> None:
    """To the host of who speaks to it, and back. Nothing is lost before the guest is paused, nor after packets find it
    again, which is before Neutron is told to activate the new binding (``_HELD_S`` later)."""
    home = cloud.instance("b").host
    for host in ("compute1", home):
        pauses: list[tuple[float, float]] = []

        def resumed_at(paused: float, resumed: float, to: list[tuple[float, float]] = pauses) -> None:
            to.append((paused, resumed))
            time.sleep(_HELD_S)

        flows = {
            sender.name: FlowSettings(
                src_netns=sender.netns, dst_netns=cloud.b.netns, address=cloud.b.address, rate=_RATE, port=port
            )
            for sender, port in ((cloud.a, 7007), (cloud.outside, 7009))
        }
        with cloud.with_groups("b", cloud.group({"protocol": "udp"}, {"protocol": "tcp"})):
            cloud.opens(cloud.outside, cloud.b.address)
            with Prober(flows["a"]) as near, Prober(flows["outside"]) as far:
                compute.migrate(cloud.name, "b", host, on_resumed=resumed_at)
                cloud.becomes("b", "ACTIVE")
            ((paused, resumed),) = pauses
            for name, prober in (("a", near), ("outside", far)):
                report = prober.report
                assert report is not None
                assert report.tcp_connected, report
                assert not report.tcp_broken, report
                lost = sum(run.count for run in report.lost)
                late = sum(max(0, round((run.end_s - resumed) * _RATE)) for run in report.lost)
                told = f"to {host} from {name}: {lost} of {report.sent} lost, about {late} of them after the pause"
                record_property("counted", f"{told} of {1000 * (resumed - paused):.0f} ms")
                assert len(report.lost) <= 1, report.lost
                assert all(run.start_s > paused - 2 / _RATE for run in report.lost), (report.lost, paused)
                assert all(run.end_s < resumed + _HELD_S for run in report.lost), (report.lost, resumed)
        assert cloud.port("b")["binding:host_id"] == host
        assert _has_route(cloud, host)
        cloud.opens(cloud.a, cloud.b.address)


def _has_route(cloud: Cloud, host: str) -> bool:
    netns = cloud.layout.netns(host)
    told = cloud.outside.run("nsenter", f"--net=/run/netns/{netns}", "ip", "route", "show", cloud.b.address)
    return f"dev {cloud.instance('b').tap}" in told
