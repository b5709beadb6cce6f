"""Several paths, reflection, restarts, BFD and links without addresses, with routers of other makes."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from speaker import FarEnd

pytestmark = [pytest.mark.root, pytest.mark.bird, pytest.mark.etcd, pytest.mark.routers]

OURS, THEIRS = 64512, 65009


def _pools(fabric: Any) -> None:
    fabric.put("ippools", "v4", "IPPool", {"cidr": "10.65.0.0/16"})
    fabric.put("ippools", "v6", "IPPool", {"cidr": "fd65::/48"})
    fabric.config(nodeToNodeMeshEnabled=False)


def _hops(kernel: Any, prefix: str) -> list[str]:
    """The next hops of a route in a kernel, of a multipath route as well."""
    words = kernel.ip("-6" if ":" in prefix else "-4", "route", "show", prefix).split()
    return sorted(words[index + 1] for index, word in enumerate(words) if word == "via")


def test_what_several_routers_announce_is_spread_over_all_of_them(fabric: Any, speaker: Any) -> None:
    _pools(fabric)
    tors = [speaker(kind, number, 65000 + number) for number, kind in enumerate(("frr", "gobgp", "exabgp"), 7)]
    for tor in tors:
        fabric.peer(f"tor{tor.host.number}", peerIP=tor.host.ipv4, asNumber=tor.as_number)
        tor.start(FarEnd("10.99.0.1", OURS))
    host = fabric.add_host(1)
    for tor in tors:
        fabric.until(lambda tor=tor: tor.is_up("10.99.0.1"), f"{tor.name} is up")
        tor.announce("10.77.0.0/16")
    fabric.until(lambda: _hops(host, "10.77.0.0/16") == ["10.99.0.7", "10.99.0.8", "10.99.0.9"], "all three are used")
    tors[1].withdraw("10.77.0.0/16")
    fabric.until(lambda: _hops(host, "10.77.0.0/16") == ["10.99.0.7", "10.99.0.9"], "one has withdrawn it")
    tors[2].stop()
    fabric.until(lambda: _hops(host, "10.77.0.0/16") == ["10.99.0.7"], "one has ended, and its make keeps nothing")


def test_a_router_spreads_over_all_hosts_that_have_an_address(fabric: Any, speaker: Any) -> None:
    _pools(fabric)
    tors = [speaker(kind, number, THEIRS) for number, kind in enumerate(("frr", "gobgp", "exabgp"), 7)]
    for tor in tors:
        for family, address in ((4, tor.host.ipv4), (6, tor.host.ipv6)):
            fabric.peer(f"tor{tor.host.number}-{family}", peerIP=address, asNumber=THEIRS)
        tor.start(*(FarEnd(end, OURS) for n in (1, 2) for end in (f"10.99.0.{n}", f"fd99::{n}")))
    hosts = [fabric.add_host(number) for number in (1, 2)]
    for host in hosts:
        fabric.until(lambda host=host: host.is_settled(sessions=6), "all sessions are up")
        host.workload(1, "10.65.9.9", "fd65::9:9")
    for tor in tors:
        fabric.until(lambda tor=tor: tor.knows("10.65.9.9/32", "10.99.0.1", "10.99.0.2"), f"{tor.name} has both")
        fabric.until(lambda tor=tor: tor.knows("fd65::9:9/128", "fd99::1", "fd99::2"), f"{tor.name} has both of IPv6")
    kernel = tors[0].host
    fabric.until(lambda: _hops(kernel, "10.65.9.9") == ["10.99.0.1", "10.99.0.2"], "FRR's kernel uses both")
    fabric.until(lambda: len(_hops(kernel, "fd65::9:9")) == 2, "also for IPv6")
    hosts[1].ip("link", "del", "cali1")
    fabric.until(lambda: _hops(kernel, "10.65.9.9") == ["10.99.0.1"], "one host has it no longer")


@pytest.mark.parametrize("kind", ["frr", "gobgp"])
def test_a_router_of_another_make_can_reflect_between_our_hosts(fabric: Any, speaker: Any, kind: str) -> None:
    _pools(fabric)
    for family, address in ((4, "10.99.0.9"), (6, "fd99::9")):
        fabric.peer(f"reflector{family}", peerIP=address, asNumber=OURS)
    reflector = speaker(kind, 9, OURS)
    reflector.start(*(FarEnd(end, OURS, client=True) for n in (1, 2) for end in (f"10.99.0.{n}", f"fd99::{n}")))
    first, second = (fabric.add_host(number) for number in (1, 2))
    for host in (first, second):
        fabric.until(lambda host=host: host.is_settled(sessions=2), "the sessions are up")
    inside = first.workload(1, "10.65.1.1", "fd65::1:1")
    second.workload(1, "10.65.2.1", "fd65::2:1")
    for target, hop in (("10.65.2.1", "10.99.0.2"), ("fd65::2:1", "fd99::2")):
        fabric.until(lambda target=target, hop=hop: first.has_route(target, via=hop), f"{target} by its host")
    for target, source in (("10.65.2.1", "10.65.1.1"), ("fd65::2:1", "fd65::1:1")):
        fabric.until(lambda t=target, s=source: _answers(inside, t, s), "packets pass from workload to workload")


def _answers(netns: str, target: str, source: str) -> bool:
    command = ["nsenter", f"--net=/run/netns/{netns}", "ping", "-n", "-c", "1", "-W", "1", "-I", source, target]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def _frr(fabric: Any, speaker: Any, annotations: dict[str, str] | None = None, *, bfd: bool = False) -> tuple[Any, Any]:
    """FRR as the router of one host, with a route of either in the kernel of the other."""
    _pools(fabric)
    fabric.peer("tor", annotations, peerIP="10.99.0.9", asNumber=THEIRS)
    tor = speaker("frr", 9, THEIRS)
    tor.start(FarEnd("10.99.0.1", OURS, bfd=bfd))
    tor.host.ip("addr", "add", "10.77.1.1/32", "dev", "lo")
    host = fabric.add_host(1)
    fabric.until(lambda: tor.is_up("10.99.0.1"), "the session is up")
    tor.announce("10.77.1.0/24")
    host.workload(1, "10.65.1.1")
    fabric.until(lambda: host.has_route("10.77.1.0/24", via="10.99.0.9"), "its route is in our kernel")
    fabric.until(lambda: _hops(tor.host, "10.65.1.1") == ["10.99.0.1"], "ours is in its kernel")
    return host, tor


def test_frr_and_our_hosts_find_out_at_once_by_bfd_that_the_link_is_dead(fabric: Any, speaker: Any) -> None:
    host, tor = _frr(fabric, speaker, {"bgp.calico-network/bfd": "400ms"}, bfd=True)
    fabric.until(lambda: " Up " in host.ask_bird("show bfd sessions"), "our BFD session is up")
    fabric.until(lambda: [peer["status"] for peer in tor.ask("show bfd peers json")] == ["up"], "so is FRR's")
    fabric.cut(host)
    fabric.until(lambda: not host.has_route("10.77.1.0/24"), "our kernel forgets the route long before 90 s")
    fabric.until(lambda: _hops(tor.host, "10.65.1.1") == [], "so does FRR's")
    assert "BFD session down" in host.ask_bird("show protocols all Global_10_99_0_9")
    fabric.mend(host)
    fabric.until(lambda: host.has_route("10.77.1.0/24", via="10.99.0.9"), "the route is back with the link")
    fabric.until(lambda: _hops(tor.host, "10.65.1.1") == ["10.99.0.1"], "at either end")


@pytest.fixture
def watch(fabric: Any) -> Iterator[Any]:
    """What happens to routes of a host's kernel from now on: gives a function that tells it."""
    watchers: list[subprocess.Popen[bytes]] = []

    def begin(host: Any) -> Any:
        path = fabric.directory / f"{host.name}.routes"
        with open(path, "wb") as output:
            command = ["ip", "-n", host.netns, "monitor", "route"]
            watchers.append(subprocess.Popen(command, stdout=output, stderr=output))
        fabric.until(lambda: sees(host, path), "the watcher sees changes")
        return path.read_text

    def sees(host: Any, path: Path) -> bool:
        for change in ("add", "del"):
            host.ip("route", change, "192.0.2.1/32", "dev", "lo")
        return "192.0.2.1" in path.read_text()

    yield begin
    for watcher in watchers:
        watcher.kill()
        watcher.wait()


def test_a_crash_of_bird_takes_no_route_from_kernels_where_routers_know_graceful_restart(
    fabric: Any, speaker: Any, watch: Any
) -> None:
    """FRR has our routes in its kernel, and GoBGP gives us one. (For its first two minutes FRR says that it is
    restarting itself, and nobody waits for one who does: RFC 4724 4.1.)"""
    host, frr = _frr(fabric, speaker)
    gobgp = speaker("gobgp", 8, THEIRS)
    gobgp.start(FarEnd("10.99.0.1", OURS))
    fabric.peer("other", peerIP="10.99.0.8", asNumber=THEIRS)
    fabric.until(lambda: gobgp.is_up("10.99.0.1"), "the other session is up")
    gobgp.announce("10.78.1.0/24")
    fabric.until(lambda: host.has_route("10.78.1.0/24"), "its route is in our kernel")
    ours, theirs = watch(host), watch(frr.host)
    before = host.bird_pid
    os.kill(before, signal.SIGKILL)
    fabric.until(lambda: host.bird_pid != before and host.is_settled(sessions=2), "BIRD is back, and recovery is over")
    for router in (frr, gobgp):
        fabric.until(lambda router=router: router.is_up("10.99.0.1"), f"{router.name} says so, too")
    host.workload(2, "10.65.1.2")
    fabric.until(lambda: "10.65.1.2" in theirs(), "what is new passes")
    assert "Deleted 10.65.1.1" not in theirs()
    assert "Deleted 10.78.1.0/24" not in ours()


def test_a_change_costs_a_router_that_lacks_the_means_its_own_session_alone(fabric: Any, speaker: Any) -> None:
    """ExaBGP is set up without route refresh and graceful restart: a new filter resets its session, and because a
    restart of BIRD would not spare it, so does a new option."""
    _pools(fabric)
    able, unable = speaker("gobgp", 8, THEIRS), speaker("exabgp", 9, THEIRS)
    for router in (able, unable):
        router.start(FarEnd("10.99.0.1", OURS))
        router.announce("10.77.1.0/24")
        router.announce("10.77.2.0/24")
        spec = {"peerIP": router.host.ipv4, "asNumber": THEIRS, "filters": ["f"]}
        fabric.peer(router.name, **spec)
    reject = {"action": "Reject", "matchOperator": "In"}
    fabric.put("bgpfilters", "f", "BGPFilter", {"importV4": [{"cidr": "10.77.1.0/24", **reject}]})
    host = fabric.add_host(1)
    both = ["10.99.0.8", "10.99.0.9"]
    fabric.until(lambda: _hops(host, "10.77.2.0/24") == both, "what the filter lets in is there")
    fabric.until(lambda: host.is_settled(sessions=2), "the sessions are up")
    bird, before = host.bird_pid, host.since()
    fabric.put("bgpfilters", "f", "BGPFilter", {"importV4": [{"cidr": "10.77.2.0/24", **reject}]})
    fabric.until(lambda: _hops(host, "10.77.1.0/24") == both, "the new filter holds for both")
    fabric.until(lambda: _hops(host, "10.77.2.0/24") == [], "the old one for neither")
    fabric.until(lambda: host.status["in_sync"] and not host.status["conditions"], "and nothing is wrong")
    fabric.peer(unable.name, **spec, keepaliveTime="20s")
    fabric.until(lambda: "keepalive time 20" in (host.run_dir / "bird.conf").read_text(), "the option is in force")
    fabric.until(lambda: host.is_settled(sessions=2), "the session is back")
    assert host.bird_pid == bird
    assert host.since()["Global_10_99_0_8"] == before["Global_10_99_0_8"]
    assert host.since()["Global_10_99_0_9"] != before["Global_10_99_0_9"]


OVER = {"bgp.calico-network/interface": "up0", "bgp.calico-network/ipv4-over-ipv6": "true"}


@pytest.mark.parametrize(("ours", "theirs"), [("fe80::9", "fe80::1"), ("::", "down0")], ids=["addresses", "interfaces"])
def test_frr_exchanges_ipv4_routes_on_a_link_without_ipv4_addresses(
    fabric: Any, speaker: Any, ours: str, theirs: str
) -> None:
    """Either end names the other's link-local address, or neither does: FRR then calls who advertises on the link."""
    _pools(fabric)
    tor, host = speaker("frr", 9, THEIRS), fabric.bare_host(1)
    host.ip("link", "add", "up0", "type", "veth", "peer", "name", "down0", "netns", tor.host.netns)
    for end, name, address in ((host, "up0", "fe80::1"), (tor.host, "down0", "fe80::9")):
        end.ip("link", "set", name, "addrgenmode", "none")
        end.ip("addr", "add", f"{address}/64", "dev", name, "nodad")
        end.ip("link", "set", name, "up")
    tor.host.ip("addr", "add", "10.77.1.1/32", "dev", "lo")
    fabric.peer("uplink", OVER, node="node1", peerIP=ours, asNumber=THEIRS)
    fabric.put("nodes", host.name, "Node", {"bgp": {"ipv4Address": f"{host.ipv4}/24"}})
    host.start_agent()
    tor.start(FarEnd(theirs, OURS, link="down0"))
    fabric.until(lambda: tor.is_up(theirs), "the session is up")
    tor.announce("10.77.1.0/24")
    tor.announce("fd77:1::/64")
    inside = host.workload(1, "10.65.1.1", "fd65::1:1")
    fabric.until(
        lambda: host.has_route("10.77.1.0/24", via="inet6 fe80::9 dev up0"), "its IPv4 route by a link address"
    )
    fabric.until(lambda: host.has_route("fd77:1::/64", via="fe80::9 dev up0"), "and that of IPv6")
    for target, hop in (("10.65.1.1", "inet6"), ("fd65::1:1", "fe80::1")):
        fabric.until(lambda target=target, hop=hop: _hops(tor.host, target) == [hop], f"FRR's kernel has {target}")
    fabric.until(lambda: _answers(inside, "10.77.1.1", "10.65.1.1"), "packets pass from the workload to the router")
    assert "default" not in tor.host.ip("-6", "route"), "nobody takes this host for a way out"
