"""Any bytes under any key: no crash, nobody else affected, the owner named; through syncer, calculation, plan."""

from __future__ import annotations

import logging
import os
import random
from collections.abc import Iterator

import pytest
import structlog

from calico.cli.output.columns import columns_of
from calico.datastore.api import Op
from calico.datastore.memory import MemoryBackend
from calico.datastore.sync.plausibility import CLUSTER_INFO_KEY, cluster_facts
from calico.datastore.typed.store import Store
from calico.errors import InvalidInput
from calico.model.keys import parse_key
from calico.model.manifest import resource_to_data
from damage.agents import BGPSide, FelixSide, away, check, cleaned, following, reached
from damage.draw import damaged
from damage.good import GOOD
from damage.history import KEYS, VALUES, bear_damage, fill


@pytest.fixture(autouse=True, scope="module")
def _quiet_log() -> Iterator[None]:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.reset_defaults()


STEPS = int(os.environ.get("DAMAGE_STEPS", "400"))
SEED = int(os.environ.get("DAMAGE_SEED", "1"))


def test_nothing_is_wrong_with_the_good_store_and_everything_in_it_counts() -> None:
    clean = cleaned(GOOD)
    assert clean.felix_names | clean.bgp_names == set()
    assert clean.unreadable == set()


@pytest.mark.timeout(300)
async def test_any_damage_to_any_keys_costs_only_what_they_govern_and_is_mended_without_a_trace() -> None:
    await bear_damage(MemoryBackend(), random.Random(SEED), STEPS)


@pytest.mark.timeout(300)
async def test_damage_to_what_the_cluster_is_holds_both_agents_at_what_they_know() -> None:
    draw = random.Random(SEED)
    backend, felix, bgp = MemoryBackend(), FelixSide(), BGPSide()
    await fill(backend)
    held = 0
    async with following(backend, felix, bgp):
        await reached(felix, bgp, GOOD)
        check(felix, bgp, GOOD)
        sound = felix.dataplane, bgp.plan()
        for value in [damaged(draw, GOOD[CLUSTER_INFO_KEY], VALUES) for _ in range(60)]:
            values = {**GOOD, CLUSTER_INFO_KEY: value}
            await backend.txn([Op(CLUSTER_INFO_KEY, value)])
            if cluster_facts(value) == cluster_facts(GOOD[CLUSTER_INFO_KEY]):
                await reached(felix, bgp, values)
            else:
                held += 1
                await away(felix)
                assert {condition.code for condition in felix.conditions} & {
                    "datastore-held",
                    "datastore-not-ready",
                    "datastore-locked",
                }
                assert felix.seen[CLUSTER_INFO_KEY] == GOOD[CLUSTER_INFO_KEY]
            felix.settle()
            assert (felix.dataplane, bgp.plan()) == sound, value
            await backend.txn([Op(CLUSTER_INFO_KEY, GOOD[CLUSTER_INFO_KEY])])
            await reached(felix, bgp, GOOD)
            check(felix, bgp, GOOD)
    assert held > 20


async def test_a_damaged_store_can_be_listed_and_read_by_the_command_line() -> None:
    draw = random.Random(SEED)
    backend = MemoryBackend()
    store = Store(backend)
    await fill(backend)
    for _ in range(STEPS):
        path = draw.choice(KEYS)
        await backend.txn([Op(path, damaged(draw, GOOD[path], VALUES))])
        key = parse_key(path)
        if key is None:
            continue
        columns = columns_of(key.kind, wide=True, namespace=True)
        for resource in await store.list(key.kind):
            assert [read(resource) for _, read in columns]
            resource_to_data(resource)
        try:
            await store.get(key.kind, key.name, key.namespace)
            refusal = ""
        except InvalidInput as error:
            refusal = str(error)
        assert not refusal or key.name in refusal
