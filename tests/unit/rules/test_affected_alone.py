"""What is remembered of the flows that a change may forbid, and what it answers."""

from __future__ import annotations

from calico.lib.packed import addr_bytes, net
from calico.rules.affected import Affected, Members

A, B, C, D = (addr_bytes(f"10.0.0.{n}") for n in (1, 2, 3, 4))


def members(*texts: str) -> Members:
    return Members(map(net, texts))


def of(*changes: tuple[str, bytes, Members | None]) -> Affected:
    made = Affected()
    for direction, address, which in changes:
        made.add("egress" if direction == "egress" else "ingress", (address,), which)
    return made


def anywhere(*which: Members | None) -> Affected:
    made = Affected()
    for each in which:
        made.add_anywhere(each)
    return made


def test_only_single_addresses_are_told_as_such() -> None:
    found = members("10.0.0.1/32", "10.0.0.0/8", "fd00::1/128")
    assert found.hosts == {A, addr_bytes("fd00::1")}
    assert not found.is_exact
    assert members("10.0.0.1/32").is_exact


def test_nothing_is_nothing_and_anything_is_something() -> None:
    assert not Affected()
    assert not anywhere(members("10.0.0.1/32")).concerns(B, C)
    assert of(("egress", A, None))
    assert of(("ingress", A, None))
    assert anywhere(None)
    assert anywhere(members("10.0.0.1/32"))


def test_a_flow_is_concerned_by_its_own_end_in_that_direction() -> None:
    affected = of(("egress", A, None))
    assert affected.concerns(A, B)
    assert not affected.concerns(B, A)
    assert of(("ingress", A, None)).concerns(B, A)


def test_members_limit_the_flows_of_an_address_until_all_are_concerned() -> None:
    affected = of(("egress", A, members("10.0.0.2/32")))
    assert affected.concerns(A, B)
    assert not affected.concerns(A, C)
    affected.add("egress", (A,), None)
    affected.add("egress", (A,), members("10.0.0.2/32"))
    assert affected.concerns(A, C)


def test_the_same_members_count_once_and_the_ninth_others_make_it_all_flows() -> None:
    few, once = [members(f"10.0.1.{n}/32") for n in range(8)], Affected()
    for each in (*few, *few):
        once.add("egress", (A,), each)
        once.add_anywhere(each)
    assert not once.concerns(A, B)
    once.add("egress", (A,), members("10.0.2.1/32"))
    assert once.concerns(A, B)
    assert not once.concerns(B, A)
    once.add_anywhere(members("10.0.2.1/32"))
    assert once.concerns(C, D)


def test_eight_different_members_are_still_told_apart() -> None:
    eight = anywhere(*(members(f"10.0.1.{n}/32") for n in range(8)))
    assert not eight.concerns(A, B)
    assert eight.concerns(A, addr_bytes("10.0.1.7"))
    assert not of(*(("egress", A, members(f"10.0.1.{n}/32")) for n in range(8))).concerns(A, B)


def test_what_is_everywhere_stays_so() -> None:
    affected = anywhere(None, members("10.0.0.1/32"))
    assert affected.concerns(C, D)
    assert affected.lookups(100) is None


def test_touched_is_an_address_whose_flows_may_be_forbidden_whatever_their_other_end() -> None:
    affected = of(("egress", A, None), ("ingress", B, members("10.0.0.3/32")))
    assert affected.touches([A])
    assert affected.touches([D, B])
    assert not affected.touches([C, D])
    assert not affected.touches([])
    assert anywhere(None).touches([C])
    assert anywhere(members("10.0.0.1/32")).touches([C])


def test_merging_adds_what_the_other_concerns_and_keeps_ones_own() -> None:
    mine = of(("egress", A, members("10.0.0.2/32")))
    mine.merge(of(("egress", A, members("10.0.0.3/32")), ("ingress", D, None)))
    assert [mine.concerns(A, other) for other in (B, C, D)] == [True, True, True]
    assert mine.concerns(B, D)
    assert not mine.concerns(A, addr_bytes("10.9.9.9"))
    assert not mine.concerns(D, B)
    mine.merge(anywhere(members("10.0.0.9/32")))
    assert mine.concerns(B, addr_bytes("10.0.0.9"))
    assert not mine.concerns(B, C)
    mine.merge(of(("egress", A, None)))
    assert mine.concerns(A, addr_bytes("10.9.9.9"))
    mine.merge(anywhere(None))
    assert mine.concerns(B, C)


def test_a_change_that_only_allows_more_is_remembered_through_merging() -> None:
    first, second = Affected(), Affected()
    second.changed = True
    first.merge(second)
    assert first.changed
    first.merge(Affected())
    assert first.changed
    third = Affected()
    third.merge(Affected())
    assert not third.changed


def test_flows_are_looked_for_where_the_address_must_stand() -> None:
    assert of(("egress", A, None), ("ingress", B, None)).lookups(2) == {("source", A), ("destination", B)}
    assert of(("egress", A, None), ("ingress", B, None)).lookups(1) is None
    assert anywhere(members("10.0.0.1/32")).lookups(2) == {("source", A), ("destination", A)}
    assert anywhere(members("10.0.0.0/24")).lookups(100) is None
    assert Affected().lookups(0) == set()


def test_with_members_the_fewer_of_the_two_ends_are_looked_for() -> None:
    many = [addr_bytes(f"10.0.1.{n}") for n in range(5)]
    affected, peer = Affected(), members("10.0.0.9/32")
    affected.add("egress", many, peer)
    assert affected.lookups(9) is not None
    found = affected.lookups(9) or set()
    assert len(found) < len(many)
    assert ("destination", addr_bytes("10.0.0.9")) in found
    assert affected.lookups(len(found)) == found
    assert affected.lookups(len(found) - 1) is None
    wide = Affected()
    wide.add("egress", many, members("10.0.0.0/24"))
    assert wide.lookups(9) == {("source", address) for address in many}


def test_endpoints_that_are_members_themselves_are_looked_for_at_their_own_end_too() -> None:
    many, affected = [addr_bytes(f"10.0.1.{n}") for n in range(5)], Affected()
    affected.add("egress", many, members("10.0.1.3/32"))
    assert affected.concerns(many[3], B)
    assert affected.lookups(9) == {("source", many[3]), ("destination", many[3])}
    assert of(("egress", A, members("10.0.0.9/32", "10.0.0.8/32"))).lookups(9) == {("source", A)}


def test_so_many_lookups_are_few_enough_and_one_more_is_not() -> None:
    three = of(("egress", A, None), ("egress", B, None), ("ingress", C, None))
    assert len(three.lookups(3) or ()) == 3
    assert three.lookups(2) is None
    limited = of(("egress", A, None), ("ingress", B, members("10.0.0.9/32")), ("ingress", C, members("10.0.0.8/32")))
    assert len(limited.lookups(3) or ()) == 3
    assert limited.lookups(2) is None
