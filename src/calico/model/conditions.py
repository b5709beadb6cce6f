"""Conditions in the status of a resource, as Kubernetes' API conventions have them (spec §16.8, §16.11)."""

from __future__ import annotations

from calico.model.meta import Model

__all__ = ["Condition", "ConditionedStatus"]


class Condition(Model, frozen=True, kw_only=True):
    """One aspect: ``type`` holds (True), does not (False), or nobody knows (Unknown), since when and why."""

    type: str = ""
    status: str = ""
    observed_generation: int | None = None
    last_transition_time: str = ""
    reason: str = ""
    message: str = ""


class ConditionedStatus(Model, frozen=True, kw_only=True):
    """A status that is nothing but conditions, one per type."""

    conditions: tuple[Condition, ...] = ()
