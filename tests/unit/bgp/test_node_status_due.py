"""When a CalicoNodeStatus is answered again."""

from __future__ import annotations

import msgspec

from calico.bgp.nodestatus.reporter import Asked
from calico.model.nodestatus import CalicoNodeStatus


def _resource(period_s: int, *, answered: bool, classes: tuple[str, ...] = ("BGP",)) -> CalicoNodeStatus:
    status = {"lastUpdated": "2026-11-26T06:00:00Z"} if answered else {}
    spec = {"node": "a", "classes": classes, "updatePeriodSeconds": period_s}
    return msgspec.convert({"spec": spec, "status": status}, CalicoNodeStatus)


def test_what_has_no_answer_is_due_and_one_answer_is_enough_for_one_question() -> None:
    once = _resource(0, answered=True)
    assert Asked().is_due(_resource(0, answered=False), 100.0)
    assert not Asked().is_due(once, 100.0)
    assert not Asked(answered=once.spec, due_at=0.0).is_due(once, 100.0)


def test_a_changed_question_and_one_whose_answer_somebody_removed_are_due_at_once() -> None:
    once = _resource(0, answered=True)
    asked = Asked(answered=once.spec, due_at=float("inf"))
    assert asked.is_due(_resource(0, answered=True, classes=("Routes",)), 100.0)
    assert asked.is_due(_resource(0, answered=False), 100.0)


def test_a_repeated_question_is_due_after_its_period_also_to_a_successor() -> None:
    often = _resource(10, answered=True)
    assert Asked().is_due(often, 100.0)
    assert not Asked(answered=often.spec, due_at=110.0).is_due(often, 109.0)
    assert Asked(answered=often.spec, due_at=110.0).is_due(often, 110.0)


def test_what_failed_is_not_tried_again_too_soon() -> None:
    asked = Asked(retry_at=130.0)
    assert not asked.is_due(_resource(10, answered=False), 129.0)
    assert asked.is_due(_resource(10, answered=False), 130.0)
