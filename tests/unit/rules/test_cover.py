"""The outermost networks of any history of networks."""

from __future__ import annotations

import ipaddress

from hypothesis import given, settings
from hypothesis import strategies as st

from calico.lib.packed import net, net_str
from calico.rules.cover import NetCover, last_address, outermost

nets = st.one_of(
    st.builds(lambda a, n: net(f"10.0.0.{a}/{n}"), st.integers(0, 255), st.integers(24, 32)),
    st.sampled_from([net("0.0.0.0/0"), net("10.0.0.0/8"), net("255.255.255.255/32"), net("0.0.0.0/32")]),
)


def outermost_by_hand(members: set[bytes]) -> set[bytes]:
    parsed = {member: ipaddress.ip_network(net_str(member)) for member in members}
    return {m for m, p in parsed.items() if not any(p != o and p.subnet_of(o) for o in parsed.values())}  # type: ignore[arg-type]


@settings(deadline=None)
@given(st.sets(nets), st.lists(st.tuples(st.booleans(), nets), max_size=30))
def test_shown_are_the_outermost_members_after_each_change_and_the_changes_add_up(
    start: set[bytes], history: list[tuple[bool, bytes]]
) -> None:
    cover, members = NetCover(False, start), set(start)
    replica = set(cover.shown)
    for add, one in history:
        (members.add if add else members.discard)(one)
        shown, hidden = cover.add(one) if add else cover.remove(one)
        assert not replica & set(shown)
        assert set(hidden) <= replica
        replica = (replica - set(hidden)) | set(shown)
        assert replica == cover.shown == outermost_by_hand(members)
        assert cover.has_cidrs == any(member[-1] < 32 for member in members)


def test_the_outermost_are_in_order_and_each_once() -> None:
    found = outermost(map(net, ("10.0.0.0/24", "10.0.0.1/32", "10.0.0.0/8", "9.0.0.0/8", "10.0.0.0/8")))
    assert [net_str(one) for one in found] == ["9.0.0.0/8", "10.0.0.0/8"]


def test_the_last_address_of_a_network() -> None:
    assert last_address(net("10.0.0.0/23")) == bytes((10, 0, 1, 255))
    assert last_address(net("::/0")) == b"\xff" * 16
    assert last_address(net("1.2.3.4/32")) == bytes((1, 2, 3, 4))


def test_a_network_that_goes_does_not_take_another_of_its_length_along() -> None:
    one, other = net("10.0.0.0/24"), net("10.0.1.0/24")
    cover = NetCover(False, [one, other])
    cover.remove(one)
    assert cover.has_cidrs
    assert cover.add(net("10.0.1.7/32")) == ([], [])
    assert cover.remove(other) == ([net("10.0.1.7/32")], [other])
    assert not cover.has_cidrs
