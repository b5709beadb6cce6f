"""Ends of tunnels and routes to other hosts' part of a pool: what each situation means, whatever the history."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calico.calc.dataplane_state import DataplaneState
from calico.calc.graph import Graph
from calico.calc.messages import (
    IPIP_HOSTS,
    VXLAN_HOSTS,
    IpipUpdate,
    Message,
    RouteRemove,
    RouteUpdate,
    VtepRemove,
    VtepUpdate,
)
from calico.calc.settings import CalcSettings
from calico.calc.spec import recompute
from calico.lib.packed import addr_bytes, net, net_str
from calico.model.ippool import IPPool, IPPoolSpec
from calico.model.keys import ResourceKey
from calico.model.meta import Metadata, Resource
from calico.model.node import Node, NodeAddress, NodeBGPSpec, NodeSpec
from calico.model.workload import WorkloadEndpoint, WorkloadEndpointSpec

HERE, THERE, FAR = "here", "there", "far"
POOL = "10.65.0.0/16"


class World:
    """A graph, and all that it was given."""

    def __init__(self, calc_settings: CalcSettings | None = None) -> None:
        self.settings = calc_settings or CalcSettings()
        self.graph = Graph(HERE, self.settings)
        self.resources: dict[ResourceKey, Resource] = {}
        self.blocks: set[tuple[bytes, str]] = set()
        self.state = DataplaneState()
        self.graph.on_in_sync()

    def give(self, key: ResourceKey, value: Resource | None) -> None:
        self.graph.on_resource(key, value)
        if value is None:
            self.resources.pop(key, None)
        else:
            self.resources[key] = value

    def pool(self, cidr: str = POOL, *, name: str = "p", **spec: str) -> None:
        self.give(ResourceKey("IPPool", "", name), IPPool(spec=IPPoolSpec(cidr=cidr, **spec)))

    def node(self, name: str, address: str, tunnel: str = "", ipip: str = "", **spec: Any) -> None:
        version = 6 if ":" in address else 4
        bgp = NodeBGPSpec(**{f"ipv{version}_address": address}, ipv4_ipip_tunnel_addr=ipip)
        full = NodeSpec(bgp=bgp, **{f"ipv{version}_vxlan_tunnel_addr": tunnel}, **spec)
        self.give(ResourceKey("Node", "", name), Node(metadata=Metadata(name=name), spec=full))

    def block(self, cidr: str, node: str, present: bool = True) -> None:
        self.graph.on_block(net(cidr), node, present)
        (self.blocks.add if present else self.blocks.discard)((net(cidr), node))

    def endpoint(self, node: str, *addresses: str, pod: str = "w") -> None:
        key = ResourceKey("WorkloadEndpoint", "red", f"{node}-k8s-{pod}-eth0")
        spec = WorkloadEndpointSpec(
            orchestrator="k8s", node=node, pod=pod, endpoint="eth0", interface_name=f"cali{pod}", ip_networks=addresses
        )
        self.give(key, WorkloadEndpoint(spec=spec) if addresses else None)

    def flush(self) -> list[Message]:
        messages = self.graph.flush()
        self.state.replay(messages)
        assert self.state == recompute(HERE, self.resources, settings=self.settings, blocks=self.blocks)
        return messages

    def routes(self) -> dict[str, tuple[str, str]]:
        """destination -> (kind, node)"""
        self.flush()
        return {net_str(dst): (route.kind, route.node) for dst, route in self.state.routes.items()}


@pytest.fixture
def world() -> World:
    """Two hosts in one subnet and one in another, each with a block and an end of the tunnel."""
    made = World()
    for number, (name, address) in enumerate(
        ((HERE, "192.0.2.1/24"), (THERE, "192.0.2.2/24"), (FAR, "198.51.100.3/24"))
    ):
        made.node(name, address, f"10.65.{number}.1")
        made.block(f"10.65.{number}.0/26", name)
    return made


def test_a_pool_without_a_tunnel_makes_no_route(world: World) -> None:
    world.pool()
    assert world.routes() == {}
    assert world.state.vteps == {}
    assert VXLAN_HOSTS not in world.state.ip_sets


def test_with_vxlan_always_blocks_of_others_are_behind_their_ends_and_the_rest_of_the_pool_is_unreachable(
    world: World,
) -> None:
    world.pool(vxlan_mode="Always")
    assert world.routes() == {
        POOL: ("unreachable", ""),
        "10.65.1.0/26": ("vxlan", THERE),
        "10.65.2.0/26": ("vxlan", FAR),
    }
    assert world.state.routes[net("10.65.2.0/26")].gateway == addr_bytes("10.65.2.1")
    assert sorted(world.state.vteps) == [(FAR, 4), (HERE, 4), (THERE, 4)]
    assert world.state.ip_sets[VXLAN_HOSTS].members == {net(a) for a in ("192.0.2.1", "192.0.2.2", "198.51.100.3")}


def test_across_subnets_only_hosts_of_other_subnets_are_behind_the_tunnel(world: World) -> None:
    world.pool(vxlan_mode="CrossSubnet")
    routes = world.routes()
    assert routes["10.65.1.0/26"] == ("direct", THERE)
    assert routes["10.65.2.0/26"] == ("vxlan", FAR)
    assert world.state.routes[net("10.65.1.0/26")].gateway == addr_bytes("192.0.2.2")


def test_a_host_without_an_end_is_unreachable_and_not_reached_in_the_open(world: World) -> None:
    world.pool(vxlan_mode="Always")
    world.node(THERE, "192.0.2.2/24")
    assert world.routes()["10.65.1.0/26"] == ("unreachable", THERE)
    world.node(HERE, "192.0.2.1/24")
    assert world.routes()["10.65.2.0/26"] == ("unreachable", FAR)


def test_an_endpoint_outside_the_blocks_of_its_host_has_a_route_of_its_own(world: World) -> None:
    world.pool(vxlan_mode="Always")
    world.endpoint(FAR, "10.65.2.7/32", "10.65.1.9/32")
    assert world.routes()["10.65.1.9/32"] == ("vxlan", FAR)
    assert "10.65.2.7/32" not in world.routes()
    world.endpoint(FAR)
    assert "10.65.1.9/32" not in world.routes()


def test_an_endpoint_that_moves_here_leaves_the_tunnel(world: World) -> None:
    world.pool(vxlan_mode="Always")
    world.endpoint(FAR, "10.65.9.9/32")
    assert world.routes()["10.65.9.9/32"] == ("vxlan", FAR)
    world.endpoint(HERE, "10.65.9.9/32", pod="v")
    assert "10.65.9.9/32" not in world.routes()


def test_a_node_that_says_it_has_a_workloads_address_in_the_tunnel_does_not_get_its_packets(world: World) -> None:
    world.pool(vxlan_mode="Always")
    world.endpoint(THERE, "10.65.9.9/32")
    world.node(FAR, "198.51.100.3/24", "10.65.9.9")
    assert world.routes()["10.65.9.9/32"] == ("vxlan", THERE)


def test_a_pool_that_gets_a_tunnel_later_finds_the_endpoints_that_were_there_before(world: World) -> None:
    world.pool()
    world.endpoint(FAR, "10.65.9.9/32")
    assert world.routes() == {}
    world.pool(vxlan_mode="Always")
    assert world.routes()["10.65.9.9/32"] == ("vxlan", FAR)


def test_a_tunnel_of_ip_in_ip_is_told_as_such_and_asks_for_no_vxlan(world: World) -> None:
    world.node(HERE, "192.0.2.1/24", ipip="10.65.3.1")
    world.pool(ipip_mode="CrossSubnet")
    routes = world.routes()
    assert (routes["10.65.1.0/26"], routes["10.65.2.0/26"]) == (("direct", THERE), ("ipip", FAR))
    assert world.state.vteps == {}
    assert world.state.ipip == IpipUpdate(address=addr_bytes("10.65.3.1"), parent=addr_bytes("192.0.2.1"))
    assert world.state.ip_sets[IPIP_HOSTS].members == {net(a) for a in ("192.0.2.1", "192.0.2.2", "198.51.100.3")}
    assert VXLAN_HOSTS not in world.state.ip_sets
    world.pool()
    world.flush()
    assert world.state.ipip is None
    assert IPIP_HOSTS not in world.state.ip_sets


def test_without_an_address_of_its_own_in_ip_in_ip_a_host_reaches_nobody_by_it(world: World) -> None:
    world.pool(ipip_mode="Always")
    assert world.routes()["10.65.2.0/26"] == ("unreachable", FAR)
    assert world.state.ipip is None
    world.node(HERE, "192.0.2.1/24", ipip="10.65.3.1")
    assert world.routes()["10.65.2.0/26"] == ("ipip", FAR)
    world.node(HERE, "192.0.2.1/24", ipip="10.65.3.256")
    assert world.routes()["10.65.2.0/26"] == ("unreachable", FAR)
    said = world.state.problems[ResourceKey("Node", "", HERE)]
    assert [text.partition(":")[0] for text in said] == ["spec.bgp.ipv4IPIPTunnelAddr"]


def test_where_ip_in_ip_is_switched_off_a_pool_that_asks_for_it_is_unreachable() -> None:
    off = World(CalcSettings(ipip=False))
    off.node(HERE, "192.0.2.1/24", ipip="10.65.3.1")
    off.node(FAR, "198.51.100.3/24")
    off.block("10.65.2.0/26", FAR)
    off.pool(ipip_mode="Always")
    assert off.routes() == {"10.65.0.0/16": ("unreachable", ""), "10.65.2.0/26": ("unreachable", FAR)}
    assert IPIP_HOSTS not in off.state.ip_sets


def test_where_vxlan_is_switched_off_a_pool_that_asks_for_it_is_unreachable(world: World) -> None:
    off = World(CalcSettings(vxlan=False))
    for key, value in world.resources.items():
        off.give(key, value)
    for cidr, node in world.blocks:
        off.block(net_str(cidr), node)
    off.pool(vxlan_mode="Always")
    assert set(off.routes().values()) == {("unreachable", ""), ("unreachable", THERE), ("unreachable", FAR)}
    assert off.state.vteps == {}


def test_a_mac_that_is_not_told_follows_from_the_name_as_calicos_does(world: World) -> None:
    world.pool(vxlan_mode="Always")
    world.node(THERE, "192.0.2.2/24", "10.65.1.1", vxlan_tunnel_mac_addr="66:01:02:03:04:05")
    world.flush()
    assert world.state.vteps[THERE, 4].mac == bytes.fromhex("660102030405")
    assert world.state.vteps[FAR, 4].mac == bytes.fromhex("66") + bytes.fromhex("70b2db8ae9")


def test_ipv6_has_a_network_of_its_own() -> None:
    world = World()
    world.node(HERE, "2001:db8::1/64", "fd65::1")
    world.node(THERE, "2001:db8:1::2/64", "fd65::40")
    world.block("fd65::40/122", THERE)
    world.pool("fd65::/64", vxlan_mode="CrossSubnet")
    assert world.routes() == {"fd65::/64": ("unreachable", ""), "fd65::40/122": ("vxlan", THERE)}
    assert {version for _, version in world.state.vteps} == {6}


def test_a_node_without_bgp_is_reached_by_its_own_address(world: World) -> None:
    spec = NodeSpec(
        addresses=(NodeAddress(address="198.51.100.9", type="InternalIP"),), ipv4_vxlan_tunnel_addr="10.65.1.1"
    )
    world.give(ResourceKey("Node", "", THERE), Node(metadata=Metadata(name=THERE), spec=spec))
    world.pool(vxlan_mode="Always")
    world.flush()
    assert world.state.vteps[THERE, 4].parent == addr_bytes("198.51.100.9")


def test_malformed_ends_are_named_and_left_out(world: World) -> None:
    world.pool(vxlan_mode="Always")
    world.node(THERE, "192.0.2.2/24", "10.65.1.300", vxlan_tunnel_mac_addr="66:01")
    world.flush()
    said = world.state.problems[ResourceKey("Node", "", THERE)]
    assert [text.partition(":")[0] for text in said] == ["spec.ipv4VXLANTunnelAddr", "spec.vxlanTunnelMACAddr"]
    assert (THERE, 4) not in world.state.vteps


def test_a_change_says_only_what_changed(world: World) -> None:
    world.pool(vxlan_mode="Always")
    world.flush()
    assert world.flush() == []
    world.block("10.65.7.0/26", FAR)
    assert world.flush() == [
        RouteUpdate(dst=net("10.65.7.0/26"), kind="vxlan", node=FAR, gateway=addr_bytes("10.65.2.1"))
    ]
    world.block("10.65.7.0/26", FAR, present=False)
    assert world.flush() == [RouteRemove(dst=net("10.65.7.0/26"))]


def test_a_node_that_goes_takes_its_end_after_the_routes_through_it(world: World) -> None:
    world.pool(vxlan_mode="Always")
    world.flush()
    world.give(ResourceKey("Node", "", FAR), None)
    told = [m for m in world.flush() if isinstance(m, RouteUpdate | RouteRemove | VtepUpdate | VtepRemove)]
    assert told == [
        RouteUpdate(dst=net("10.65.2.0/26"), kind="unreachable", node=FAR),
        VtepRemove(node=FAR, version=4),
    ]


NODES = (HERE, THERE, FAR)
MODES = st.sampled_from(({}, {"vxlan_mode": "Always"}, {"vxlan_mode": "CrossSubnet"}, {"ipip_mode": "CrossSubnet"}))
CIDRS = st.sampled_from(("10.65.0.0/16", "10.65.1.0/26", "10.66.0.0/16", "fd65::/64", "10.65.1.9/32"))
BLOCKS = st.sampled_from(
    ("10.65.1.0/26", "10.65.2.0/26", "10.65.1.8/29", "10.65.1.9/32", "10.66.1.0/26", "fd65::40/122")
)
ADDRESSES = st.lists(st.sampled_from(("10.65.1.9/32", "10.65.2.2/32", "10.66.1.1/32", "fd65::41/128")), unique=True)
UNDERLAYS = st.sampled_from(("192.0.2.1/24", "192.0.2.2", "198.51.100.1/24", "2001:db8::1/64", "2001:db8:1::1/64"))
TUNNELS = st.sampled_from(("", "10.65.1.1", "10.65.1.9", "10.66.1.1", "fd65::41"))
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("pool"), st.sampled_from("pq"), CIDRS, MODES),
        st.tuples(st.just("no pool"), st.sampled_from("pq")),
        st.tuples(st.just("node"), st.sampled_from(NODES), UNDERLAYS, TUNNELS, TUNNELS),
        st.tuples(st.just("no node"), st.sampled_from(NODES)),
        st.tuples(st.just("block"), BLOCKS, st.sampled_from(NODES), st.booleans()),
        st.tuples(st.just("endpoint"), st.sampled_from(NODES), ADDRESSES, st.sampled_from("vw")),
        st.just(("flush",)),
    ),
    max_size=40,
)


@settings(max_examples=250, deadline=None)
@given(steps=STEPS, vxlan=st.sampled_from((None, None, True, False)), ipip=st.booleans())
def test_any_history_of_pools_nodes_blocks_and_endpoints_ends_at_what_is_recomputed(
    steps: list[tuple[Any, ...]], vxlan: bool | None, ipip: bool
) -> None:
    world = World(CalcSettings(vxlan=vxlan, ipip=ipip))
    for step in steps:
        match step:
            case ("pool", name, cidr, modes):
                world.pool(cidr, name=name, **modes)
            case ("no pool", name):
                world.give(ResourceKey("IPPool", "", name), None)
            case ("node", name, address, tunnel, ipip):
                fits = tunnel if (":" in tunnel) == (":" in address) else ""
                world.node(name, address, fits, "" if ":" in ipip else ipip)
            case ("no node", name):
                world.give(ResourceKey("Node", "", name), None)
            case ("block", cidr, node, present):
                world.block(cidr, node, present)
            case ("endpoint", node, addresses, pod):
                world.endpoint(node, *addresses, pod=pod)
            case _:
                world.flush()
    world.flush()
    assert world.graph.flush() == []
    for key in list(world.resources):
        world.give(key, None)
    for cidr, node in list(world.blocks):
        world.block(net_str(cidr), node, present=False)
    world.flush()
    assert world.state == DataplaneState(in_sync=True)
