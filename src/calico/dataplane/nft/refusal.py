"""Which objects of a refused transaction are to blame, and what the next attempt does without them. Pure.

The kernel names every message that it could not carry out. Some of these fail only because another one did, so blame
is given in rounds: first to what could not be created, then to the rest. A jump graph that is too deep or has a loop,
and an expression that has no meaning in a base chain that leads to it, are reported for every message after the one
that made it so; there only the first counts.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable, Sequence
from typing import Final, Literal

import msgspec

from calico.netlink.socket import Failure

__all__ = ["DROP_CHAIN", "Exclusions", "Owner", "Refused"]

OwnerKind = Literal[
    "table",
    "chain",
    "rules",
    "set",
    "elements",
    "counter",
    "gone-elements",
    "gone-chain",
    "gone-set",
    "gone-counter",
]
Owner = tuple[OwnerKind, str, Sequence[bytes]]
"""Whose a request is: a kind, the object's name, and for elements their keys."""

DROP_CHAIN: Final = "replaced by a drop rule"
_CREATIONS: Final = ("chain", "set", "counter")
_GRAPH_ERRORS: Final = (errno.EMLINK, errno.ELOOP, errno.EOPNOTSUPP)


class Refused(msgspec.Struct, frozen=True, gc=False):
    """An object that the kernel refused: ``kind`` chain, rules (of a chain), set, elements, counter, or gone-chain,
    gone-set, gone-counter.

    ``effect`` says what stands there instead, ``keys`` which elements are missing.
    """

    kind: str
    name: str
    reason: str
    effect: str = ""
    keys: tuple[bytes, ...] = ()


class Exclusions:
    """What a plan must do without. Grows with each refusal, so that the attempts end."""

    def __init__(self) -> None:
        self.chains: set[str] = set()
        """Left as they are in the kernel, or absent."""
        self.dropped: set[str] = set()
        """Programmed as a single drop rule."""
        self.sets: set[str] = set()
        """Not created, not replaced."""
        self.elements: dict[str, dict[bytes, str]] = {}
        """Not added, with the reason."""
        self.single: set[str] = set()
        """Sets whose elements go one to a message, to find the bad ones."""
        self.kept_chains: set[str] = set()
        self.kept_sets: set[str] = set()
        self.counters: set[str] = set()
        """Not created; what would count there does not count."""
        self.kept_counters: set[str] = set()
        self._reasons: dict[tuple[str, str], str] = {}

    def blame(self, failures: Iterable[tuple[Owner, Failure]], may_drop: Callable[[str], bool]) -> bool:
        """Learn from one refused attempt (in the order of its messages). False if there was nothing to learn.

        ``may_drop``: whether a chain may be replaced by a drop rule.
        """
        blamed = [(owner, failure) for owner, failure in failures if owner[0] != "gone-elements"]
        created = [pair for pair in blamed if pair[0][0] in _CREATIONS]
        certain = [pair for pair in blamed if pair[1].errno not in _GRAPH_ERRORS]
        first_of_each: dict[tuple[str, str, tuple[bytes, ...]], tuple[Owner, Failure]] = {}
        for owner, failure in created or certain or blamed[:1]:
            first_of_each.setdefault((owner[0], owner[1], tuple(owner[2])), (owner, failure))
        learnt = [self._blame_one(owner, str(failure), may_drop) for owner, failure in first_of_each.values()]
        return any(learnt)

    def refuse(self, kind: Literal["chain", "rules", "set"], name: str, reason: str) -> None:
        """An object that could not even be encoded."""
        {"chain": self.chains, "rules": self.dropped, "set": self.sets}[kind].add(name)
        self._reasons[kind, name] = reason

    def refuse_elements(self, set_name: str, keys: Iterable[bytes], reason: str) -> None:
        """Elements that could not even be encoded."""
        self.elements.setdefault(set_name, {}).update(dict.fromkeys(keys, reason))

    def report(self) -> tuple[Refused, ...]:
        """All that was left out, for people and for status."""
        found = [
            Refused(kind, name, reason, DROP_CHAIN if kind == "rules" and name in self.dropped else "")
            for (kind, name), reason in self._reasons.items()
        ]
        for name, keys in self.elements.items():
            found.append(Refused("elements", name, next(iter(keys.values())), keys=tuple(keys)))
        return tuple(found)

    def _blame_one(self, owner: Owner, reason: str, may_drop: Callable[[str], bool]) -> bool:
        kind, name, keys = owner
        if kind == "elements":
            if len(keys) > 1:
                learnt = name not in self.single
                self.single.add(name)
                return learnt
            self.elements.setdefault(name, {})[keys[0]] = reason
            return True
        place = self._place_of(kind, name, may_drop)
        if place is None or name in place:
            return False
        place.add(name)
        self._reasons.setdefault((kind, name), reason)
        return True

    def _place_of(self, kind: str, name: str, may_drop: Callable[[str], bool]) -> set[str] | None:
        if kind == "rules":
            return self.dropped if may_drop(name) and name not in self.dropped else self.chains
        places = {
            "chain": self.chains,
            "set": self.sets,
            "counter": self.counters,
            "gone-chain": self.kept_chains,
            "gone-set": self.kept_sets,
            "gone-counter": self.kept_counters,
        }
        return places.get(kind)
