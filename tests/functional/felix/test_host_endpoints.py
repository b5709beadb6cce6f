"""Host endpoints (data model 15.4) with packets: which interface they are, what each kind of policy lets through."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from felix_flows import Talk, counted, figures, forget_all, tcp, tracked
from felix_packets import Packet
from felix_world import World, resource, until

from calico.dataplane.netns import in_netns

DEFAULT_ALLOW = ["projectcalico-default-allow"]
BASE_CHAINS = ("raw-output", "pre-dnat", "host-postrouting")


@pytest.fixture(scope="module")
def module_world() -> Iterator[World]:
    made = World(("a", "b"))
    try:
        made.add_network("y", 1)
        made.start_etcd()
        made.cluster()
        made.start_felix()
        made.settle()
        yield made
    finally:
        made.close()


@pytest.fixture
def world(module_world: World) -> World:
    """A host with two networks outside (x by ext0, y by ext1) and no host endpoint yet."""
    if module_world.felix is None or module_world.felix.poll() is not None:
        module_world.start_felix()
    module_world.clear()
    return module_world


def hep(name: str = "hep", **spec: Any) -> dict[str, Any]:
    """A host endpoint; its label ``hep`` is its name."""
    return resource("HostEndpoint", name, {"node": "h1", **spec}, hep=name)


def ext0(**spec: Any) -> dict[str, Any]:
    return hep("hep", interfaceName="ext0", **spec)


def rule(action: str, protocol: str = "", *ports: int) -> dict[str, Any]:
    found: dict[str, Any] = {"action": action}
    if protocol:
        found["protocol"] = protocol
    if ports:
        found["destination"] = {"ports": list(ports)}
    return found


def policy(name: str, *, selector: str = "has(hep)", **spec: Any) -> dict[str, Any]:
    types = [word for word in ("Ingress", "Egress") if word.lower() in spec]
    return resource("GlobalNetworkPolicy", name, {"selector": selector, "types": types, **spec})


def passes(world: World, family: int, text: str, *, sees: str, **changes: Any) -> bool:
    """Whether the packet of a flow's text arrives at a machine, whoever it was sent to."""
    (got,) = world.passed((text[0], sees, world.packet(text, family)._replace(**changes)))
    return got


def ask(sock: socket.socket) -> bytes:
    """Send something and wait for an answer, which may be an ICMP error. What its own host denies fails at once."""
    with suppress(PermissionError):
        sock.send(b"?")
    return sock.recv(10)


def insist(sock: socket.socket) -> None:
    """Ask until an answer comes, for the kernel limits the ICMP errors it sends a second."""
    sock.settimeout(0.5)
    for _ in range(60):
        with suppress(TimeoutError):
            ask(sock)


# -- to and from the host ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "spec", [{"interfaceName": "ext0"}, {"expectedIPs": ["192.0.2.1"]}, {"interfaceName": "*"}],
    ids=["named", "expected", "all"],
)  # fmt: skip
def test_policy_decides_what_reaches_and_leaves_the_host(world: World, family: int, spec: dict[str, Any]) -> None:
    world.expect(family, "x>h tcp:80", "x>h udp:80", "h>x tcp:80", "h>x udp:80")
    world.apply(
        hep(**spec),
        policy("in", ingress=[rule("Deny", "TCP", 81), rule("Allow", "TCP")]),
        policy("out", egress=[rule("Allow", "UDP", 80)]),
    )
    world.expect(family, "x>h tcp:80", "!x>h tcp:81", "!x>h udp:80", "!h>x tcp:80", "h>x udp:80", "!h>x udp:81")
    elsewhere = "!" if spec.get("interfaceName") == "*" else ""
    world.expect(family, f"{elsewhere}y>h udp:80", f"{elsewhere}h>y tcp:80", "x>a tcp:80", "a>x tcp:80", "x>y udp:80")
    world.delete("GlobalNetworkPolicy", "in")
    world.delete("GlobalNetworkPolicy", "out")
    world.delete("HostEndpoint", "hep")
    world.expect(family, "x>h udp:80", "h>x tcp:80")


def test_without_policy_and_profile_only_failsafe_ports_are_open(world: World, family: int) -> None:
    """Also when no neighbour is known any more, so that IPv6 has to find the other's address first."""
    world.apply(ext0())
    for name in ("h", "x"):
        world.show(name, f"-{family} neigh flush all")
    world.expect(family, "x>h tcp:22", "x>h udp:68", "!x>h tcp:80", "!x>h udp:22", "!x>h icmp")
    world.expect(family, "h>x udp:53", "h>x tcp:179", "!h>x tcp:22", "!h>x tcp:80", "!h>x icmp")


def test_known_connections_end_that_policy_forbids_and_the_others_go_on(world: World, family: int) -> None:
    world.apply(ext0(profiles=DEFAULT_ALLOW))
    world.expect(family, "x>h udp:5000:6000", "h>x udp:6000:5000", "x>h udp:5000:6001", "h>x udp:6001:5000")
    world.expect(family, "x>a udp:5000:6000", "a>x udp:6000:5000")
    world.apply(policy("in", ingress=[rule("Allow", "UDP", 6001)]), policy("out", egress=[rule("Deny")]))
    figures(world)
    world.expect(family, "!x>h udp:5000:6000", "!h>x udp:6000:5000", "x>h udp:5000:6001", "h>x udp:6001:5000")
    world.expect(family, "x>a udp:5000:6000", "a>x udp:6000:5000", "!h>x udp:6001:5001")


def test_connections_through_the_host_end_that_forward_policy_forbids(world: World, family: int) -> None:
    world.apply(ext0(profiles=DEFAULT_ALLOW))
    world.expect(family, "x>y udp:5000:6000", "y>x udp:6000:5000", "x>y udp:5000:6001", "y>x udp:6001:5000")
    world.apply(policy("through", applyOnForward=True, ingress=[rule("Allow", "UDP", 6001)]))
    figures(world)
    world.expect(family, "!x>y udp:5000:6000", "x>y udp:5000:6001", "y>x udp:6001:5000")


def test_the_default_allow_profile_opens_what_no_policy_governs(world: World, family: int) -> None:
    world.apply(ext0(profiles=DEFAULT_ALLOW))
    world.expect(family, "x>h tcp:80", "h>x tcp:80", "x>h icmp")
    world.apply(policy("in", ingress=[rule("Allow", "TCP", 80)]))
    world.expect(family, "x>h tcp:80", "!x>h tcp:81", "h>x tcp:81")


def test_failsafe_ports_are_those_of_the_configuration(world: World, family: int) -> None:
    nets = ["198.51.100.0/24", "2001:db8:7::/64"]
    inbound = [{"protocol": "TCP", "port": 2022, "net": net} for net in nets]
    spec = {"failsafeInboundHostPorts": inbound, "failsafeOutboundHostPorts": []}
    world.apply(ext0(), resource("FelixConfiguration", "default", spec), settle=False)
    until(lambda: "2022" in world.ruleset(), "the ports were programmed")
    world.settle()
    other = world.packet("x2>h tcp:2022", family)
    world.expect(family, "!x>h tcp:22", "!x>h tcp:2022", "!h>x udp:53")
    assert world.passed(("x", "h", other), expected=1) == [True]
    world.delete("FelixConfiguration", "default", settle=False)
    until(lambda: "2022" not in world.ruleset(), "the defaults were programmed again")
    world.settle()
    world.expect(family, "x>h tcp:22", "!x>h tcp:2022", "h>x udp:53")


def test_what_is_rejected_is_answered(world: World, family: int) -> None:
    world.restart_felix(FELIX_NFTABLESFILTERDENYACTION="Reject")
    try:
        world.apply(ext0())
        target, host = world.address("x", family), world.address("h", family)
        for name, address in (("h", target), ("x", host)):
            with world.socket(name, family, 2) as sock:
                sock.connect((address, 80))
                with pytest.raises(ConnectionRefusedError):
                    insist(sock)
    finally:
        world.restart_felix()


# -- through the host -------------------------------------------------------------------------------------------------


def test_only_policy_that_applies_on_forward_judges_what_goes_through(world: World, family: int) -> None:
    rules = {"ingress": [rule("Allow", "TCP", 80)], "egress": [rule("Allow", "UDP", 53)]}
    world.apply(ext0(), policy("p", **rules))
    world.expect(family, "x>a tcp:81", "a>x tcp:81", "x>y tcp:81", "y>x tcp:81", "!x>h tcp:81")
    world.apply(policy("p", applyOnForward=True, **rules))
    world.expect(family, "x>a tcp:80", "!x>a tcp:81", "!x>a tcp:22", "a>x udp:53", "!a>x udp:54", "!a>x tcp:80")
    world.expect(family, "x>y tcp:80", "!x>y tcp:81", "y>x udp:53", "!y>x udp:54", "y>a tcp:81", "h>a tcp:81")


def test_forward_policy_of_one_direction_leaves_the_other_open(world: World, family: int) -> None:
    world.apply(ext0(), policy("p", applyOnForward=True, ingress=[rule("Allow", "TCP", 80)]))
    world.expect(family, "!x>a udp:80", "a>x udp:80", "!x>y udp:80", "y>x udp:80")


def test_a_workloads_own_policy_still_decides(world: World, family: int) -> None:
    world.apply(
        ext0(),
        policy("p", applyOnForward=True, ingress=[rule("Allow")]),
        policy("w", selector="app == 'a'", ingress=[rule("Allow", "TCP", 80)]),
    )
    world.expect(family, "x>a tcp:80", "!x>a tcp:81", "x>b tcp:81")


# -- before DNAT ------------------------------------------------------------------------------------------------------


def test_pre_dnat_policy_judges_the_port_that_was_asked(world: World, family: int) -> None:
    """Somebody else sends two ports of the host to a workload, and one to a port of the host."""
    word, target = ("ip", world.address("a", 4)) if family == 4 else ("ip6", f"[{world.address('a', 6)}]")
    nat = f"""chain nat {{ type nat hook prerouting priority dstnat;
      meta nfproto {"ipv4" if family == 4 else "ipv6"} tcp dport {{ 8080, 8081 }} dnat {word} to {target}:80;
      meta nfproto {"ipv4" if family == 4 else "ipv6"} tcp dport 8082 redirect to :80; }}"""
    with world.foreign(nat):
        world.apply(ext0(), policy("forward", applyOnForward=True, ingress=[], order=9))
        assert not passes(world, family, "x>h tcp:8080", sees="a")
        rules = [rule("Allow", "TCP", 8080, 8082), rule("Deny", "TCP", 80, 8081)]
        world.apply(policy("p", preDNAT=True, applyOnForward=True, ingress=rules))
        assert passes(world, family, "x>h tcp:8080", sees="a")
        assert not passes(world, family, "x>h tcp:8081", sees="a")
        assert passes(world, family, "x>h tcp:8082", sees="h"), "normal policy is skipped"
        world.expect(family, "!x>h tcp:80", "x>h tcp:22", "!x>a tcp:80")
        world.apply(policy("w", selector="app == 'a'", ingress=[rule("Allow", "UDP")]))
        assert not passes(world, family, "x>h tcp:8080", sees="a"), "the workload's own policy is not"


def test_pre_dnat_policy_is_for_the_endpoint_of_all_interfaces_too(world: World, family: int) -> None:
    world.apply(
        hep(interfaceName="*", profiles=DEFAULT_ALLOW),
        policy("p", preDNAT=True, applyOnForward=True, ingress=[rule("Deny", "TCP", 80)]),
    )
    world.expect(family, "!x>h tcp:80", "!y>h tcp:80", "!x>a tcp:80", "x>h tcp:81", "a>b tcp:80", "a>x tcp:80")


# -- without connection tracking --------------------------------------------------------------------------------------


def untracked(**spec: Any) -> dict[str, Any]:
    return policy("u", doNotTrack=True, applyOnForward=True, **spec)


def test_what_untracked_policy_allows_passes_both_ways_and_is_not_tracked(world: World, family: int) -> None:
    ours, theirs = world.address("h", family), world.address("x", family)
    answer = {"action": "Allow", "protocol": "UDP", "source": {"ports": [5000]}}
    world.apply(ext0(), untracked(ingress=[rule("Allow", "UDP", 5000), rule("Deny", "UDP", 5001)], egress=[answer]))
    for address in (ours, theirs):
        world.forget_flows(address)
    world.expect(family, "x>h udp:6000:5000", "h>x udp:5000:6000", "!x>h udp:6000:5001")
    assert world.forget_flows(theirs) == 0
    world.expect(family, "x>h udp:68", "!x>h udp:5002", "!h>x udp:5003:6000")
    assert world.forget_flows(theirs) > 0, "what it does not decide is tracked"


def test_untracked_policy_closes_no_failsafe_port_and_lets_their_replies_through(world: World, family: int) -> None:
    world.apply(ext0(profiles=DEFAULT_ALLOW), untracked(ingress=[rule("Deny")], egress=[rule("Deny")]))
    world.expect(family, "x>h tcp:7000:22", "h>x tcp:22:7000", "h>x udp:7000:53", "x>h udp:53:7000")
    world.expect(family, "!x>h tcp:80", "!h>x tcp:80", "!x>a tcp:80", "a>x tcp:80")


def test_what_untracked_policy_lets_through_meets_policy_of_the_workload(world: World, family: int) -> None:
    world.apply(
        ext0(),
        untracked(ingress=[rule("Allow", "UDP")]),
        policy("f", applyOnForward=True, ingress=[rule("Deny")]),
        policy("w", selector="app == 'a'", ingress=[rule("Allow", "UDP", 80)]),
    )
    world.forget_flows(world.address("x", family))
    world.expect(family, "x>a udp:80", "!x>a udp:81", "x>b udp:81", "!x>b tcp:81")


def test_a_mark_of_somebody_else_opens_nothing(world: World, family: int) -> None:
    marks = """chain before { type filter hook prerouting priority -350; meta mark set 0xffffffff; }
      chain sent { type filter hook output priority -350; meta mark set 0xffffffff; }"""
    allowed = [rule("Allow", "UDP", 5000)]
    with world.foreign(marks):
        world.apply(
            ext0(),
            untracked(ingress=allowed, egress=allowed),
            policy("p", preDNAT=True, applyOnForward=True, ingress=[rule("Allow", "UDP", 5001)]),
            policy("f", applyOnForward=True, ingress=[rule("Allow", "UDP", 5002)]),
        )
        world.expect(family, "x>h udp:5000", "x>h udp:5001", "x>h udp:5002", "!x>h udp:5003", "!h>x udp:5003")
        world.expect(family, "x>a udp:5000", "x>a udp:5001", "x>a udp:5002", "!x>a udp:5003", "h>x udp:5000")


# -- the host and its workloads ---------------------------------------------------------------------------------------


def test_the_host_reaches_its_workloads_whatever_its_endpoints_say(world: World, family: int) -> None:
    world.apply(hep(interfaceName="*"), policy("out", egress=[rule("Deny")]))
    world.expect(family, "h>a tcp:80", "h>b udp:80", "!h>x tcp:80", "!h>y tcp:80")


def test_a_workload_reaches_the_host_by_its_own_policy_and_the_action(world: World, family: int) -> None:
    world.restart_felix(FELIX_DEFAULTENDPOINTTOHOSTACTION="Return")
    try:
        closed = policy("p", preDNAT=True, applyOnForward=True, ingress=[rule("Deny")])
        world.apply(hep(interfaceName="*"), closed)
        world.expect(family, "a>h tcp:80", "a>h udp:53", "!x>h tcp:80")
        world.apply(policy("w", selector="app == 'a'", egress=[rule("Allow", "UDP")]))
        world.expect(family, "!a>h tcp:80", "a>h udp:53", "b>h tcp:80")
        with world.foreign("chain in { type filter hook input priority 9; tcp dport 80 drop; }"):
            world.expect(family, "!b>h tcp:80", "b>h tcp:81")
    finally:
        world.restart_felix()
    world.expect(family, "!a>h udp:53", "!b>h tcp:80")


# -- what the host sends, and somebody translates ---------------------------------------------------------------------


def test_what_the_host_sends_is_judged_by_where_it_really_leaves(world: World, family: int) -> None:
    one, other = world.address("x", family), world.address("y", family)
    word, kind = ("ip", "ipv4") if family == 4 else ("ip6", "ipv6")
    nat = f"""chain nat {{ type nat hook output priority -100;
      {word} daddr {one} tcp dport 8080 dnat {word} to {f"[{other}]" if family == 6 else other}:80;
      {word} daddr {other} tcp dport 8081 dnat {word} to {f"[{one}]" if family == 6 else one}:80;
      meta nfproto {kind} tcp dport 8082 dnat {word} to {world.address("a", family)}; }}"""
    with world.foreign(nat):
        world.apply(
            hep("one", interfaceName="ext0"),
            hep("two", interfaceName="ext1"),
            policy("p", selector="hep == 'one'", egress=[rule("Allow", "TCP", 8080, 8081)]),
            policy("q", selector="hep == 'two'", egress=[rule("Allow", "TCP", 80)]),
        )
        assert passes(world, family, "h>x tcp:8080", sees="y"), "the way out allows what it became"
        assert not passes(world, family, "h>y tcp:8081", sees="x"), "the way out denies what it became"
        assert passes(world, family, "h>x tcp:8082", sees="a"), "the host reaches its workloads"
        world.apply(policy("q", selector="hep == 'two'", egress=[rule("Allow", "TCP", 8080)]))
        assert not passes(world, family, "h>x tcp:8080", sees="y")
        world.expect(family, "!h>y tcp:80", "h>y tcp:8080")


# -- which interface --------------------------------------------------------------------------------------------------


def test_a_name_beats_an_address_and_the_first_of_two_with_the_same_claim_has_it(world: World, family: int) -> None:
    world.apply(
        hep("a1", expectedIPs=["192.0.2.1"]),
        hep("b1", interfaceName="ext0"),
        hep("b2", interfaceName="ext0"),
        hep("c", interfaceName="*"),
        *(policy(name, selector=f"hep == '{name}'", ingress=[rule("Allow", "TCP", port)])
          for name, port in (("a1", 1), ("b1", 2), ("b2", 3), ("c", 4))),
    )  # fmt: skip
    world.expect(family, "!x>h tcp:1", "x>h tcp:2", "!x>h tcp:3", "!x>h tcp:4", "y>h tcp:4", "!y>h tcp:2")
    world.delete("HostEndpoint", "b1")
    world.expect(family, "!x>h tcp:1", "!x>h tcp:2", "x>h tcp:3", "!x>h tcp:4")
    world.delete("HostEndpoint", "b2")
    world.expect(family, "x>h tcp:1", "!x>h tcp:3", "!x>h tcp:4")
    world.delete("HostEndpoint", "a1")
    world.expect(family, "!x>h tcp:1", "x>h tcp:4", "y>h tcp:4")


def interfaces(world: World, name: str) -> list[str]:
    found: list[str] = world.status["host_endpoints"].get(name, {}).get("interfaces", [])
    return found


def test_an_interface_is_resolved_anew_when_its_addresses_change(world: World, family: int) -> None:
    mine = "192.0.2.77" if family == 4 else "2001:db8::77"
    length = 24 if family == 4 else 64
    world.apply(hep(expectedIPs=[mine]))
    world.expect(family, "x>h tcp:80", "y>h tcp:80")
    assert interfaces(world, "hep") == []
    try:
        world.ip("h", f"addr add {mine}/{length} dev ext0" + " nodad" * (family == 6))
        until(lambda: interfaces(world, "hep") == ["ext0"], "the address was seen")
        world.expect(family, "!x>h tcp:80", "y>h tcp:80", "x>h tcp:22")
        world.ip("h", f"addr del {mine}/{length} dev ext0", f"addr add {mine}/{length} dev ext1")
        until(lambda: interfaces(world, "hep") == ["ext1"], "the address was seen to move")
        world.expect(family, "x>h tcp:80", "!y>h tcp:80")
    finally:
        world.ip("h", f"addr del {mine}/{length} dev ext1")
    until(lambda: interfaces(world, "hep") == [], "the address was seen to go")
    world.expect(family, "x>h tcp:80", "y>h tcp:80")


def test_an_address_that_is_there_with_another_prefix_length_too_is_not_gone(world: World) -> None:
    """As when the length is changed without being unreachable for a moment."""
    world.apply(hep(expectedIPs=["192.0.2.77"]))
    try:
        world.ip("h", "addr add 192.0.2.77/32 dev ext0", "addr add 192.0.2.77/30 dev ext0")
        until(lambda: interfaces(world, "hep") == ["ext0"], "the address was seen")
        world.ip("h", "addr del 192.0.2.77/32 dev ext0")
        world.expect(4, "!x>h tcp:80", "x>h tcp:22")
        assert interfaces(world, "hep") == ["ext0"]
    finally:
        world.ip("h", "addr del 192.0.2.77/30 dev ext0")
    until(lambda: interfaces(world, "hep") == [], "the address was seen to go")


def test_an_interface_is_resolved_anew_when_it_is_renamed_or_made_again(new_world: Any, family: int) -> None:
    world: World = new_world("a")
    world.add_network("y", 1)
    world.start_etcd()
    world.cluster()
    world.start_felix()
    world.apply(hep("name", interfaceName="ext1"), hep("rest", interfaceName="*", profiles=DEFAULT_ALLOW))
    world.expect(family, "!y>h tcp:80", "y>h tcp:22", "x>h tcp:80")
    world.ip("h", "link set ext1 down", "link set ext1 name lan1", "link set lan1 up")
    world.ip("h", f"addr replace {world.address('y', 6)[:-1]}1/64 dev lan1 nodad")
    until(lambda: interfaces(world, "rest") == ["ext0", "lan1"], "the new name was seen")
    world.expect(family, "y>h tcp:80")
    world.ip("h", "link set lan1 down", "link set lan1 name ext1", "link set ext1 up")
    world.ip("h", f"addr replace {world.address('y', 6)[:-1]}1/64 dev ext1 nodad")
    until(lambda: interfaces(world, "name") == ["ext1"], "the old name was seen")
    world.expect(family, "!y>h tcp:80")
    world.ip("h", "link del ext1")
    until(lambda: interfaces(world, "name") == [], "the interface was seen to go")
    world.wire_network("y", 1)
    world.reopen("y")
    until(lambda: interfaces(world, "name") == ["ext1"], "the new interface was seen")
    world.expect(family, "!y>h tcp:80", "y>h tcp:22", "x>h tcp:80")


# -- Felix itself -----------------------------------------------------------------------------------------------------


def everything(world: World) -> None:
    """One of each kind of policy, on a named endpoint and that of all others."""
    allowed = [rule("Allow", "UDP", 5000)]
    world.apply(
        ext0(),
        hep("rest", interfaceName="*", profiles=DEFAULT_ALLOW),
        policy("n", selector="hep == 'hep'", ingress=[rule("Allow", "TCP", 80)]),
        policy("f", selector="hep == 'hep'", applyOnForward=True, egress=[rule("Allow", "TCP", 81)]),
        policy("u", selector="hep == 'hep'", doNotTrack=True, applyOnForward=True, ingress=allowed, egress=allowed),
        policy("d", preDNAT=True, applyOnForward=True, ingress=[rule("Deny", "TCP", 82)]),
    )


def expect_everything(world: World, family: int) -> None:
    world.expect(family, "x>h tcp:80", "!x>h tcp:81", "x>h udp:5000", "h>x udp:5000", "h>x tcp:81", "!h>x tcp:80")
    world.expect(family, "a>x tcp:81", "!a>x tcp:80", "!y>h tcp:82", "!y>a tcp:82", "y>h tcp:83", "x>h tcp:22")


def test_policy_of_host_endpoints_outlives_felix_and_is_the_same_after_its_return(world: World, family: int) -> None:
    everything(world)
    expect_everything(world, family)
    before = sorted(line for line in world.ruleset().splitlines() if "progname" not in line)
    world.kill_felix()
    expect_everything(world, family)
    world.start_felix()
    world.settle()
    expect_everything(world, family)
    assert sorted(line for line in world.ruleset().splitlines() if "progname" not in line) == before


@pytest.mark.parametrize(
    "damage", [{"expectedIPs": ["ten"]}, {"ports": [{"name": "ssh", "protocol": "ICMP", "port": 1}]}, {"ports": "ssh"}]
)
def test_a_damaged_host_endpoint_keeps_its_interface_closed(world: World, family: int, damage: dict[str, Any]) -> None:
    world.expect(family, "x>h udp:80", "h>x udp:80")
    damaged = ext0(**damage)
    world.put_raw({"hostendpoints/hep": json.dumps(damaged)})
    world.expect(family, "x>h tcp:22", "!x>h udp:80", "!h>x udp:80")
    assert "HostEndpoint hep" in {condition["object"] for condition in world.status["conditions"]}
    world.apply(policy("p", ingress=[rule("Allow", "UDP", 80)]))
    world.expect(family, "x>h udp:80", "!x>h udp:81")


def test_the_last_host_endpoint_takes_its_base_chains_along(world: World) -> None:
    before = sorted(world.ruleset().splitlines())
    everything(world)
    listing = world.ruleset()
    assert all(f"chain {name} {{" in listing for name in BASE_CHAINS)
    world.clear()
    assert sorted(world.ruleset().splitlines()) == before
    assert not any(f"chain {name} {{" in world.ruleset() for name in (*BASE_CHAINS, "failsafe-in"))


@pytest.fixture
def spare(world: World) -> Iterator[str]:
    """An interface of the host, whose other end is ``spare1``."""
    world.ip("h", "link add spare0 type veth peer name spare1", "link set spare0 up", "link set spare1 up")
    yield "spare0"
    world.ip("h", "link del spare0")


def test_status_says_which_interfaces_host_endpoints_are_and_is_reported_when_enabled(world: World, spare: str) -> None:
    prefix = "/calico/felix/v1/host/h1/endpoint/"

    def reported() -> dict[str, str]:
        found = world.list(prefix)
        return {key.removeprefix(prefix): json.loads(value)["status"] for key, value in found.items()}

    spec = {"endpointReportingEnabled": True, "endpointReportingDelay": "1s"}
    world.put_raw({f"{prefix}stale": '{"status":"up"}'}, settle=False)
    world.apply(
        resource("FelixConfiguration", "default", spec),
        hep("hep", interfaceName=spare),
        hep("hep2", interfaceName=spare),
        hep("gone", interfaceName="ext9"),
        hep("rest", interfaceName="*"),
    )
    absent = "no interface of the host itself is named ext9, or another host endpoint has it"
    second = "host endpoint hep has the same claim and comes first"
    shown = {
        "gone": {"status": "down", "interfaces": [], "reason": absent},
        "hep": {"status": "up", "interfaces": [spare], "reason": ""},
        "hep2": {"status": "error", "interfaces": [], "reason": second},
        "rest": {"status": "up", "interfaces": ["ext0", "ext1", "spare1"], "reason": ""},
    }
    until(lambda: world.status["host_endpoints"] == shown, "all is shown")
    assert "host endpoint hep " in world.conditions("endpoint-error")["HostEndpoint hep2"]
    wanted = {"gone": "down", "hep": "up", "hep2": "error", "rest": "up"}
    until(lambda: reported() == wanted, "host endpoints were reported, and nothing stale")
    world.ip("h", "link set spare1 down")
    until(lambda: reported().get("hep") == "down", "the interface was seen not to carry packets")
    world.ip("h", "link set spare1 up")
    until(lambda: reported().get("hep") == "up", "the interface was seen to carry packets")
    world.delete("HostEndpoint", "hep")
    until(lambda: reported() == {"gone": "down", "hep2": "up", "rest": "up"}, "the second has the interface now")


def test_a_packet_with_the_hosts_own_source_is_no_packet_of_the_host(world: World, family: int) -> None:
    """From outside with our address as its source: dropped or judged, never let through for it."""
    world.apply(ext0(), policy("p", applyOnForward=True, ingress=[rule("Deny")]))
    stolen = Packet(world.address("h", family), world.address("a", family), 17, 6000, 80)
    assert world.passed(("x", "a", stolen)) == [False]


def test_sessions_of_failsafe_ports_that_were_picked_up_by_a_reply_go_on(world: World, family: int) -> None:
    """Connection tracking that begins in the middle of a session takes whoever speaks next for its initiator."""
    world.apply(ext0(profiles=DEFAULT_ALLOW))
    with (
        tcp(world, family, "x", "h", port=22) as ssh,
        tcp(world, family, "h", "x", port=179) as bgp,
        tcp(world, family, "x", "h", port=8022) as other,
    ):
        forget_all(world)
        for talk in (ssh, bgp, other):
            assert talk.tell()
            assert talk.ask()
        assert tracked(world, "h", "x", family)
        world.apply(ext0())
        figures(world)
        for talk in (ssh, bgp):
            assert talk.ask()
            assert talk.tell()
        assert not other.ask()


def test_sessions_between_link_local_addresses_go_on_since_nobody_can_tell_their_link(world: World) -> None:
    """Every interface has a route to the peer's address: the first is not the one of this session."""
    host, peer = (link_local(world, *end) for end in (("h", "ext1"), ("y", "eth0")))
    world.apply(ext0(profiles=DEFAULT_ALLOW))
    with (
        world.socket("h", 6, socket.SOCK_STREAM) as listener,
        world.socket("y", 6, socket.SOCK_STREAM) as client,
    ):
        listener.bind(host)
        listener.listen()
        client.connect((host[0], listener.getsockname()[1], 0, peer[3]))
        server, _ = listener.accept()
        with server:
            talk = Talk(client, server)
            assert talk.ask()
            assert "dev ext0" in world.show("h", f"-6 route get {peer[0]}")
            world.apply(ext0())
            figures(world)
            assert talk.tell()
            assert talk.ask()


def link_local(world: World, name: str, interface: str) -> tuple[str, int, int, int]:
    """The socket address of a machine on one of its links."""
    shown = world.show(name, f"-6 addr show dev {interface} scope link")
    index = in_netns(world.netns(name), lambda: socket.if_nametoindex(interface))
    return shown.split("inet6 ")[1].split("/")[0], 0, 0, index


def test_sessions_of_the_host_are_its_own_though_an_endpoint_claims_its_address(world: World, family: int) -> None:
    mine = f"{world.address('h', family)}/{32 if family == 4 else 128}"
    claiming = world.endpoint("a")
    claiming["spec"]["ipNetworks"].append(mine)
    figures(world)
    forget_all(world)
    with tcp(world, family, "x", "h", port=22) as session, counted(world) as grown:
        try:
            world.apply(claiming, policy("shut", selector="app == 'a'", ingress=[rule("Deny")], egress=[rule("Deny")]))
            assert grown("cut") == 0
            assert session.tell()
            assert session.ask()
        finally:
            world.apply(world.endpoint("a"))
