"""A table that another version wrote is taken over when its layout is ours, and replaced as a whole when not."""

from __future__ import annotations

from typing import Any

import pytest

from calico.dataplane.nft.table import NftDataplane
from calico.netlink.nftables.expr import Cmp, Lookup, Meta, Payload, Rule, Verdict
from calico.netlink.nftables.objects import Chain, Hook, SetDecl, Table
from calico.rules.layout import LAYOUT, LAYOUT_CHAIN, layout_chain
from calico.rules.table import TableState

TABLE = Table("felix")
DROP = Verdict("drop")
OURS = SetDecl("members", ("ipv4_addr",), size=16)
THEIRS = SetDecl("members", ("ifname", "ipv4_addr"), size=16)


def of_layout(number: int | None, *, old: bool = False) -> TableState:
    """A table of ours or, ``old``, of a version with other chains, hooks, and another key of the same set."""
    state = TableState()
    decl = THEIRS if old else OURS
    state.want_set(decl)
    state.want_element("members", (b"cali1".ljust(16, b"\0") if old else b"") + bytes((10, 0, 0, 1)))
    loads = (Meta("iifname"), Payload("network", 12, 4, 4)) if old else (Payload("network", 12, 4),)
    ipv4 = (Meta("nfproto"), Cmp("eq", b"\x02"))
    drop = Rule((*ipv4, *loads, Lookup("members"), DROP))
    state.want_chain(Chain("forward", (drop,), Hook("forward", 7 if old else 0)))
    if old:
        state.want_chain(Chain("gone", (Rule((DROP,)),)))
    if number is not None:
        state.want_chain(layout_chain(number))
    return state


def taken_over(kernel: Any, state: TableState, *, owned: bool = True, inherit: tuple[str, ...] = ()) -> NftDataplane:
    dataplane = NftDataplane(
        Table("felix", owned=owned), state, socket_factory=kernel.socket, layout=LAYOUT_CHAIN, inherit=inherit
    )
    assert dataplane.apply().failed == ()
    return dataplane


@pytest.mark.parametrize("owned", [True, False])
@pytest.mark.parametrize("number", [LAYOUT - 1, LAYOUT + 1, None])
def test_a_table_of_another_layout_is_replaced_in_one_transaction(kernel: Any, number: int | None, owned: bool) -> None:
    old = kernel.dataplane(of_layout(number, old=True), Table("felix", owned=owned))
    assert old.apply().failed == ()
    old.close()
    before = kernel.generation()
    state = of_layout(LAYOUT)
    taken_over(kernel, state, owned=owned)
    assert kernel.generation() == before + 1
    kernel.agrees(state, TABLE)


def test_a_table_of_our_layout_is_taken_over_and_nothing_of_it_is_sent_again(kernel: Any) -> None:
    taken_over(kernel, of_layout(LAYOUT)).close()
    again = NftDataplane(TABLE, of_layout(LAYOUT), socket_factory=kernel.socket, layout=LAYOUT_CHAIN)
    assert not again.apply().changed
    assert again.owned


def test_elements_that_are_kept_over_a_restart_survive_a_replacement(kernel: Any) -> None:
    old = of_layout(LAYOUT - 1)
    old.want_element("members", bytes((10, 0, 0, 9)))
    taken_over(kernel, old).close()
    state = of_layout(LAYOUT)
    taken_over(kernel, state, inherit=("members",))
    assert bytes((10, 0, 0, 9)) in state.elements("members")
    kernel.agrees(state, TABLE)


def test_elements_of_a_set_with_another_key_are_not_taken_for_ours(kernel: Any) -> None:
    taken_over(kernel, of_layout(LAYOUT - 1, old=True)).close()
    state = of_layout(LAYOUT)
    taken_over(kernel, state, inherit=("members",))
    assert set(state.elements("members")) == {bytes((10, 0, 0, 1))}
    kernel.agrees(state, TABLE)
