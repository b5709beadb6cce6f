"""Which addresses are whose by IPAM's records."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from calico.bgp.planning.ownership import Owned, OwnershipView
from calico.datastore.api import Update

A, B = "10.65.1.0/26", "10.65.2.0/26"


def affinity(host: str, cidr: str, value: str | None = '{"state":"confirmed"}') -> Update:
    version = "ipv6" if ":" in cidr else "ipv4"
    key = f"/calico/ipam/v2/host/{host}/{version}/block/{cidr.replace('/', '-')}"
    return Update(key, None if value is None else value.encode(), 1)


def block(cidr: str, owner: str | None, given: dict[int, tuple[str, str]] | None = None, **fields: Any) -> Update:
    """``given``: by ordinal the node that has an address and the one it is about to move to."""
    version, size = ("ipv6", 64) if ":" in cidr else ("ipv4", 64)
    allocations: list[int | None] = [None] * size
    attributes = []
    for ordinal, (node, target) in (given or {}).items():
        allocations[ordinal] = len(attributes)
        held: dict[str, Any] = {"handle_id": f"h{ordinal}", "secondary": {"node": node}}
        if target:
            held["alternateOwnerAttrs"] = {"node": target}
        attributes.append(held)
    document = {
        "cidr": cidr,
        "affinity": owner,
        "allocations": allocations,
        "unallocated": [o for o in range(size) if allocations[o] is None],
        "attributes": attributes,
        **fields,
    }
    key = f"/calico/ipam/v2/assignment/{version}/block/{cidr.replace('/', '-')}"
    return Update(key, json.dumps(document).encode(), 1)


def gone(update: Update) -> Update:
    return Update(update.key, None, 2)


@pytest.fixture
def view() -> OwnershipView:
    return OwnershipView()


def test_a_block_is_a_hosts_when_affinity_and_block_say_so(view: OwnershipView) -> None:
    assert not view.apply([affinity("a", A)]), "any host can write an affinity"
    assert view.owned() == {}
    assert view.apply([block(A, "host:a")])
    assert view.owned() == {"a": Owned(blocks=(A,))}
    assert not view.apply([affinity("rogue", A)])
    assert view.owned() == {"a": Owned(blocks=(A,))}
    assert view.apply([affinity("a", A, None)])
    assert view.owned() == {}


@pytest.mark.parametrize(
    "value", ['{"state":"pending"}', '{"state":"pendingDeletion"}', '{"state":"confirmed","deleted":true}', "x"]
)
def test_an_affinity_that_does_not_hold_gives_nothing(view: OwnershipView, value: str) -> None:
    view.apply([block(A, "host:a"), affinity("a", A, value)])
    assert view.owned() == {}
    assert [p.object for p in view.problems()] == ([f"BlockAffinity {A}"] if value == "x" else [])


def test_a_borrowed_address_is_the_borrowers_and_not_the_lenders(view: OwnershipView) -> None:
    view.apply([affinity("a", A), block(A, "host:a", {5: ("b", ""), 6: ("a", "")})])
    assert view.owned() == {
        "a": Owned(blocks=(A,), lent=("10.65.1.5/32",)),
        "b": Owned(borrowed=("10.65.1.5/32",)),
    }
    assert view.apply([block(A, "host:a", {6: ("a", "")})])
    assert view.owned() == {"a": Owned(blocks=(A,))}


def test_an_address_that_moves_is_told_by_both_ends(view: OwnershipView) -> None:
    view.apply([affinity("a", A), block(A, "host:a", {5: ("a", "b"), 7: ("b", "a")})])
    assert view.owned() == {
        "a": Owned(blocks=(A,)),
        "b": Owned(borrowed=("10.65.1.5/32", "10.65.1.7/32")),
    }


def test_an_allocation_that_stays_at_home_changes_nothing(view: OwnershipView) -> None:
    view.apply([affinity("a", A), block(A, "host:a")])
    assert not view.apply([block(A, "host:a", {0: ("a", ""), 1: ("a", "")})])


def test_an_address_that_cools_down_is_nobodys(view: OwnershipView) -> None:
    attributes = [{"handle_id": "h", "secondary": {"node": "b"}, "releasedAt": "2026-01-01T00:00:00Z"}]
    view.apply([block(A, "host:a", allocations=[0, *[None] * 63], attributes=attributes)])
    assert view.owned() == {}


def test_of_a_block_that_cannot_be_read_nothing_is_anybodys_and_it_is_named(view: OwnershipView) -> None:
    good = block(A, "host:a", {5: ("b", "")})
    view.apply([affinity("a", A), affinity("b", B), block(B, "host:b"), good])
    assert view.apply([Update(good.key, b'{"cidr":"10.65.1.0/26","allocations":[1]}', 2)])
    assert view.owned() == {"b": Owned(blocks=(B,))}
    [problem] = view.problems()
    assert (problem.code, problem.object) == ("bgp-resource-invalid", f"block {A}")
    assert view.apply([good])
    assert view.problems() == ()
    assert view.owned()["b"] == Owned(blocks=(B,), borrowed=("10.65.1.5/32",))


def test_blocks_of_services_and_of_nobody_are_no_hosts(view: OwnershipView) -> None:
    assert not view.apply([block(A, "virtual:load-balancer"), block(B, None)])
    assert not view.apply([Update("/calico/ipam/v2/host/a", b"", 1), Update("/calico/ipam/v2/assignment/x", b"x", 1)])
    assert view.owned() == {}


def _naive(state: dict[str, Update], facts: dict[str, Any]) -> dict[str, Owned]:
    """By definition, over all blocks."""
    found = {}
    for host in "abc":
        blocks, borrowed, lent = [], [], []
        for cidr, (owner, given) in facts.items():
            mine = owner == host and affinity(host, cidr).key in state
            blocks += [cidr] if mine else []
            base = cidr.rpartition(".")[0]
            for ordinal, hosts in given.items():
                holders = {*hosts} - {""}
                if mine and host not in holders:
                    lent.append(f"{base}.{ordinal}/32")
                if not mine and host in holders and holders - {owner}:
                    borrowed.append(f"{base}.{ordinal}/32")
        owned = Owned(tuple(sorted(blocks)), tuple(sorted(borrowed)), tuple(sorted(lent)))
        if owned != Owned():
            found[host] = owned
    return found


@pytest.mark.parametrize("seed", range(40))
def test_change_by_change_the_view_is_what_all_records_say_and_it_tells_when_it_changed(seed: int) -> None:
    draw = random.Random(seed)
    view, state, facts = OwnershipView(), {}, {}
    cidrs = [f"10.65.{n}.0/26" for n in range(4)]
    for _ in range(120):
        cidr = draw.choice(cidrs)
        if draw.random() < 0.4:
            update = affinity(draw.choice("abc"), cidr, draw.choice(['{"state":"confirmed"}', None]))
        elif draw.random() < 0.2:
            update = gone(block(cidr, None))
            facts.pop(cidr, None)
        else:
            owner = draw.choice("abc")
            given = {n: (draw.choice("abc"), draw.choice(["", "", "a", "b"])) for n in draw.sample(range(8), 3)}
            update = block(cidr, f"host:{owner}", given)
            facts[cidr] = (owner, given)
        if update.value is None:
            state.pop(update.key, None)
        else:
            state[update.key] = update
        before = view.owned()
        told = view.apply([update])
        assert view.owned() == _naive(state, facts)
        assert told == (before != view.owned())
    afresh = OwnershipView()
    afresh.apply(draw.sample(sorted(state.values(), key=lambda u: u.key), len(state)))
    assert afresh.owned() == view.owned()


@pytest.mark.parametrize("seed", range(40))
def test_no_address_that_is_given_away_and_no_block_is_two_hosts_own(seed: int) -> None:
    draw = random.Random(seed)
    view = OwnershipView()
    for cidr in (A, B, "fd65::/122"):
        given = {n: (draw.choice("abc"), "") for n in draw.sample(range(64), 9)}
        view.apply([block(cidr, f"host:{draw.choice('abc')}", given)])
        view.apply([affinity(host, cidr) for host in "abc"])
    owned = view.owned()
    for what in ("blocks", "borrowed"):
        every = [item for found in owned.values() for item in getattr(found, what)]
        assert len(every) == len(set(every))
    lent = {item for found in owned.values() for item in found.lent}
    assert lent == {item for found in owned.values() for item in found.borrowed}
