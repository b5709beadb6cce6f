"""A rehearsal judges and shows what the store itself would, and leaves it alone."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from calico.datastore.api import CompareFailed, Op
from calico.datastore.memory import MemoryBackend
from calico.datastore.rehearsal import Rehearsal

KEYS = st.sampled_from(["/a/1", "/a/2", "/b/1"])
OPS = st.builds(
    Op,
    key=KEYS,
    value=st.none() | st.sampled_from([b"x", b"y"]),
    expect=st.none() | st.just(0),
    check_only=st.booleans(),
)
TXNS = st.lists(st.lists(OPS, min_size=1, max_size=3, unique_by=lambda op: op.key), max_size=8)


async def outcome(backend: MemoryBackend | Rehearsal, ops: list[Op]) -> str:
    try:
        await backend.txn(ops)
    except CompareFailed:
        return "refused"
    return "done"


async def contents(backend: MemoryBackend | Rehearsal) -> dict[str, tuple[bytes, int]]:
    return {item.key: (item.value, item.version) for item in (await backend.list("/")).items}


@given(before=TXNS, rehearsed=TXNS)
async def test_a_rehearsal_ends_as_the_store_would_and_the_store_stays(
    before: list[list[Op]], rehearsed: list[list[Op]]
) -> None:
    untouched, judge = MemoryBackend(), MemoryBackend()
    for ops in before:
        assert await outcome(untouched, ops) == await outcome(judge, ops)
    rehearsal, stays = Rehearsal(untouched), untouched.snapshot()
    for ops in rehearsed:
        assert await outcome(rehearsal, ops) == await outcome(judge, ops)
        assert await contents(rehearsal) == await contents(judge)
        for key in ("/a/1", "/a/2", "/b/1"):
            one, other = await rehearsal.get(key), await judge.get(key)
            assert (one.value if one else None) == (other.value if other else None)
    assert untouched.snapshot() == stays
