"""Encryption where the kernel has no WireGuard: it is refused by name, and nothing goes in the clear instead.

A kernel that has WireGuard is not refused, and the last part of each test is about what it has then.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest
from felix_world import RESOURCES, World, resource, until

from calico.dataplane.kernelcheck import check_kernel

KEY = base64.b64encode(b"k" * 32).decode()
ON = {"FELIX_WIREGUARDENABLED": "true", "FELIX_WIREGUARDENABLEDV6": "true"}
AFFINITY = "/calico/ipam/v2/host/{}/ipv{}/block/{}"
BLOCKS = {4: "198.51.100.0-26", 6: "2001:db8:7::-122"}


@pytest.fixture(scope="module")
def has_wireguard() -> bool:
    return any(feature.present for feature in check_kernel() if feature.name == "wireguard")


def node(name: str, *, number: int, key: str = "") -> dict[str, Any]:
    spec = {"bgp": {"ipv4Address": f"192.0.2.{number}/24", "ipv6Address": f"2001:db8::{number}/64"}}
    made = resource("Node", name, spec)
    if key:
        made["status"] = {"wireguardPublicKey": key, "wireguardPublicKeyV6": key}
    return made


def begin(new_world: Callable[..., World], **settings: str) -> World:
    """This host, and another that has x2's blocks and a key."""
    world = new_world("a")
    world.start_etcd()
    world.cluster()
    world.apply(node("h1", number=1), node("h2", number=2, key=KEY), settle=False)
    for version, block in BLOCKS.items():
        world.put_raw({AFFINITY.format("h2", version, block): json.dumps({"state": "confirmed"})}, settle=False)
    world.apply(
        resource(
            "GlobalNetworkPolicy", "open", {"types": ["Egress"], "egress": [{"action": "Allow"}], "selector": "all()"}
        ),
        settle=False,
    )
    world.start_felix(**settings)
    world.settle()
    return world


def said_of(world: World, name: str) -> dict[str, Any]:
    stored = json.loads(world.list(f"{RESOURCES}/nodes/{name}")[f"{RESOURCES}/nodes/{name}"])
    status: dict[str, Any] = stored.get("status", {})
    return status


@pytest.mark.parametrize("family", [4, 6])
def test_what_is_to_be_encrypted_and_cannot_be_goes_nowhere_until_encryption_is_off(
    new_world: Callable[..., World], has_wireguard: bool, family: int
) -> None:
    world = begin(new_world)
    world.expect(family, "a>x2 udp:53", "a>x udp:53")
    assert not world.conditions("encryption-unavailable")
    world.restart_felix(**ON)
    world.expect(family, "!a>x2 udp:53", "a>x udp:53")
    table = world.show("h", f"-{family} route show table 1")
    rules = world.show("h", f"-{family} rule show")
    assert "99:\tnot from all fwmark 0x40000/0x40000 lookup 1" in rules
    device = "wireguard.cali" if family == 4 else "wg-v6.cali"
    if has_wireguard:
        assert f"dev {device}" in table
        assert said_of(world, "h1")["wireguardPublicKey"]
    else:
        assert table.startswith("unreachable 198.51.100.0/26" if family == 4 else "unreachable 2001:db8:7::/122")
        said = world.conditions("encryption-unavailable")
        assert "modprobe wireguard" in said[device]
        assert "wireguardEnabled" in said[device]
        assert said_of(world, "h1") == {}, "a key that nobody could use is not published"
    world.restart_felix()
    world.expect(family, "a>x2 udp:53", "a>x udp:53")
    assert "lookup 1" not in world.show("h", f"-{family} rule show")
    assert not world.show("h", f"-{family} route show table 1").strip()


def test_a_host_without_a_key_is_reached_as_before_and_so_is_what_others_borrowed(
    new_world: Callable[..., World],
) -> None:
    world = begin(new_world, **ON)
    world.expect(4, "!a>x2 udp:53")
    borrowed = resource(
        "WorkloadEndpoint",
        "h3-cni-z-eth0",
        {
            "node": "h3",
            "orchestrator": "cni",
            "containerID": "z",
            "endpoint": "eth0",
            "interfaceName": "caliz",
            "ipNetworks": ["198.51.100.7/32"],
        },
        "default",
        **{"projectcalico.org/namespace": "default", "projectcalico.org/orchestrator": "cni"},
    )
    world.apply(node("h3", number=3), borrowed)
    assert "throw 198.51.100.7" in world.show("h", "-4 route show table 1")
    world.expect(4, "a>x2 udp:53")
    world.delete("WorkloadEndpoint", "h3-cni-z-eth0", "default")
    world.expect(4, "!a>x2 udp:53")
    world.apply(node("h2", number=2))
    world.expect(4, "a>x2 udp:53")
    world.put_raw({f"{RESOURCES}/nodes/h2": json.dumps(node("h2", number=2, key="no key at all"))})
    world.expect(4, "!a>x2 udp:53")
    assert "status.wireguardPublicKey" in world.conditions("resource-invalid")["Node h2"]


def test_a_key_that_is_true_no_more_is_taken_back(new_world: Callable[..., World]) -> None:
    world = new_world("a")
    world.start_etcd()
    world.cluster()
    world.apply(node("h1", number=1, key=KEY), settle=False)
    world.start_felix()
    world.settle()
    until(lambda: said_of(world, "h1") == {}, "the Node of a host that does not encrypt has no key")


def test_what_was_removed_by_others_is_put_back_and_the_settings_are_obeyed(new_world: Callable[..., World]) -> None:
    world = begin(
        new_world,
        **ON,
        FELIX_WIREGUARDROUTINGRULEPRIORITY="70",
        FELIX_NFTABLESMARKMASK="0xf0",
        FELIX_ROUTEREFRESHINTERVAL="1",
    )
    rule = "70:\tnot from all fwmark 0x40/0x40 lookup 1"
    assert rule in world.show("h", "-4 rule show")
    world.ip("h", "rule del priority 70", "route flush table 1")
    until(lambda: rule in world.show("h", "-4 rule show"), "the rule is back")
    until(lambda: "198.51.100.0/26" in world.show("h", "-4 route show table 1"), "the routes are back")
    world.expect(4, "!a>x2 udp:53")


def test_a_device_that_is_no_wireguard_is_named_and_left_alone(new_world: Callable[..., World]) -> None:
    world = new_world("a")
    world.ip("h", "link add wireguard.cali type bridge", "link set wireguard.cali up")
    world.start_etcd()
    world.cluster()
    world.start_felix(FELIX_WIREGUARDENABLED="true")
    world.settle()
    said = world.conditions("encryption-unavailable")["wireguard.cali"]
    assert "no WireGuard device (bridge)" in said
    world.restart_felix()
    assert "wireguard.cali" in world.show("h", "link show type bridge")


@pytest.mark.parametrize("family", [4, 6])
def test_host_endpoints_leave_the_port_of_encrypted_packets_open_while_the_host_encrypts(
    new_world: Callable[..., World], family: int
) -> None:
    world = begin(new_world, **ON)
    world.delete("GlobalNetworkPolicy", "open", settle=False)
    world.apply(resource("HostEndpoint", "outer", {"node": "h1", "interfaceName": "ext0"}))
    port, other = (51820, 51821) if family == 4 else (51821, 51820)
    world.expect(family, f"x>h udp:{port}", f"!x>h udp:{other}", "!x>h udp:53", f"h>x udp:{port}", f"!h>x udp:{other}")
    world.restart_felix()
    world.expect(family, f"!x>h udp:{port}", f"!h>x udp:{port}")
