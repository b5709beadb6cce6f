"""Worlds come and go, and what they leave is what the last one would have made alone."""

from __future__ import annotations

import os
from random import Random

from calico.rules.table import TableState
from worlds.draw import draw_settings, draw_world
from worlds.witnesses import Product

WORLDS = 30 if os.environ.get("WORLDS") == "few" else 150


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
