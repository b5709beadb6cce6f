"""The client on an in-memory datastore: the same operations with and without asyncio."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest

from calico.client.aio import AsyncClient
from calico.client.kinds import AsyncKinds, Kinds, attribute_of
from calico.client.sync import Client
from calico.datastore.memory import MemoryBackend
from calico.errors import Conflict, InvalidInput, NotFound
from calico.model.kinds import KINDS
from calico.model.meta import Metadata
from calico.model.policy import GlobalNetworkSet, NetworkPolicy, NetworkPolicySpec, NetworkSet, NetworkSetSpec


def net_set(name: str, *nets: str, **labels: str) -> GlobalNetworkSet:
    return GlobalNetworkSet(metadata=Metadata(name=name, labels=labels), spec=NetworkSetSpec(nets=nets))


@pytest.fixture
def client() -> AsyncClient:
    return AsyncClient(MemoryBackend())


@pytest.fixture
def sync_client() -> Iterator[Client]:
    with Client(AsyncClient(MemoryBackend())) as made:
        yield made


@pytest.mark.parametrize("info", KINDS, ids=lambda info: info.kind)
def test_every_kind_has_its_collection(info: object, client: AsyncClient) -> None:
    assert getattr(client, attribute_of(info)).info == info  # type: ignore[arg-type]


def test_the_named_collections_are_those_of_both_clients() -> None:
    named = [{name for name in vars(cls) if not name.startswith("_") and name != "of"} for cls in (AsyncKinds, Kinds)]
    assert named[0] == named[1]
    assert named[0] <= {attribute_of(info) for info in KINDS}
    with pytest.raises(AttributeError, match="network_polices"):
        AsyncClient(MemoryBackend()).network_polices  # noqa: B018


async def test_what_is_created_is_got_listed_changed_and_deleted(client: AsyncClient) -> None:
    sets = client.global_network_sets
    made = await sets.create(net_set("one", "10.0.0.0/8", zone="a"))
    assert made.metadata.resource_version
    await sets.apply(net_set("two", zone="b"))
    assert [item.metadata.name for item in await sets.list()] == ["one", "two"]
    assert [item.metadata.name for item in await sets.list(selector="zone in {'b'}")] == ["two"]
    await sets.replace(net_set("one", "192.0.2.0/24"))
    assert (await sets.get("one")).spec.nets == ("192.0.2.0/24",)
    assert await sets.delete("one") > int(made.metadata.resource_version)
    with pytest.raises(NotFound):
        await sets.get("one")


async def test_names_without_namespace_are_in_default_and_lists_show_all(client: AsyncClient) -> None:
    await client.network_sets.create(NetworkSet(metadata=Metadata(name="here")))
    await client.network_sets.create(NetworkSet(metadata=Metadata(name="there", namespace="other")))
    assert (await client.network_sets.get("here")).metadata.namespace == "default"
    assert len(await client.network_sets.list()) == 2
    assert len(await client.network_sets.list("other")) == 1


async def test_a_resource_of_another_class_is_refused(client: AsyncClient) -> None:
    with pytest.raises(InvalidInput, match="is a GlobalNetworkSet, not a NetworkSet"):
        await client.network_sets.create(net_set("one"))  # type: ignore[arg-type]


async def test_a_document_is_as_good_as_a_typed_resource(client: AsyncClient) -> None:
    document = {"kind": "NetworkSet", "apiVersion": "projectcalico.org/v3", "metadata": {"name": "x"}, "spec": {}}
    await client.apply({**document, "spec": {"nets": ["10.0.0.0/8"]}})
    assert (await client.network_sets.get("x")).spec.nets == ("10.0.0.0/8",)
    await client.delete(document)
    assert await client.network_sets.list() == ()
    with pytest.raises(InvalidInput, match="nest"):
        await client.apply({**document, "spec": {"nest": []}})


async def test_a_patch_keeps_what_it_does_not_say(client: AsyncClient) -> None:
    sets = client.global_network_sets
    await sets.create(net_set("one", "10.0.0.0/8", zone="a"))
    patched = await sets.patch("one", {"spec": {"nets": ["192.0.2.0/24"]}})
    assert (patched.spec.nets, patched.metadata.labels) == (("192.0.2.0/24",), {"zone": "a"})
    operations = [{"op": "add", "path": "/metadata/labels/rack", "value": "7"}]
    assert (await sets.patch("one", operations, patch_type="json")).metadata.labels == {"zone": "a", "rack": "7"}
    for wrong in ({"metadata": {"name": "two"}}, {"spec": {"nest": 1}}, {"spec": {"nets": ["x"]}}, {"kind": "Tier"}):
        with pytest.raises(InvalidInput):
            await sets.patch("one", wrong)


async def test_a_patch_is_applied_to_what_others_wrote_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    client = AsyncClient(MemoryBackend())
    sets = client.global_network_sets
    await sets.create(net_set("one", "10.0.0.0/8"))
    real, seen = client.store.replace, []

    async def interrupted(resource: GlobalNetworkSet) -> object:
        if not seen:
            seen.append(resource)
            await real(net_set("one", "10.0.0.0/8", by="others"))
        return await real(resource)

    monkeypatch.setattr(client.store, "replace", interrupted)
    patched = await sets.patch("one", {"spec": {"nets": ["192.0.2.0/24"]}})
    assert (patched.spec.nets, patched.metadata.labels) == (("192.0.2.0/24",), {"by": "others"})


async def test_labels_are_changed_only_when_meant(client: AsyncClient) -> None:
    sets = client.global_network_sets
    await sets.create(net_set("one", zone="a"))
    with pytest.raises(InvalidInput, match="overwrite"):
        await sets.label("one", {"zone": "b"})
    with pytest.raises(InvalidInput, match="no such label"):
        await sets.label("one", remove=["rack"])
    before = await sets.get("one")
    assert (await sets.label("one", {"zone": "a"})).metadata == before.metadata
    changed = await sets.label("one", {"zone": "b", "rack": "7"}, overwrite=True)
    assert changed.metadata.labels == {"zone": "b", "rack": "7"}
    assert (await sets.label("one", remove=["zone"])).metadata.labels == {"rack": "7"}


async def test_a_rehearsal_checks_everything_and_writes_nothing(client: AsyncClient) -> None:
    await client.global_network_sets.create(net_set("one", "10.0.0.0/8"))
    revision = await client.store.backend.revision()
    rehearsal = client.rehearse()
    await rehearsal.global_network_sets.apply(net_set("one", "192.0.2.0/24"))
    await rehearsal.global_network_sets.create(net_set("two"))
    assert len(await rehearsal.global_network_sets.list()) == 2
    with pytest.raises(Conflict):
        await rehearsal.global_network_sets.create(net_set("two"))
    spec = NetworkPolicySpec(tier="missing", selector="all()")
    untiered = NetworkPolicy(metadata=Metadata(name="missing.x"), spec=spec)
    with pytest.raises(NotFound, match="missing"):
        await rehearsal.network_policies.apply(untiered)
    await rehearsal.global_network_sets.delete("one")
    assert [item.metadata.name for item in await rehearsal.global_network_sets.list()] == ["two"]
    assert await client.store.backend.revision() == revision
    assert (await client.global_network_sets.get("one")).spec.nets == ("10.0.0.0/8",)


async def test_a_difference_sees_what_earlier_documents_would_do(client: AsyncClient) -> None:
    await client.global_network_sets.create(net_set("one", "10.0.0.0/8"))
    wanted = [net_set("one", "10.0.0.0/8"), net_set("two"), net_set("two", "192.0.2.0/24")]
    found = await client.difference(wanted)
    assert [difference.verdict for difference in found] == ["unchanged", "created", "changed"]


def test_the_client_without_asyncio_does_the_same(sync_client: Client) -> None:
    sets = sync_client.global_network_sets
    sets.create(net_set("one", "10.0.0.0/8"))
    sets.patch("one", {"metadata": {"labels": {"zone": "a"}}})
    assert sets.label("one", {"rack": "7"}).metadata.labels == {"zone": "a", "rack": "7"}
    assert [item.metadata.name for item in sets.list(selector="has(rack)")] == ["one"]
    assert sync_client.difference([net_set("one")])[0].verdict == "changed"
    assert sync_client.rehearse().global_network_sets.delete("one")
    events = sets.watch()
    assert next(events).type == "ADDED"
    sets.delete("one")
    assert next(events).type == "DELETED"
    with pytest.raises(NotFound):
        sets.get("one")


def test_a_closed_client_says_so() -> None:
    client = Client(AsyncClient(MemoryBackend()))
    client.close()
    client.close()
    with pytest.raises(RuntimeError, match="closed"):
        client.nodes.list()


def test_importing_the_package_imports_no_client() -> None:
    code = "import sys, calico; print([n for n in sys.modules if n.startswith(('calico.', 'grpc', 'msgspec'))])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
    code = "import calico; print(calico.connect.__name__, calico.connect_async.__name__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "connect connect_async\n"
