from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calico.calc.net_cover import NetCover, last_of, masked
from calico.lib import packed

V4 = st.builds(lambda low, length: packed.net(f"10.0.0.{low}/{length}"), st.integers(0, 15), st.integers(26, 32))
V6 = st.builds(lambda low, length: packed.net(f"fd00::{low:x}/{length}"), st.integers(0, 7), st.integers(124, 128))
CATCH_ALL = st.sampled_from((packed.net("0.0.0.0/0"), packed.net("::/0")))
NETS = st.one_of(V4, V4, V6, CATCH_ALL)


def cover(nets: list[bytes]) -> set[bytes]:
    """The rule, with the standard library's idea of networks."""
    networks = {net: ipaddress.ip_network(packed.net_str(net)) for net in nets}
    return {
        net
        for net, network in networks.items()
        if not any(
            other != network and other.version == network.version and network.subnet_of(other)  # type: ignore[arg-type]
            for other in networks.values()
        )
    }


@given(st.lists(st.tuples(st.booleans(), NETS, st.booleans()), max_size=60))
def test_members_are_the_nets_that_no_other_contains_after_any_history(steps: list[tuple[bool, bytes, bool]]) -> None:
    nets, contributed, told = NetCover(), [], set()
    for adding, net, take in steps:
        if adding:
            nets.add(net)
            contributed.append(net)
        elif net in contributed:
            nets.remove(net)
            contributed.remove(net)
        assert nets.members() == cover(contributed)
        if take:
            added, removed = nets.delta.take()
            assert not added & told
            assert removed <= told
            told = (told | added) - removed
            assert told == nets.members()


def test_a_net_contributed_several_times_stays_until_all_are_gone() -> None:
    nets, net = NetCover(), packed.net("10.0.0.1")
    for _ in range(3):
        nets.add(net)
    for _ in range(2):
        nets.remove(net)
        assert nets.members() == {net}
    nets.remove(net)
    assert nets.members() == frozenset()


@pytest.mark.parametrize(
    ("address", "length"),
    [
        *(("10.32.32.32", length) for length in range(32)),
        *(("fd00:80:80:80:80:80:80:80", length) for length in range(128)),
    ],
)
def test_a_net_of_any_length_takes_what_it_holds_out_of_the_set_and_gives_it_back(address: str, length: int) -> None:
    nets, inner = NetCover(), packed.net(address)
    outer = masked(inner, length)
    nets.add(inner)
    nets.delta.take()
    nets.add(outer)
    assert nets.delta.take() == ({outer}, {inner})
    nets.remove(outer)
    assert nets.delta.take() == ({inner}, {outer})


def test_nothing_is_kept_of_nets_that_are_gone() -> None:
    nets, texts = NetCover(), ("10.0.0.0/8", "10.0.0.0/31", "10.1.0.0/31", "10.0.0.1", "::/0", "fd00::/127", "fd00::1")
    for _ in range(2):
        for text in texts:
            nets.add(packed.net(text))
        for text in texts:
            nets.remove(packed.net(text))
    assert not nets._counts
    assert not any(nets._shorter.values())
    assert nets._ordered is not None
    assert not any(ordered.first_after(b"") for ordered in nets._ordered.values())


def test_single_addresses_are_kept_in_no_order_and_nets_in_one_that_is_made_once() -> None:
    nets = NetCover()
    for text in ("10.0.0.1", "10.0.0.255", "fd00::1", "fd00::ff"):
        nets.add(packed.net(text))
    assert nets._ordered is None
    nets.add(packed.net("10.0.0.0/30"))
    ordered = nets._ordered
    nets.add(packed.net("10.0.1.0/30"))
    assert ordered is not None
    assert nets._ordered is ordered


def test_removing_a_shorter_net_brings_back_what_it_hid() -> None:
    nets = NetCover()
    for text in ("10.0.0.1", "10.0.0.0/25", "10.0.0.0/24"):
        nets.add(packed.net(text))
    assert nets.members() == {packed.net("10.0.0.0/24")}
    nets.remove(packed.net("10.0.0.0/24"))
    assert nets.members() == {packed.net("10.0.0.0/25")}


def test_the_bound_of_a_net_lies_between_its_last_address_and_the_next_net() -> None:
    assert masked(packed.net("10.1.2.3"), 8) == packed.net("10.0.0.0/8")
    assert packed.net("10.255.255.255") < last_of(packed.net("10.0.0.0/8")) < packed.net("11.0.0.0/8")


def test_a_hidden_net_that_goes_does_not_come_back_when_what_hid_it_goes() -> None:
    nets = NetCover()
    for text in ("10.0.0.0/25", "10.0.0.0/24"):
        nets.add(packed.net(text))
    nets.remove(packed.net("10.0.0.0/25"))
    nets.delta.take()
    nets.remove(packed.net("10.0.0.0/24"))
    assert nets.delta.take() == (frozenset(), {packed.net("10.0.0.0/24")})
    assert nets.members() == frozenset()


def test_a_net_that_is_gone_covers_nothing_any_more() -> None:
    nets = NetCover()
    nets.add(packed.net("10.0.0.0/24"))
    nets.remove(packed.net("10.0.0.0/24"))
    nets.add(packed.net("10.0.0.0/25"))
    nets.add(packed.net("10.0.0.1"))
    assert nets.members() == {packed.net("10.0.0.0/25")}


def test_a_net_that_goes_does_not_take_another_of_its_length_along() -> None:
    nets = NetCover()
    for text in ("10.0.0.0/24", "10.0.1.0/24"):
        nets.add(packed.net(text))
    nets.remove(packed.net("10.0.0.0/24"))
    nets.add(packed.net("10.0.1.7"))
    assert nets.members() == {packed.net("10.0.1.0/24")}
