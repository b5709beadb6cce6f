"""Policies under the keys of older versions: nobody doubles them unseen, and each is moved as a whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from calico.datastore.api import Op
from calico.datastore.memory import MemoryBackend
from calico.datastore.transfer.policy_names import migrate_policy_names, plan_policy_names
from calico.datastore.typed.initialise import initialise
from calico.datastore.typed.store import Store
from calico.errors import AlreadyExists, Conflict, NotFound, Uncertain
from calico.model.meta import Metadata
from calico.model.policy import GlobalNetworkPolicy, GlobalNetworkPolicySpec

ROOT = "/calico/resources/v3/projectcalico.org/"
GLOBAL = f"{ROOT}globalnetworkpolicies/"
NAME = "projectcalico.org/metadata"


def stored(name: str, *, annotation: str | None = None, order: float = 1, **metadata: Any) -> dict[str, Any]:
    annotations = {} if annotation is None else {"annotations": {NAME: json.dumps({"name": annotation})}}
    return {
        "kind": "GlobalNetworkPolicy",
        "apiVersion": "projectcalico.org/v3",
        "metadata": {"name": name, "uid": f"u-{name}", **annotations, **metadata},
        "spec": {"order": order, "selector": "all()", "ofTheFuture": {"x": [1]}},
    }


async def put(backend: MemoryBackend, key: str, value: object) -> None:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    await backend.txn([Op(key, raw)])


async def policies(backend: MemoryBackend) -> dict[str, Any]:
    return {kv.key.removeprefix(ROOT): kv.value for kv in (await backend.list(ROOT)).items}


async def test_a_policy_of_an_older_key_is_moved_with_everything_it_had_in_one_revision() -> None:
    backend = MemoryBackend()
    old = stored("default.web", labels={"a": "b"}, creationTimestamp="2019-01-01T00:00:00Z")
    await put(backend, f"{GLOBAL}default.web", old)
    before, _ = await backend.revision()
    plan = await migrate_policy_names(backend)
    assert [(move.what, move.policy) for move in plan.moves] == [("moved", "GlobalNetworkPolicy web")]
    assert (await backend.revision())[0] == before + 1
    [(key, raw)] = (await policies(backend)).items()
    assert key == "globalnetworkpolicies/web"
    metadata = {
        **old["metadata"],
        "name": "web",
        "labels": {"projectcalico.org/tier": "default", "a": "b"},
        "annotations": {NAME: '{"name":"web"}'},
    }
    assert json.loads(raw) == {**old, "metadata": metadata}
    assert (await Store(backend).get("GlobalNetworkPolicy", "web")).metadata.uid == "u-default.web"


async def test_all_kinds_are_moved_and_a_second_time_nothing_is() -> None:
    backend = MemoryBackend()
    keys = [
        "networkpolicies/ns/",
        "globalnetworkpolicies/",
        "stagednetworkpolicies/ns/",
        "stagedglobalnetworkpolicies/",
    ]
    for prefix in keys:
        await put(backend, f"{ROOT}{prefix}default.p", {"spec": {"selector": "all()"}})
    assert len((await migrate_policy_names(backend)).moves) == 4
    assert sorted(await policies(backend)) == sorted(f"{prefix}p" for prefix in keys)
    assert (await migrate_policy_names(backend)).moves == ()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("knp.default.web", {"spec": {}}),
        ("ossg.default.1-2", {"spec": {}}),
        ("web", {"spec": {}}),
        ("default.web", stored("default.web", annotation="default.web")),
        ("other.web", {"spec": {"tier": "other"}}),
    ],
)
async def test_a_policy_whose_key_is_its_name_stays(key: str, value: dict[str, Any]) -> None:
    backend = MemoryBackend()
    await put(backend, f"{ROOT}networkpolicies/ns/{key}", value)
    plan = await plan_policy_names(backend)
    assert (plan.moves, plan.left) == ((), ())


async def test_the_name_in_the_annotation_decides() -> None:
    backend = MemoryBackend()
    await put(backend, f"{GLOBAL}default.web", stored("default.web", annotation="web"))
    await migrate_policy_names(backend)
    assert list(await policies(backend)) == ["globalnetworkpolicies/web"]


async def test_one_that_is_there_twice_and_says_the_same_is_kept_once() -> None:
    backend = MemoryBackend()
    await put(backend, f"{GLOBAL}default.web", stored("default.web"))
    await put(backend, f"{GLOBAL}web", stored("web", annotation="web", labels={"projectcalico.org/tier": "default"}))
    kept = (await policies(backend))["globalnetworkpolicies/web"]
    plan = await migrate_policy_names(backend)
    assert [move.what for move in plan.moves] == ["dropped"]
    assert await policies(backend) == {"globalnetworkpolicies/web": kept}


async def test_two_that_disagree_are_left_to_a_person_and_the_others_are_moved() -> None:
    backend = MemoryBackend()
    await put(backend, f"{GLOBAL}default.web", stored("default.web", order=1))
    await put(backend, f"{GLOBAL}web", stored("web", annotation="web", order=2))
    await put(backend, f"{GLOBAL}default.db", stored("default.db"))
    await put(backend, f"{GLOBAL}default.torn", b'{"spec":')
    before = await policies(backend)
    plan = await migrate_policy_names(backend)
    assert [move.policy for move in plan.moves] == ["GlobalNetworkPolicy db"]
    assert sorted(text.split(":")[0].rpartition("/")[2] for text in plan.left) == ["default.torn", "default.web"]
    after = await policies(backend)
    assert {key: after[key] for key in before if "db" not in key} == {k: v for k, v in before.items() if "db" not in k}


async def test_a_name_that_begins_with_the_prefix_twice_loses_it_once_whatever_stands_there() -> None:
    backend = MemoryBackend()
    await put(backend, f"{GLOBAL}default.web", stored("default.web", order=1))
    await put(backend, f"{GLOBAL}default.default.web", stored("default.default.web", order=2))
    plan = await migrate_policy_names(backend)
    assert plan.left == ()
    found = await policies(backend)
    assert {key.rpartition("/")[2]: json.loads(raw)["spec"]["order"] for key, raw in found.items()} == {
        "web": 1,
        "default.web": 2,
    }
    assert (await plan_policy_names(backend)).moves == ()


class Disturbed(MemoryBackend):
    """Somebody else writes just before the first move, or its answer is lost."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how

    async def txn(self, ops: Sequence[Op]) -> int:
        moving = any(op.key == f"{GLOBAL}web" for op in ops)
        how, self.how = (self.how, "") if moving else ("", self.how)
        if how == "changed":
            await super().txn([Op(f"{GLOBAL}default.web", json.dumps(stored("default.web", order=7)).encode())])
        done = await super().txn(ops)
        if how == "lost":
            raise Uncertain("the answer was lost")
        return done


@pytest.mark.parametrize(("how", "order"), [("changed", 7), ("lost", 1)])
async def test_what_somebody_changes_meanwhile_is_moved_as_changed_and_a_lost_answer_is_settled(
    how: str, order: float
) -> None:
    backend = Disturbed(how)
    await put(backend, f"{GLOBAL}default.web", stored("default.web", order=1))
    plan = await migrate_policy_names(backend)
    assert len(plan.moves) == 1
    [(key, raw)] = (await policies(backend)).items()
    assert (key, json.loads(raw)["spec"]["order"]) == ("globalnetworkpolicies/web", order)


class AlwaysChanged(MemoryBackend):
    async def txn(self, ops: Sequence[Op]) -> int:
        if any(op.key == f"{GLOBAL}web" for op in ops):
            await super().txn([Op(f"{GLOBAL}default.web", json.dumps(stored("default.web")).encode())])
        return await super().txn(ops)


async def test_one_that_never_stands_still_is_given_up_and_said() -> None:
    backend = AlwaysChanged()
    await put(backend, f"{GLOBAL}default.web", stored("default.web"))
    with pytest.raises(Conflict, match="do it again"):
        await migrate_policy_names(backend)


async def test_nobody_writes_a_second_policy_beside_one_of_an_older_key() -> None:
    backend = MemoryBackend()
    store = Store(backend)
    await initialise(store)
    await put(backend, f"{GLOBAL}default.web", stored("default.web"))
    new = GlobalNetworkPolicy(metadata=Metadata(name="web"), spec=GlobalNetworkPolicySpec(selector="all()"))
    for write in (store.create, store.apply):
        with pytest.raises(AlreadyExists, match="migrate-policy-names"):
            await write(new)
    for ask in (store.get, store.delete):
        with pytest.raises(NotFound, match="migrate-policy-names"):
            await ask("GlobalNetworkPolicy", "web")
    await migrate_policy_names(backend)
    assert (await store.apply(new)).metadata.uid == "u-default.web"


async def test_a_policy_that_is_called_so_stands_in_nobodys_way() -> None:
    backend = MemoryBackend()
    store = Store(backend)
    await initialise(store)
    spec = GlobalNetworkPolicySpec(selector="all()")
    for name in ("default.web", "web"):
        await store.create(GlobalNetworkPolicy(metadata=Metadata(name=name), spec=spec))
    assert {policy.metadata.name for policy in await store.list("GlobalNetworkPolicy")} == {"default.web", "web"}
