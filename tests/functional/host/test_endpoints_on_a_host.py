"""Workload endpoints on a real kernel: reachable when up, gone without trace, never harming others."""

from __future__ import annotations

import socket
import subprocess
from pathlib import Path

import pytest

from calico.calc.messages import EndpointId
from calico.dataplane.links import Links
from calico.dataplane.netns import in_netns
from calico.dataplane.sysctl import Sysctls
from calico.lib.packed import addr_bytes

HOST_MAC = bytes.fromhex("eeeeeeeeeeee")
ONE, TWO = bytes.fromhex("020000000001"), bytes.fromhex("020000000002")


def test_two_workloads_reach_each_other_through_a_host_without_any_other_route(host, felix, endpoint):
    one = host.workload(1, address="10.65.0.1", address6="fd00:65::1")
    host.workload(2, address="10.65.0.2", address6="fd00:65::2")

    async def scenario(daemon):
        daemon.manager.on_endpoint(endpoint("a", "cali1", "10.65.0.1", "fd00:65::1", mac=ONE))
        daemon.manager.on_endpoint(endpoint("b", "cali2", "10.65.0.2", "fd00:65::2", mac=TWO))
        await daemon.settle()
        assert (daemon.state("a"), daemon.state("b")) == ("up", "up"), daemon.reasons("a")

    felix(scenario)
    assert host.arp(one, "169.254.1.1", "10.65.0.1") == HOST_MAC
    assert host.ping(one, "10.65.0.2")
    assert "10.65.0.1 dev cali1 proto 80 scope link" in host.ip("route")
    assert "fd00:65::1 dev cali1 proto 80 metric 1024" in host.ip("-6", "route")
    assert "10.65.0.1 dev cali1 lladdr 02:00:00:00:00:01 PERMANENT" in " ".join(host.ip("neigh").split("  "))


def test_an_ipv6_gateway_is_answered_for_by_proxy_and_carries_traffic(host, felix, endpoint):
    one = host.workload(1, address6="fd00:65::1")
    two = host.workload(2, address6="fd00:65::2")

    async def scenario(daemon):
        for name, n in (("a", 1), ("b", 2)):
            gateway = addr_bytes("fd00:65::ffff")
            daemon.manager.on_endpoint(endpoint(name, f"cali{n}", f"fd00:65::{n}", gateway_v6=gateway))
        await daemon.settle()
        assert daemon.state("a") == "up", daemon.reasons("a")

    felix(scenario)
    for netns in (one, two):
        with Links(netns) as inside:
            inside.add_route("fd00:65::ffff/128", dev="eth0")
            inside.add_route("default", via="fd00:65::ffff", dev="eth0")
    assert host.ping(one, "fd00:65::2", "-6")
    with Links(one) as inside:
        assert HOST_MAC in {n.mac for n in inside.neighbours() if n.address == addr_bytes("fd00:65::ffff")}


def test_a_global_gateway_is_answered_with_and_without_a_default_route_and_never_captured(host, felix, endpoint):
    one = host.workload(1, address="10.65.0.2")
    host.links.create_veth("up0", "up1")
    host.links.add_address("up0", "192.0.2.1/24")

    async def scenario(daemon):
        daemon.manager.on_endpoint(endpoint("a", "cali1", "10.65.0.2", gateway_v4=addr_bytes("10.65.0.1")))
        await daemon.settle()
        assert daemon.state("a") == "up", daemon.reasons("a")
        assert "10.65.0.1/32 scope link" in host.ip("addr", "show", "lo")
        assert host.arp(one, "10.65.0.1", "10.65.0.2") == HOST_MAC
        host.links.add_route("default", via="192.0.2.254", dev="up0")
        await daemon.until(lambda: "10.65.0.1" not in host.ip("addr", "show", "lo"))
        assert host.arp(one, "10.65.0.1", "10.65.0.2") == HOST_MAC
        host.links.add_route("10.65.0.0/26", kind=6)
        await daemon.until(lambda: "10.65.0.1/32" in host.ip("addr", "show", "lo"))
        assert host.arp(one, "10.65.0.1", "10.65.0.2") == HOST_MAC
        assert host.arp(one, "10.65.0.9", "10.65.0.2", timeout=0.1) is None

    felix(scenario)


def test_the_gateway_address_is_never_a_source_address_of_the_host(host, felix, endpoint):
    one = host.workload(1, address="10.65.0.1")
    host.links.create_veth("up0", "up1")
    host.links.add_address("up0", "192.0.2.1/24")

    async def scenario(daemon):
        daemon.manager.on_endpoint(endpoint("a", "cali1", "10.65.0.1"))
        await daemon.settle()

    felix(scenario)

    def source_towards_workload():
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.connect(("10.65.0.1", 9))
            return sock.getsockname()[0]

    assert in_netns(host.name, source_towards_workload) == "192.0.2.1"
    assert host.ping(one, "192.0.2.1")


def test_settings_of_the_interface_are_those_of_the_specification(host, felix, endpoint):
    host.workload(1, address="10.65.0.1")

    async def scenario(daemon):
        daemon.manager.on_endpoint(endpoint("a", "cali1", "10.65.0.1"))
        await daemon.settle()

    felix(scenario)
    for path, value in {
        "ipv4/ip_forward": "1",
        "ipv6/conf/all/forwarding": "1",
        "ipv4/conf/cali1/proxy_arp": "1",
        "ipv4/conf/cali1/rp_filter": "1",
        "ipv4/conf/cali1/route_localnet": "1",
        "ipv4/neigh/cali1/proxy_delay": "0",
        "ipv4/conf/cali1/accept_redirects": "0",
        "ipv6/conf/cali1/proxy_ndp": "1",
        "ipv6/conf/cali1/accept_ra": "0",
        "ipv6/conf/cali1/forwarding": "1",
    }.items():
        assert host.sysctl(path) == value, path


def test_a_spoofed_source_is_dropped_by_the_reverse_path_check(host, felix, endpoint):
    one = host.workload(1, address="10.65.0.1")
    host.workload(2, address="10.65.0.2")

    async def scenario(daemon):
        daemon.manager.on_endpoint(endpoint("a", "cali1", "10.65.0.1"))
        daemon.manager.on_endpoint(endpoint("b", "cali2", "10.65.0.2"))
        await daemon.settle()

    felix(scenario)
    with Links(one) as inside:
        inside.add_address("eth0", "10.65.0.99/32")
    assert host.ping(one, "10.65.0.2", "-I", "10.65.0.1")
    assert not host.ping(one, "10.65.0.2", "-I", "10.65.0.99")


def test_an_interface_deleted_and_made_again_works_as_before(host, felix, endpoint):
    one = host.workload(1, address="10.65.0.1")
    host.workload(2, address="10.65.0.2")

    async def scenario(daemon):
        daemon.manager.on_endpoint(endpoint("a", "cali1", "10.65.0.1", mac=ONE))
        daemon.manager.on_endpoint(endpoint("b", "cali2", "10.65.0.2"))
        await daemon.settle()
        host.links.delete("cali1")
        await daemon.until(lambda: daemon.state("a") == "down")
        assert daemon.reasons("a") == "interface cali1 does not exist"
        host.wire(1, address="10.65.0.1")
        await daemon.until(lambda: daemon.state("a") == "up")
        host.links.delete("cali1")  # gone and back between two applies
        host.wire(1, address="10.65.0.1")
        await daemon.settle()
        assert daemon.state("a") == "up", daemon.reasons("a")
        assert host.ping(one, "10.65.0.2")
        assert host.sysctl("ipv4/conf/cali1/proxy_arp") == "1"

    felix(scenario)


def test_an_interface_set_down_and_up_again_gets_back_what_the_kernel_dropped(host, felix, endpoint):
    one = host.workload(1, address="10.65.0.1", address6="fd00:65::1")
    host.workload(2, address="10.65.0.2")

    async def scenario(daemon):
        daemon.manager.on_endpoint(endpoint("a", "cali1", "10.65.0.1", "fd00:65::1", mac=ONE))
        daemon.manager.on_endpoint(endpoint("b", "cali2", "10.65.0.2"))
        await daemon.settle()
        for between in (daemon.apply, None):
            host.links.set_up("cali1", False)
            if between is not None:
                await between()
                assert daemon.state("a") == "down"
            host.links.set_up("cali1")
            await daemon.until(lambda: daemon.state("a") == "up" and "10.65.0.1 " in host.ip("route"))
            assert "PERMANENT" in host.ip("neigh", "show", "10.65.0.1")
            assert "cali1" in host.ip("-6", "route", "show", "fd00:65::1")
        assert host.ping(one, "10.65.0.2")

    felix(scenario)


def test_an_interface_moved_to_another_namespace_is_gone_and_one_moved_in_is_there(host, felix, endpoint):
    one = host.workload(1, address="10.65.0.1")

    async def scenario(daemon):
        daemon.manager.on_endpoint(endpoint("a", "cali1", "10.65.0.1"))
        await daemon.settle()
        host.links.move("cali1", one)
        await daemon.until(lambda: daemon.state("a") == "down")
        with Links(one) as inside:
            inside.move("cali1", host.name)
        host.links.set_up("cali1")
        await daemon.until(lambda: daemon.state("a") == "up")
        assert "10.65.0.1 dev cali1" in host.ip("route")

    felix(scenario)


def test_what_an_earlier_run_left_is_removed_and_what_is_foreign_stays(host, felix, endpoint):
    host.workload(1, address="10.65.0.1")
    host.workload(2, address="10.65.0.2")
    host.links.add_route("10.99.0.0/16", dev="cali2")
    host.links.add_route("10.65.0.77/32", dev="cali2")

    async def first(daemon):
        daemon.manager.on_endpoint(endpoint("a", "cali1", "10.65.0.1", mac=ONE))
        daemon.manager.on_endpoint(endpoint("b", "cali2", "10.65.0.2", "fd00:65::2", mac=TWO))
        await daemon.settle()

    async def second(daemon):
        daemon.manager.on_endpoint(endpoint("a", "cali1", "10.65.0.1", mac=ONE))
        await daemon.settle()

    async def third(daemon):
        await daemon.settle()

    felix(first)
    before = host.ip("route", "show", "10.65.0.1")
    felix(second)
    assert host.ip("route", "show", "10.65.0.1") == before
    assert "10.65.0.2 " not in host.ip("route")
    assert "fd00:65::2" not in host.ip("-6", "route")
    assert host.ip("neigh", "show", "nud", "permanent").split()[0] == "10.65.0.1"
    felix(third)
    assert "proto 80" not in host.ip("route")
    assert "169.254.1.1" not in host.ip("addr", "show", "lo")
    assert "10.99.0.0/16 dev cali2" in host.ip("route")
    assert "10.65.0.77 dev cali2" in host.ip("route")


def test_a_route_of_ours_that_somebody_deletes_comes_back(host, felix, endpoint):
    host.workload(1, address="10.65.0.1", address6="fd00:65::1")

    async def scenario(daemon):
        daemon.manager.on_endpoint(endpoint("a", "cali1", "10.65.0.1", "fd00:65::1"))
        await daemon.settle()
        for family, address in (("-4", "10.65.0.1"), ("-6", "fd00:65::1")):
            host.ip(family, "route", "del", address)
            await daemon.until(lambda family=family, address=address: address in host.ip(family, "route"))

    felix(scenario)


def test_a_foreign_route_to_the_same_address_over_another_device_is_named_and_left_alone(host, felix, endpoint):
    host.workload(1, address="10.65.0.1")
    host.links.create_veth("other0", "other1")
    host.links.add_route("10.65.0.1/32", dev="other0")

    async def scenario(daemon):
        daemon.manager.on_endpoint(endpoint("a", "cali1", "10.65.0.1"))
        await daemon.settle()
        assert daemon.state("a") == "error"
        assert "10.65.0.1/32" in daemon.reasons("a")
        assert "other0" in daemon.reasons("a")
        assert "10.65.0.1 dev other0" in host.ip("route")
        host.links.delete_route("10.65.0.1/32", dev="other0")
        await daemon.until(lambda: daemon.state("a") == "up")
        assert "10.65.0.1 dev cali1" in host.ip("route")
        host.ip("route", "replace", "10.65.0.1", "dev", "other0")
        await daemon.until(lambda: daemon.state("a") == "error")
        assert "other0" in daemon.reasons("a")

    felix(scenario)


@pytest.mark.parametrize("address", ["10.65.0.1", "fd00:65::1"])
def test_a_foreign_route_that_went_with_its_interface_is_in_nobodys_way(host, felix, endpoint, address):
    """The kernel does not tell of IPv4 routes that it drops with an interface."""
    host.workload(1, **{"address6" if ":" in address else "address": address})
    host.links.create_veth("cali9", "other9")
    host.links.set_up("cali9")
    host.links.set_up("other9")
    length = 128 if ":" in address else 32
    host.links.add_route(f"{address}/{length}", dev="cali9")

    async def scenario(daemon):
        daemon.manager.on_endpoint(endpoint("a", "cali1", address))
        await daemon.settle()
        assert "cali9" in daemon.reasons("a")
        host.links.delete("cali9")
        await daemon.until(lambda: daemon.state("a") == "up")
        assert f"{address} dev cali1" in host.ip("-6" if ":" in address else "-4", "route")

    felix(scenario)


def test_a_plugins_route_for_the_same_interface_becomes_ours(host, felix, endpoint):
    host.workload(1, address="10.65.0.1")
    host.ip("route", "add", "10.65.0.1", "dev", "cali1", "scope", "link")

    async def scenario(daemon):
        daemon.manager.on_endpoint(endpoint("a", "cali1", "10.65.0.1"))
        await daemon.settle()
        assert daemon.state("a") == "up", daemon.reasons("a")

    felix(scenario)
    assert host.ip("route", "show", "10.65.0.1").split() == [
        "10.65.0.1",
        "dev",
        "cali1",
        "proto",
        "80",
        "scope",
        "link",
    ]


def test_the_lower_key_wins_a_shared_address_and_its_end_hands_it_over(host, felix, endpoint):
    host.workload(1, address="10.65.0.1")
    host.workload(2, address="10.65.0.1")

    async def scenario(daemon):
        daemon.manager.on_endpoint(endpoint("b", "cali2", "10.65.0.1", mac=TWO))
        await daemon.settle()
        assert "10.65.0.1 dev cali2" in host.ip("route")
        daemon.manager.on_endpoint(endpoint("a", "cali1", "10.65.0.1", mac=ONE))
        await daemon.settle()
        assert (daemon.state("a"), daemon.state("b")) == ("up", "error")
        assert daemon.reasons("b") == "address 10.65.0.1/32 belongs to WorkloadEndpoint default/a"
        assert "10.65.0.1 dev cali1" in host.ip("route")
        daemon.manager.on_endpoint_removed(EndpointId("k8s", "default/a", "eth0"))
        await daemon.settle()
        assert (daemon.state("a"), daemon.state("b")) == ("unknown", "up")
        assert "10.65.0.1 dev cali2" in host.ip("route")
        assert host.ip("neigh", "show", "nud", "permanent").split()[2] == "cali2"
        assert daemon.statuses[-2:] == [("default/a", "gone"), ("default/b", "up")]

    felix(scenario)


@pytest.fixture
def flows(host):
    """Have the host track what it forwards; what it tracks, as text."""
    rules = "table ip t { chain c { type filter hook forward priority 0; ct state new accept; }; }"
    subprocess.run(["nsenter", f"--net=/run/netns/{host.name}", "nft", "-f", "-"], input=rules, text=True, check=True)
    return lambda: in_netns(host.name, Path("/proc/thread-self/net/nf_conntrack").read_text)


def test_flows_end_when_their_address_leaves_the_host(host, felix, endpoint, flows):
    one = host.workload(1, address="10.65.0.1")
    host.workload(2, address="10.65.0.2")
    host.workload(3, address="10.65.0.3")

    async def scenario(daemon):
        for name, n in (("a", 1), ("b", 2), ("c", 3)):
            daemon.manager.on_endpoint(endpoint(name, f"cali{n}", f"10.65.0.{n}"))
        await daemon.settle()
        assert host.ping(one, "10.65.0.2")
        assert host.ping(one, "10.65.0.3")
        assert "src=10.65.0.2" in flows()
        assert "src=10.65.0.3" in flows()
        daemon.manager.on_endpoint_removed(EndpointId("k8s", "default/b", "eth0"))
        await daemon.settle()
        assert "10.65.0.2" not in flows()
        assert "src=10.65.0.3" in flows()

    felix(scenario)


def test_flows_end_when_their_address_moves_to_another_workload(host, felix, endpoint, flows):
    one = host.workload(1, address="10.65.0.1")
    host.workload(2, address="10.65.0.2")
    host.workload(3, address="10.65.0.2")

    async def scenario(daemon):
        daemon.manager.on_endpoint(endpoint("a", "cali1", "10.65.0.1"))
        daemon.manager.on_endpoint(endpoint("b", "cali2", "10.65.0.2"))
        await daemon.settle()
        assert host.ping(one, "10.65.0.2")
        assert "src=10.65.0.2" in flows()
        daemon.manager.on_endpoint_removed(EndpointId("k8s", "default/b", "eth0"))
        daemon.manager.on_endpoint(endpoint("c", "cali3", "10.65.0.2"))
        await daemon.settle()
        assert "10.65.0.2" not in flows()
        assert host.ping(one, "10.65.0.2")
        assert "10.65.0.2 dev cali3" in host.ip("route")

    felix(scenario)


def test_flows_of_an_endpoint_that_left_while_we_were_down_end_at_the_first_apply(host, felix, endpoint, flows):
    one = host.workload(1, address="10.65.0.1")
    host.workload(2, address="10.65.0.2")

    async def first(daemon):
        daemon.manager.on_endpoint(endpoint("a", "cali1", "10.65.0.1"))
        daemon.manager.on_endpoint(endpoint("b", "cali2", "10.65.0.2"))
        await daemon.settle()
        assert host.ping(one, "10.65.0.2")
        assert "src=10.65.0.2" in flows()

    async def second(daemon):
        daemon.manager.on_endpoint(endpoint("a", "cali1", "10.65.0.1"))
        await daemon.settle()
        assert "10.65.0.2" not in flows()

    felix(first)
    felix(second)


def test_a_setting_that_cannot_be_written_makes_the_endpoint_an_error_with_the_reason(host, felix, endpoint, tmp_path):
    host.workload(1, address="10.65.0.1")
    (tmp_path / "ipv4").mkdir()

    async def scenario(daemon):
        daemon.manager.on_endpoint(endpoint("a", "cali1", "10.65.0.1"))
        await daemon.settle()
        assert daemon.state("a") == "error"
        assert "ipv4/conf/cali1/proxy_arp=1: No such file or directory" in daemon.reasons("a")
        assert daemon.manager.pending

    felix(scenario, sysctls=Sysctls(root=tmp_path))


def test_lost_events_end_in_the_right_routes(host, felix, endpoint):
    for n in (1, 2, 3):
        host.workload(n, address=f"10.65.0.{n}")

    async def scenario(daemon):
        for n in (1, 2, 3):
            mac = bytes.fromhex("0200000000") + bytes((n,))
            daemon.manager.on_endpoint(endpoint(f"e{n}", f"cali{n}", f"10.65.0.{n}", mac=mac))
        await daemon.settle()
        host.links.set_up("cali1", False)  # the kernel drops its route and neighbour ...
        host.links.set_up("cali1")
        host.links.delete("cali2")
        for n in range(30):  # ... and this noise drops the news of it
            host.links.create_veth(f"x{n}", f"y{n}")
        await daemon.until(lambda: daemon.resyncs > 0 and daemon.state("e1") == "up" and daemon.state("e2") == "down")
        assert "10.65.0.1 dev cali1" in host.ip("route")
        assert "10.65.0.2 " not in host.ip("route")
        assert "cali1" in host.ip("neigh", "show", "10.65.0.1", "nud", "permanent")

    felix(scenario, rcvbuf=4096)


def test_an_interface_belongs_to_one_endpoint_and_the_other_is_told_whose(host, felix, endpoint):
    host.workload(1, address="10.65.0.1")

    async def scenario(daemon):
        daemon.manager.on_endpoint(endpoint("b", "cali1", "10.65.0.2", mac=TWO))
        daemon.manager.on_endpoint(endpoint("a", "cali1", "10.65.0.1", mac=ONE))
        await daemon.settle()
        assert (daemon.state("a"), daemon.state("b")) == ("up", "error")
        assert daemon.reasons("b") == "interface cali1 belongs to WorkloadEndpoint default/a"
        assert "10.65.0.2" not in host.ip("route")
        daemon.manager.on_endpoint_removed(EndpointId("k8s", "default/a", "eth0"))
        await daemon.settle()
        assert daemon.state("b") == "up"
        assert "10.65.0.1" not in host.ip("route")
        assert "10.65.0.2 dev cali1" in host.ip("route")
        assert host.sysctl("ipv4/conf/cali1/proxy_arp") == "1"

    felix(scenario)
