"""Writes are done in order; at once only what has nothing to do with its neighbours."""

from __future__ import annotations

import asyncio
from typing import Any

from calico.cli.resources.batches import do_all, groups
from calico.errors import InvalidInput
from calico.model.keys import ResourceKey


def work(*names: str) -> list[Any]:
    return [(ResourceKey(*name.split("/")), None) for name in names]


def grouped(*names: str, at_once: int = 3) -> list[list[str]]:
    return [[f"{k.kind}/{k.namespace}/{k.name}" for k, _ in part] for part in groups(work(*names), at_once)]


def test_policies_and_sets_are_written_together_up_to_a_number() -> None:
    names = [f"NetworkPolicy/shop/p{n}" for n in range(4)] + ["GlobalNetworkSet//s"]
    assert grouped(*names) == [names[:3], names[3:]]


def test_what_others_may_need_is_written_alone_and_in_its_place() -> None:
    names = ["NetworkPolicy/shop/a", "Tier//t", "NetworkPolicy/shop/b", "Node//n", "IPPool//one", "IPPool//two"]
    assert grouped(*names) == [[name] for name in names]


def test_a_resource_that_stands_there_twice_is_written_in_order() -> None:
    assert grouped("Profile//a", "Profile//b", "Profile//a") == [["Profile//a", "Profile//b"], ["Profile//a"]]


def test_errors_and_results_come_in_the_order_of_the_files_whoever_ends_first() -> None:
    def action(name: str, ticks: int) -> Any:
        async def act(_: object) -> str:
            for _ in range(ticks):
                await asyncio.sleep(0)
            if name.startswith("bad"):
                raise InvalidInput("is wrong", subject=f"Profile {name}")
            return name

        return act

    names = {"bad1": 5, "good1": 4, "bad2": 1, "good2": 0}
    todo: Any = [(ResourceKey("Profile", "", name), action(name, ticks)) for name, ticks in names.items()]
    errors, results = asyncio.run(do_all(object(), todo))  # type: ignore[arg-type]
    assert [error.split(":")[0] for error in errors] == ["Profile bad1", "Profile bad2"]
    assert [key.name for key in results] == list(names)
    assert results[ResourceKey("Profile", "", "good2")] == "good2"
