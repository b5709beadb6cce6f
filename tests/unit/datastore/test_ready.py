"""The flag that makes everybody wait."""

from __future__ import annotations

import json

import pytest

from calico.datastore.api import Op
from calico.datastore.memory import MemoryBackend
from calico.datastore.sync.plausibility import CLUSTER_INFO_KEY
from calico.datastore.typed.initialise import initialise
from calico.datastore.typed.ready import require_ready, set_ready
from calico.datastore.typed.store import Store
from calico.errors import NotFound, Transient


async def test_who_writes_for_workloads_waits_until_the_datastore_is_initialised_and_unlocked() -> None:
    store = Store(MemoryBackend())
    with pytest.raises(Transient, match="has not been initialised"):
        await require_ready(store.backend)
    with pytest.raises(NotFound, match="datastore init"):
        await set_ready(store, False)
    await initialise(store)
    await require_ready(store.backend)
    assert await set_ready(store, False)
    assert not await set_ready(store, False)
    with pytest.raises(Transient, match="is locked"):
        await require_ready(store.backend)
    await initialise(store)
    with pytest.raises(Transient, match="is locked"):
        await require_ready(store.backend)
    assert await set_ready(store, True)
    await require_ready(store.backend)


async def test_locking_keeps_what_others_wrote_and_asks_for_no_identity() -> None:
    """Neutron writes ClusterInformation without uid; newer versions write fields that are unknown here."""
    backend = MemoryBackend()
    stored = {"kind": "ClusterInformation", "spec": {"clusterGUID": "g", "datastoreReady": True, "novel": {"a": 1}}}
    backend.apply([Op(CLUSTER_INFO_KEY, json.dumps(stored).encode())])
    assert await set_ready(Store(backend), False)
    kv = await backend.get(CLUSTER_INFO_KEY)
    assert kv is not None
    spec = json.loads(kv.value)["spec"]
    assert (spec["clusterGUID"], spec["datastoreReady"], spec["novel"]) == ("g", False, {"a": 1})
