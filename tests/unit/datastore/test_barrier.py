"""Waiting for hosts, on an in-memory store: who asks, who answers, and what it costs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import pytest

from calico.datastore.api import Op
from calico.datastore.barrier import ASK_PREFIX, Answer, Realisation, answer_key, wait_for_hosts
from calico.datastore.memory import MemoryBackend
from calico.errors import Transient
from calico.felix.applied_reporter import AppliedReporter, why_not_applied
from calico.obs.conditions import Conditions

PATIENT_S = 30.0


class Host:
    """A Felix as far as this protocol goes."""

    def __init__(self, backend: MemoryBackend, name: str, region: str = "") -> None:
        self.answer = Answer(0, "not yet")
        self.reporter = AppliedReporter(backend, name, lambda: region, lambda: self.answer)

    def applied(self, revision: int, why: str = "") -> None:
        self.answer = Answer(revision, why)
        self.reporter.on_applied()


@asynccontextmanager
async def hosts(backend: MemoryBackend, *names: str, region: str = "") -> AsyncIterator[dict[str, Host]]:
    made = {name: Host(backend, name, region) for name in names}
    tasks = [asyncio.create_task(host.reporter.run()) for host in made.values()]
    try:
        yield made
    finally:
        for task in tasks:
            task.cancel()
        for task in tasks:
            with suppress(asyncio.CancelledError):
                await task


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENT_S):
        while not condition():
            await asyncio.sleep(0.005)


def answers(backend: MemoryBackend) -> dict[str, bytes]:
    return {item.key: item.value for item in backend.snapshot().items if item.key.startswith("/calico/felix/")}


@pytest.mark.parametrize("region", ["", "east"])
async def test_a_wait_ends_when_every_host_has_the_revision(region: str) -> None:
    backend = MemoryBackend()
    async with hosts(backend, "h1", "h2", region=region) as made:
        seen: list[Realisation] = []
        waiting = asyncio.create_task(wait_for_hosts(backend, 7, ["h1", "h2"], PATIENT_S, seen.append))
        made["h1"].applied(7)
        await until(lambda: seen and "h1" in seen[-1].reached)
        assert not waiting.done()
        made["h2"].applied(9)
        result = await waiting
    assert (result.complete, set(result.reached), result.revision) == (True, {"h1", "h2"}, 7)
    assert set(answers(backend)) == {answer_key("h1", region), answer_key("h2", region)}
    assert not [item for item in backend.snapshot().items if item.key.startswith(ASK_PREFIX)]


async def test_a_host_that_lags_says_why_and_a_silent_one_is_named() -> None:
    backend = MemoryBackend()
    async with hosts(backend, "slow", "behind") as made:
        made["slow"].applied(7, "dataplane-rejected set: full")
        made["behind"].applied(3)
        result = await wait_for_hosts(backend, 7, ["slow", "behind", "dead"], 0.5)
    assert not result.complete
    assert result.lagging["slow"] == "dataplane-rejected set: full"
    assert result.lagging["behind"] == "its kernel is at revision 3"
    assert "does not answer" in result.lagging["dead"]


async def test_the_reason_is_told_anew_when_it_changes() -> None:
    backend = MemoryBackend()
    async with hosts(backend, "h1") as made:
        made["h1"].applied(1, "one")
        seen: list[Realisation] = []
        waiting = asyncio.create_task(wait_for_hosts(backend, 7, ["h1"], PATIENT_S, seen.append))
        await until(lambda: seen and seen[-1].lagging.get("h1") == "one")
        made["h1"].applied(2, "two")
        await until(lambda: seen[-1].lagging.get("h1") == "two")
        made["h1"].applied(7)
        assert (await waiting).complete


async def test_nothing_is_written_while_nobody_waits_and_once_when_it_is_reached() -> None:
    backend = MemoryBackend()
    async with hosts(backend, "h1") as made:
        for revision in range(1, 50):
            made["h1"].applied(revision)
            await asyncio.sleep(0)
        assert answers(backend) == {}
        assert (await wait_for_hosts(backend, 49, ["h1"], PATIENT_S)).complete
        stored = await backend.get(answer_key("h1"))
        for revision in range(50, 99):
            made["h1"].applied(revision)
            await asyncio.sleep(0.001)
        assert await backend.get(answer_key("h1")) == stored
        assert stored is not None
        assert stored.lease


async def test_two_who_wait_both_get_their_answers() -> None:
    backend = MemoryBackend()
    async with hosts(backend, "h1") as made:
        made["h1"].applied(5)
        first = asyncio.create_task(wait_for_hosts(backend, 5, ["h1"], PATIENT_S))
        second = asyncio.create_task(wait_for_hosts(backend, 6, ["h1"], PATIENT_S))
        assert (await first).complete
        assert not second.done()
        made["h1"].applied(6)
        assert (await second).complete


async def test_a_wait_survives_breaks_and_compaction() -> None:
    backend = MemoryBackend()
    async with hosts(backend, "h1") as made:
        made["h1"].applied(1)
        seen: list[Realisation] = []
        waiting = asyncio.create_task(wait_for_hosts(backend, 7, ["h1"], PATIENT_S, seen.append))
        await until(lambda: seen)
        backend.go_down()
        backend.apply([Op("/calico/felix/v2/no-region/host/other/status", b"{}")])
        backend.forget_before(backend.snapshot().revision)
        backend.come_up()
        made["h1"].applied(7)
        assert (await waiting).complete


async def test_without_a_datastore_a_wait_fails_at_once() -> None:
    backend = MemoryBackend()
    backend.go_down()
    with pytest.raises(Transient):
        await wait_for_hosts(backend, 1, ["h1"], PATIENT_S)


async def test_questions_and_answers_that_cannot_be_read_harm_nobody() -> None:
    backend = MemoryBackend()
    backend.apply([Op(ASK_PREFIX + "x", b"{")])
    async with hosts(backend, "h1") as made:
        made["h1"].applied(3)
        waiting = asyncio.create_task(wait_for_hosts(backend, 3, ["h1", "h2"], 0.5))
        backend.apply([Op(answer_key("h2"), b"nonsense")])
        result = await waiting
    assert set(result.reached) == {"h1"}
    assert set(result.lagging) == {"h2"}


def test_why_a_revision_is_not_in_the_kernel() -> None:
    conditions = Conditions()
    conditions.set("resource-invalid", "Tier x", "of no concern here")
    assert why_not_applied(True, "", conditions) == ""
    assert "held" in why_not_applied(False, "held back", conditions)
    assert why_not_applied(False, "", conditions) == "has not programmed its kernel yet"
    for number in range(5):
        conditions.set("dataplane-rejected", f"set{number}", "full")
    text = why_not_applied(True, "", conditions)
    assert "dataplane-rejected set0: full" in text
    assert text.endswith("and 2 more")
