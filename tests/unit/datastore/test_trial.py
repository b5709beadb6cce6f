"""Writes on trial: undone unless confirmed, whoever dies meanwhile, and never at the cost of somebody else's change."""

import asyncio

import pytest

from calico.datastore.api import Op
from calico.datastore.memory import MemoryBackend
from calico.datastore.trial import DELETED, TRIAL_PREFIX, UNTOUCHED, Trial, Trials
from calico.errors import Conflict, InvalidInput, NotFound
from calico.model.keys import ResourceKey, key_path

pytestmark = pytest.mark.asyncio

OLD, NEW = ResourceKey("GlobalNetworkPolicy", "", "old"), ResourceKey("GlobalNetworkPolicy", "", "new")


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def backend() -> MemoryBackend:
    return MemoryBackend()


@pytest.fixture
def trials(backend: MemoryBackend, clock: Clock) -> Trials:
    return Trials(backend, now=clock)


async def put(backend: MemoryBackend, key: ResourceKey, value: bytes | None) -> int:
    return await backend.txn([Op(key_path(key), value)])


async def value(backend: MemoryBackend, key: ResourceKey) -> bytes | None:
    stored = await backend.get(key_path(key))
    return stored.value if stored else None


async def changed(backend: MemoryBackend, trials: Trials) -> Trial:
    """One key existed and is changed, the other is new."""
    await put(backend, OLD, b"before")
    trial = await trials.begin([OLD, NEW], 60, "me")
    revisions = {key_path(key): await put(backend, key, b"after") for key in (OLD, NEW)}
    await trials.note(trial, revisions)
    return trial


def outcomes(trial: Trial) -> list[str]:
    return [entry.outcome for entry in trial.entries]


async def test_what_was_changed_is_restored_and_what_is_new_is_removed(backend: MemoryBackend, trials: Trials) -> None:
    trial = await changed(backend, trials)
    ended = await trials.roll_back(trial.id)
    assert (await value(backend, OLD), await value(backend, NEW)) == (b"before", None)
    assert (ended.state, outcomes(ended)) == ("rolled-back", ["restored", "removed"])


async def test_what_was_deleted_comes_back(backend: MemoryBackend, trials: Trials) -> None:
    await put(backend, OLD, b"before")
    trial = await trials.begin([OLD], 60, "me")
    await put(backend, OLD, None)
    await trials.note(trial, {key_path(OLD): DELETED})
    await trials.roll_back(trial.id)
    assert await value(backend, OLD) == b"before"


async def test_what_is_confirmed_stays_and_cannot_be_rolled_back(backend: MemoryBackend, trials: Trials) -> None:
    trial = await changed(backend, trials)
    await trials.confirm(trial.id)
    with pytest.raises(Conflict, match="confirmed already"):
        await trials.roll_back(trial.id)
    assert (await trials.guard(trial.id))[0].state == "confirmed"
    assert (await value(backend, OLD), await value(backend, NEW)) == (b"after", b"after")


async def test_what_is_rolled_back_cannot_be_confirmed(backend: MemoryBackend, trials: Trials) -> None:
    trial = await changed(backend, trials)
    await trials.roll_back(trial.id)
    with pytest.raises(Conflict, match="put back"):
        await trials.confirm(trial.id)


@pytest.mark.parametrize("by_others", [b"theirs", None])
async def test_what_others_changed_since_is_left_alone_and_named(
    backend: MemoryBackend, trials: Trials, by_others: bytes | None
) -> None:
    trial = await changed(backend, trials)
    await put(backend, OLD, by_others)
    ended = await trials.roll_back(trial.id)
    assert await value(backend, OLD) == by_others
    assert outcomes(ended) == ["left alone: changed by others meanwhile", "removed"]


async def test_what_others_created_again_after_our_delete_is_left_alone(backend: MemoryBackend, trials: Trials) -> None:
    await put(backend, OLD, b"before")
    trial = await trials.begin([OLD], 60, "me")
    await put(backend, OLD, None)
    await trials.note(trial, {key_path(OLD): DELETED})
    await put(backend, OLD, b"theirs")
    await trials.roll_back(trial.id)
    assert await value(backend, OLD) == b"theirs"


async def test_what_is_on_trial_cannot_be_put_on_another(backend: MemoryBackend, trials: Trials) -> None:
    """The second would keep what the first one changed, and take it for what was there before."""
    first = await changed(backend, trials)
    with pytest.raises(Conflict, match=f"GlobalNetworkPolicy old: on trial {first.id} already"):
        await trials.begin([OLD], 60, "me")
    await trials.roll_back(first.id)
    assert await value(backend, OLD) == b"before"
    assert (await trials.begin([OLD], 60, "me")).state == "open"


async def test_what_was_not_written_in_the_end_is_not_undone(backend: MemoryBackend, trials: Trials) -> None:
    """Refused, or there already: what others made of it since is theirs."""
    await put(backend, OLD, b"before")
    trial = await trials.begin([OLD, NEW], 60, "me")
    await trials.note(trial, dict.fromkeys(map(key_path, (OLD, NEW)), UNTOUCHED))
    await put(backend, OLD, None)
    await put(backend, NEW, b"theirs")
    await trials.roll_back(trial.id)
    assert (await value(backend, OLD), await value(backend, NEW)) == (None, b"theirs")


async def test_a_writer_that_died_before_it_could_note_its_writes_is_undone_all_the_same(
    backend: MemoryBackend, trials: Trials
) -> None:
    await put(backend, OLD, b"before")
    trial = await trials.begin([OLD, NEW], 60, "me")
    await put(backend, OLD, b"after")
    ended = await trials.roll_back(trial.id)
    assert await value(backend, OLD) == b"before"
    assert outcomes(ended) == ["restored", "unchanged"]


async def test_a_guard_that_died_half_way_is_continued_by_the_next(
    backend: MemoryBackend, trials: Trials, clock: Clock
) -> None:
    trial = await changed(backend, trials)
    path = TRIAL_PREFIX + trial.id
    stored = await backend.get(path)
    assert stored is not None
    await backend.txn([Op(path, stored.value.replace(b'"open"', b'"rolling-back"'))])
    with pytest.raises(Conflict, match="put back"):
        await trials.confirm(trial.id)
    assert [ended.state for ended in await trials.guard()] == ["rolled-back"]
    assert await value(backend, OLD) == b"before"


async def test_the_guard_waits_for_the_deadline(backend: MemoryBackend, trials: Trials, clock: Clock) -> None:
    trial = await changed(backend, trials)
    clock.now = trial.deadline
    ended = await trials.guard(trial.id)
    assert [item.state for item in ended] == ["rolled-back"]


async def test_a_guard_that_was_started_before_the_trial_undoes_it(
    backend: MemoryBackend, trials: Trials, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("calico.datastore.trial._RETRY_S", 0.001)
    guard = asyncio.create_task(trials.guard())
    await asyncio.sleep(0.01)
    assert not guard.done()
    trial = await changed(backend, trials)
    clock.now = trial.deadline
    assert [item.state for item in await guard] == ["rolled-back"]
    assert await value(backend, OLD) == b"before"


async def test_writes_that_took_longer_than_the_trial_are_put_back(
    backend: MemoryBackend, trials: Trials, clock: Clock
) -> None:
    trial = await trials.begin([NEW], 60, "me")
    await trials.roll_back(trial.id)
    revision = await put(backend, NEW, b"late")
    with pytest.raises(Conflict, match="everything was put back"):
        await trials.note(trial, {key_path(NEW): revision})
    assert await value(backend, NEW) is None


async def test_what_is_too_much_for_one_trial_is_refused_with_what_to_do(
    backend: MemoryBackend, trials: Trials
) -> None:
    await put(backend, OLD, bytes(1_400_000))
    with pytest.raises(InvalidInput, match="resources are too much for one trial, put fewer on it: a transaction of"):
        await trials.begin([OLD], 60, "me")


async def test_an_unknown_trial_is_named(trials: Trials) -> None:
    with pytest.raises(NotFound, match="no trial 123456"):
        await trials.confirm("123456")


async def test_ended_trials_are_listed_after_those_that_wait(backend: MemoryBackend, trials: Trials) -> None:
    first = await trials.begin([OLD], 10, "me")
    second = await trials.begin([NEW], 60, "me")
    await trials.confirm(first.id)
    await backend.txn([Op(TRIAL_PREFIX + "zz", b"no trial")])
    assert [item.id for item in await trials.list()] == [second.id, first.id]
