"""Routes, communities and passwords between our hosts and routers of other makes."""

from __future__ import annotations

from typing import Any

import pytest
from speaker import FarEnd

pytestmark = [pytest.mark.root, pytest.mark.bird, pytest.mark.etcd, pytest.mark.routers]

KINDS = ("frr", "gobgp", "exabgp")
OURS, THEIRS = 64512, 65009


def _ends(number: int = 1, **options: Any) -> list[FarEnd]:
    return [FarEnd(address, OURS, **options) for address in (f"10.99.0.{number}", f"fd99::{number:x}")]


def _rack(fabric: Any, **spec: Any) -> None:
    """Our side: pools, no mesh, and the router as a peer of all nodes by either family."""
    fabric.put("ippools", "v4", "IPPool", {"cidr": "10.65.0.0/16"})
    fabric.put("ippools", "v6", "IPPool", {"cidr": "fd65::/48"})
    fabric.config(nodeToNodeMeshEnabled=False)
    for name, address in (("tor4", "10.99.0.9"), ("tor6", "fd99::9")):
        fabric.peer(name, peerIP=address, asNumber=THEIRS, **spec)


def _settled(fabric: Any, tor: Any, host: Any) -> None:
    for far in (host.ipv4, host.ipv6):
        fabric.until(lambda far=far: tor.is_up(far), f"{tor.name} says that the session with {far} is up")
    fabric.until(lambda: host.is_settled(sessions=2), "so does our BIRD")


@pytest.mark.parametrize("kind", KINDS)
def test_routes_of_both_families_pass_both_ways_and_are_withdrawn(fabric: Any, speaker: Any, kind: str) -> None:
    _rack(fabric)
    tor = speaker(kind, 9, THEIRS)
    tor.start(*_ends())
    host = fabric.add_host(1)
    _settled(fabric, tor, host)
    tor.announce("10.77.1.0/24")
    tor.announce("fd77:1::/64")
    host.workload(1, "10.65.1.1", "fd65::1:1")
    fabric.until(lambda: host.has_route("10.77.1.0/24", via="10.99.0.9"), "its IPv4 route is in our kernel")
    hops = ("fe80:", "fd99::9")  # FRR tells its link-local address, too, if it has one when the session comes up
    fabric.until(lambda: any(host.has_route("fd77:1::/64", via=hop) for hop in hops), "its IPv6 route is in our kernel")
    fabric.until(lambda: tor.knows("10.65.1.1/32", "10.99.0.1"), "it knows our IPv4 workload")
    fabric.until(lambda: tor.knows("fd65::1:1/128", "fd99::1"), "it knows our IPv6 workload")
    for prefix in ("10.65.1.1/32", "fd65::1:1/128"):
        (path,) = tor.paths(prefix)
        assert path.as_path == (OURS,)
    tor.withdraw("10.77.1.0/24")
    tor.withdraw("fd77:1::/64")
    fabric.until(lambda: not host.has_route("10.77.1.0/24"), "what it withdraws leaves our kernel")
    fabric.until(lambda: not host.has_route("fd77:1::/64"), "in IPv6, too")
    host.ip("link", "del", "cali1")
    fabric.until(lambda: not tor.knows("10.65.1.1/32"), "it forgets our IPv4 workload")
    fabric.until(lambda: not tor.knows("fd65::1:1/128"), "it forgets our IPv6 workload")


@pytest.mark.parametrize("kind", KINDS)
def test_a_session_needs_the_same_password_at_both_ends(fabric: Any, speaker: Any, kind: str) -> None:
    fabric.secret("tor", "md5", "battery-staple")
    _rack(fabric, password={"secretKeyRef": {"name": "tor", "key": "md5"}})
    tor = speaker(kind, 9, THEIRS)
    tor.start(*_ends(password="correct-horse"))
    host = fabric.add_host(1)
    (condition,) = fabric.until(lambda: host.has_condition("bgp-password-mismatch"), "the wrong password is noticed")
    assert "another password" in condition["message"]
    assert host.established == []
    assert not any(tor.is_up(far) for far in (host.ipv4, host.ipv6))
    fabric.secret("tor", "md5", "correct-horse")
    _settled(fabric, tor, host)
    tor.announce("10.77.1.0/24")
    fabric.until(lambda: host.has_route("10.77.1.0/24"), "routes pass over the signed session")
    fabric.until(lambda: not host.has_condition("bgp-password-mismatch"), "and nothing is wrong any more")


COMMUNITIES = {
    "communities": [{"name": "rack", "value": "65001:100"}],
    "prefixAdvertisements": [
        {"cidr": "10.65.0.0/16", "communities": ["rack", "64512:7:8"]},
        {"cidr": "fd65::/48", "communities": ["rack", "64512:7:8"]},
    ],
}
MARK = [{"addCommunity": {"value": "65001:200"}}, {"addCommunity": {"value": "64512:9:10"}}]
BLOCKED = {"action": "Reject", "communities": {"values": ["65009:666"]}}
NEARER = {
    "action": "Accept",
    "communities": {"values": ["65009:1:100"]},
    "operations": [{"setPriority": {"value": 512}}],
}
FILTER = {
    "exportV4": [
        {"action": "Accept", "cidr": "10.65.2.0/24", "matchOperator": "In", "operations": MARK},
        {"action": "Reject", "cidr": "10.65.3.0/24", "matchOperator": "In"},
    ],
    "exportV6": [{"action": "Accept", "cidr": "fd65::2:0/112", "matchOperator": "In", "operations": MARK}],
    "importV4": [BLOCKED, NEARER],
    "importV6": [BLOCKED, NEARER],
}


@pytest.mark.parametrize("kind", KINDS)
def test_communities_arrive_as_configured_and_decide_what_comes_in(fabric: Any, speaker: Any, kind: str) -> None:
    _rack(fabric, filters=["rack"])
    fabric.put("bgpfilters", "rack", "BGPFilter", FILTER)
    fabric.config(nodeToNodeMeshEnabled=False, **COMMUNITIES)
    tor = speaker(kind, 9, THEIRS)
    tor.start(*_ends())
    host = fabric.add_host(1)
    _settled(fabric, tor, host)
    host.workload(1, "10.65.1.1", "10.65.2.1", "10.65.3.1", "fd65::1:1", "fd65::2:1")
    by_prefix, by_filter = {"65001:100", "64512:7:8"}, {"65001:200", "64512:9:10"}
    wanted = {
        "10.65.1.1/32": by_prefix,
        "10.65.2.1/32": by_filter,
        "fd65::1:1/128": by_prefix,
        "fd65::2:1/128": by_filter,
    }
    for prefix, communities in wanted.items():
        fabric.until(lambda prefix=prefix: tor.knows(prefix), f"{prefix} is announced")
        (path,) = tor.paths(prefix)
        assert path.communities == communities, prefix
    assert not tor.knows("10.65.3.1/32")
    for network in ("10.77.{}.0/24", "fd77:{}::/64"):
        tor.announce(network.format(1), "65009:666", "65009:5")
        tor.announce(network.format(2), "65009:1:100")
        tor.announce(network.format(3))
    for family, network in (("-4", "10.77.{}.0/24"), ("-6", "fd77:{}::/64")):
        shown = ("route", "show", network.format(2))
        fabric.until(
            lambda of=family, shown=shown: "metric 512" in host.ip(of, *shown), "one community sets the priority"
        )
        shown = ("route", "show", network.format(3))
        fabric.until(
            lambda of=family, shown=shown: "metric 1024" in host.ip(of, *shown), "without it a route is normal"
        )
        assert not host.has_route(network.format(1)), "another community keeps a route out"
