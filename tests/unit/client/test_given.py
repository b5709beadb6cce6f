"""Wrong input of scripts is refused by the name of object and field, and nothing is written."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

import calico
from calico.client.aio import AsyncClient
from calico.datastore.memory import MemoryBackend
from calico.errors import InvalidInput
from calico.model.meta import Metadata
from calico.model.policy import NetworkPolicy, NetworkPolicySpec, NetworkSet, NetworkSetSpec

Call = Callable[[AsyncClient], Awaitable[object]]


def named(**fields: Any) -> NetworkSet:
    return NetworkSet(**{"metadata": Metadata(name="a"), **fields})


def spec(nets: Any) -> NetworkSetSpec:
    return NetworkSetSpec(nets=nets)


def metadata(**fields: Any) -> Metadata:
    return Metadata(**{"name": "a", **fields})


WRONG: dict[str, tuple[Call, str]] = {
    "the spec of another kind": (
        lambda c: c.network_sets.apply(named(spec=NetworkPolicySpec())),
        "NetworkSet a: spec: must be a NetworkSetSpec, not a NetworkPolicySpec",
    ),
    "the spec of another kind, by the client": (
        lambda c: c.apply(NetworkPolicy(metadata=Metadata(name="a"), spec=spec(()))),  # type: ignore[arg-type]
        "NetworkPolicy a: spec: must be a NetworkPolicySpec, not a NetworkSetSpec",
    ),
    "no spec": (lambda c: c.network_sets.create(named(spec=None)), "spec: must be a NetworkSetSpec, not None"),
    "a spec as plain data": (lambda c: c.network_sets.replace(named(spec={})), "not a dict"),
    "no metadata": (lambda c: c.network_sets.apply(named(metadata=None)), "metadata: must be a Metadata, not None"),
    "a string for a list": (lambda c: c.network_sets.apply(named(spec=spec("10.0.0.0/8"))), "spec.nets: Expected"),
    "a number in a list": (lambda c: c.network_sets.apply(named(spec=spec((1,)))), r"spec.nets\[0\]: Expected"),
    "an object without meaning": (lambda c: c.network_sets.apply(named(spec=spec((object(),)))), "cannot be stored"),
    "a number as label": (lambda c: c.apply(named(metadata=metadata(labels={"x": 1}))), r"metadata.labels\[...\]"),
    "a name that is None": (lambda c: c.apply(named(metadata=metadata(name=None))), "metadata.name"),
    "another kind's name": (lambda c: c.apply(named(kind="Tier")), "NetworkSet a: kind: is 'Tier' in a NetworkSet"),
    "plain data in a collection": (lambda c: c.network_sets.apply({}), "client.apply"),  # type: ignore[arg-type]
    "nothing": (lambda c: c.network_sets.apply(None), "is None, not a NetworkSet"),  # type: ignore[arg-type]
    "a name with a slash": (lambda c: c.network_sets.get("a/b"), "NetworkSet: name: 'a/b': there is no '/'"),
    "a namespace with a slash": (lambda c: c.network_sets.list("a/"), "NetworkSet: namespace: 'a/': there is no '/'"),
    "a resource for a name": (lambda c: c.network_sets.delete(named()), "name: must be a str"),  # type: ignore[arg-type]
    "a selector that is a mapping": (lambda c: c.network_sets.list(selector={}), "selector"),  # type: ignore[arg-type]
    "labels as text": (lambda c: c.network_sets.label("a", "x=y"), "NetworkSet a: labels"),  # type: ignore[arg-type]
    "a label that is a number": (lambda c: c.network_sets.label("a", {"x": 5}), r"labels\[x\]"),  # type: ignore[dict-item]
    "one string to remove": (lambda c: c.network_sets.label("a", remove="zone"), "remove: must be a list"),
    "an unknown patch": (lambda c: c.network_sets.patch("a", {}, patch_type="x"), "known: strategic"),  # type: ignore[arg-type]
    "one resource to compare": (lambda c: c.difference(named()), "must be a list"),  # type: ignore[arg-type]
    "a revision that is text": (lambda c: c.wait_applied("5"), "revision: must be a number"),  # type: ignore[arg-type]
    "what was never written": (lambda c: c.wait_applied(named()), "as a write returned it"),
    "one string of hosts": (lambda c: c.wait_applied(1, hosts="node1"), "hosts: must be a list of names"),
}


@pytest.mark.parametrize("wrong", WRONG)
async def test_wrong_input_is_named_and_changes_nothing(wrong: str) -> None:
    call, words = WRONG[wrong]
    client = AsyncClient(MemoryBackend())
    await client.network_sets.create(NetworkSet(metadata=Metadata(name="a")))
    before = await client.store.backend.revision()
    with pytest.raises(InvalidInput, match=words):
        await call(client)
    assert await client.store.backend.revision() == before


@pytest.mark.parametrize("cls", [None, "nodes", str, NetworkSetSpec])
def test_only_classes_of_resources_have_a_collection(cls: Any) -> None:
    with pytest.raises(InvalidInput, match="must be a class of resources"):
        AsyncClient(MemoryBackend()).of(cls)


async def test_a_list_is_as_good_as_a_tuple() -> None:
    stored = await AsyncClient(MemoryBackend()).network_sets.apply(named(spec=spec(["10.0.0.0/8"])))
    assert stored.spec.nets == ("10.0.0.0/8",)


@pytest.mark.parametrize("endpoint", [None, ["http://127.0.0.1:1"], 2379])
def test_an_endpoint_that_is_no_text_is_refused_before_anything_starts(endpoint: Any) -> None:
    with pytest.raises(InvalidInput, match="connect: endpoints: must be a str"):
        calico.connect(endpoint)
