"""Disagreements become small, whatever they are about."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

import worlds.judge
from worlds.aim import Aim
from worlds.draw import draw_world
from worlds.judge import write_regression
from worlds.shrink import minimal
from worlds.witnesses import Model, disagreements
from worlds.world import Probe, World, from_document, to_document

documents = st.recursive(
    st.integers(0, 9), lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from("abcd"), inner)
)


def numbers(document: Any) -> list[int]:
    if isinstance(document, int):
        return [document]
    return [n for part in (document.values() if isinstance(document, dict) else document) for n in numbers(part)]


def test_what_plays_no_part_is_left_out_at_any_depth() -> None:
    document = {"a": [1, 2, {"b": [3, 7, 4], "c": 5}], "d": {"e": 6}}
    assert minimal(document, lambda d: 7 in numbers(d)) == {"a": [{"b": [7]}]}
    assert document["d"] == {"e": 6}


@given(documents, st.integers(0, 9))
def test_no_single_part_of_the_result_can_be_left_out(document: Any, wanted: int) -> None:
    def fails(candidate: Any) -> bool:
        return numbers(candidate).count(wanted) >= 2

    if not fails(document):
        return
    small = minimal(document, fails)
    assert numbers(small) == [wanted, wanted]


def test_an_exception_means_that_too_much_was_left_out() -> None:
    assert minimal({"needed": 1, "more": 2}, lambda d: d["needed"] == 1) == {"needed": 1}


def test_a_world_with_its_packets_is_the_same_after_a_way_through_a_file() -> None:
    for seed in range(30):
        random = Random(seed)
        world = draw_world(random)
        probes = Aim(random, world).probes(20)
        text = yaml.safe_dump(to_document(world, probes))
        assert from_document(yaml.safe_load(text)) == (world, probes)


class FaultyModel:
    """A specification that forgets Deny rules."""

    def __init__(self, world: World) -> None:
        document = to_document(world, [])
        for resource in document["resources"]:
            for rules in (resource.get("spec", {}).get("ingress", []), resource.get("spec", {}).get("egress", [])):
                rules[:] = [r for r in rules if r["action"] != "Deny"]
        self._model = Model(from_document(document)[0])

    def passes(self, probe: Probe) -> bool:
        return self._model.passes(probe)


def test_a_disagreement_among_many_resources_ends_as_a_file_with_the_few_that_matter(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worlds.judge, "REGRESSIONS", tmp_path)

    def fails(document: Any) -> bool:
        world, probes = from_document(document)
        return any(FaultyModel(world).passes(probe) != Model(world).passes(probe) for probe in probes)

    for seed in range(200):
        random = Random(seed)
        world = draw_world(random)
        wrong = disagreements(FaultyModel(world), Model(world), Aim(random, world).probes(60))
        if wrong:
            break
    else:
        pytest.fail("no world has such a rule")
    write_regression(world, wrong, fails)
    (path,) = tmp_path.glob("*.yaml")
    small = yaml.safe_load(path.read_text())
    assert len(small["packets"]) == 1
    assert len(small["resources"]) <= 4 < len(world.resources)
    assert fails(small)
