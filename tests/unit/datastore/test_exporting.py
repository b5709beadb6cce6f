"""A datastore as a document: nothing is lost on the way out and in, whatever was stored."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from calico.datastore.api import Op
from calico.datastore.memory import MemoryBackend
from calico.datastore.sync.plausibility import CLUSTER_INFO_KEY
from calico.datastore.transfer.exporting import Entry, collect, is_exported, means_the_same, read_document, to_document
from calico.datastore.transfer.importing import plan_import, run_import
from calico.datastore.transfer.migration import migrate
from calico.errors import Conflict, InvalidInput, Transient
from calico.model.keys import RESOURCE_PREFIX as R

INFO = b'{"kind":"ClusterInformation","apiVersion":"projectcalico.org/v3","metadata":{"name":"default"},"spec":%s}'
OPEN = INFO % b'{"clusterGUID":"g1","datastoreReady":true}'

texts = st.text(max_size=20)
trees = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=10,
)
values = st.binary(max_size=30) | trees.map(lambda tree: json.dumps(tree).encode())
keys = st.binary(max_size=10).map(lambda tail: (b"/calico/ipam/v2/" + tail).decode("utf-8", "surrogateescape"))


def through(document: dict[str, Any], how: str) -> object:
    """As the commands write and read it."""
    return json.loads(json.dumps(document)) if how == "json" else yaml.safe_load(yaml.safe_dump(document))


@pytest.mark.parametrize("how", ["json", "yaml"])
@given(st.dictionaries(keys, values, max_size=5))
def test_any_value_under_any_key_comes_back(how: str, stored: dict[str, bytes]) -> None:
    export = read_document(through(to_document(_export(stored)), how), "file")
    found = {entry.key: entry.value for entry in export.entries}
    assert found.keys() == stored.keys()
    assert all(means_the_same(found[key], stored[key]) for key in stored)


def _export(stored: dict[str, bytes]) -> Any:
    from calico.datastore.transfer.exporting import Export

    return Export(tuple(Entry(key, value) for key, value in stored.items()), "g", 1)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (b'{"a":1,"b":2}', b'{ "b": 2, "a": 1 }', True),
        (b'{"a":1}', b'{"a":2}', False),
        (b"x", b"y", False),
        (b'{"a":1,"a":2}', b'{"a":2}', False),
        (b"\xff", b"\xff", True),
        (b'"\\u003c"', b'"<"', True),
    ],
)
def test_the_same_json_may_be_written_differently(one: bytes, other: bytes, same: bool) -> None:
    assert means_the_same(one, other) is same


def test_a_resource_whose_own_words_lead_to_another_key_is_exported_by_its_key() -> None:
    lying = b'{"kind":"Node","apiVersion":"projectcalico.org/v3","metadata":{"name":"b"}}'
    document = to_document(_export({f"{R}nodes/a": lying}))
    assert (document["resources"], [item["key"] for item in document["keys"]]) == ([], [f"{R}nodes/a"])


@pytest.mark.parametrize(
    ("key", "lease", "exported"),
    [
        (f"{R}nodes/a", 0, True),
        (f"{R}nodes/a", 7, False),
        ("/calico/ipam/v2/config", 0, True),
        ("/calico/felix/v2/no-region/host/h/last_reported_status", 0, False),
        ("/calico/trial/v1/x", 0, False),
        ("/calico/accept/v1/all", 0, False),
        ("/other/a", 0, False),
    ],
)
def test_what_belongs_to_a_cluster(key: str, lease: int, exported: bool) -> None:
    assert is_exported(key, lease) is exported


def store(count: int = 5, info: bytes = OPEN) -> MemoryBackend:
    backend = MemoryBackend()
    backend.apply([Op(CLUSTER_INFO_KEY, info), *(Op(f"{R}nodes/n{number}", b"{}") for number in range(count))])
    return backend


async def all_of(backend: MemoryBackend) -> dict[str, bytes]:
    return {kv.key: kv.value for kv in (await backend.list("/calico/")).items}


def ready(found: dict[str, bytes]) -> bool:
    return bool(json.loads(found[CLUSTER_INFO_KEY])["spec"]["datastoreReady"])


async def test_nobody_sees_a_part_of_an_import_unlocked() -> None:
    source, target = store(350), MemoryBackend()
    plan = await plan_import(target, await collect(source), "refuse")
    seen: list[bool] = []

    def look(_: int) -> None:
        found = {kv.key: kv.value for kv in target.snapshot().items}
        seen.append(ready(found))

    await run_import(target, plan, unlock=True, progress=look)
    assert seen == [False] * 4
    assert ready(await all_of(target))


async def test_an_import_that_broke_off_goes_on() -> None:
    class Breaking(MemoryBackend):
        left = 2

        async def txn(self, ops: Any) -> int:
            self.left -= 1
            if self.left < 0:
                raise Transient("gone")
            return await super().txn(ops)

    export, target = await collect(store(350)), Breaking()
    with pytest.raises(Transient):
        await run_import(target, await plan_import(target, export, "refuse"), unlock=True)
    assert not ready(await all_of(target))
    target.left = 1000
    await run_import(target, await plan_import(target, export, "keep"), unlock=True)
    assert len(await all_of(target)) == 351


async def test_who_writes_meanwhile_is_not_overwritten() -> None:
    source, target = store(3), MemoryBackend()
    plan = await plan_import(target, await collect(source), "refuse")
    target.apply([Op(f"{R}nodes/n1", b"mine")])
    with pytest.raises(Conflict, match="stays locked"):
        await run_import(target, plan, unlock=True)
    found = await all_of(target)
    assert (found[f"{R}nodes/n1"], ready(found)) == (b"mine", False)


@pytest.mark.parametrize("info", [b"{", INFO % b"{}", INFO % b'{"clusterGUID":""}', b"null", b"[" * 5000])
async def test_an_export_that_does_not_say_which_cluster_it_is_is_refused(info: bytes) -> None:
    with pytest.raises(InvalidInput, match="ClusterInformation default"):
        await plan_import(MemoryBackend(), await collect(store(1, info)), "refuse")


async def test_a_migration_that_fails_unlocks_the_old_store_if_it_was_open() -> None:
    for guid, was_open in ((OPEN, True), (OPEN.replace(b"true", b"false"), False)):
        source, target = store(2, guid), store(1)
        source.become_other(77)
        source.apply([Op(CLUSTER_INFO_KEY, guid), Op(f"{R}nodes/n0", b"{}")])
        with pytest.raises(Conflict, match="is not empty"):
            await migrate(source, target)
        assert ready(await all_of(source)) is was_open
