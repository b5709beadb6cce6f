"""Worlds come and go, and what they leave is what the last one would have made alone."""

from __future__ import annotations

import os
from collections.abc import Iterator
from random import Random

from calico.calc.graph import Graph
from calico.calc.spec import DataplaneState, recompute
from calico.model.keys import ResourceKey
from calico.model.meta import Resource
from calico.rules.table import TableState
from worlds.draw import draw_settings, draw_world
from worlds.scene import CALC, HOST
from worlds.witnesses import Product
from worlds.world import by_key

FEW = os.environ.get("WORLDS") == "few"
WORLDS, STEPS = (30, 300) if FEW else (150, 5000)


def content(table: TableState) -> tuple[object, ...]:
    """Everything but the declared sizes of sets, which remember that there was more."""
    shapes = {name: (decl.key, decl.value, decl.interval) for name, decl in table.sets.items()}
    return dict(table.chains), shapes, {name: dict(table.elements(name)) for name in table.sets}


def test_after_any_changes_the_table_is_that_of_the_present_resources_alone(chance: Random) -> None:
    settings = draw_settings(chance)
    living = Product(settings)
    for _ in range(WORLDS):
        world = draw_world(chance, settings)
        living.become(world.resources, chance)
        alone = Product(settings)
        alone.become(world.resources)
        assert content(living.table) == content(alone.table)
    living.become((), chance)
    assert content(living.table) == content(Product(settings).table)


def small_changes(
    chance: Random, resources: dict[ResourceKey, Resource]
) -> Iterator[tuple[ResourceKey, Resource | None]]:
    """A few resources of another world come, a few of this one go."""
    others = by_key(draw_world(chance).resources)
    for key in chance.sample(list(others), min(len(others), chance.randint(1, 4))):
        yield key, others[key]
    for key in chance.sample(list(resources), min(len(resources), chance.randint(0, 3))):
        yield key, None


def test_after_any_step_the_messages_add_up_to_what_the_specification_says(chance: Random) -> None:
    graph, host, resources = Graph(HOST, CALC), DataplaneState(), by_key(draw_world(chance).resources)
    for key, value in resources.items():
        graph.on_resource(key, value)
    graph.on_in_sync()
    for _ in range(STEPS):
        for key, value in small_changes(chance, resources):
            graph.on_resource(key, value)
            if value is None:
                resources.pop(key, None)
            else:
                resources[key] = value
        host.replay(graph.flush())
        assert host == recompute(HOST, resources, settings=CALC)
    for key in list(resources):
        graph.on_resource(key, None)
    host.replay(graph.flush())
    assert host == DataplaneState(in_sync=True)


def test_a_flush_says_the_same_in_whatever_order_things_changed(chance: Random) -> None:
    settings = draw_settings(chance)
    for _ in range(WORLDS):
        worlds = [by_key(draw_world(chance, settings).resources) for _ in range(2)]
        flushes = []
        for _ in range(2):
            graph = Graph(HOST, CALC)
            graph.on_in_sync()
            for before, after in zip([{}, *worlds], [*worlds, {}], strict=True):
                changes = [(key, after.get(key)) for key in before | after]
                chance.shuffle(changes)
                for key, value in changes:
                    graph.on_resource(key, value)
                flushes.append(graph.flush())
        assert flushes[:3] == flushes[3:]
