"""Doing many writes in order and, where they have nothing to do with one another, some at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from calico.errors import CalicoError, Transient
from calico.model.keys import ResourceKey
from calico.model.meta import Resource

if TYPE_CHECKING:
    from calico.datastore.typed.store import Store

__all__ = ["Deleted", "Work", "do_all", "groups"]

_AT_ONCE = 16
_INDEPENDENT = frozenset(
    (
        "GlobalNetworkPolicy",
        "GlobalNetworkSet",
        "HostEndpoint",
        "NetworkPolicy",
        "NetworkSet",
        "Profile",
        "StagedGlobalNetworkPolicy",
        "StagedKubernetesNetworkPolicy",
        "StagedNetworkPolicy",
        "WorkloadEndpoint",
    )
)
"""Kinds whose resources do not depend on one another: what they need, a tier, is of another kind."""


class Deleted(msgspec.Struct, frozen=True):
    """The result of a write that deleted; revision 0 when there was nothing."""

    revision: int


Work = Sequence[tuple[ResourceKey, Callable[["Store"], Coroutine[Any, Any, object]]]]
"""What to do with each key. The result is the resource as written, ``Deleted``, or anything else: nothing was done."""


async def do_all(store: Store, work: Work, at_once: int = _AT_ONCE) -> tuple[list[str], dict[ResourceKey, object]]:
    """What failed, and the result for each key; for one that failed the error."""
    errors: list[str] = []
    results: dict[ResourceKey, object] = {}
    for group in groups(work, at_once):
        outcomes = await asyncio.gather(*(_outcome(action(store)) for _, action in group))
        for (key, _), outcome in zip(group, outcomes, strict=True):
            if not isinstance(outcome, CalicoError):
                if isinstance(outcome, Resource | Deleted) or key not in results:
                    results[key] = outcome
                continue
            if isinstance(outcome, Transient) or key not in results:
                results[key] = outcome
            text, subject = str(outcome), f"{key.kind} {key.name}"
            errors.append(text if subject in text else f"{subject}: {text}")
    return errors, results


async def _outcome(work: Coroutine[Any, Any, object]) -> object:
    try:
        return await work
    except CalicoError as error:
        return error


def groups(work: Work, at_once: int) -> Iterator[Work]:
    """The work in order, in parts that may be done at once: neighbours of kinds that do not look at one another, each
    with a key of its own."""
    part: list[Any] = []
    keys: set[ResourceKey] = set()
    for key, action in work:
        alone = key.kind not in _INDEPENDENT
        if part and (alone or len(part) == at_once or key in keys):
            yield part
            part, keys = [], set()
        part.append((key, action))
        keys.add(key)
        if alone:
            yield part
            part, keys = [], set()
    if part:
        yield part
