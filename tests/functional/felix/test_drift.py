"""What others change of ours is put right within seconds, counted and named; a fight is not fought at full speed."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from felix_world import World, resource, until

ENDING = str(Path(__file__).with_name("felix_ending.py"))
MEMBERS = 20_000


@pytest.fixture(scope="module")
def host() -> Iterator[World]:
    made = World(("a", "b"))
    try:
        made.start_etcd()
        made.cluster()
        made.start_felix()
        made.settle()
        made.apply(made.endpoint("a"), made.endpoint("b", mac=made.mac("b")))
        yield made
    finally:
        made.close()


@pytest.fixture
def old_kernel(host: World) -> Iterator[World]:
    """The same host with a kernel that lets anybody change our table."""
    host.kill_felix()
    host.nft("delete table inet calico")
    host.start_felix(ENDING, "--no-owner")
    host.settle()
    try:
        yield host
    finally:
        host.kill_felix()
        host.nft("delete table inet calico")
        host.start_felix()
        host.settle()


def put_right(world: World, kind: str, name: str, is_right: Callable[[], object]) -> str:
    """What the condition says once it is as it was."""
    until(is_right, f"{name} was put right")
    until(lambda: name in world.conditions(f"drift-{kind}"), f"{name} was named")
    return world.conditions(f"drift-{kind}")[name]


def route_of(world: World, name: str, family: int) -> str:
    return world.show("h", f"-{family} route show {world.address(name, family)} proto 80")


def test_a_route_that_was_removed_comes_back(host: World, family: int) -> None:
    net = host.net("a", family)
    host.ip("h", f"route del {net} dev calia")
    said = put_right(host, "routes", net, lambda: route_of(host, "a", family))
    assert said.startswith(("removed by ip (process ", "removed by process "))
    assert "put right" in said
    host.expect(family, "x>a tcp:80", "b>a udp:53")


def test_a_route_that_was_led_elsewhere_leads_to_its_workload_again(host: World, family: int) -> None:
    host.ip("h", f"route replace {host.net('a', family)} dev calib proto 80")
    put_right(host, "routes", host.net("a", family), lambda: "calia" in route_of(host, "a", family))
    host.expect(family, "x>a tcp:80")


def test_a_route_that_pretends_to_be_ours_is_removed(host: World, family: int) -> None:
    net = "10.65.77.7/32" if family == 4 else "fd00:65::7777/128"
    host.ip("h", f"route add {net} dev calia proto 80")
    put_right(host, "routes", net, lambda: not host.show("h", f"-{family} route show {net}"))


def test_a_neighbour_entry_that_was_removed_or_changed_is_put_right(host: World, family: int) -> None:
    address, mac = host.address("a", family), host.mac("a")

    def is_right() -> bool:
        shown = host.show("h", f"-{family} neigh show {address} dev calia nud permanent")
        return mac in shown

    host.ip("h", f"neigh del {address} dev calia")
    put_right(host, "neighbours", address, is_right)
    host.ip("h", f"neigh replace {address} dev calia lladdr 02:00:00:00:00:99 nud permanent")
    until(is_right, "the neighbour entry was put right")
    host.ip("h", f"neigh replace {address} dev calia lladdr {mac} nud reachable")
    until(is_right, "the neighbour entry is permanent again")
    host.expect(family, "x>a tcp:80")


@pytest.mark.parametrize(
    ("path", "bad"),
    [
        ("ipv4/conf/calia/rp_filter", "0"),  # the kernel tells of this one
        ("ipv4/conf/calia/accept_redirects", "1"),  # and of this one it does not
        ("ipv6/conf/calia/accept_redirects", "1"),
        ("ipv6/conf/calia/forwarding", "0"),
        ("ipv4/ip_forward", "0"),
    ],
)
def test_a_setting_of_the_kernel_is_set_back(host: World, path: str, bad: str) -> None:
    good = host.sysctl("h", path)
    assert good != bad
    host.sysctl("h", path, bad)
    said = put_right(host, "sysctls", path, lambda: host.sysctl("h", path) == good)
    assert said.startswith(f"set to {bad}")


def test_a_gateway_is_answered_again(host: World) -> None:
    host.ip("h", "addr del 169.254.1.1/32 dev lo")
    put_right(host, "gateways", "169.254.1.1", lambda: "169.254.1.1" in host.show("h", "addr show dev lo"))


def test_limits_of_bandwidth_are_put_back(host: World) -> None:
    controls = {"ingressBandwidth": 50_000_000, "egressBandwidth": 40_000_000}
    host.apply(host.endpoint("a", qosControls=controls))
    try:
        shaped = lambda: qdiscs(host, "calia")  # noqa: E731 - what it is called
        before = until(lambda: "tbf ca1c:" in shaped() and shaped(), "the interface was shaped")
        tc(host, "qdisc del dev calia root")
        put_right(host, "qdiscs", "calia", lambda: shaped() == before)
        (ifb,) = [line.split(":")[1].strip() for line in host.show("h", "-o link show type ifb").splitlines()]
        host.ip("h", f"link set {ifb} down")
        put_right(host, "qdiscs", ifb, lambda: "UP" in host.show("h", f"link show {ifb}").split(">")[0])
        host.ip("h", f"link del {ifb}")
        until(lambda: ifb in host.show("h", "-o link show type ifb"), "the ifb was made again")
        host.settle()
        host.expect(4, "a>x tcp:80", "x>a tcp:80")
    finally:
        host.apply(host.endpoint("a"))


@pytest.fixture
def tunnelled(host: World) -> Iterator[World]:
    """The same host with a tunnel to another one, which has a block of addresses."""
    pool = resource("IPPool", "tunnelled", {"cidr": "10.66.0.0/16", "vxlanMode": "Always"})
    nodes = [
        resource(
            "Node", name, {"bgp": {"ipv4Address": address}, "ipv4VXLANTunnelAddr": tunnel, "vxlanTunnelMACAddr": mac}
        )
        for name, address, tunnel, mac in (
            ("h1", "192.0.2.1/24", "10.66.0.1", "66:00:00:00:00:01"),
            ("h2", "192.0.2.2/24", "10.66.1.1", "66:00:00:00:00:02"),
        )
    ]
    host.apply(pool, *nodes)
    key = "/calico/ipam/v2/host/h2/ipv4/block/10.66.1.0-26"
    host.put_raw({key: '{"state":"confirmed"}'})
    until(
        lambda: "10.66.1.0/26" in host.show("h", "route show dev vxlan.calico"), "the block was routed into the tunnel"
    )
    try:
        yield host
    finally:
        host.put_raw({key: None, **{f"nodes/{name}": None for name in ("h1", "h2")}, "ippools/tunnelled": None})
        until(lambda: "vxlan.calico" not in host.show("h", "link"), "the tunnel was taken down")


@pytest.mark.parametrize(
    ("command", "wrong"),
    [
        ("link del vxlan.calico", "was gone"),
        ("link set vxlan.calico down", "down"),
        ("link set vxlan.calico mtu 1000", "was of MTU 1000"),
        ("link set vxlan.calico address 66:00:00:00:00:09", "was of another MAC"),
        ("addr flush dev vxlan.calico scope global", "was of other addresses"),
    ],
)
def test_a_tunnels_device_is_put_right_counted_and_named(tunnelled: World, command: str, wrong: str) -> None:
    before = tunnel_of(tunnelled)
    repairs = repairs_of(tunnelled, "tunnels", "vxlan.calico")
    tunnelled.ip("h", command)
    until(lambda: repairs_of(tunnelled, "tunnels", "vxlan.calico") > repairs, "the repair was counted")
    said = put_right(tunnelled, "tunnels", "vxlan.calico", lambda: tunnel_of(tunnelled) == before)
    assert wrong in said


def test_a_route_into_a_tunnel_comes_back_and_is_named(tunnelled: World) -> None:
    before = tunnel_of(tunnelled)
    tunnelled.ip("h", "route del 10.66.1.0/26 metric 1100")
    put_right(tunnelled, "tunnels", "10.66.1.0/26", lambda: tunnel_of(tunnelled) == before)


def repairs_of(world: World, kind: str, name: str) -> int:
    """How often a thing was put right, as its condition says."""
    said = world.conditions(f"drift-{kind}").get(name, "")
    return 1 if "put right once" in said else int((re.findall(r"put right (\d+) times", said) or ["0"])[0])


def tunnel_of(world: World) -> list[str]:
    """The device, its addresses and the routes into it; not its number, which is another each time."""
    link = re.sub(r"^\d+: ", "", world.show("h", "-d link show dev vxlan.calico")) if has_tunnel(world) else ""
    if not link:
        return []
    more = (world.show("h", f"{what} show dev vxlan.calico") for what in ("-o -4 addr", "route", "neigh"))
    return [link, *(re.sub(r"^\d+: ", "", text) for text in more)]


def has_tunnel(world: World) -> bool:
    return "vxlan.calico" in world.show("h", "link")


def tc(world: World, command: str) -> str:
    words = ["tc", "-n", world.netns("h"), *command.split()]
    return subprocess.run(words, text=True, capture_output=True, check=True).stdout


def qdiscs(world: World, interface: str) -> str:
    return tc(world, f"qdisc show dev {interface}")


def test_what_others_do_to_their_own_tables_is_no_drift(host: World) -> None:
    """Nor is the table read back for it."""
    repairs = host.log().count("put right what others changed")
    with host.foreign("chain c { type filter hook forward priority 9; }"):
        host.nft("add rule inet foreign c counter")
        time.sleep(2.5)  # the audit has looked
    host.settle()
    assert host.log().count("put right what others changed") == repairs
    assert not host.conditions("drift-ruleset")


def load_large_sets(world: World) -> None:
    """Some of different sizes, each followed by a foreign change that makes Felix read the table back."""
    nets = [f"10.{n >> 16 & 255}.{n >> 8 & 255}.{n & 255}/32" for n in range(MEMBERS)]
    rule = {"action": "Allow", "source": {"selector": "set == 'large'"}}
    policy = {"selector": "app == 'b'", "types": ["Ingress"], "ingress": [rule]}
    for n in range(3):
        world.apply(resource("GlobalNetworkSet", "large", {"nets": nets[: MEMBERS - n * 7000]}, set="large"),
                    resource("GlobalNetworkPolicy", "q", policy))  # fmt: skip
        with world.foreign(""):
            world.apply(resource("GlobalNetworkSet", "small", {"nets": ["192.0.2.77/32"]}, set=f"small{n}"))
        world.delete("GlobalNetworkSet", "large")
    world.delete("GlobalNetworkPolicy", "q")


def test_where_the_table_cannot_be_owned_it_is_put_right_soon(old_kernel: World) -> None:
    """But nothing is put right that only looks wrong: a large set that is read back right after it was loaded."""
    world = old_kernel
    load_large_sets(world)
    assert "put right what others changed" not in world.log().rpartition("felix starts")[2]
    denied = [{"action": "Deny", "protocol": "TCP", "destination": {"ports": [81]}}, {"action": "Allow"}]
    policy = {"selector": "app == 'b'", "types": ["Ingress"], "ingress": denied}
    world.apply(resource("GlobalNetworkPolicy", "p", policy))
    before = sorted(world.ruleset("-s").splitlines())
    for command in (
        "flush ruleset",
        "delete table inet calico",
        "flush chain inet calico pi-gnp/p",
        "flush set inet calico wl-src4",
        "insert rule inet calico to-workload accept",
    ):
        assert world.nft(command) == 0
        until(lambda: sorted(world.ruleset("-s").splitlines()) == before, f"it was put right after {command}")
        for family in (4, 6):
            world.expect(family, "a>b tcp:80", "!a>b tcp:81")
    assert "changed: " in until(lambda: world.conditions("drift-ruleset").get("calico"), "it was named")


def test_a_program_that_fights_is_named_and_not_fought_at_full_speed(host: World) -> None:
    address = host.address("b", 4)
    before = host.log().count("put right what others changed")
    fight = f"while true; do ip -n {host.netns('h')} route del {address}/32 dev calib 2>/dev/null; sleep 0.01; done"
    other = subprocess.Popen(["sh", "-c", fight])
    try:
        until(lambda: host.conditions("drift-fight").get(f"routes {address}/32"), "the fight was named")
        time.sleep(2.5)
    finally:
        other.kill()
        other.wait()
    repairs = host.log().count("put right what others changed") - before
    assert 5 <= repairs <= 8, "at once five times, then after 1, 2, 4 seconds"
    until(lambda: route_of(host, "b", 4), "the route came back", deadline_s=40)
    host.expect(4, "x>b tcp:80")


def test_a_quiet_host_costs_one_netlink_message_a_look(host: World, tmp_path: Path) -> None:
    file = tmp_path / "sent"
    host.kill_felix()
    host.start_felix(ENDING, "--count", str(file))
    try:
        host.settle()
        host.expect(4, "x>a tcp:80")
        process = host.felix
        assert process is not None

        def sent() -> int:
            file.unlink(missing_ok=True)
            os.kill(process.pid, signal.SIGUSR1)
            until(file.exists, "Felix told how many messages it sent")
            return int(file.read_text())

        time.sleep(2)
        begin, first = time.monotonic(), sent()
        time.sleep(4.2)
        last, looks = sent(), (time.monotonic() - begin) / 2.0
        assert 1 <= last - first <= looks + 1, f"{last - first} messages in {looks:.1f} looks"
    finally:
        host.restart_felix()
