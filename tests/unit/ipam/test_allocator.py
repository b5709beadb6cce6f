"""The allocator on a store in memory (spec §9.2)."""

from __future__ import annotations

import asyncio
from ipaddress import ip_address, ip_network

import pytest
from msgspec.structs import replace

from allocation.cluster import Cluster
from calico.datastore.api import Op
from calico.errors import AlreadyExists, InvalidInput, NotFound, Transient
from calico.ipam.requests import AssignRequest, BadHandle, BadSequenceNumber, InCooldown, ReleaseRequest
from calico.ipam.stored.keys import affinity_key, block_key, handle_key
from calico.model.ippool import IPPool


@pytest.fixture
async def cluster() -> Cluster:
    return await Cluster().hosts(a={"zone": "east"}, b={"zone": "west"})


async def test_addresses_are_single_and_of_the_pool(cluster: Cluster) -> None:
    await cluster.pool("four", "10.0.0.0/24")
    await cluster.pool("six", "fd00::/64")
    found = await cluster.assign("a", "h", v4=2, v6=1)
    assert [str(address.network.prefixlen) for address in (*found.v4, *found.v6)] == ["32", "32", "128"]
    assert all(address.ip in ip_network("10.0.0.0/24") for address in found.v4)
    assert found.v6[0].ip in ip_network("fd00::/64")
    assert found.reason == ""
    assert set(await cluster.allocator.ips_by_handle("h")) == {str(a.ip) for a in (*found.v4, *found.v6)}
    assert await cluster.problems() == []


async def test_a_host_uses_its_block_up_before_it_claims_another(cluster: Cluster) -> None:
    await cluster.pool("p", "10.0.0.0/24", block_size=30)
    for number in range(6):
        await cluster.one("a", f"h.{number}")
    blocks = (await cluster.state()).blocks.values()
    assert sorted(sum(1 for _ in block.held()) for block in blocks) == [2, 4]


async def test_a_warm_assignment_reads_once_and_writes_once_and_lists_no_blocks(cluster: Cluster) -> None:
    await cluster.pool("p", "10.0.0.0/16")
    await cluster.one("a", "first")
    cluster.counting.calls.clear()
    await cluster.one("a", "second")
    assert len(cluster.counting.calls) == 2  # round trips
    assert cluster.counting.calls.count("txn") == 1
    assert not [call for call in cluster.counting.calls if "assignment" in call]
    cluster.allocator = cluster.another()
    cluster.counting.calls.clear()
    await cluster.one("a", "third")
    assert cluster.counting.calls.count("txn") == 1
    assert [call.split()[0] for call in cluster.counting.calls if "assignment" in call] == ["read"]


async def test_hosts_take_blocks_at_different_places_and_never_the_same(cluster: Cluster) -> None:
    await cluster.pool("p", "10.0.0.0/16")
    others = {host: cluster.another() for host in ("a", "b", "c")}
    requests = [
        others[host].auto_assign(AssignRequest(hostname=host, v4=1, handle=f"{host}.{number}"))
        for host in others
        for number in range(100)
    ]
    found = [answer.v4[0] for answer in await asyncio.gather(*requests)]
    assert len(set(found)) == 300
    assert len((await cluster.state()).blocks) == 6
    assert await cluster.problems() == []


async def test_a_host_without_a_node_gets_nothing(cluster: Cluster) -> None:
    await cluster.pool("p", "10.0.0.0/24")
    with pytest.raises(NotFound, match="Node stranger does not exist"):
        await cluster.assign("stranger", "h")


async def test_too_few_addresses_come_with_the_reason(cluster: Cluster) -> None:
    await cluster.pool("small", "10.0.0.0/30", block_size=30)
    await cluster.pool("off", "10.0.1.0/24", disabled=True)
    await cluster.pool("west", "10.0.2.0/24", node_selector="zone == 'west'")
    await cluster.pool("tunnels", "10.0.3.0/24", allowed_uses=("Tunnel",))
    await cluster.pool("by-hand", "10.0.4.0/24", assignment_mode="Manual")
    found = await cluster.assign("a", "h", v4=6)
    assert len(found.v4) == 4
    assert found.reason.startswith("4 of 6 IPv4 addresses assigned: ")
    for part in (
        "IPPool off: it is disabled",
        "IPPool west: its nodeSelector does not select the node",
        "IPPool tunnels: its allowedUses do not contain Workload",
        "IPPool by-hand: its assignmentMode is Manual",
        "IPPool small: every block of 10.0.0.0/30 is claimed",
        "no block of others has an address that is free",
    ):
        assert part in found.reason


async def test_a_namespace_selector_is_asked_about_the_namespace(cluster: Cluster) -> None:
    await cluster.pool("gold", "10.0.0.0/24", namespace_selector="tier == 'gold'", allowed_uses=("Workload",))
    assert "its namespaceSelector" in (await cluster.assign("a", "h")).reason
    assert (await cluster.assign("a", "h", namespace_labels={"tier": "gold"})).v4


async def test_a_pool_that_is_asked_for_needs_no_selection_but_must_be_usable(cluster: Cluster) -> None:
    await cluster.pool("west", "10.0.2.0/24", node_selector="zone == 'west'", assignment_mode="Manual")
    await cluster.pool("off", "10.0.1.0/24", disabled=True)
    assert (await cluster.one("a", "h", pools_v4=("west",))).startswith("10.0.2.")
    assert (await cluster.one("a", "i", pools_v4=("10.0.2.0/24",))).startswith("10.0.2.")
    with pytest.raises(InvalidInput, match="IPPool off: addresses were asked for from it, but it is disabled"):
        await cluster.assign("a", "h", pools_v4=("off",))
    with pytest.raises(InvalidInput, match=r"IPPool none: .* no such pool"):
        await cluster.assign("a", "h", pools_v4=("none",))


async def test_reserved_addresses_are_given_only_to_who_names_them(cluster: Cluster) -> None:
    await cluster.pool("p", "10.0.0.0/29", block_size=29)
    await cluster.reserve("10.0.0.0/30", "10.0.0.6")
    found = await cluster.assign("a", "h", v4=8)
    assert {str(a.ip) for a in found.v4} == {"10.0.0.4", "10.0.0.5", "10.0.0.7"}
    await cluster.allocator.assign_ip("10.0.0.6", hostname="a", handle="h")
    assert "10.0.0.6" in await cluster.allocator.ips_by_handle("h")


async def test_a_pool_of_which_all_but_the_end_is_reserved_is_searched_at_once(cluster: Cluster) -> None:
    await cluster.pool("p", "fd00::/48")
    await cluster.reserve("fd00::/49", "fd00:0:0:8000::/50", "fd00:0:0:c000::/51", "fd00:0:0:e000::/52")
    found = await cluster.assign("a", "h", v4=0, v6=1)
    assert found.v6[0].ip in ip_network("fd00:0:0:f000::/52")


async def test_blocks_of_others_are_borrowed_from_unless_affinity_is_strict(cluster: Cluster) -> None:
    await cluster.pool("p", "10.0.0.0/30", block_size=30)
    await cluster.one("a", "own")
    borrowed = await cluster.one("b", "borrowed")
    recorded = await cluster.allocator.get_attributes(borrowed)
    assert recorded is not None
    assert recorded.owner == "host:a"
    await cluster.configure(strict_affinity=True)
    found = await cluster.assign("b", "more")
    assert found.v4 == ()
    assert "strict affinity is on" in found.reason


async def test_a_host_has_no_more_blocks_than_it_may(cluster: Cluster) -> None:
    await cluster.pool("p", "10.0.0.0/24", block_size=32)
    await cluster.configure(strict_affinity=True, max_blocks_per_host=3)
    found = await cluster.assign("a", "h", v4=5)
    assert len(found.v4) == 3
    assert "host:a has 3 blocks, and may have 3" in found.reason
    assert len((await cluster.assign("b", "i", v4=5, max_blocks=2)).v4) == 2


async def test_a_host_gives_up_its_empty_blocks_of_a_pool_that_selects_it_no_more(cluster: Cluster) -> None:
    await cluster.pool("east", "10.0.0.0/24", block_size=30)
    for number in range(5):
        await cluster.one("a", f"h.{number}")
    (kept,) = (block.cidr for block in (await cluster.state()).blocks.values() if sum(1 for _ in block.held()) == 4)
    await cluster.allocator.release_by_handle("h.4")  # the only one of the other block
    await cluster.configure(strict_affinity=True, max_blocks_per_host=2)
    east = await cluster.store.get("IPPool", "east")
    assert isinstance(east, IPPool)
    await cluster.store.update(replace(east, spec=replace(east.spec, node_selector="zone == 'west'")))
    assert len(await cluster.allocator.unselected("a")) == 2
    assert await cluster.allocator.unselected("b") == ()
    await cluster.pool("all", "10.1.0.0/24", block_size=30)
    assert (await cluster.one("a", "new")).startswith("10.1.0.")
    assert kept in await cluster.allocator.affinities_of("a")
    assert len(await cluster.allocator.affinities_of("a")) == 2
    assert await cluster.problems() == []


async def test_blocks_are_not_claimed_where_that_is_off(cluster: Cluster) -> None:
    await cluster.pool("p", "10.0.0.0/24")
    await cluster.configure(strict_affinity=True, auto_allocate_blocks=False)
    assert "autoAllocateBlocks is off" in (await cluster.assign("a", "h")).reason
    assert await cluster.allocator.ensure_affinity("a", "10.0.0.64/26")
    assert (await cluster.one("a", "h")) == "10.0.0.64"


async def test_an_empty_block_of_another_is_taken_over_after_a_minute(cluster: Cluster) -> None:
    await cluster.pool("p", "10.0.0.0/30", block_size=30)
    await cluster.configure(strict_affinity=True)
    await cluster.one("a", "h")
    await cluster.allocator.release_by_handle("h")
    assert (await cluster.assign("b", "i")).v4 == ()
    cluster.later(seconds=60)
    await cluster.one("b", "i")
    assert await cluster.allocator.affinities_of("a") == ()
    assert await cluster.problems() == []


async def test_an_address_that_is_named_is_given_once(cluster: Cluster) -> None:
    await cluster.pool("p", "10.0.0.0/24")
    await cluster.allocator.assign_ip("10.0.0.200", hostname="a", handle="h", attrs={"pod": "x"})
    with pytest.raises(AlreadyExists, match=r"10\.0\.0\.200 is given out already, under handle 'h'"):
        await cluster.allocator.assign_ip("10.0.0.200", hostname="b", handle="i")
    assert await cluster.allocator.affinities_of("a") == ("10.0.0.192/26",)
    assert await cluster.allocator.ips_by_handle("i") == ()
    with pytest.raises(InvalidInput, match=r"10\.9\.0\.1: cannot be assigned: it lies in no IPPool"):
        await cluster.allocator.assign_ip("10.9.0.1", hostname="a")
    with pytest.raises(InvalidInput, match="allowedUses do not contain LoadBalancer"):
        await cluster.allocator.assign_ip("10.0.0.1", hostname="a", use="LoadBalancer")
    await cluster.configure(strict_affinity=True)
    with pytest.raises(InvalidInput, match="belongs to host:a, and strict affinity is on"):
        await cluster.allocator.assign_ip("10.0.0.201", hostname="b")


async def test_a_released_address_cools_down(cluster: Cluster) -> None:
    await cluster.pool("p", "10.0.0.0/32", block_size=32)
    await cluster.configure(cooldown_s=30)
    await cluster.one("a", "h")
    assert await cluster.allocator.release_by_handle("h") == ("10.0.0.0",)
    assert (await cluster.assign("a", "i")).v4 == ()
    with pytest.raises(InCooldown):
        await cluster.allocator.assign_ip("10.0.0.0", hostname="a")
    cluster.later(seconds=30)
    assert await cluster.one("a", "i") == "10.0.0.0"


async def test_a_release_takes_only_what_it_means(cluster: Cluster) -> None:
    await cluster.pool("p", "10.0.0.0/24")
    address = await cluster.one("a", "h", attrs={"pod": "x"})
    recorded = await cluster.allocator.get_attributes(address)
    assert recorded is not None
    assert (recorded.handle, recorded.attrs) == ("h", {"pod": "x"})
    wrong = [
        ReleaseRequest(address=address, handle="other"),
        ReleaseRequest(address="10.0.0.250"),
        ReleaseRequest(address="172.16.0.1"),
    ]
    answer = await cluster.allocator.release_ips(wrong)
    assert (answer.released, set(answer.unallocated)) == ((), {"10.0.0.250", "172.16.0.1"})
    assert isinstance(answer.refused[address], BadHandle)
    assert recorded.sequence is not None
    old = ReleaseRequest(address=address, handle="h", sequence=recorded.sequence - 1)
    assert isinstance((await cluster.allocator.release_ips([old])).refused[address], BadSequenceNumber)
    right = ReleaseRequest(address=address, handle="h", sequence=recorded.sequence)
    assert (await cluster.allocator.release_ips([right])).released == (address,)
    assert (await cluster.allocator.release_ips([right])).unallocated == (address,)
    assert (await cluster.state()).handles == {}


async def test_many_addresses_of_many_handles_are_released_at_once(cluster: Cluster) -> None:
    await cluster.pool("p", "10.0.0.0/24", block_size=24)
    addresses = [await cluster.one("a", f"h.{number}") for number in range(230)]
    answer = await cluster.allocator.release_ips([ReleaseRequest(address=address) for address in addresses])
    assert sorted(answer.released) == sorted(addresses)
    assert (await cluster.state()).handles == {}
    assert await cluster.problems() == []


async def test_releases_and_assignments_that_come_together_do_not_make_one_another_fail(cluster: Cluster) -> None:
    await cluster.pool("p", "10.0.0.0/24")
    await asyncio.gather(*(cluster.one("a", f"old.{number}") for number in range(20)))
    cluster.counting.calls.clear()
    releases = [cluster.allocator.release_by_handle(f"old.{number}") for number in range(20)]
    answers = await asyncio.gather(*releases, *(cluster.one("a", f"new.{number}") for number in range(20)))
    assert [len(answer) for answer in answers[:20]] == [1] * 20
    assert cluster.counting.calls.count("txn") <= 5
    assert set((await cluster.state()).handles) == {f"new.{number}" for number in range(20)}
    assert await cluster.problems() == []


async def test_a_damaged_handle_hinders_no_release_that_comes_together_with_its_own(cluster: Cluster) -> None:
    await cluster.pool("p", "10.0.0.0/24")
    addresses = [await cluster.one("a", f"h.{number}") for number in range(5)]
    await cluster.backend.txn([Op(handle_key("h.2"), b"damaged")])
    requests = [cluster.allocator.release_ips([ReleaseRequest(address=address)]) for address in addresses]
    answers = await asyncio.gather(*requests, return_exceptions=True)
    assert isinstance(answers[2], InvalidInput)
    assert "h.2" in str(answers[2])
    freed = [answer.released for answer in answers if not isinstance(answer, BaseException)]
    assert freed == [(address,) for address in addresses if address != addresses[2]]
    assert set((await cluster.state()).blocks.popitem()[1].ordinals_of("h.2")) != set()


async def test_an_address_is_found_although_its_pool_is_gone(cluster: Cluster) -> None:
    await cluster.pool("p", "10.0.0.0/24", block_size=28)
    address = await cluster.one("a", "h")
    await cluster.store.delete("IPPool", "p")
    assert (await cluster.allocator.release_ips([ReleaseRequest(address=address)])).released == (address,)


async def test_releasing_a_handle_that_is_not_there_is_no_error(cluster: Cluster) -> None:
    assert await cluster.allocator.release_by_handle("k8s-pod-network.none") == ()


async def test_a_handle_that_counts_what_it_has_not_is_put_right(cluster: Cluster) -> None:
    """What Calico's client leaves when it dies between handle and block."""
    await cluster.pool("p", "10.0.0.0/24")
    await cluster.one("a", "h")
    stored = b'{"block":{"10.0.0.0/26":3,"10.0.9.0/26":1},"deleted":false}'
    await cluster.backend.delete_prefix("/calico/ipam/v2/handle/h")
    await cluster.backend.txn([Op("/calico/ipam/v2/handle/h", stored)])
    await cluster.allocator.release_by_handle("h")
    assert (await cluster.state()).handles == {}


async def test_a_block_that_belongs_to_nobody_goes_with_its_last_address(cluster: Cluster) -> None:
    await cluster.pool("p", "10.0.0.0/24")
    first, second = await cluster.one("a", "h"), await cluster.one("a", "i")
    assert await cluster.allocator.release_affinities("a") == {}
    (block,) = (await cluster.state()).blocks.values()
    assert block.affinity is None
    await cluster.allocator.release_ips([ReleaseRequest(address=first)])
    assert (await cluster.state()).blocks
    await cluster.allocator.release_ips([ReleaseRequest(address=second)])
    assert not (await cluster.state()).blocks


async def test_affinities_in_use_stay_when_only_empty_ones_are_to_go(cluster: Cluster) -> None:
    await cluster.pool("p", "10.0.0.0/24")
    await cluster.one("a", "h")
    (block,) = (await cluster.state()).blocks
    assert await cluster.allocator.release_affinities("a", only_empty=True) == {
        block: f"{block} has 1 addresses in use"
    }


async def test_a_damaged_block_is_named_and_others_serve(cluster: Cluster) -> None:
    await cluster.pool("p", "10.0.0.0/28", block_size=29)
    address = await cluster.one("a", "h")
    block = (await cluster.allocator.affinities_of("a"))[0]
    await cluster.backend.txn([Op(block_key(block), b'{"cidr":"nonsense"}')])
    found = await cluster.one("a", "i")
    assert ip_address(found) not in ip_network(block)
    assert ip_address(address) in ip_network(block)
    missing = await cluster.assign("a", "j", v4=20)
    assert f"block {block}: cidr: 'nonsense'" in missing.reason


@pytest.mark.parametrize("state", ["pending", "confirmed", "pendingDeletion", "nonsense"])
@pytest.mark.parametrize("block", [None, b'{"cidr":"nonsense"}', "own", "of another"])
async def test_whatever_a_claim_cut_short_left_another_block_serves(
    cluster: Cluster, state: str, block: bytes | str | None
) -> None:
    await cluster.pool("p", "10.0.0.0/24", block_size=29)
    cidr = "10.0.0.64/29"
    if isinstance(block, str):
        assert await cluster.allocator.ensure_affinity("a" if block == "own" else "b", cidr)
    elif block is not None:
        await cluster.backend.txn([Op(block_key(cidr), block)])
    await cluster.backend.txn([Op(affinity_key("host:a", cidr), f'{{"state":"{state}"}}'.encode())])
    async with asyncio.timeout(20):
        found = await cluster.assign("a", "h", v4=10)
    assert len(found.v4) == 10, found.reason
    left = {finding.code for finding in await cluster.problems()}
    assert left <= (
        {"damaged", "affinity-unfinished", "affinity-without-block"} if block == b'{"cidr":"nonsense"}' else set()
    )


async def test_addresses_of_tunnels_and_balancers_come_from_pools_for_them(cluster: Cluster) -> None:
    await cluster.pool("workloads", "10.0.0.0/24", allowed_uses=("Workload",))
    await cluster.pool("tunnels", "10.0.1.0/24", allowed_uses=("Tunnel",))
    await cluster.pool("services", "10.0.2.0/24", allowed_uses=("LoadBalancer",))
    attrs = {"node": "a", "type": "vxlanTunnelAddress"}
    assert (await cluster.one("a", "vxlan-tunnel-addr-a", use="Tunnel", attrs=attrs)).startswith("10.0.1.")
    service = await cluster.one("", "lb-1", use="LoadBalancer")
    assert service.startswith("10.0.2.")
    recorded = await cluster.allocator.get_attributes(service)
    assert recorded is not None
    assert recorded.owner == "virtual:load-balancer"


async def test_a_store_that_is_away_is_waited_for_and_then_reported(cluster: Cluster) -> None:
    await cluster.pool("p", "10.0.0.0/24")
    cluster.backend.go_down("gone fishing")
    with pytest.raises(Transient, match="gone fishing"):
        await cluster.assign("a", "h")
    cluster.backend.come_up()
    assert await cluster.one("a", "h")
