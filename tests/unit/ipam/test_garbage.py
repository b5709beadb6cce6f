"""Leaked addresses are freed in two looks, on evidence, and only while they are what was marked."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace

from allocation.cluster import Cluster
from calico.ipam.audit.consistency import Finding, misuse
from calico.ipam.audit.garbage import MARK_PREFIX, GarbagePlan, carry_out, plan_garbage, read_marks

NOW = datetime(2026, 8, 22, 13, 0, tzinfo=UTC)
LEAK = Finding("address-leaked", "10.0.0.1", "nothing uses it", "", "10.0.0.1", "10.0.0.0/26", "h", 7, "a")


def plan(leaks: list[Finding], marks: list, **more: object) -> GarbagePlan:
    options = {"alive": {}, "unseen": {}, "now": NOW, "by": "a", "grace_s": 900, **more}
    return plan_garbage(leaks, marks, **options)


def test_a_leak_is_marked_first_and_released_when_grace_is_over() -> None:
    first = plan([LEAK], [])
    assert first.release == ()
    (mark,) = first.mark
    assert (mark.since, mark.by, mark.evidence) == ("2026-08-22T13:00:00Z", "a", "nothing uses it")
    early = plan([LEAK], [mark], now=NOW + timedelta(seconds=899))
    assert (early.release, early.waiting) == ((), {"10.0.0.1": "grace ends in 1 s"})
    assert plan([LEAK], [mark], now=NOW + timedelta(seconds=900)).release == (mark,)


@pytest.mark.parametrize("anew", [{"handle": "other"}, {"sequence": 8}])
def test_another_allocation_of_the_address_begins_anew(anew: dict[str, object]) -> None:
    (mark,) = plan([LEAK], []).mark
    later = plan([replace(LEAK, **anew)], [mark], now=NOW + timedelta(hours=1))
    assert later.release == ()
    assert later.unmark == {"10.0.0.1": "it was given out anew since it was marked"}
    assert len(later.mark) == 1


def test_a_sign_of_life_takes_the_mark_away() -> None:
    (mark,) = plan([LEAK], []).mark
    later = plan([LEAK], [mark], now=NOW + timedelta(hours=1), alive={"10.0.0.1": "it answers"})
    assert (later.release, later.mark) == ((), ())
    assert later.unmark == later.waiting == {"10.0.0.1": "it answers"}


def test_an_address_of_a_host_that_nobody_looked_at_waits() -> None:
    (mark,) = plan([LEAK], []).mark
    later = plan([LEAK], [mark], now=NOW + timedelta(hours=1), unseen={"10.0.0.1": "ask b"})
    assert (later.release, later.waiting) == ((), {"10.0.0.1": "ask b"})


def test_a_mark_whose_time_cannot_be_read_frees_nothing() -> None:
    (mark,) = plan([LEAK], []).mark
    assert plan([LEAK], [replace(mark, since="yesterday")], now=NOW + timedelta(days=9)).release == ()


def test_a_mark_of_an_address_that_found_a_user_goes() -> None:
    (mark,) = plan([LEAK], []).mark
    assert plan([], [mark]).unmark == {"10.0.0.1": "it is used now, or was released"}


async def test_what_is_given_out_anew_between_the_look_and_the_release_stays() -> None:
    cluster = await Cluster().hosts()
    await cluster.pool("p", "10.0.0.0/24")
    address = await cluster.one("a", "h")
    leaks = [found for found in misuse(await cluster.state()) if found.code == "address-leaked"]
    await carry_out(cluster.backend, cluster.allocator, plan(leaks, []))
    (mark,) = await read_marks(cluster.backend)
    assert mark.address == address
    release = plan(leaks, [mark], now=NOW + timedelta(hours=1))
    await cluster.allocator.release_by_handle("h")
    await cluster.allocator.assign_ip(address, hostname="a", handle="h")  # the same handle, at another time
    assert await carry_out(cluster.backend, cluster.allocator, release) == ()
    assert await cluster.allocator.ips_by_handle("h") == (address,)
    assert (await cluster.backend.list(MARK_PREFIX)).items == ()


async def test_a_leak_is_freed_with_its_handle_and_its_mark() -> None:
    cluster = await Cluster().hosts()
    await cluster.pool("p", "10.0.0.0/24")
    address = await cluster.one("a", "h")
    leaks = [found for found in misuse(await cluster.state()) if found.code == "address-leaked"]
    await carry_out(cluster.backend, cluster.allocator, plan(leaks, []))
    release = plan(leaks, await read_marks(cluster.backend), now=NOW + timedelta(hours=1))
    assert await carry_out(cluster.backend, cluster.allocator, release) == (address,)
    state = await cluster.state()
    assert (state.handles, list(misuse(state))) == ({}, [])
