from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calico.calc.labels import LabelGroup, LabelInheritance, pack_labels, unpack_labels
from calico.calc.selector_index import SelectorIndex
from calico.model.selector import Selector, parse
from retained import retained

SELECTORS = (
    "all()",
    "a == 'x'",
    "a in {'x', 'y'}",
    "a != 'x'",
    "has(a) && has(b)",
    "!has(a)",
    "a == 'x' && b == 'y'",
    "a == 'x' || a == 'y'",
    "a starts with 'x' && b != 'x'",
    "a == 'x' && a == 'y'",
)
LABELS = st.dictionaries(st.sampled_from("abc"), st.sampled_from("xyz"), max_size=3)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("item"), st.sampled_from("123"), LABELS, st.lists(st.sampled_from("PQ"), max_size=2)),
        st.tuples(st.just("gone"), st.sampled_from("123")),
        st.tuples(st.just("parent"), st.sampled_from("PQ"), st.one_of(st.none(), LABELS)),
        st.tuples(
            st.just("selector"), st.sampled_from("stu"), st.one_of(st.none(), st.sampled_from(SELECTORS).map(parse))
        ),
    ),
    max_size=40,
)


class Recorder:
    """Follows the events and refuses redundant ones."""

    def __init__(self) -> None:
        self.matches: set[tuple[str, int]] = set()

    def on_match(self, selector_id: str, group: LabelGroup[str, str], matched: bool) -> None:
        match = (selector_id, id(group))
        assert (match in self.matches) != matched
        (self.matches.add if matched else self.matches.discard)(match)


@settings(max_examples=300, deadline=None)
@given(STEPS)
def test_matches_are_those_of_every_selector_tried_on_every_item(steps: list[tuple[Any, ...]]) -> None:
    recorder = Recorder()
    index: SelectorIndex[str, str] = SelectorIndex(recorder)
    inheritance: LabelInheritance[str, str] = LabelInheritance(index)
    items: dict[str, LabelGroup[str, str]] = {}
    own: dict[str, tuple[dict[str, str], list[str]]] = {}
    parents: dict[str, dict[str, str]] = {}
    selectors: dict[str, Any] = {}
    for step in steps:
        match step:
            case ("item", key, labels, names):
                group = inheritance.join(key, pack_labels(labels), tuple(dict.fromkeys(names)), ())
                if key in items and items[key] is not group:
                    inheritance.leave(key, items[key])
                items[key], own[key] = group, (labels, names)
            case ("gone", key) if key in items:
                inheritance.leave(key, items.pop(key))
            case ("parent", name, labels):
                inheritance.on_parent(name, labels)
                parents[name] = labels or {}
            case ("selector", name, selector):
                index.on_selector(name, selector)
                selectors[name] = selector
        for key, group in items.items():
            labels, names = own[key]
            for name in names:
                labels = {**parents.get(name, {}), **labels}
            assert unpack_labels(group.labels) == labels
            expected = {name for name, selector in selectors.items() if selector and selector.matches(labels)}
            assert set(group.matches) == expected
            assert {name for name in selectors if group in index.groups_of(name)} == expected
        assert recorder.matches == {(name, id(g)) for g in set(items.values()) for name in g.matches}


def test_the_first_parent_with_a_label_wins_and_own_labels_win_over_all() -> None:
    index: SelectorIndex[str, str] = SelectorIndex(Recorder())
    inheritance: LabelInheritance[str, str] = LabelInheritance(index)
    inheritance.on_parent("one", {"a": "one", "b": "one"})
    inheritance.on_parent("two", {"a": "two", "b": "two", "c": "two"})
    group = inheritance.join("item", pack_labels({"a": "own"}), ("one", "two"), ())
    assert unpack_labels(group.labels) == {"a": "own", "b": "one", "c": "two"}


def test_alike_items_share_one_group() -> None:
    inheritance: LabelInheritance[str, str] = LabelInheritance(SelectorIndex(Recorder()))
    first = inheritance.join("first", pack_labels({"a": "x", "b": "y"}), ("p",), ())
    second = inheritance.join("second", pack_labels({"b": "y", "a": "x"}), ("p",), ())
    assert first is second


def test_a_selector_that_can_match_nothing_comes_and_goes_while_its_label_does() -> None:
    index: SelectorIndex[str, str] = SelectorIndex(Recorder())
    inheritance: LabelInheritance[str, str] = LabelInheritance(index)
    group = inheritance.join("item", pack_labels({"a": "x"}), (), ())
    index.on_selector("s", parse("a == 'x' && a == 'y'"))
    inheritance.leave("item", group)
    index.on_selector("s", None)
    assert inheritance.join("item", pack_labels({"a": "x"}), (), ()).matches == ()


def test_nothing_is_kept_of_what_is_gone() -> None:
    index: SelectorIndex[str, str] = SelectorIndex(Recorder())
    inheritance: LabelInheritance[str, str] = LabelInheritance(index)
    for number, text in enumerate(SELECTORS):
        index.on_selector(str(number), parse(text))
    inheritance.on_parent("p", {"c": "z"})
    group = inheritance.join("item", pack_labels({"a": "x", "b": "y"}), ("p",), ())
    inheritance.leave("item", group)
    inheritance.on_parent("p", None)
    for number in range(len(SELECTORS)):
        index.on_selector(str(number), None)
    assert not any(vars(index)[name] for name in ("_drawers", "_selectors", "_groups", "_without_anchor"))
    assert not any(vars(inheritance)[name] for name in ("_groups", "_parents", "_children"))


def test_a_value_that_no_group_has_any_more_is_forgotten_while_others_have_the_label() -> None:
    index: SelectorIndex[str, str] = SelectorIndex(Recorder())
    inheritance: LabelInheritance[str, str] = LabelInheritance(index)
    inheritance.join("item", pack_labels({"a": "staying"}), (), ())
    group = inheritance.join("other", pack_labels({"a": "leaving"}), (), ())
    inheritance.leave("other", group)
    assert "staying" in retained(index)
    assert "leaving" not in retained(index)


class Tried:
    """Selectors that note when they are tried on labels."""

    def __init__(self) -> None:
        self.numbers: list[int] = []

    def selector(self, text: str, number: int = 0) -> Selector:
        selector = parse(text)
        matches = selector.matches

        def counting(labels: Any) -> bool:
            self.numbers.append(number)
            return bool(matches(labels))

        return type(selector)(selector.canonical, selector.root, counting)


@pytest.mark.parametrize(
    "text",
    [
        "namespace == 'shared' && app == 'app{}'",
        "app == 'app{}' && namespace == 'shared'",
        "has(app{}) && has(namespace)",
        "has(namespace) && has(app{})",
        "has(namespace) && app == 'app{}'",
    ],
)
def test_an_update_tries_only_selectors_that_require_what_few_of_them_do(text: str) -> None:
    index: SelectorIndex[str, int] = SelectorIndex(Recorder())  # type: ignore[arg-type]
    tried = Tried()
    for number in range(100):
        index.on_selector(number, tried.selector(text.format(number), number))
    inheritance: LabelInheritance[str, int] = LabelInheritance(index)
    group = inheritance.join("item", pack_labels({"namespace": "shared", "app": "app7", "app7": "x"}), (), ())
    assert len(tried.numbers) <= 3
    assert set(group.matches) == {7}


@pytest.mark.parametrize("text", ["a in {'1', '2', '3'} && b == 'y'", "b == 'y' && a in {'1', '2', '3'}"])
def test_a_selector_is_tried_on_what_has_its_one_value_rather_than_on_what_has_one_of_many(text: str) -> None:
    index: SelectorIndex[str, int] = SelectorIndex(Recorder())  # type: ignore[arg-type]
    inheritance: LabelInheritance[str, int] = LabelInheritance(index)
    inheritance.join("item", pack_labels({"a": "0", "b": "0"}), (), ())
    tried = Tried()
    index.on_selector(0, tried.selector(text))
    inheritance.join("other", pack_labels({"a": "1", "b": "z"}), (), ())
    assert tried.numbers == []


@pytest.mark.parametrize(
    ("text", "most"),
    [
        ("all()", 60),
        ("!has(tier)", 60),
        ("has(tier)", 30),
        ("tier == 'front'", 30),
        ("tier == 'front' && app == 'app7'", 1),
        ("app == 'app7' && tier == 'front'", 1),
        ("has(tier) && app == 'app7'", 1),
        ("app == 'app7' && has(tier)", 1),
        ("!has(other) && app == 'app7'", 1),
        ("app in {'app7', 'app8', 'app99'} && tier in {'front', 'back'}", 2),
        ("app == 'app99'", 0),
        ("has(nothing)", 0),
    ],
)
def test_a_new_selector_is_tried_on_the_fewest_groups_that_one_of_its_requirements_leaves(text: str, most: int) -> None:
    index: SelectorIndex[str, int] = SelectorIndex(Recorder())  # type: ignore[arg-type]
    inheritance: LabelInheritance[str, int] = LabelInheritance(index)
    for number in range(30):
        inheritance.join(f"item{number}", pack_labels({"tier": "front", "app": f"app{number}"}), (), ())
        inheritance.join(f"other{number}", pack_labels({"other": str(number)}), (), ())
    tried = Tried()
    index.on_selector(0, tried.selector(text))
    assert len(tried.numbers) == most
