"""What others change of ours is counted and named in bounded memory, and a fight becomes slower and slower."""

from __future__ import annotations

from itertools import accumulate

from calico.dataplane.drift import Drift
from calico.felix.drift import DriftWatch, wait_before
from calico.obs.conditions import Conditions


def watch() -> tuple[DriftWatch, Conditions, list[str]]:
    conditions, woken = Conditions(), list[str]()
    return DriftWatch(conditions, lambda: woken.append("woken")), conditions, woken


def messages(conditions: Conditions, code: str) -> dict[str, str]:
    return {c.object: c.message for c in conditions if c.code == code}


def test_a_fight_of_ten_minutes_costs_few_repairs() -> None:
    moments = list(accumulate(wait_before(repairs) for repairs in range(40)))
    assert moments[:5] == [0, 0, 0, 0, 0]
    assert sum(moment < 600 for moment in moments) < 30
    assert max(map(wait_before, range(2000))) == 30


def test_a_change_is_put_right_at_once_and_named_when_it_is() -> None:
    drift, conditions, woken = watch()
    repaired = []
    drift.noticed(Drift("routes", "10.0.0.1/32", "removed"), lambda: repaired.append("yes"))
    assert repaired == ["yes"]
    assert woken
    assert not messages(conditions, "drift-routes")
    drift.repaired("routes", ["10.0.0.1/32"])
    assert messages(conditions, "drift-routes")["10.0.0.1/32"].startswith("removed, put right once since ")
    assert drift.repairs == {"routes": 1}


async def test_what_is_changed_again_and_again_waits_and_is_called_a_fight() -> None:
    drift, conditions, _ = watch()
    repaired = []
    for _ in range(50):
        drift.noticed(Drift("sysctls", "ipv4/ip_forward", "set to 0"), lambda: repaired.append("yes"))
        if len(repaired) > drift.repairs["sysctls"]:
            drift.repaired("sysctls", ["ipv4/ip_forward"])
    assert len(repaired) == 5
    assert "5 times" in messages(conditions, "drift-fight")["sysctls ipv4/ip_forward"]
    drift.noticed(Drift("routes", "another", "removed"), lambda: repaired.append("another"))
    assert repaired[-1] == "another", "others do not wait"
    drift.close()


async def test_many_changes_are_told_in_few_conditions_and_bounded_memory() -> None:
    drift, conditions, _ = watch()
    for start in range(0, 5000, 500):
        names = [f"{number}" for number in range(start, start + 500)]
        for name in names:
            drift.noticed(Drift("routes", name, "removed"), lambda: None)
        drift.repaired("routes", names)
    told = messages(conditions, "drift-routes")
    assert len(told) <= 21
    assert "more" in told["others"] or "put right" in told["others"]
    assert drift.repairs == {"routes": 5000}
    assert len(drift._things) <= 1001
    drift.close()
