"""A block against a naive model: a map of who has what, a queue, and a list of what cools down."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from calico.ipam.stored.block import (
    WINDOWS_RESERVED,
    Attribute,
    Block,
    assign,
    assign_ordinal,
    collect,
    is_empty,
    new_block,
    release,
    written,
)
from calico.ipam.stored.block_codec import decode_block, encode_block
from calico.ipam.stored.keys import block_key

START = datetime(2026, 8, 22, 13, 0, tzinfo=UTC)
CIDR = "10.0.0.0/29"
ordinals = st.integers(0, 7)
attributes = st.builds(
    Attribute, st.sampled_from([None, "h.1", "h.2"]), st.sampled_from([{}, {"pod": "a"}, {"pod": "b"}])
)
steps = st.one_of(
    st.tuples(st.just("auto"), st.integers(1, 3), attributes, st.frozensets(ordinals, max_size=2)),
    st.tuples(st.just("this"), ordinals, attributes),
    st.tuples(st.just("release"), st.lists(ordinals, max_size=3, unique=True)),
    st.tuples(st.just("wait"), st.integers(0, 40)),
)


class Model:
    """What a block should be."""

    def __init__(self, cooldown_s: int) -> None:
        self.cooldown_s, self.now = cooldown_s, START
        self.held: dict[int, Attribute] = {}
        self.cooling: dict[int, datetime] = {}
        self.queue = list(range(8))

    def auto(self, count: int, attribute: Attribute, reserved: frozenset[int]) -> list[int]:
        taken = [ordinal for ordinal in self.queue if ordinal not in reserved][:count]
        for ordinal in taken:
            self.queue.remove(ordinal)
            self.held[ordinal] = attribute
        return taken

    def this(self, ordinal: int, attribute: Attribute) -> bool:
        if ordinal not in self.queue:
            return False
        self.queue.remove(ordinal)
        self.held[ordinal] = attribute
        return True

    def release(self, gone: list[int]) -> None:
        for ordinal in gone:
            if self.held.pop(ordinal, None) is not None:
                self.cooling[ordinal] = self.now
        self.collect()

    def collect(self) -> None:
        for ordinal, since in sorted(self.cooling.items()):
            if (self.now - since).total_seconds() >= self.cooldown_s:
                del self.cooling[ordinal]
                self.queue.append(ordinal)


def check(block: Block, model: Model) -> None:
    assert dict(block.held()) == model.held
    assert list(block.unallocated) == model.queue
    assert {o for o, i in enumerate(block.allocations) if i is not None and block.holder(o) is None} == set(
        model.cooling
    )
    assert set(block.sequences) == model.held.keys() | model.cooling.keys()
    assert is_empty(block) == (not model.held and not model.cooling)
    used = {index for index in block.allocations if index is not None}
    assert used == set(range(len(block.attributes)))  # none is left that nobody refers to
    records = [(a.handle, tuple(a.secondary.items()), a.released_at) for a in block.attributes]
    assert len(set(records)) == len(records)  # what is the same is shared


@given(st.lists(steps, max_size=30), st.sampled_from([0, 1, 30]))
def test_any_history_of_a_block_is_that_of_a_naive_one(history: list[tuple], cooldown_s: int) -> None:
    block, model = new_block(CIDR, "host:a", START, 1000), Model(cooldown_s)
    for step in history:
        match step:
            case ("auto", count, attribute, reserved):
                block, taken = assign(block, count, attribute, reserved.__contains__)
                assert list(taken) == model.auto(count, attribute, reserved)
                assert all(block.sequences[ordinal] == block.sequence for ordinal in taken)
            case ("this", ordinal, attribute):
                after = assign_ordinal(block, ordinal, attribute)
                assert (after is not None) == model.this(ordinal, attribute)
                block = after or block
            case ("release", gone):
                block = release(block, gone, model.now, cooldown_s)
                model.release(gone)
            case ("wait", seconds):
                model.now += timedelta(seconds=seconds)
                block = collect(block, model.now, cooldown_s)
                model.collect()
        check(block, model)
        before = block.sequence
        block = written(block)
        assert block.sequence == before + 1
        assert decode_block(block_key(CIDR), encode_block(block)) == block


def test_a_released_address_comes_back_last() -> None:
    block, taken = assign(new_block(CIDR, "host:a", START, 1), 2, Attribute("h"))
    block = release(block, [taken[0]], START, 0)
    assert block.unallocated == (2, 3, 4, 5, 6, 7, 0)


def test_an_address_that_cools_down_is_nobodys_and_cannot_be_had() -> None:
    block = release(assign(new_block(CIDR, None, START, 1), 1, Attribute("h"))[0], [0], START, 30)
    assert block.holder(0) is None
    assert assign_ordinal(block, 0, Attribute("other")) is None
    assert collect(block, START + timedelta(seconds=29), 30) == block
    assert assign_ordinal(collect(block, START + timedelta(seconds=30), 30), 0, Attribute("other")) is not None


def test_a_shorter_cooldown_holds_at_once_for_what_cools_down() -> None:
    block = release(assign(new_block(CIDR, None, START, 1), 1, Attribute("h"))[0], [0], START, 1200)
    assert is_empty(collect(block, START + timedelta(seconds=1), 0))


def test_what_windows_reserves_does_not_count_as_use() -> None:
    block, _ = assign(new_block(CIDR, "host:a", START, 1), 3, Attribute(WINDOWS_RESERVED))
    assert is_empty(block)
    assert not is_empty(assign(block, 1, Attribute("h"))[0])
