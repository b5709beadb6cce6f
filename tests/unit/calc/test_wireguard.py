"""Peers and what is behind them: what each situation means, whatever the history."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calico.calc.dataplane_state import DataplaneState
from calico.calc.encap import Version
from calico.calc.graph import Graph
from calico.calc.messages import Message, WireguardPeerRemove, WireguardRouteRemove, WireguardRouteUpdate
from calico.calc.settings import CalcSettings
from calico.calc.spec import recompute
from calico.lib.packed import addr_bytes, net, net_str
from calico.model.keys import ResourceKey
from calico.model.meta import Metadata, Resource
from calico.model.node import Node, NodeBGPSpec, NodeSpec, NodeStatus, NodeWireguardSpec
from calico.model.workload import WorkloadEndpoint, WorkloadEndpointSpec

HERE, THERE, FAR = "here", "there", "far"
V4: frozenset[Version] = frozenset({4})


def key(n: int) -> str:
    return base64.b64encode(bytes([n]) * 32).decode()


class World:
    """A graph of a host that encrypts, and all that it was given."""

    def __init__(self, versions: frozenset[Version] = V4, *, hosts: bool = False) -> None:
        self.settings = CalcSettings(wireguard=versions, wireguard_hosts=hosts)
        self.graph = Graph(HERE, self.settings)
        self.resources: dict[ResourceKey, Resource] = {}
        self.blocks: set[tuple[bytes, str]] = set()
        self.state = DataplaneState()
        self.graph.on_in_sync()

    def give(self, which: ResourceKey, value: Resource | None) -> None:
        self.graph.on_resource(which, value)
        if value is None:
            self.resources.pop(which, None)
        else:
            self.resources[which] = value

    def node(self, name: str, address: str, public: str = "", device: str = "") -> None:
        version = 6 if ":" in address else 4
        spec = NodeSpec(
            bgp=NodeBGPSpec(**{f"ipv{version}_address": address}),
            wireguard=NodeWireguardSpec(**{f"interface_ipv{version}_address": device}) if device else None,
        )
        status = NodeStatus(**{f"wireguard_public_key{'_v6' if version == 6 else ''}": public})
        self.give(ResourceKey("Node", "", name), Node(metadata=Metadata(name=name), spec=spec, status=status))

    def block(self, cidr: str, node: str, present: bool = True) -> None:
        self.graph.on_block(net(cidr), node, present)
        (self.blocks.add if present else self.blocks.discard)((net(cidr), node))

    def endpoint(self, node: str, *addresses: str, pod: str = "w") -> None:
        which = ResourceKey("WorkloadEndpoint", "red", f"{node}-k8s-{pod}-eth0")
        spec = WorkloadEndpointSpec(
            orchestrator="k8s", node=node, pod=pod, endpoint="eth0", interface_name=f"cali{pod}", ip_networks=addresses
        )
        self.give(which, WorkloadEndpoint(spec=spec) if addresses else None)

    def flush(self) -> list[Message]:
        messages = self.graph.flush()
        self.state.replay(messages)
        assert self.state == recompute(HERE, self.resources, settings=self.settings, blocks=self.blocks)
        return messages

    def ways(self) -> dict[str, tuple[str, str]]:
        """destination -> (kind, node)"""
        self.flush()
        return {net_str(dst): (way.kind, way.node) for dst, way in self.state.ways.items()}


def made(**options: Any) -> World:
    """Three hosts with a block each, two of them with a key."""
    world = World(**options)
    world.node(HERE, "192.0.2.1/24", key(1))
    world.node(THERE, "192.0.2.2/24", key(2))
    world.node(FAR, "198.51.100.3/24")
    for number, name in enumerate((HERE, THERE, FAR)):
        world.block(f"10.65.{number}.0/26", name)
    return world


@pytest.fixture
def world() -> World:
    return made()


def test_a_host_with_a_key_is_reached_encrypted_and_one_without_as_before(world: World) -> None:
    assert world.ways() == {"10.65.1.0/26": ("peer", THERE)}
    peer = world.state.peers[THERE, 4]
    assert (peer.key, peer.endpoint) == (bytes([2]) * 32, addr_bytes("192.0.2.2"))
    assert list(world.state.peers) == [(THERE, 4)]


def test_where_encryption_is_off_nothing_is_told() -> None:
    world = made(versions=frozenset())
    assert world.ways() == {}
    assert world.state.peers == {}


def test_a_borrowed_address_goes_to_where_it_is(world: World) -> None:
    world.endpoint(THERE, "10.65.2.9/32")
    world.endpoint(FAR, "10.65.1.9/32", pod="v")
    world.endpoint(HERE, "10.65.1.8/32", pod="u")
    assert world.ways() == {
        "10.65.1.0/26": ("peer", THERE),
        "10.65.2.9/32": ("peer", THERE),
        "10.65.1.9/32": ("throw", ""),
        "10.65.1.8/32": ("throw", ""),
    }


def test_an_endpoint_within_the_block_of_its_host_adds_nothing(world: World) -> None:
    world.flush()
    world.endpoint(THERE, "10.65.1.9/32")
    assert world.flush() == []


def test_hosts_themselves_are_reached_encrypted_only_if_that_is_asked_for(world: World) -> None:
    assert "192.0.2.2/32" not in world.ways()
    asked = made(hosts=True)
    assert asked.ways() == {"10.65.1.0/26": ("peer", THERE), "192.0.2.2/32": ("peer", THERE)}


def test_the_address_of_a_device_is_behind_its_host_and_our_own_is_told(world: World) -> None:
    world.node(THERE, "192.0.2.2/24", key(2), device="10.99.0.2")
    world.node(HERE, "192.0.2.1/24", key(1), device="10.99.0.1")
    assert world.ways()["10.99.0.2/32"] == ("peer", THERE)
    assert world.state.peers[HERE, 4].address == addr_bytes("10.99.0.1")


def test_a_key_that_two_nodes_say_is_nobodys_and_neither_is_reached_in_the_clear(world: World) -> None:
    world.node(FAR, "198.51.100.3/24", key(2))
    assert world.ways() == {"10.65.1.0/26": ("unreachable", THERE), "10.65.2.0/26": ("unreachable", FAR)}
    assert world.state.peers == {}
    world.node(FAR, "198.51.100.3/24", key(3))
    assert set(world.ways().values()) == {("peer", THERE), ("peer", FAR)}


@pytest.mark.parametrize("damaged", ["?", "AAAA", key(2)[:-4]])
def test_a_damaged_key_is_named_and_its_host_is_not_reached_in_the_clear(world: World, damaged: str) -> None:
    world.node(THERE, "192.0.2.2/24", damaged)
    assert world.ways() == {"10.65.1.0/26": ("unreachable", THERE)}
    (problem,) = world.state.problems[ResourceKey("Node", "", THERE)]
    assert problem.startswith("status.wireguardPublicKey: ")
    assert damaged not in problem or len(damaged) < 2


def test_ipv6_has_keys_of_its_own() -> None:
    world = World(frozenset({4, 6}))
    world.node(THERE, "2001:db8::2/64", key(2))
    world.block("fd65::40/122", THERE)
    world.block("10.65.1.0/26", THERE)
    assert world.ways() == {"fd65::40/122": ("peer", THERE)}


def test_a_change_says_only_what_changed(world: World) -> None:
    world.flush()
    assert world.flush() == []
    world.block("10.65.7.0/26", THERE)
    assert world.flush() == [WireguardRouteUpdate(dst=net("10.65.7.0/26"), kind="peer", node=THERE)]
    world.block("10.65.7.0/26", THERE, present=False)
    assert world.flush() == [WireguardRouteRemove(dst=net("10.65.7.0/26"))]
    world.node(THERE, "192.0.2.2/24")
    assert world.flush() == [
        WireguardRouteRemove(dst=net("10.65.1.0/26")),
        WireguardPeerRemove(node=THERE, version=4),
    ]


NODES = (HERE, THERE, FAR)
BLOCKS = st.sampled_from(
    ("10.65.1.0/26", "10.65.2.0/26", "10.65.1.8/29", "10.65.1.9/32", "10.64.0.0/10", "fd65::40/122")
)
ADDRESSES = st.lists(st.sampled_from(("10.65.1.9/32", "10.65.2.2/32", "192.0.2.1/32", "fd65::41/128")), unique=True)
UNDERLAYS = st.sampled_from(("", "192.0.2.1/24", "192.0.2.2", "10.65.1.9", "2001:db8::1/64"))
DEVICES = st.sampled_from(("", "10.65.1.9", "10.65.2.2", "fd65::41"))
STEPS = st.lists(
    st.one_of(
        st.tuples(
            st.just("node"), st.sampled_from(NODES), UNDERLAYS, st.sampled_from(("", key(1), key(2), "?")), DEVICES
        ),
        st.tuples(st.just("no node"), st.sampled_from(NODES)),
        st.tuples(st.just("block"), BLOCKS, st.sampled_from(NODES), st.booleans()),
        st.tuples(st.just("endpoint"), st.sampled_from(NODES), ADDRESSES, st.sampled_from("vw")),
        st.just(("flush",)),
    ),
    max_size=40,
)


@settings(max_examples=250, deadline=None)
@given(steps=STEPS, versions=st.sampled_from((V4, frozenset({4, 6}), frozenset({6}))), hosts=st.booleans())
def test_any_history_of_nodes_blocks_and_endpoints_ends_at_what_is_recomputed(
    steps: list[tuple[Any, ...]], versions: frozenset[Version], hosts: bool
) -> None:
    world = World(versions, hosts=hosts)
    for step in steps:
        match step:
            case ("node", name, address, public, device):
                world.node(name, address, public, device if (":" in device) == (":" in address) else "")
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
    for which in list(world.resources):
        world.give(which, None)
    for cidr, node in list(world.blocks):
        world.block(net_str(cidr), node, present=False)
    world.flush()
    assert world.state == DataplaneState(in_sync=True)
