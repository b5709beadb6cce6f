"""The loop of a controller on the in-memory datastore; what it follows is a dict here."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from calico.datastore.api import Op
from calico.datastore.memory import MemoryBackend
from calico.datastore.typed.initialise import initialise
from calico.datastore.typed.ready import set_ready
from calico.datastore.typed.store import Store
from calico.errors import NotFound
from calico.model.keys import ResourceKey, key_path
from calico.model.meta import Metadata, Resource
from calico.model.policy import Profile
from calico.orchestrators.kubernetes.api.client import Client
from calico.orchestrators.kubernetes.api.connection import APIConnection
from calico.orchestrators.kubernetes.api.events import Reporter
from calico.orchestrators.kubernetes.api.informer import Key
from calico.orchestrators.kubernetes.controllers.mirror import Mirror
from calico.orchestrators.kubernetes.convert import namespace_to_profile


class Words(Mirror):
    """A label of each word."""

    def __init__(self, store: Store, words: dict[str, str]) -> None:
        nowhere = Client(APIConnection(server="http://127.0.0.1:9"))
        super().__init__("words", "Profile", store, Reporter(nowhere, "test", "here", lambda: True))
        self.words = words
        for word in words:
            self.look_at(("", word))

    def say(self, word: str, label: str | None) -> None:
        if label is None:
            del self.words[word]
        else:
            self.words[word] = label
        self.look_at(("", word))

    def source(self, key: Key) -> Mapping[str, Any]:
        return {"metadata": {"name": key[1]}}

    def convert(self, key: Key) -> Resource | None:
        label = self.words.get(key[1])
        return None if label is None else namespace_to_profile(key[1], {"label": label})

    def target_of(self, key: Key) -> ResourceKey:
        return ResourceKey("Profile", "", f"kns.{key[1]}")

    def source_of(self, key: ResourceKey) -> Key | None:
        return ("", key.name.removeprefix("kns.")) if key.name.startswith("kns.") else None


@asynccontextmanager
async def running(controller: Words) -> AsyncIterator[None]:
    task = asyncio.ensure_future(controller.run())
    try:
        yield
    finally:
        if task.done():
            task.result()
        task.cancel()
        await asyncio.wait({task})


async def eventually(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not holds():
            await asyncio.sleep(0.01)


def labels(backend: MemoryBackend, name: str) -> Callable[[], dict[str, str] | None]:
    """What is stored of it now."""
    found: list[dict[str, str] | None] = [None]

    async def look() -> None:
        try:
            stored = await Store(backend).get("Profile", name)
        except NotFound:
            found[0] = None
            return
        assert isinstance(stored, Profile)
        found[0] = dict(stored.spec.labels_to_apply)

    tasks: set[asyncio.Task[None]] = set()

    def now() -> dict[str, str] | None:
        task = asyncio.ensure_future(look())
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        return found[0]

    return now


async def made(words: dict[str, str]) -> tuple[MemoryBackend, Words]:
    backend = MemoryBackend()
    store = Store(backend)
    await initialise(store)
    return backend, Words(store, words)


def has(backend: MemoryBackend, name: str, label: str | None) -> Callable[[], bool]:
    stored = labels(backend, name)
    return lambda: (stored() or {}).get("pcns.label") == label


async def test_what_is_said_is_stored_and_goes_with_it() -> None:
    backend, words = await made({"a": "1"})
    async with running(words):
        await eventually(has(backend, "kns.a", "1"))
        words.say("a", "2")
        words.say("b", "3")
        await eventually(has(backend, "kns.a", "2"))
        await eventually(has(backend, "kns.b", "3"))
        words.say("a", None)
        await eventually(has(backend, "kns.a", None))


async def test_what_others_do_to_ours_is_put_right_and_theirs_is_left() -> None:
    backend, words = await made({"a": "1"})
    stranger = Profile(kind="Profile", metadata=Metadata(name="theirs"))
    await Store(backend).create(stranger)
    await Store(backend).create(namespace_to_profile("left-over", {}))
    path, theirs = (key_path(ResourceKey("Profile", "", name)) for name in ("kns.a", "theirs"))
    before = await backend.get(theirs)
    async with running(words):
        await eventually(has(backend, "kns.a", "1"))
        await eventually(has(backend, "kns.left-over", None))
        await backend.txn([Op(path)])
        await eventually(has(backend, "kns.a", "1"))
        await backend.txn([Op(path, b"rubbish")])

        async def mended() -> None:
            while (found := await backend.get(path)) is None or found.value == b"rubbish":
                await asyncio.sleep(0.01)

        async with asyncio.timeout(30):
            await mended()
    assert await backend.get(theirs) == before


async def test_an_object_that_is_refused_stops_no_other() -> None:
    backend, words = await made({"a": "x" * 70, "b": "2"})  # a label that is too long
    async with running(words):
        await eventually(has(backend, "kns.b", "2"))
        await eventually(lambda: bool(words.troubles()))
        words.say("c", "3")
        await eventually(has(backend, "kns.c", "3"))
        words.say("a", "short")
        await eventually(has(backend, "kns.a", "short"))
        await eventually(lambda: words.settled and not words.troubles())


async def test_nothing_is_written_while_the_datastore_is_locked() -> None:
    backend, words = await made({"a": "1"})
    await set_ready(Store(backend), False)
    before = await backend.revision()
    async with running(words):
        await eventually(lambda: bool(words.troubles()))
        assert await backend.revision() == before
        await set_ready(Store(backend), True)
        await eventually(has(backend, "kns.a", "1"))
