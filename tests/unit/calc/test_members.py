"""Sets in use and not in use: what is told of their members."""

from __future__ import annotations

from calico.calc.compile_entity import SetSpec
from calico.calc.labels import pack_labels
from calico.calc.members import Contribution, MemberIndex
from calico.lib.packed import net
from calico.model.keys import ResourceKey
from calico.model.selector import parse

KEY = ResourceKey("GlobalNetworkSet", "", "s")
SELECTOR = parse("has(a)")
SPEC = SetSpec("s", "nets", SELECTOR)


def bringing(*nets: str) -> Contribution:
    return Contribution(pack_labels({"a": "x"}), (), tuple(map(net, nets)))


def test_a_set_that_is_not_used_any_more_is_told_of_no_more_and_told_anew_when_it_is_used_again() -> None:
    index = MemberIndex()
    index.on_set("s", SPEC)
    index.on_contribution(KEY, bringing("10.0.0.1"))
    assert index.tell("s") == ("nets", {net("10.0.0.1")})
    index.on_contribution(KEY, bringing("10.0.0.2"))
    index.on_set("s", None)
    index.on_contribution(KEY, bringing("10.0.0.3"))
    assert list(index.take_changes()) == []
    index.on_set("s", SPEC)
    assert index.tell("s") == ("nets", {net("10.0.0.3")})


def test_what_was_told_once_is_not_told_again() -> None:
    index = MemberIndex()
    index.on_set("s", SPEC)
    index.tell("s")
    index.on_contribution(KEY, bringing("10.0.0.1"))
    assert list(index.take_changes()) == [("s", {net("10.0.0.1")}, frozenset())]
    assert list(index.take_changes()) == []
    index.on_contribution(KEY, bringing("10.0.0.1"))
    assert list(index.take_changes()) == []


def test_a_set_without_a_selector_has_no_members() -> None:
    index = MemberIndex()
    index.on_set("s", SetSpec("s", "nets", None))
    index.on_contribution(KEY, bringing("10.0.0.1"))
    assert index.tell("s") == ("nets", frozenset())
    index.on_set("s", None)
