"""What the BGP agent knows of its host at this moment; the applier and the watch keep it, reports are made of it."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from calico.bgp.bird.control import BirdStatus, Session
from calico.bgp.bird.faults import Fault
from calico.bgp.planning.birdplan import BirdPlan
from calico.bgp.problem import Problem

__all__ = ["AgentState"]


class AgentState(msgspec.Struct, kw_only=True):
    """What the agent knows. ``config_revision``: BIRD runs what the datastore said at that revision.

    ``suspicions``: why sessions may be down that BIRD cannot say why; ``stuck``: those that have tried for a while.
    ``converged``: the first convergence is over. ``configurations``: what became of those that were new, by
    ``Applied``; ``config_at``: when the last good one was written, in seconds of the epoch (0: there is none).
    """

    node: str
    pid: int
    version: str
    plan: BirdPlan | None = None
    in_sync: bool = False
    converged: bool = False
    config_revision: int = 0
    bird_running: bool = False
    restarts: int = 0
    bird: BirdStatus = BirdStatus()
    sessions: Mapping[str, Session] = {}
    suspicions: Mapping[str, Fault] = {}
    stuck: frozenset[str] = frozenset()
    plan_problems: tuple[Problem, ...] = ()
    agent_problems: tuple[Problem, ...] = ()
    contact_problems: tuple[Problem, ...] = ()
    listener_problems: tuple[Problem, ...] = ()
    configurations: dict[str, int] = msgspec.field(default_factory=dict)
    config_at: float = 0.0
