"""What no workload may do whatever policy says, and what it may always do."""

from __future__ import annotations

import struct

from felix_packets import Packet, build, icmpv6
from felix_world import World, resource, until


def sent_by(world: World, family: int, source: str, target: str, packet: Packet) -> bool:
    """Whether a packet that a workload puts on its wire arrives at the target."""
    (got,) = world.passed((source, target, packet))
    return got


def test_a_source_address_that_is_not_the_workloads_own_is_dropped(world: World, family: int) -> None:
    own = world.packet("a>c udp:80", family)
    stolen = world.packet("b>c udp:80", family)
    foreign = world.packet("x3>c udp:80", family)
    hosts = world.packet("h>c udp:80", family)
    flows = [("a", "c", packet) for packet in (own, stolen, foreign, hosts)]
    assert world.passed(*flows, expected=1) == [True, False, False, False]
    outside = [("a", "x", packet._replace(destination=world.address("x", family))) for _, _, packet in flows]
    assert world.passed(*outside, expected=1) == [True, False, False, False]


def test_a_spoofed_source_cannot_use_an_established_connection_of_another_workload(world: World, family: int) -> None:
    world.expect(family, "b>c udp:5000:6000", "c>b udp:6000:5000", "b>c udp:5000:6000")
    assert not sent_by(world, family, "a", "c", world.packet("b>c udp:5000:6000", family))


def test_an_added_address_may_be_used_and_a_removed_one_no_longer(world: World, family: int) -> None:
    extra = "10.65.9.9" if family == 4 else "fd00:65:9::9"
    packet = world.packet("a>c udp:80", family)._replace(source=extra)
    assert not sent_by(world, family, "a", "c", packet)
    nets = [world.net("a", 4), world.net("a", 6), f"{extra}/{32 if family == 4 else 128}"]
    world.apply(world.endpoint("a", ipNetworks=nets))
    assert world.passed(("a", "c", packet), expected=1) == [True]
    world.apply(world.endpoint("a"))
    assert not sent_by(world, family, "a", "c", world.packet("a>c udp:80", family)._replace(source=extra))


def test_an_endpoint_sends_from_networks_that_are_lent_to_it_once_the_host_lends(world: World, family: int) -> None:
    """Although nothing routes them to it; errors about what was sent to them pass as well."""
    lent = ["203.0.113.0/24", "192.0.2.0/24", "2001:db8:9::/64", "2001:db8::/64"]
    foreign, hosts, other = (world.packet(f"{name}>c udp:80", family) for name in ("x3", "h", "x2"))
    world.apply(world.endpoint("a", allowSpoofedSourcePrefixes=lent))
    assert "workloadSourceSpoofing" in world.conditions("resource-invalid")["WorkloadEndpoint default/h1-cni-a-eth0"]
    assert not sent_by(world, family, "a", "c", world.packet("a>c udp:80", family))
    try:
        world.restart_felix(FELIX_WORKLOADSOURCESPOOFING="Any")
        sent = [("a", "c", packet) for packet in (foreign, hosts, other, world.packet("a>c udp:80", family))]
        assert world.passed(*sent, expected=2) == [True, False, False, True]
        assert not sent_by(world, family, "b", "c", foreign)
        world.apply(world.endpoint("a"))
        assert not sent_by(world, family, "a", "c", world.packet("x3>c udp:80", family))
    finally:
        world.restart_felix()


def test_encapsulated_packets_from_workloads_are_dropped(world: World, family: int) -> None:
    world.expect(
        family, "!a>b udp:4789", "!a>x udp:4789", "!a>b proto:4", "!a>x proto:4", "x>a udp:4789", "a>b udp:4790"
    )


def test_ip_in_ip_is_taken_from_known_hosts_only_while_a_pool_asks_for_it(world: World) -> None:
    """Whether or not the kernel has IP in IP; where it has not, the condition says what to do, and nothing is sent."""
    world.expect(4, "x>h proto:4")
    outside = {"bgp": {"ipv4Address": f"{world.packet('x>h proto:4', 4).source}/24"}}
    pool = resource("IPPool", "in-ip", {"cidr": "10.66.0.0/16", "ipipMode": "Always"})
    try:
        world.apply(pool)
        world.expect(4, "!x>h proto:4", "x>h udp:9")
        bgp = {"ipv4Address": f"{world.address('h', 4)}/24"}
        world.apply(resource("Node", "h1", {"bgp": bgp}))
        until(lambda: "tunl0" in world.show("h", "link") or "modprobe ipip" in str(world.status["conditions"]),
              "tunl0 is there, or it is said what it needs")  # fmt: skip
        until(lambda: "unreachable 10.66.0.0/16" in world.show("h", "route"), "the rest of the pool is nowhere")
        world.apply(resource("Node", "x", outside))
        world.expect(4, "x>h proto:4")
    finally:
        world.put_raw({"ippools/in-ip": None, "nodes/x": None, "nodes/h1": None})
        until(lambda: "10.66." not in world.show("h", "route"), "what led into the pool is gone")
    world.expect(4, "x>h proto:4")


def test_a_workload_is_no_dhcp_server(world: World, family: int) -> None:
    ports = "67:68" if family == 4 else "547:546"
    world.expect(family, f"!a>b udp:{ports}", f"!a>x udp:{ports}", "a>b udp:67:69")


def test_router_advertisements_from_workloads_do_not_reach_the_host(world: World) -> None:
    """A host that listens takes one from its own network, as the first half shows, but none from a workload."""
    outside = world.show("x", "-6 -o addr show dev eth0 scope link").split()[3].partition("/")[0]
    for machine, interface, source in (("x", "ext0", outside), ("a", "calia", "fe80::ff:fe00:1")):
        world.sysctl("h", f"ipv6/conf/{interface}/accept_ra", "2")
        prefix = struct.pack("!BBBBIII", 3, 4, 64, 0xC0, 3600, 3600, 0) + bytes.fromhex("fd66" + "00" * 14)
        body = bytes((134, 0, 0, 0)) + struct.pack("!BBHII", 64, 0, 0, 0, 0) + prefix
        world.ports[machine].send_frame(icmpv6(source, "ff02::1", body), destination="33:33:00:00:00:01")
        if machine == "x":
            until(lambda: "fd66:" in world.show("h", "-6 addr show dev ext0"), "the host took an advertisement")
            world.sysctl("h", "ipv6/conf/ext0/accept_ra", "0")
            world.show("h", "-6 addr flush dev ext0 to fd66::/64")
    world.expect(6, "a>b tcp:80")
    assert "fd66:" not in world.show("h", "-6 addr show dev calia")


def test_a_workload_reaches_nothing_of_its_own_host_but_is_reached_by_it(world: World, family: int) -> None:
    world.expect(family, "!a>h tcp:22", "!a>h udp:53", "!a>h icmp", "h>a tcp:22", "h>a icmp", "x>h udp:9")


def test_the_host_reaches_its_workloads_whatever_their_policy(world: World, family: int) -> None:
    world.apply(resource("GlobalNetworkPolicy", "deny", {"selector": "all()", "types": ["Ingress", "Egress"]}))
    world.expect(family, "h>a tcp:22", "h>b udp:53", "!x>a tcp:22", "!a>b tcp:80")


def test_an_interface_that_no_endpoint_claims_is_cut_off(world: World, family: int) -> None:
    """Even with routes that someone else made for it."""
    world.add_workload("e")
    try:
        world.ip("h", f"route add {world.net('e', family)} dev calie")
        world.expect(family, "!e>b udp:80", "!a>e udp:80", "!x>e tcp:80", "!h>e icmp", "!e>h udp:80", "a>b udp:80")
    finally:
        world.remove_workload("e")


def test_an_invalid_connection_state_is_dropped(world: World, family: int) -> None:
    """An acknowledgement out of nowhere, with a bad checksum, and a reply that nobody asked for."""
    packet = world.packet("a>b tcp:80", family)
    data = build(packet, 77)
    at = (20 if family == 4 else 40) + 16
    broken = data[:at] + bytes((data[at] ^ 0xFF,)) + data[at + 1 :]
    world.ports["a"].send(broken)
    assert world.arrived(["b"], [77], None) == [False]
    reply = "!a>b icmp:0:0" if family == 4 else "!a>b icmp:129:0"
    world.expect(family, reply)
