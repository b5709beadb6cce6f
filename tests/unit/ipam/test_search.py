"""In which order a host looks for a block (spec §9.2)."""

from __future__ import annotations

from ipaddress import ip_network
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from calico.ipam.choice.ranges import Ranges
from calico.ipam.choice.search import block_around, free_blocks, host_seed
from calico.ipam.stored.keys import parse_address

POOL = ip_network("10.0.0.0/24")
NETS = st.lists(
    st.builds(
        lambda start, length: ip_network(((10 << 24) + start, length), strict=False),
        st.integers(0, 400),
        st.integers(23, 32),
    ),
    max_size=5,
)


@given(st.integers(0, 2**32), st.integers(24, 30), NETS, NETS)
def test_every_block_that_can_be_had_is_found_once(seed: int, size: int, occupied: list, reserved: list) -> None:
    numbers = {int(address) for net in reserved for address in net}
    free = {
        block
        for block in POOL.subnets(new_prefix=size)
        if not any(block.overlaps(net) for net in occupied) and not numbers.issuperset(map(int, block))
    }
    found = list(free_blocks(POOL, size, seed, Ranges(occupied), Ranges(reserved)))
    assert len(found) == len(set(found))
    assert set(found) == free


def test_the_search_begins_where_the_host_says_and_wraps_round_once() -> None:
    found = list(free_blocks(POOL, 28, 7, Ranges([]), Ranges([])))
    start = found.index(next(POOL.subnets(new_prefix=28)))
    assert found[start:] + found[:start] == list(POOL.subnets(new_prefix=28))


def test_hosts_numbered_in_a_row_begin_far_from_each_other() -> None:
    wide = ip_network("10.0.0.0/8")
    nothing = Ranges([])
    firsts = [next(free_blocks(wide, 26, host_seed(f"node-{n}"), nothing, nothing)) for n in range(50)]
    starts = [int(block.network_address) // 64 for block in firsts]
    assert min(abs(one - other) for one, other in pairwise(starts)) > 16
    assert len(set(starts)) == 50


def test_a_hosts_seed_is_fnv_1_of_its_name() -> None:
    assert host_seed("") == 0x811C9DC5
    assert host_seed("a") == 0x050C5D7E
    assert host_seed("foobar") == 0x31F0B262


def test_a_pool_smaller_than_a_block_has_none() -> None:
    assert list(free_blocks(ip_network("10.0.0.0/27"), 26, 1, Ranges([]), Ranges([]))) == []


def test_the_block_of_an_address_is_cut_to_the_size() -> None:
    assert block_around(parse_address("10.0.0.77"), 26) == "10.0.0.64/26"
    assert block_around(parse_address("fd00::1234"), 122) == "fd00::1200/122"
