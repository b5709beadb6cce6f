"""The selector language beyond the published cases."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calico.errors import InvalidInput
from calico.model.selector import Selector, nodes, parse, selector_of
from calico.model.selector.lexer import MAX_LABEL_LENGTH
from calico.model.selector.parser import MAX_DEPTH, negate

labels_names = st.sampled_from(["a", "b", "in", "has", "projectcalico.org/namespace"])
values = st.text("ab'\"", max_size=3).filter(lambda text: not ("'" in text and '"' in text))
value_sets = st.lists(values, max_size=3).map(lambda chosen: tuple(sorted(set(chosen))))
leaves = st.one_of(
    st.just(nodes.All()),
    st.just(nodes.Global()),
    st.builds(nodes.Has, labels_names),
    *(
        st.builds(kind, labels_names, values)
        for kind in (nodes.Equal, nodes.NotEqual, nodes.Contains, nodes.StartsWith, nodes.EndsWith)
    ),
    *(st.builds(kind, labels_names, value_sets) for kind in (nodes.In, nodes.NotIn)),
)
trees = st.recursive(
    leaves,
    lambda inner: st.one_of(
        inner.map(negate),
        st.builds(nodes.And, st.lists(inner, min_size=2, max_size=3).map(tuple)),
        st.builds(nodes.Or, st.lists(inner, min_size=2, max_size=3).map(tuple)),
    ),
    max_leaves=8,
)
label_maps = st.dictionaries(labels_names, values, max_size=4)


def reference(node: nodes.Node, labels: dict[str, str]) -> bool:
    """The meaning of a tree, spelt out."""
    match node:
        case nodes.All() | nodes.Global():
            return True
        case nodes.Not(operand):
            return not reference(operand, labels)
        case nodes.And(operands):
            return all(reference(operand, labels) for operand in operands)
        case nodes.Or(operands):
            return any(reference(operand, labels) for operand in operands)
        case nodes.Has(label):
            return label in labels
        case nodes.NotEqual(label, value):
            return label not in labels or labels[label] != value
        case nodes.NotIn(label, refused):
            return label not in labels or labels[label] not in refused
        case nodes.Equal(label, value):
            return label in labels and labels[label] == value
        case nodes.In(label, allowed):
            return label in labels and labels[label] in allowed
        case nodes.Contains(label, value):
            return label in labels and value in labels[label]
        case nodes.StartsWith(label, value):
            return label in labels and labels[label].startswith(value)
        case nodes.EndsWith(label, value):
            return label in labels and labels[label].endswith(value)


@given(trees)
def test_the_canonical_text_parses_back_to_the_same_tree(tree: nodes.Node) -> None:
    selector = selector_of(tree)
    again = parse(selector.canonical)
    assert again.root == tree
    assert again == selector
    assert hash(again) == hash(selector)
    assert again.uid == selector.uid


@given(trees, label_maps)
def test_the_compiled_match_means_what_the_tree_says(tree: nodes.Node, labels: dict[str, str]) -> None:
    assert selector_of(tree).matches(labels) == reference(tree, labels)


@given(trees, label_maps)
def test_restrictions_hold_for_every_matching_label_map(tree: nodes.Node, labels: dict[str, str]) -> None:
    selector = selector_of(tree)
    if not selector.matches(labels):
        return
    for label, restriction in selector.restrictions().items():
        assert not restriction.must_be_present or label in labels
        assert not restriction.must_be_absent or label not in labels
        assert restriction.values is None or labels[label] in restriction.values


@given(trees, label_maps)
def test_a_prefixed_selector_matches_prefixed_labels(tree: nodes.Node, labels: dict[str, str]) -> None:
    selector = selector_of(tree)
    prefixed = {f"pcns.{label}": value for label, value in labels.items()}
    assert selector.prefixed("pcns.").matches(prefixed) == selector.matches(labels)


@given(st.text("ab'\"(){}=!&|,. \t\nincohas", max_size=30))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    try:
        selector = parse(text)
    except InvalidInput:
        return
    assert parse(selector.canonical) == selector


@pytest.mark.parametrize(
    "text",
    [
        "has (x)",
        "a == 'b'\n",
        "a == 'b' &&",
        "a inx {'b'}",
        "a not  {'b'}",
        "a in {'b' 'c'}",
        "a in {,}",
        "()",
        "a == 'b')",
        "(a == 'b'",
        "!",
        "a = 'b'",
        "has()",
        "all(x)",
        "a == 'b\"",
        f"has({'x' * (MAX_LABEL_LENGTH + 1)})",
    ],
)
def test_malformed_text_is_refused_with_its_position(text: str) -> None:
    with pytest.raises(InvalidInput, match=r"position \d+"):
        parse(text)


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("", "all()"),
        (" \t", "all()"),
        ("a in {}", "a in {}"),
        ("a in {'b',}", 'a in {"b"}'),
        ('a notin{"b"}', 'a not in {"b"}'),
        ("a startswith 'b'", 'a starts with "b"'),
        ("in == 'x'", 'in == "x"'),
        ("all == 'x' && global != 'y' && has in {'z'}", '(all == "x" && global != "y" && has in {"z"})'),
        ("!a == 'b' && c == 'd'", '(!a == "b" && c == "d")'),
        ("a=='1'||b=='2'&&c=='3'", '(a == "1" || (b == "2" && c == "3"))'),
        ("!(!has(a))", "has(a)"),
        ("not not in {'a'}", 'not not in {"a"}'),
    ],
)
def test_spelling_does_not_matter(text: str, canonical: str) -> None:
    assert parse(text).canonical == canonical


def test_missing_labels_match_negative_operators_only() -> None:
    assert parse("a != 'x'").matches({})
    assert parse("a not in {'x'}").matches({})
    assert not parse("a contains ''").matches({})
    assert parse("a contains ''").matches({"a": ""})


def test_deep_parentheses_cost_no_stack() -> None:
    assert parse("(" * 5000 + "has(a)" + ")" * 5000).canonical == "has(a)"


def test_trees_too_deep_to_walk_are_refused() -> None:
    def nested(depth: int) -> str:
        return "(has(a) && (has(b) || " * depth + "has(c)" + "))" * depth

    assert isinstance(parse(nested(MAX_DEPTH // 2 - 1)), Selector)
    with pytest.raises(InvalidInput, match="deep"):
        parse(nested(MAX_DEPTH))


def test_the_same_text_is_parsed_once() -> None:
    assert parse("once == 'x'") is parse("once == 'x'")


def test_the_id_of_all_is_the_published_one() -> None:
    assert parse("").uid == "s:5y5I3VdRZfDU01O--xXAPx2yxCQQqMf0M6IWug"
