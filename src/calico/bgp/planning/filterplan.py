"""What the rules of a BGPFilter ask of a route and do to it, as plain data between the planner and the emitter."""

from __future__ import annotations

from typing import Literal

import msgspec

__all__ = ["Direction", "Family", "FilterPlan", "OperationPlan", "RulePlan"]

Family = Literal[4, 6]
Direction = Literal["import", "export"]


class OperationPlan(msgspec.Struct, frozen=True):
    """One change of an accepted route: a community added, AS numbers prepended, or the priority set."""

    community: tuple[int, ...] = ()
    prepend: tuple[int, ...] = ()
    priority: int | None = None


class RulePlan(msgspec.Struct, frozen=True, kw_only=True):
    """Conditions, all of which must hold; empty ones do not restrict.

    ``network`` with ``lengths`` (both included) is matched as a whole, then turned round when ``outside``; ``exact``:
    the prefix itself only. ``internal`` None: whatever the peer's AS.
    """

    network: str = ""
    lengths: tuple[int, int] = (0, 128)
    exact: bool = False
    outside: bool = False
    from_peers: bool = False
    interface: str = ""
    internal: bool | None = None
    community: tuple[int, ...] = ()
    as_path: tuple[int, ...] = ()
    priority: int | None = None
    accept: bool = False
    operations: tuple[OperationPlan, ...] = ()


class FilterPlan(msgspec.Struct, frozen=True, kw_only=True):
    """The rules by direction and family, in order; a route that none matches goes on to what comes after the filter."""

    name: str
    import4: tuple[RulePlan, ...] = ()
    export4: tuple[RulePlan, ...] = ()
    import6: tuple[RulePlan, ...] = ()
    export6: tuple[RulePlan, ...] = ()

    def rules(self, direction: Direction, family: Family) -> tuple[RulePlan, ...]:
        """One of the four lists."""
        if family == 4:
            return self.import4 if direction == "import" else self.export4
        return self.import6 if direction == "import" else self.export6
