"""The addresses of a node in tunnel networks: given once, kept while they are its own, taken back when none asks."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from calico.datastore.memory import MemoryBackend
from calico.datastore.typed.store import Store
from calico.errors import Conflict, NotFound
from calico.ipam.allocator import Allocator
from calico.ipam.tunnels import Settled, settle_tunnels
from calico.model.ippool import IPPool, IPPoolSpec
from calico.model.meta import Metadata
from calico.model.node import Node, NodeBGPSpec, NodeSpec

HANDLE, HANDLE6 = "vxlan-tunnel-addr-h1", "vxlan-v6-tunnel-addr-h1"


class World:
    """A datastore in memory with a node."""

    def __init__(self) -> None:
        self.backend = MemoryBackend()
        self.store = Store(self.backend)
        self.allocator = Allocator(self.backend, clock=lambda: datetime(2026, 1, 1, tzinfo=UTC))

    async def pool(self, name: str, cidr: str, **spec: Any) -> None:
        await self.store.apply(IPPool(metadata=Metadata(name=name), spec=IPPoolSpec(cidr=cidr, **spec)))

    async def node(self, **labels: str) -> None:
        await self.store.create(Node(metadata=Metadata(name="h1", labels=labels), spec=NodeSpec()))

    async def settle(self) -> Settled:
        pools = [pool for pool in await self.store.list("IPPool") if isinstance(pool, IPPool)]
        return await settle_tunnels(self.store, self.allocator, "h1", pools)

    async def recorded(self) -> tuple[str, str]:
        node = await self.store.get("Node", "h1")
        assert isinstance(node, Node)
        return node.spec.ipv4_vxlan_tunnel_addr, node.spec.ipv6_vxlan_tunnel_addr


async def world_of(*pools: tuple[str, str, dict[str, Any]]) -> World:
    world = World()
    await world.node()
    for name, cidr, spec in pools:
        await world.pool(name, cidr, **spec)
    return world


VXLAN: dict[str, Any] = {"vxlan_mode": "Always"}


async def test_a_node_gets_an_address_of_each_family_that_a_pool_asks_for() -> None:
    world = await world_of(("p4", "10.65.0.0/24", VXLAN), ("p6", "fd65::/112", VXLAN))
    settled = await world.settle()
    assert settled.changed == {4, 6}
    assert await world.recorded() == (settled.addresses[4], settled.addresses[6])
    assert await world.allocator.ips_by_handle(HANDLE) == (settled.addresses[4],)
    recorded = await world.allocator.get_attributes(settled.addresses[6])
    assert recorded is not None
    assert recorded.attrs == {"node": "h1", "type": "vxlanV6TunnelAddress"}
    assert recorded.handle == HANDLE6


async def test_an_address_that_the_node_has_stays_whoever_asks_again() -> None:
    world = await world_of(("p4", "10.65.0.0/24", VXLAN))
    first = await world.settle()
    again = await world.settle()
    assert again.addresses == first.addresses
    assert again.changed == frozenset()


async def test_a_pool_without_vxlan_gives_none_and_what_there_was_is_taken_back() -> None:
    world = await world_of(("p4", "10.65.0.0/24", VXLAN))
    await world.settle()
    await world.pool("p4", "10.65.0.0/24")
    assert (await world.settle()).addresses == {}
    assert await world.recorded() == ("", "")
    assert await world.allocator.ips_by_handle(HANDLE) == ()


async def test_an_address_of_a_pool_that_does_not_ask_any_more_is_exchanged() -> None:
    world = await world_of(("old", "10.65.0.0/24", VXLAN))
    await world.settle()
    await world.pool("old", "10.65.0.0/24")
    await world.pool("new", "10.66.0.0/24", **VXLAN)
    settled = await world.settle()
    assert settled.addresses[4].startswith("10.66.0.")
    assert await world.allocator.ips_by_handle(HANDLE) == (settled.addresses[4],)


async def test_an_address_that_ipam_has_forgotten_is_taken_again_and_stays() -> None:
    world = await world_of(("p4", "10.65.0.0/24", VXLAN))
    first = await world.settle()
    await world.allocator.release_by_handle(HANDLE)
    assert (await world.settle()).addresses == first.addresses
    assert await world.allocator.ips_by_handle(HANDLE) == (first.addresses[4],)


async def test_an_address_that_is_anothers_by_now_is_exchanged() -> None:
    world = await world_of(("p4", "10.65.0.0/24", VXLAN))
    first = await world.settle()
    await world.allocator.release_by_handle(HANDLE)
    await world.allocator.assign_ip(first.addresses[4], hostname="h1", handle="a-workload")
    second = await world.settle()
    assert second.addresses[4] != first.addresses[4]
    assert await world.allocator.ips_by_handle("a-workload") == (first.addresses[4],)


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"allowed_uses": ("Workload",)}, "allowedUses do not contain Tunnel"),
        ({"node_selector": "has(rack)"}, "nodeSelector does not select"),
        ({"disabled": True}, "it is disabled"),
    ],
)
async def test_why_there_is_no_address_is_said_and_the_other_family_has_one(spec: dict[str, Any], said: str) -> None:
    world = await world_of(("p4", "10.65.0.0/24", {**VXLAN, **spec}), ("p6", "fd65::/112", VXLAN))
    settled = await world.settle()
    assert said in settled.faults[4]
    assert set(settled.addresses) == {6}


async def test_when_the_node_was_changed_meanwhile_nothing_stays_given_out() -> None:
    world = await world_of(("p4", "10.65.0.0/24", VXLAN))
    read = world.store.get

    async def changed_after(kind: str, name: str, namespace: str = "") -> Any:
        found = await read(kind, name, namespace)
        await world.store.replace(
            msgspec.structs.replace(found, metadata=msgspec.structs.replace(found.metadata, labels={"a": "b"}))
        )
        return found

    world.store.get = changed_after  # type: ignore[method-assign]
    with pytest.raises(Conflict):
        await world.settle()
    assert await world.allocator.ips_by_handle(HANDLE) == ()


async def test_a_node_that_is_not_there_is_named() -> None:
    world = World()
    await world.store.create(Node(metadata=Metadata(name="other"), spec=NodeSpec()))
    with pytest.raises(NotFound):
        await world.settle()


IPIP: dict[str, Any] = {"ipip_mode": "Always"}
IPIP_HANDLE = "ipip-tunnel-addr-h1"


async def ipip_recorded(world: World) -> NodeBGPSpec | None:
    node = await world.store.get("Node", "h1")
    assert isinstance(node, Node)
    return node.spec.bgp


async def test_a_pool_with_ip_in_ip_gives_an_address_under_calicos_names_and_takes_it_back() -> None:
    world = await world_of(("p4", "10.65.0.0/24", IPIP))
    settled = await world.settle()
    assert settled.changed == {"ipip"}
    address = settled.addresses["ipip"]
    assert await ipip_recorded(world) == NodeBGPSpec(ipv4_ipip_tunnel_addr=address)
    recorded = await world.allocator.get_attributes(address)
    assert recorded is not None
    assert (recorded.handle, recorded.attrs) == (IPIP_HANDLE, {"node": "h1", "type": "ipipTunnelAddress"})
    assert (await world.settle()).changed == frozenset()
    await world.pool("p4", "10.65.0.0/24")
    assert (await world.settle()).addresses == {}
    assert await ipip_recorded(world) is None
    assert await world.allocator.ips_by_handle(IPIP_HANDLE) == ()


async def test_what_a_node_says_of_bgp_stays_when_its_address_in_ip_in_ip_comes_and_goes() -> None:
    world = World()
    bgp = NodeBGPSpec(ipv4_address="192.0.2.1/24")
    await world.store.create(Node(metadata=Metadata(name="h1"), spec=NodeSpec(bgp=bgp)))
    await world.pool("p4", "10.65.0.0/24", **IPIP)
    address = (await world.settle()).addresses["ipip"]
    assert await ipip_recorded(world) == NodeBGPSpec(ipv4_address="192.0.2.1/24", ipv4_ipip_tunnel_addr=address)
    await world.pool("p4", "10.65.0.0/24")
    await world.settle()
    assert await ipip_recorded(world) == bgp


async def test_a_node_has_an_address_in_each_kind_of_tunnel() -> None:
    world = await world_of(("a", "10.65.0.0/24", IPIP), ("b", "10.66.0.0/24", VXLAN))
    settled = await world.settle()
    assert settled.addresses["ipip"].startswith("10.65.0.")
    assert settled.addresses[4].startswith("10.66.0.")
