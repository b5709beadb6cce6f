"""Deleting a tier looks into every policy, whatever stands there."""

import pytest

from calico.datastore.api import Op
from calico.datastore.memory import MemoryBackend
from calico.datastore.typed.initialise import initialise
from calico.datastore.typed.store import Store
from calico.errors import InvalidInput, NotFound
from calico.model.meta import Metadata
from calico.model.policy import Tier, TierSpec

KEY = "/calico/resources/v3/projectcalico.org/globalnetworkpolicies/deep"


@pytest.mark.parametrize(
    "value", [b'{"spec":{"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}}", b'{"spec":', b"\xff", b'{"spec":{"tier":7}}']
)
async def test_a_policy_that_cannot_be_read_does_not_keep_a_tier_from_being_deleted(value: bytes) -> None:
    backend = MemoryBackend()
    store = Store(backend)
    await initialise(store)
    await store.create(Tier(metadata=Metadata(name="t"), spec=TierSpec(order=1)))
    await backend.txn([Op(KEY, value)])
    await store.delete("Tier", "t")
    with pytest.raises(NotFound):
        await store.get("Tier", "t")


async def test_a_tier_with_a_policy_stays_and_the_policy_is_named() -> None:
    backend = MemoryBackend()
    store = Store(backend)
    await initialise(store)
    await store.create(Tier(metadata=Metadata(name="t"), spec=TierSpec(order=1)))
    await backend.txn([Op(KEY, b'{"spec":{"tier":"t"}}')])
    with pytest.raises(InvalidInput, match="GlobalNetworkPolicy deep"):
        await store.delete("Tier", "t")
