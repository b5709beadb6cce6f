"""Writing on trial when the datastore goes away in the middle: what will become of it is said."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from calico.cli.resources import trial, writing
from calico.datastore.api import Op
from calico.datastore.memory import MemoryBackend
from calico.datastore.typed.store import Store
from calico.errors import Transient
from calico.model.meta import Metadata
from calico.model.policy import GlobalNetworkSet


class Vanishing(MemoryBackend):
    """Takes so many writes and no more."""

    left = 2

    async def txn(self, ops: Sequence[Op]) -> int:
        self.left -= 1
        if self.left < 0:
            raise Transient("etcd is away")
        return await super().txn(ops)


def test_what_becomes_of_a_trial_is_said_when_the_datastore_goes_away(monkeypatch: pytest.MonkeyPatch) -> None:
    @asynccontextmanager
    async def opened(_: object) -> AsyncIterator[Store]:
        yield Store(Vanishing())

    monkeypatch.setattr(writing, "opened", opened)
    monkeypatch.setattr(trial, "start_guard", lambda *_: None)
    items = [GlobalNetworkSet(metadata=Metadata(name=name)) for name in ("one", "two")]
    with pytest.raises(Transient, match=r"etcd is away; what was written is undone within 60s unless you confirm"):
        writing.write_each("applied", lambda store, item: store.apply(item), items, writing.How(confirm_within="60s"))
