"""Hosts of two racks without BGP: workloads of others are behind VXLAN, plainly near, whatever stops and starts."""

import ipaddress
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from calico.dataplane.netns import in_netns

pytestmark = [pytest.mark.lab, pytest.mark.root]

EXAMPLE = Path(__file__).parents[3] / "examples" / "lab" / "vxlan.yaml"
PAIRS = [("web1", "web2"), ("web1", "web3"), ("web3", "web2")]
DEVICES = {4: "vxlan.calico", 6: "vxlan-v6.calico"}


@pytest.fixture(scope="module")
def lab(start_lab):
    topology = yaml.safe_load(EXAMPLE.read_text())
    with start_lab({**topology, "name": "vxres"}) as made:
        yield made


def flows(families=(4, 6)):
    return [(src, dst, family) for src, dst in PAIRS for family in families]


def everything_answers(lab):
    names = ["web1", "web2", "web3"]
    for src in names:
        assert lab.closed([src], [name for name in names if name != src]) == []


def answers_again(lab, src, dst):
    lab.until(lambda: not lab.closed([src], [dst]), f"{src} does not reach {dst} again")


def link(lab, host, *change):
    subprocess.run(["ip", "-n", lab.layout.netns(host), "link", *change], check=True)


def felix_document(lab, host):
    return lab.status(host, "felix")


def test_workloads_of_all_hosts_reach_each_other(lab):
    everything_answers(lab)


def test_near_hosts_are_reached_plainly_where_pools_say_so_and_far_ones_through_the_tunnel(lab):
    assert lab.path("host1", lab.address("web2", 4))["dev"] == "eth0"
    assert lab.path("host1", lab.address("web3", 4))["dev"] == DEVICES[4]
    assert lab.path("host1", lab.address("web2", 6))["dev"] == DEVICES[6]
    assert lab.path("host1", lab.address("web3", 6))["dev"] == DEVICES[6]


def test_an_address_of_the_pool_that_nobody_has_leaves_no_host(lab):
    assert lab.path("host1", "10.65.77.77") == {}
    assert lab.path("host1", "fd65::7777") == {}


def test_hosts_reach_workloads_from_their_addresses_in_the_tunnel(lab):
    assert lab.closed(["host3"], ["web1"]) == []
    assert lab.closed(["host1"], ["web3"]) == []


def test_packets_of_workloads_are_told_to_be_as_short_as_the_tunnel_needs(lab):
    layout = lab.layout
    for plan in layout.hosts:
        assert felix_document(lab, plan.host.name)["tunnels"]["mtu"] == 1430
        told = Path(f"/run/calico-lab/{lab.name}/{plan.host.name}/mtu").read_text()
        assert told == "1430\n"


def test_the_status_of_a_host_without_bgp_is_good_and_shows_its_tunnels(lab):
    command = [sys.executable, "-m", "calico", "node", "status", "--run-dir", f"/run/calico-lab/{lab.name}/host1"]
    done = subprocess.run([*command, "--without-bgp"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "vxlan.calico up, 10.66." in done.stdout
    assert "2 other hosts" in done.stdout
    assert subprocess.run(command, capture_output=True, check=False).returncode == 1


def test_felix_is_killed_and_started_again_without_a_lost_packet(lab):
    with lab.traffic(flows(), rate=100):
        for host in ("host1", "host3"):
            lab.kill(f"felix/{host}")
            lab.start(f"felix/{host}")
            lab.until(lambda host=host: felix_document(lab, host).get("in_sync"), f"felix of {host} is not in sync")


def test_what_comes_and_goes_elsewhere_loses_no_packet_and_makes_no_device_anew(lab):
    def index(host):
        return [socket_index(lab, host, device) for device in DEVICES.values()]

    before = index("host1")
    bgp = {"ipv4Address": "198.51.100.9/24", "ipv6Address": "2001:db8:9::9/64"}
    far = {"apiVersion": "projectcalico.org/v3", "kind": "Node", "metadata": {"name": "ghost"}}
    with lab.traffic(flows(), rate=100):
        for number in range(2):
            tunnel = {"ipv4VXLANTunnelAddr": f"10.66.15.{number + 1}", "ipv6VXLANTunnelAddr": f"fd66::ff{number}"}
            lab.programmed({**far, "spec": {"bgp": bgp, **tunnel}})
            assert lab.path("host1", f"10.66.15.{number + 1}")["dev"] == DEVICES[4]
        lab.programmed(delete=[("Node", "", "ghost")])
    assert index("host1") == before
    assert lab.path("host1", "10.66.15.2") == {}


def test_a_host_whose_wire_goes_and_comes_back_is_reached_again(lab):
    link(lab, "host3", "set", "eth0", "down")
    assert lab.opened(["web1"], ["web3"]) == []
    link(lab, "host3", "set", "eth0", "up")
    netns = lab.layout.netns("host3")
    uplink = next(plan.uplink for plan in lab.layout.hosts if plan.host.name == "host3")
    for command in (
        ["-6", "addr", "replace", uplink.ip6, "dev", "eth0", "nodad"],
        ["route", "replace", "default", "via", uplink.via4],
        ["-6", "route", "replace", "default", "via", uplink.via6],
    ):
        subprocess.run(["ip", "-n", netns, *command], check=True)
    answers_again(lab, "web1", "web3")
    answers_again(lab, "web3", "web1")
    everything_answers(lab)


def test_a_device_that_somebody_deletes_is_made_again(lab):
    for device in DEVICES.values():
        link(lab, "host1", "del", device)
    answers_again(lab, "web1", "web3")
    answers_again(lab, "web3", "web1")


def test_vxlan_from_a_machine_that_is_no_host_reaches_no_workload(lab):
    """The router knows everything that an attacker could: the network's number, MAC and addresses."""
    victim = lab.workload("web1")
    plan = next(plan for plan in lab.layout.hosts if plan.host.name == "host1")
    sniffer = in_netns(victim.netns, lambda: socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0800)))
    with sniffer:
        sniffer.bind(("eth0", 0x0800))
        sniffer.settimeout(1.0)
        mac, source, target = device_mac(lab, "host1"), lab.address("web3", 4), lab.address("web1", 4)

        def arrived(netns):
            marker = netns.encode()
            frame = vxlan_frame(mac, source, target, marker)
            sender = in_netns(netns, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            with sender:
                for _ in range(5):
                    sender.sendto(frame, (plan.uplink.address4, 4789))
            deadline = time.monotonic() + 1.0
            while time.monotonic() < deadline:
                try:
                    if marker in sniffer.recv(2048):
                        return True
                except TimeoutError:
                    return False
            return False

        assert arrived(lab.layout.netns("host3")), "the forged packet is no good even from a host: this proves nothing"
        assert not arrived(lab.layout.netns("gw"))
        assert not arrived(lab.workload("web2").netns)


def test_a_host_endpoint_that_denies_everything_lets_the_tunnel_through(lab):
    endpoint = lab.document("HostEndpoint", "uplink", node="host3", interfaceName="eth0")
    lab.programmed(endpoint)
    try:
        assert lab.closed(["web1"], ["web3"]) == []
        assert lab.closed(["web3"], ["web2"]) == []
        assert lab.opened(["host1"], ["host3"], [("UDP", 53)]) == [], "the host endpoint denies nothing"
    finally:
        lab.programmed(delete=[("HostEndpoint", "", "uplink")])


def test_pools_that_lose_their_tunnel_leave_nothing_behind_and_get_it_again(lab):
    pools = yaml.safe_load(EXAMPLE.read_text())["pools"]

    def write(**changed):
        specs = [{key: value for key, value in {**pool, **changed}.items() if key != "name"} for pool in pools]
        lab.programmed(*(lab.document("IPPool", pool["name"], **spec) for pool, spec in zip(pools, specs, strict=True)))

    try:
        write(vxlanMode="Never")
        for host in lab.hosts:
            lab.until(lambda host=host: not devices(lab, host), f"{host} keeps its devices")
            assert tunnel_routes(lab, host) == []
            codes = [condition["code"] for condition in felix_document(lab, host)["conditions"]]
            assert [code for code in codes if code.startswith("tunnel")] == []
    finally:
        write()
        for src, dst in PAIRS:
            answers_again(lab, src, dst)
    everything_answers(lab)


def tunnel_routes(lab, host):
    return [
        line
        for flag in ("-4", "-6")
        for line in subprocess.run(
            ["ip", "-n", lab.layout.netns(host), flag, "route", "show", "proto", "81"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.splitlines()
    ]


def devices(lab, host):
    done = subprocess.run(
        ["ip", "-n", lab.layout.netns(host), "-o", "link", "show", "type", "vxlan"],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()


def socket_index(lab, host, device):
    return in_netns(lab.layout.netns(host), lambda: socket.if_nametoindex(device))


def device_mac(lab, host):
    words = next(line for line in devices(lab, host) if f"{DEVICES[4]}:" in line).split()
    return bytes.fromhex(words[words.index("link/ether") + 1].replace(":", ""))


def vxlan_frame(mac, source, target, marker):
    """VXLAN header, Ethernet, IPv4 and UDP around a marker."""
    udp = struct.pack("!HHHH", 9999, 9999, 8 + len(marker), 0) + marker
    head = struct.pack(
        "!BBHHHBBH4s4s",
        0x45,
        0,
        20 + len(udp),
        0,
        0,
        64,
        17,
        0,
        ipaddress.ip_address(source).packed,
        ipaddress.ip_address(target).packed,
    )
    total = sum(struct.unpack("!10H", head))
    total = (total & 0xFFFF) + (total >> 16)
    total = (total & 0xFFFF) + (total >> 16)
    head = head[:10] + struct.pack("!H", ~total & 0xFFFF) + head[12:]
    ethernet = mac + b"\x02\0\0\0\0\1" + b"\x08\x00"
    return struct.pack("!II", 0x08000000, 4096 << 8) + ethernet + head + udp
