"""States of the datastore: one that uses everything, and endlessly many like it with parts exchanged for others."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator
from typing import Any

from calico.bgp.planning.birdplan import BirdPlan
from calico.bgp.planning.plan import build_plan
from calico.bgp.planning.serviceroutes import ServiceAddress, ServiceRoutes
from calico.bgp.planning.snapshot import SnapshotStore
from calico.datastore.api import Update

__all__ = ["GOOD", "mutated", "planned"]

RESOURCES = "/calico/resources/v3/projectcalico.org/"
LINK = {"bgp.calico-network/interface": "eth1", "bgp.calico-network/ipv4-over-ipv6": "true"}
ADDED = {"addCommunity": {"value": "65000:1"}}
RULE = {"action": "Accept", "cidr": "10.65.0.0/16", "matchOperator": "In", "prefixLength": {"min": 20, "max": 30},
        "interface": "cali*", "peerType": "eBGP", "communities": {"values": ["65000:7:9"]}, "asPathPrefix": [65001],
        "priority": 512, "source": "RemotePeers",
        "operations": [ADDED, {"prependASPath": {"prefix": [1, 2]}}]}  # fmt: skip
RULE6 = {**RULE, "cidr": "fd65::/48", "prefixLength": {"min": 50}, "communities": {"values": ["1:2"]}}
GOOD: dict[str, Any] = {
    RESOURCES + "nodes/a": {"spec": {
        "bgp": {"ipv4Address": "10.0.0.1/24", "ipv6Address": "fd00::1/64", "routeReflectorClusterID": ""},
        "wireguard": {"interfaceIPv4Address": ""}}},
    RESOURCES + "nodes/b": {"metadata": {"labels": {"rack": "r1"}},
                            "spec": {"bgp": {"ipv4Address": "10.0.0.2/24", "asNumber": 64512}}},
    RESOURCES + "nodes/c": {"spec": {"bgp": {"ipv6Address": "fd00::3/64", "asNumber": "1.10"}}},
    RESOURCES + "bgpconfigurations/default": {
        "metadata": {"annotations": {"bgp.calico-network/bfd": "100ms", "bgp.calico-network/ipv4-over-ipv6": "true",
                                     "bgp.calico-network/own-routes-only": "true"}},
        "spec": {"nodeToNodeMeshEnabled": True, "asNumber": 64512, "listenPort": 1790, "ignoredInterfaces": ["docker*"],
                 "nodeMeshPassword": {"secretKeyRef": {"name": "mesh", "key": "md5", "optional": True}},
                 "nodeMeshMaxRestartTime": "90s", "bindMode": "None", "localWorkloadPeeringIPV4": "169.254.1.1",
                 "communities": [{"name": "blue", "value": "65000:5"}], "ipv4NormalRoutePriority": 1024,
                 "prefixAdvertisements": [{"cidr": "10.65.0.0/24", "communities": ["blue", "65000:1:1"]}],
                 "serviceClusterIPs": [{"cidr": "10.96.0.0/12"}], "serviceLoadBalancerIPs": [{"cidr": "fd96::/112"}]},
    },
    RESOURCES + "bgpconfigurations/node.a": {"spec": {"listenPort": 179, "logSeverityScreen": "Debug"}},
    RESOURCES + "bgppeers/tor": {
        "metadata": {"annotations": {"bgp.calico-network/bfd": "1s x5"}},
        "spec": {"nodeSelector": "all()", "peerIP": "10.9.0.9:179", "asNumber": 65009, "localASNumber": 65010,
                 "password": {"secretKeyRef": {"name": "tor", "key": "md5"}}, "filters": ["edge.1"], "ttlSecurity": 3,
                 "reachableBy": "10.0.0.254", "keepaliveTime": "20s", "maxRestartTime": "45s", "nextHopMode": "Self",
                 "numAllowedLocalASNumbers": 2, "sourceAddress": "UseNodeIP"},
    },
    RESOURCES + "bgppeers/six": {"spec": {"peerIP": "[fd00::9]:1790", "asNumber": 65009, "filters": ["edge.1"]}},
    RESOURCES + "bgppeers/link": {"metadata": {"annotations": LINK}, "spec": {"peerIP": "fe80::9", "asNumber": 65009}},
    RESOURCES + "bgppeers/any": {"metadata": {"annotations": {**LINK, "bgp.calico-network/interface": "eth2"}},
                                 "spec": {"peerIP": "::", "asNumber": 65008, "filters": ["x" * 60]}},
    RESOURCES + "bgppeers/racks": {"spec": {"peerSelector": "rack == 'r1'", "keepOriginalNextHop": True}},
    RESOURCES + "bgppeers/inside": {"spec": {"localWorkloadSelector": "has(router)", "asNumber": 64900}},
    RESOURCES + "bgpfilters/edge.1": {"spec": {"exportV4": [RULE], "importV4": [RULE], "exportV6": [RULE6]}},
    RESOURCES + "bgpfilters/" + "x" * 60: {"spec": {"importV6": [{"action": "Reject", "interface": "eth*"}]}},
    RESOURCES + "ippools/v4": {"spec": {"cidr": "10.65.0.0/16", "disableBGPExport": False, "vxlanMode": "Never"}},
    RESOURCES + "ippools/v6": {"spec": {"cidr": "fd65::/48", "ipipMode": "Never", "disabled": False}},
    RESOURCES + "workloadendpoints/ns/a-lab-w-eth0": {
        "metadata": {"labels": {"router": "yes"}},
        "spec": {"node": "a", "ipNetworks": ["10.65.0.7/32", "fd65::7/128"]}},
    "/calico/ipam/v2/host/a/ipv4/block/10.65.0.0-26": {"state": "confirmed"},
    "/calico/ipam/v2/host/a/ipv6/block/fd65::-122": {"state": "confirmed"},
    "/calico/bgp/v1/secrets/tor/md5": "correct horse",
    "/calico/bgp/v1/secrets/mesh/md5": "battery staple",
}  # fmt: skip

STRANGE: list[Any] = [
    '"; protocol static evil { ipv4; } #', "10.0.0.2; } protocol pipe evil", "\nprotocol device evil {}\n", "/* evil",
    "# evil", "*/", "}", "{", "'", '"', "\\", "\\\"", "fe80::1%evil", "10.65.0.0/16{0,32}", "[ 10.0.0.0/8+ ]", "evil:1",
    "65000:1)); accept; #", "all(); reject", "٣.٣.٣.٣", "１０.0.0.1", "10.0.0.010", "::ffff:10.0.0.1", "::", "fe80::1",
    "0.0.0.0/0", "::/0", "255.255.255.255", "127.0.0.1", "224.0.0.1", "10.0.0.1", "fd00::1", "10.65.1.7/26", "1e3",
    "-1", "0", "99999999999", "65536", "4294967295", "1.65535", "0s", "100000h", "1ns", "100ms x3", "10ms x255", "true",
    "eth0", "eth0.100", "a b", "..", "../../etc/passwd", "x" * 64, "x" * 300, "ä", "\x00", "\u2028", "", " ", "\r\n",
    "Accept", "Reject", "In", "NotIn", "Equal", "Keep", "None", "NodeIP", "Debug", "Always", "224.0.0.1", "import all;",
    "bgp_export", "mesh", "tor", "md5", "edge.1", "node.a", 0, 1, -1, 2, 255, 256, 65535, 65536, 2**31, 2**32, 2**64,
    1.5, True, False, None, [], {}, [[]], ["x"], {"x": "y"}, [None], "10.65.0.0/25", "fd65::/64", "10.0.0.2", "fd00::3",
    'import filter to_internal4;', "password", "reach4", "Local_Workload_*",
]  # fmt: skip
NAMES = ["evil'", 'evil"', "evil {", "evil;", "a.b", "A_B", "x" * 250, "evil\n", "é", "b", "edge.1", "node.a", "-", "%"]


def mutated(draw: random.Random) -> dict[str, Any]:
    """The good state with one to six places changed: a value exchanged, gone or moved, an object named otherwise."""
    state = copy.deepcopy(GOOD)
    for _ in range(draw.randint(1, 6)):
        key = draw.choice(sorted(state))
        chance = draw.random()
        if chance < 0.08:
            _rename(state, key, draw.choice(NAMES))
        elif chance < 0.12:
            del state[key]
        elif chance < 0.16 or not isinstance(state[key], dict):
            state[key] = draw.choice(STRANGE)
        else:
            _mutate_inside(draw, state, key)
    return state


def _rename(state: dict[str, Any], key: str, name: str) -> None:
    """Give an object another name, which those that refer to it use, too."""
    folder, _, old = key.rpartition("/")
    state[f"{folder}/{name}"] = state.pop(key)
    for container, where in [place for tree in state.values() for place in _places(tree)]:
        if container[where] == old:
            container[where] = name


def _mutate_inside(draw: random.Random, state: dict[str, Any], key: str) -> None:
    places = list(_places(state[key]))
    if not places:
        return
    container, where = draw.choice(places)
    chance = draw.random()
    if chance < 0.15:
        del container[where]
    elif chance < 0.3:
        other, there = draw.choice([place for tree in state.values() for place in _places(tree)])
        container[where] = copy.deepcopy(other[there])
    else:
        container[where] = draw.choice(STRANGE)


def _places(tree: Any) -> Iterator[tuple[Any, Any]]:
    pairs = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for where, value in list(pairs):
        yield tree, where
        yield from _places(value)


def planned(state: dict[str, Any], draw: random.Random) -> BirdPlan:
    store = SnapshotStore("a")
    for key, value in state.items():
        raw = value if isinstance(value, str) else json.dumps(value)
        store.apply([Update(key, raw.encode("utf-8", "surrogatepass"), 1)])
    text = draw.choice(["192.0.2.7", "10.96.0.9", "fd96::9", *(item for item in STRANGE if isinstance(item, str))])
    kind: Any = draw.choice(["cluster", "external", "load-balancer"])
    address = ServiceAddress(kind=kind, address=text, local_only=True, here=True)
    store.services = draw.choice([None, ServiceRoutes(addresses=(address,))])
    return build_plan(store.view(), "a", draw.choice(["pools", "interfaces"])).plan
