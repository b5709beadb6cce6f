"""What a live BIRD exports to each of its sessions is what the executable specification says, route by route.

One host has sessions of every kind with other BIRDs; routes come from its kernel, its blocks, services, and the
peers. Round by round its filters, pools and blocks are drawn anew.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import random
import re
from collections.abc import Iterator
from functools import partial
from typing import Any

import msgspec
import pytest

from calico.bgp.bird.client import ControlClient
from calico.bgp.birdconf.render import render
from calico.bgp.planning.birdplan import BirdPlan, PeerPlan
from calico.bgp.planning.plan import build_plan
from calico.bgp.planning.reference import Route, exported, imported
from calico.bgp.planning.serviceroutes import ServiceAddress, ServiceRoutes
from calico.bgp.planning.snapshot import SnapshotStore
from calico.datastore.api import Update

pytestmark = [pytest.mark.root, pytest.mark.bird]

ROUNDS = 25
OVER = {"bgp.calico-network/ipv4-over-ipv6": "true"}
BOTH = "fd99::d"
PEERS = {
    "10.99.0.11": 64512,
    "10.99.0.12": 65001,
    "10.99.0.13": 65002,
    "10.99.0.14": 64512,
    "fd99::b": 64512,
    "fd99::c": 65001,
    BOTH: 65002,
}
ROUTERS = (11, 12, 13, 14)  # a BIRD has one session with an address at most
INTERFACES = ("cali1", "tap1", "eth5", "x.cali", "bpfq.cali", "y.calico")
COMMUNITIES = ("65535:0", "65001:1", "65001:2", "65001:7:9", "65002:3:4")


class Case(msgspec.Struct, frozen=True):
    """A route in the host's BIRD, and the address of the peer that it came from."""

    route: Route
    origin: str = ""


def _kernel_routes(draw: random.Random) -> list[Case]:
    nets = ["10.65.1.1/32", "10.65.1.64/32", "10.65.1.70/32", "10.65.9.9/32", "10.66.1.1/32", "10.66.7.0/24"]
    nets += ["10.67.1.1/32", "10.65.2.0/28", "192.0.2.9/32"]
    six = ["fd65::101/128", "fd65::999/128", "fd66::1/128", "fd67::1/128", "fd65::8:0/112"]
    cases = [
        Case(Route(net=net, interface=draw.choice(INTERFACES), metric=draw.choice([0, 0, 512, 1024, 3000])))
        for net in nets
    ]
    for net in six:
        cases.append(Case(Route(net=net, interface=draw.choice(INTERFACES), metric=draw.choice([512, 1024, 3000]))))
    return cases


def _peer_routes(draw: random.Random) -> list[Case]:
    found = []
    for index, (address, as_number) in enumerate(PEERS.items()):
        for family in _families(address):
            nets = (
                [f"10.65.{50 + index}.1/32", f"10.66.{50 + index}.0/24", f"10.65.1.{10 + index}/32"]
                if family == 4
                else [f"fd65::{50 + index}:1/128", f"fd66:{index + 1:x}::/64"]
            )
            for net in nets:
                path = tuple(draw.choices([65100, 65200], k=draw.randint(0, 2)))
                internal = as_number == 64512
                route = Route(
                    net=net,
                    source="peer",
                    interface="eth0",
                    local_preference=draw.choice([100, 2147483647 - 512, 2147483647 - 2000]) if internal else 100,
                    communities=frozenset(_numbers(c) for c in draw.sample(COMMUNITIES, draw.randint(0, 3))),
                    as_path=path if internal else (as_number, *path),
                )
                found.append(Case(route, address))
    return found


def _numbers(community: str) -> tuple[int, ...]:
    return tuple(map(int, community.split(":")))


def _peer_bird(number: int, cases: list[Case]) -> str:
    """A router's BIRD: its sessions, which tell their routes with attributes."""
    mine = [address for address in PEERS if address in (f"10.99.0.{number}", f"fd99::{number:x}")]
    parts = [f"{{log}}\nrouter id 10.99.0.{number};\nprotocol device {{ scan time 2; }}"]
    parts.append("protocol direct { ipv4; ipv6; }")
    for family in (4, 6):
        nets = [case.route.net for case in cases if case.origin in mine and _family(case.route) == family]
        lines = " ".join(f"route {net} blackhole;" for net in nets)
        parts.append(f"protocol static {{ ipv{family}; {lines} }}")
    for index, address in enumerate(mine):
        far = "fd99::1" if ":" in address else "10.99.0.1"
        channels = []
        for family in _families(address):
            told = [case.route for case in cases if case.origin == address and _family(case.route) == family]
            rules = " ".join(_told(route, PEERS[address]) for route in told)
            extended = "extended next hop on; " if family == 4 and ":" in address else ""
            channels.append(f"ipv{family} {{ import all; {extended}export filter {{ {rules} reject; }}; }};")
        parts.append(
            f"protocol bgp p{index} {{ local {address} as {PEERS[address]}; neighbor {far} as 64512; multihop;"
            f" connect delay time 1; connect retry time 1; {' '.join(channels)} }}"
        )
    return "\n".join(parts)


def _families(address: str) -> tuple[int, ...]:
    """What the session with a peer carries."""
    if ":" not in address:
        return (4,)
    return (4, 6) if address == BOTH else (6,)


def _family(route: Route) -> int:
    return ipaddress.ip_network(route.net).version


def _told(route: Route, as_number: int) -> str:
    operations = [f"bgp_local_pref = {route.local_preference};"] if as_number == 64512 else []
    for community in sorted(route.communities):
        kind = "bgp_community" if len(community) == 2 else "bgp_large_community"
        operations.append(f"{kind}.add(({','.join(map(str, community))}));")
    path = route.as_path if as_number == 64512 else route.as_path[1:]
    operations += [f"bgp_path.prepend({number});" for number in reversed(path)]
    return f"if net = {route.net} then {{ {' '.join(operations)} accept; }}"


def _rule(draw: random.Random, family: int) -> dict[str, Any]:
    rule: dict[str, Any] = {"action": draw.choice(["Accept", "Reject"])}
    if draw.random() < 0.6:
        nets = ["10.65.0.0/16", "10.65.1.0/24", "10.66.0.0/15", "10.65.9.9/32", "0.0.0.0/0"]
        rule["cidr"] = draw.choice(nets if family == 4 else ["fd65::/48", "fd64::/14", "fd65::999/128", "::/0"])
        rule["matchOperator"] = draw.choice(["In", "In", "In", "NotIn", "Equal", "NotEqual"])
        if draw.random() < 0.4:
            low, high = sorted(draw.sample(range(8, 33) if family == 4 else range(40, 129), 2))
            rule["prefixLength"] = draw.choice([{"min": low}, {"max": high}, {"min": low, "max": high}])
    if draw.random() < 0.2:
        rule["source"] = "RemotePeers"
    if draw.random() < 0.25:
        rule["interface"] = draw.choice(["cali*", "eth*", "tap1", "*.cali", "*"])
    if draw.random() < 0.25:
        rule["peerType"] = draw.choice(["eBGP", "iBGP"])
    if draw.random() < 0.25:
        rule["communities"] = {"values": [draw.choice(COMMUNITIES)]}
    if draw.random() < 0.2:
        rule["asPathPrefix"] = draw.choice([[65001], [65002, 65100], [65100], [65200, 65100]])
    if draw.random() < 0.2:
        rule["priority"] = draw.choice([512, 1024, 2000])
    if rule["action"] == "Accept":
        rule["operations"] = [_operation(draw) for _ in range(draw.randint(0, 3))]
    return rule


def _operation(draw: random.Random) -> dict[str, Any]:
    return draw.choice(
        [
            {"addCommunity": {"value": draw.choice(COMMUNITIES)}},
            {"prependASPath": {"prefix": draw.choices([65100, 65200, 65300], k=draw.randint(1, 3))}},
            {"setPriority": {"value": draw.choice([100, 512, 5000])}},
        ]
    )


def _plan(draw: random.Random, *, reflector: bool, drained: bool) -> BirdPlan:
    """The host's plan with all that may change without a reset drawn anew."""
    store = SnapshotStore("a")
    bgp = {"ipv4Address": "10.99.0.1/24", "ipv6Address": "fd99::1/64"}
    bgp |= {"routeReflectorClusterID": "224.0.0.1"} if reflector else {}
    _put(store, "nodes", "a", {"bgp": bgp}, {"bgp.calico-network/drain": "true"} if drained else {})
    config: dict[str, Any] = {"nodeToNodeMeshEnabled": False, "ipv4NormalRoutePriority": draw.choice([1024, 600])}
    config["prefixAdvertisements"] = [
        {"cidr": cidr, "communities": draw.sample(COMMUNITIES, 2)}
        for cidr in draw.sample(["10.65.0.0/16", "10.65.1.0/24", "10.66.0.0/16", "fd65::/64", "0.0.0.0/0"], 2)
    ]
    config["serviceExternalIPs"] = [{"cidr": "192.0.2.0/24"}]
    _put(store, "bgpconfigurations", "default", config)
    for name, cidrs in (("f1", "4"), ("f2", "46"), ("f3", "6")):
        spec = {f"exportV{family}": [_rule(draw, int(family)) for _ in range(draw.randint(1, 4))] for family in cidrs}
        _put(store, "bgpfilters", name, spec)
    for address, as_number in PEERS.items():
        spec: dict[str, Any] = {"node": "a", "peerIP": address, "asNumber": as_number}
        spec["filters"] = draw.sample(["f1", "f2", "f3"], draw.choice([0, 0, 1, 2, 3]))
        _put(store, "bgppeers", "p" + address.replace(":", "-"), spec, OVER if address == BOTH else {})
    far = {"node": "a", "peerIP": "10.88.0.1", "asNumber": 65009, "reachableBy": "10.99.0.11"}
    _put(store, "bgppeers", "far", far)
    for cidr in ("10.65.0.0/16", "10.66.0.0/16", "fd65::/48", "fd66::/16"):
        flags = draw.choice([{}, {}, {"disabled": True}, {"disableBGPExport": True}, {"vxlanMode": "Always"}])
        _put(store, "ippools", cidr.replace("/", "-").replace(":", "-"), {"cidr": cidr, **flags})
    for block in ("10.65.1.0-26", "10.65.1.64-32", "10.65.2.0-26", "fd65::100-122"):
        if draw.random() < 0.6:
            family = "ipv6" if ":" in block else "ipv4"
            store.apply([Update(f"/calico/ipam/v2/host/a/{family}/block/{block}", b"{}", 1)])
    address = ServiceAddress(kind="external", address="192.0.2.7", local_only=True, here=True)
    store.services = draw.choice([None, ServiceRoutes(), ServiceRoutes(addresses=(address,))])
    return build_plan(store.view(), "a", "interfaces" if reflector else "pools").plan


def _put(store: SnapshotStore, plural: str, name: str, spec: Any, annotations: dict[str, str] | None = None) -> None:
    raw = json.dumps({"metadata": {"annotations": annotations or {}}, "spec": spec}).encode()
    store.apply([Update(f"/calico/resources/v3/projectcalico.org/{plural}/{name}", raw, 1)])


def _own_routes(plan: BirdPlan) -> Iterator[Case]:
    """What BIRD has beside the kernel's and the peers' routes: connected networks, and what the plan puts there."""
    for net in ("10.99.0.0/24", "fd99::/64"):
        yield Case(Route(net=net, source="connected", interface="eth0"))
    for block in plan.blocks:
        if not block.cidr.endswith(("/32", "/128")):
            yield Case(Route(net=block.cidr, source="block"))
    for item in plan.services:
        yield Case(Route(net=item.cidr, source="service"))
    for way in plan.reach:
        yield Case(Route(net=f"{way.address}/32", source="reach", interface="eth0"))


def _is_told(case: Case, peer: PeerPlan, sessions: dict[str, PeerPlan]) -> bool:
    """What BGP itself allows: nothing back to where it came from, and among peers of our AS only what is reflected."""
    if not case.origin:
        return True
    if case.origin == peer.address:
        return False
    origin = sessions[case.origin]
    both_internal = origin.internal and peer.internal
    return not both_internal or origin.rr_cluster_id is not None or peer.rr_cluster_id is not None


def _expected(plan: BirdPlan, peer: PeerPlan, cases: list[Case]) -> dict[str, Route]:
    sessions = {session.address: session for session in plan.peers}
    found = {}
    for case in cases:
        if _family(case.route) in peer.families and _is_told(case, peer, sessions):
            known = imported(plan, sessions[case.origin], case.route) if case.origin else case.route
            route = exported(plan, peer, known)
            if route is not None:
                found[route.net] = route
    return found


_NET = re.compile(r"^(?:1007-| )([0-9a-f.:]+/[0-9]+) +\S+ \[", re.MULTILINE)


def _told_by_bird(answer: str) -> dict[str, str]:
    """By prefix what BIRD says about the route."""
    starts = [*_NET.finditer(answer)]
    ends = [*(found.start() for found in starts), len(answer)][1:]
    return {found[1]: answer[found.end() : end] for found, end in zip(starts, ends, strict=True)}


def _attributes(text: str) -> tuple[int | None, frozenset[tuple[int, ...]], tuple[int, ...]]:
    preference = re.search(r"BGP\.local_pref: ([0-9]+)", text)
    path = re.search(r"BGP\.as_path: ([0-9 ]*)", text)
    communities = re.findall(r"\(([0-9]+), ?([0-9]+)(?:, ?([0-9]+))?\)", text)
    return (
        int(preference[1]) if preference else None,
        frozenset(tuple(int(part) for part in parts if part) for parts in communities),
        tuple(map(int, path[1].split())) if path else (),
    )


@pytest.mark.parametrize("drained", [False, True], ids=["in service", "drained"])
@pytest.mark.parametrize("reflector", [False, True], ids=["a host", "a reflector that exports interfaces"])
def test_every_route_is_exported_to_every_peer_as_the_specification_says(
    wires: Any, reflector: bool, drained: bool
) -> None:
    draw = random.Random(4 + reflector)
    plan = partial(_plan, draw, reflector=reflector, drained=drained)
    host = wires.bare_host(1)
    cases = _kernel_routes(draw) + _peer_routes(draw)
    for name in INTERFACES:
        host.ip("link", "add", name, "type", "veth", "peer", "name", f"z{INTERFACES.index(name)}")
        host.ip("link", "set", f"z{INTERFACES.index(name)}", "up")
        host.ip("link", "set", name, "up")
    for route in (case.route for case in cases if not case.origin):
        metric = ["metric", str(route.metric)] if route.metric else []
        host.ip("route", "add", route.net, "dev", route.interface, "proto", "80", *metric)
    for number in ROUTERS:
        wires.bare_host(number).start_bird(_peer_bird(number, cases))
    host.start_bird(render(plan(), str(host.run_dir / "bird.log")))
    wires.until(lambda: len(_up(host)) == len(PEERS), "all are up")
    known = [case.route.net for case in cases]
    wires.until(lambda: all(f"{net} " in host.ask_bird("show route") for net in known), "all routes are known")
    before = _up(host)
    compared = sum(_compare_one_round(host, plan(), cases) for _ in range(ROUNDS))
    assert _up(host) == before, "no round has reset a session"
    assert compared > 100 * ROUNDS


def _up(host: Any) -> dict[str, Any]:
    return {name: moment for name, moment in host.since().items() if "Established" in moment}


def _compare_one_round(host: Any, plan: BirdPlan, cases: list[Case]) -> int:
    """Apply a plan and compare every route and peer; how many pairs there were."""
    path = host.run_dir / "round.conf"
    path.write_text(render(plan, str(host.run_dir / "bird.log")))
    client = ControlClient(host.run_dir / "bird.ctl")

    async def apply() -> None:
        assert not (await client.configure(path, 60)).failed
        while (await client.status()).reconfiguring:
            await asyncio.sleep(0.01)
        assert not (await client.confirm()).failed

    asyncio.run(apply())
    own = list(_own_routes(plan))
    taken = {case.route.net for case in own}
    all_cases = [*own, *(case for case in cases if case.route.net not in taken)]
    pairs = 0
    for peer in plan.peers:
        if peer.address not in PEERS:
            continue
        told = _told_by_bird(host.ask_bird(f"show route export {peer.name} all"))
        expected = _expected(plan, peer, all_cases)
        assert sorted(told) == sorted(expected), (peer.name, path.read_text())
        for net, route in expected.items():
            wanted = (route.local_preference, route.communities, route.as_path)
            assert _attributes(told[net]) == wanted, (peer.name, net, told[net])
        pairs += sum(_family(case.route) in peer.families for case in all_cases)
    return pairs
