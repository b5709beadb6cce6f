"""Any bytes under any key of a real etcd: no crash, nobody else affected, the owner named."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable

import pytest

from calico.datastore.etcd.backend import EtcdBackend
from calico.datastore.etcd.server import EtcdProcess
from damage.history import bear_damage

pytestmark = pytest.mark.etcd

STEPS = 300


@pytest.mark.timeout(300)
async def test_any_damage_in_etcd_costs_only_what_it_governs(
    start_etcd: Callable[..., Awaitable[EtcdProcess]],
) -> None:
    server = await start_etcd()
    backend = EtcdBackend(server.endpoints)
    try:
        await bear_damage(backend, random.Random(7), STEPS)
    finally:
        await backend.close()
