"""Addresses that move between the two kernel sets of one set: what must enter before a change, what may leave after it.

The kernel looks each set up in the generation that is current at that moment, so a packet may be looked up in one
part before a transaction and in the other after it. An address that the transaction moves would be found in neither.
Exact addresses therefore enter the hash one transaction early where a network had covered them, and leave it one
late where a network now covers them; in both the set as a whole has the members it had, or is to have. Pure.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Set
from typing import TypeAlias

import msgspec

from calico.dataplane.nft.mirror import Mirror
from calico.rules.table import Changes, TableState

__all__ = ["Keys", "Moves", "find_moves"]

Keys: TypeAlias = Mapping[str, Set[bytes]]
"""Elements by the name of their set."""


class Moves(msgspec.Struct, frozen=True):
    """``early``: enter a transaction before the others. ``late``: leave a transaction after them."""

    early: Keys
    late: Keys


def find_moves(state: TableState, mirror: Mirror, dirty: Changes) -> Moves:
    """The moves in what is dirty. Cost O(what is dirty)."""
    early: dict[str, Set[bytes]] = {}
    late: dict[str, Set[bytes]] = {}
    for nets in {*dirty.sets, *dirty.elements}:
        exact = state.exact_part(nets)
        if exact is None or exact not in mirror.sets or exact not in state.sets:
            continue
        closed, opened = _changed(state, mirror, dirty, nets)
        left, entered = _changed(state, mirror, dirty, exact)
        if moved := _covered(entered, closed):
            early[exact] = moved
        if moved := _covered(left, opened) if mirror.sets[exact].decl == state.sets[exact] else set():
            late[exact] = moved
    return Moves(early, late)


def _changed(state: TableState, mirror: Mirror, dirty: Changes, name: str) -> tuple[list[bytes], list[bytes]]:
    """The elements of a set that leave it and that enter it."""
    have = mirror.elements.get(name, {})
    want = state.elements(name) if name in state.sets else {}
    keys: Collection[bytes] = have.keys() | want.keys()
    if name in mirror.sets and name in state.sets and name not in dirty.sets:
        keys = dirty.elements.get(name, ())
    gone = [key for key in keys if key in have and key not in want]
    return gone, [key for key in keys if key in want and key not in have]


def _covered(addresses: Collection[bytes], nets: Collection[bytes]) -> set[bytes]:
    """Those of the addresses that one of the (packed) nets contains."""
    if not nets or not addresses:
        return set()
    within = frozenset(nets)
    lengths = {net[-1] for net in within}
    return {address for address in addresses if any(_net_of(address, length) in within for length in lengths)}


def _net_of(address: bytes, length: int) -> bytes:
    shift = len(address) * 8 - length
    return (int.from_bytes(address, "big") >> shift << shift).to_bytes(len(address), "big") + bytes((length,))
