"""A datastore moved to another etcd: lock the old one, copy everything, compare, unlock the new one."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from calico.datastore.api import Backend
from calico.datastore.sync.plausibility import CLUSTER_INFO_KEY
from calico.datastore.transfer.exporting import collect, means_the_same
from calico.datastore.transfer.importing import Existing, ImportPlan, plan_import, run_import
from calico.datastore.typed.ready import set_ready
from calico.datastore.typed.store import Store
from calico.errors import Conflict, InvalidInput

__all__ = ["Migrated", "migrate"]


class Migrated(msgspec.Struct, frozen=True):
    """What was done; ``revision`` is that of the old store of which everything is a copy."""

    plan: ImportPlan
    revision: int
    keys: int


async def migrate(
    source: Backend,
    target: Backend,
    *,
    existing: Existing = "refuse",
    unlock: bool = True,
    dry_run: bool = False,
    progress: Callable[[str], None] = lambda _: None,
) -> Migrated:
    """Move it. The old store stays locked, so that nobody goes on writing there; when the copy fails it is unlocked
    again, if it was open before, and the new one stays locked."""
    (_, source_id), (_, target_id) = await source.revision(), await target.revision()
    if source_id and source_id == target_id:
        raise InvalidInput(f"old and new datastore are the same cluster ({source_id:x})")
    if dry_run:
        export = await collect(source)
        return Migrated(await plan_import(target, export, existing), export.revision, len(export.entries))
    was_open = await set_ready(Store(source), False)
    progress("the old datastore is locked")
    try:
        export = await collect(source)
        plan = await plan_import(target, export, existing)
        await run_import(target, plan, unlock=False, progress=lambda done: progress(f"{done} keys written"))
        await _compare(source, target, plan)
        progress("the new datastore holds what the old one holds")
        if unlock:
            await set_ready(Store(target), True)
    except BaseException:
        if was_open:
            await set_ready(Store(source), True)
            progress("it failed: the old datastore is unlocked again")
        raise
    return Migrated(plan, export.revision, len(export.entries))


async def _compare(source: Backend, target: Backend, plan: ImportPlan) -> None:
    """Conflict when the stores differ in anything but what was there before and was to be kept."""
    old = {entry.key: entry.value for entry in (await collect(source)).entries}
    new = {entry.key: entry.value for entry in (await collect(target)).entries}
    expected = {CLUSTER_INFO_KEY, *plan.kept}
    wrong = sorted(key for key in old if key not in expected and not means_the_same(new.get(key, b""), old[key]))
    wrong += sorted(new.keys() - old.keys() - set(plan.other))
    if wrong:
        raise Conflict(f"{len(wrong)} keys changed while they were copied, such as {wrong[0]}")
