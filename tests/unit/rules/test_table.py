"""The desired table tells what changed since it was last asked, and no more."""

from __future__ import annotations

from calico.netlink.nftables.expr import Rule, Verdict
from calico.netlink.nftables.objects import Chain, Hook, SetDecl
from calico.rules.room import make_room, size_for
from calico.rules.table import TableState


def state_with_set(size: int = 64) -> TableState:
    state = TableState()
    state.want_set(SetDecl("s", ("ipv4_addr",), size=size))
    state.take()
    return state


def test_wanting_what_is_wanted_is_no_change() -> None:
    state = state_with_set()
    chain = Chain("c", (Rule((Verdict("drop"),)),))
    state.want_chain(chain)
    state.want_element("s", b"1234")
    state.take()
    state.want_chain(Chain("c", (Rule((Verdict("drop"),)),)))
    state.want_element("s", b"1234")
    state.want_set(SetDecl("s", ("ipv4_addr",), size=64))
    assert not state.take()


def test_a_larger_declaration_keeps_the_elements() -> None:
    state = state_with_set()
    state.want_element("s", b"1234")
    state.want_set(SetDecl("s", ("ipv4_addr",), size=128))
    assert list(state.elements("s")) == [b"1234"]
    assert state.take().sets == {"s"}


def test_a_set_that_goes_takes_its_elements_and_their_changes_along() -> None:
    state = state_with_set()
    state.want_element("s", b"1234")
    state.unwant_set("s")
    changes = state.take()
    assert (changes.sets, changes.elements) == ({"s"}, {})
    assert state.sets == {}


def test_room_is_needed_for_what_is_being_removed_until_it_is_taken() -> None:
    state = state_with_set()
    for number in range(10):
        state.want_element("s", bytes((0, 0, 0, number)))
    for number in range(4):
        state.unwant_element("s", bytes((0, 0, 0, number)))
    assert state.room_needed("s") == 10
    state.want_element("s", bytes(4))
    assert state.room_needed("s") == 10
    state.take()
    assert state.room_needed("s") == 7


def test_sizes_are_powers_of_two_at_least_twice_the_count() -> None:
    assert [size_for(count) for count in (0, 1, 32, 33, 1000)] == [64, 64, 64, 128, 2048]


def test_room_is_made_when_three_quarters_are_needed() -> None:
    state = state_with_set()
    for number in range(49):
        assert state.sets["s"].size == 64
        state.want_element("s", bytes((0, 0, 0, number)))
        make_room(state, "s")
    assert state.sets["s"].size == 128


def test_a_set_that_declares_no_size_is_never_given_one() -> None:
    state = state_with_set(size=0)
    for number in range(200):
        state.want_element("s", bytes((0, 0, 0, number)))
        make_room(state, "s")
    assert state.sets["s"].size == 0


def test_a_change_of_a_chain_a_set_or_an_element_alone_is_a_change() -> None:
    state = state_with_set()
    for change in (
        lambda: state.want_chain(Chain("c")),
        lambda: state.want_element("s", b"1234"),
        lambda: state.unwant_element("s", b"1234"),
        lambda: state.want_set(SetDecl("t", ("ipv4_addr",))),
        lambda: state.unwant_set("t"),
        lambda: state.unwant_chain("c"),
    ):
        change()
        assert state.take()
        assert not state.take()


def test_a_chain_that_nobody_has_cannot_go() -> None:
    state = TableState()
    state.unwant_chain("c")
    assert not state.take()


def test_base_chains_are_those_that_have_a_hook_now() -> None:
    state, based = TableState(), Chain("c", (), Hook("forward", 0))
    state.want_chain(based)
    assert dict(state.base_chains) == {"c": based}
    state.want_chain(Chain("c"))
    assert dict(state.base_chains) == {}
    state.want_chain(based)
    state.unwant_chain("c")
    assert dict(state.base_chains) == {}
    assert state.take().chains == {"c"}


def test_room_for_what_is_removed_is_not_needed_by_another_set_of_that_name() -> None:
    state = state_with_set()
    state.want_element("s", b"1234")
    state.unwant_element("s", b"1234")
    state.unwant_set("s")
    state.want_set(SetDecl("s", ("ipv4_addr",), size=64))
    assert state.room_needed("s") == 0
