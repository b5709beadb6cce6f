"""An export written into a store: planned first, locked while it is incomplete, every write compare-and-swap.

ClusterInformation is written first, saying that the datastore is not ready, so that nobody follows a part; what breaks
off stays locked and can be repeated with ``keep``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Literal

import msgspec

from calico.datastore.api import Backend, CompareFailed, KeyValue, Op
from calico.datastore.ops import MAX_REQUEST_BYTES, check_ops
from calico.datastore.sync.plausibility import CLUSTER_INFO_KEY, cluster_facts
from calico.datastore.transfer.exporting import Entry, Export, is_exported, means_the_same
from calico.errors import AlreadyExists, Conflict, InvalidInput
from calico.model.codec import decode
from calico.model.keys import RESOURCE_PREFIX, ROOT, parse_key

__all__ = ["Existing", "ImportPlan", "plan_import", "run_import"]

Existing = Literal["refuse", "keep", "replace"]

_OPS_PER_TXN = 100
_BYTES_PER_TXN = 1_000_000
_FIRST = (  # what others refer to
    "clusterinformations",
    "tiers",
    "bgpfilters",
    "ippools",
    "ipreservations",
    "nodes",
    "profiles",
)
_LAST = ("workloadendpoints", "hostendpoints")


class ImportPlan(msgspec.Struct, frozen=True):
    """``writes`` in order, with the revision that each key has now (0: absent). ``info`` is what ClusterInformation
    shall say in the end, but for readiness. ``other`` are keys of the store that the export lacks; they stay.
    ``problems`` are entries that are damaged: written as they are, for what they govern stays denied."""

    writes: tuple[tuple[Entry, int], ...]
    info: bytes
    same: int = 0
    kept: tuple[str, ...] = ()
    other: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


async def plan_import(backend: Backend, export: Export, existing: Existing) -> ImportPlan:
    """What must be written. AlreadyExists when the store holds anything and ``existing`` is "refuse"; InvalidInput when
    an entry is too large or nothing says which cluster this is."""
    found = {kv.key: kv for kv in (await backend.list(ROOT)).items if is_exported(kv.key, kv.lease)}
    if found and existing == "refuse":
        shown = ", ".join(sorted(found)[:3])
        raise AlreadyExists(
            f"the datastore is not empty: {len(found)} keys such as {shown}; say what becomes of them by --existing"
        )
    for entry in export.entries:
        check_ops([Op(entry.key, entry.value)])
    wanted = {entry.key: entry for entry in export.entries}
    same = {key for key, kv in found.items() if key in wanted and means_the_same(kv.value, wanted[key].value)}
    kept = tuple(sorted(found.keys() & wanted.keys() - same)) if existing == "keep" else ()
    writes = [entry for key, entry in wanted.items() if key not in same and key not in kept]
    return ImportPlan(
        writes=tuple((entry, _revision(found, entry.key)) for entry in sorted(writes, key=_rank)),
        info=_info({} if CLUSTER_INFO_KEY in kept else wanted, found),
        same=len(same),
        kept=kept,
        other=tuple(sorted(found.keys() - wanted.keys())),
        problems=tuple(_problems(export.entries)),
    )


async def run_import(
    backend: Backend, plan: ImportPlan, *, unlock: bool, progress: Callable[[int], None] = lambda _: None
) -> None:
    """Write it; Conflict when somebody else writes meanwhile. ``unlock``: the datastore is ready in the end."""
    info = await backend.get(CLUSTER_INFO_KEY)
    locked = _with_ready(plan.info, ready=False)
    await _write(backend, [Op(CLUSTER_INFO_KEY, locked, expect=info.mod_revision if info is not None else 0)])
    done = 0
    for batch in _batches((entry, seen) for entry, seen in plan.writes if entry.key != CLUSTER_INFO_KEY):
        await _write(backend, batch)
        done += len(batch)
        progress(done)
    if unlock:
        await _write(backend, [Op(CLUSTER_INFO_KEY, _with_ready(plan.info, ready=True))])


async def _write(backend: Backend, ops: Sequence[Op]) -> None:
    try:
        await backend.txn(ops)
    except CompareFailed as error:
        raise Conflict(f"somebody else writes to the datastore; it stays locked. {error}") from error


def _batches(writes: Iterable[tuple[Entry, int]]) -> Iterator[list[Op]]:
    batch: list[Op] = []
    size = 0
    for entry, seen in writes:
        if batch and (len(batch) == _OPS_PER_TXN or size + len(entry.value) > min(_BYTES_PER_TXN, MAX_REQUEST_BYTES)):
            yield batch
            batch, size = [], 0
        batch.append(Op(entry.key, entry.value, expect=seen))
        size += len(entry.key) + len(entry.value)
    if batch:
        yield batch


def _revision(found: dict[str, KeyValue], key: str) -> int:
    return found[key].mod_revision if key in found else 0


def _info(wanted: dict[str, Entry], found: dict[str, KeyValue]) -> bytes:
    if CLUSTER_INFO_KEY in wanted:
        value = wanted[CLUSTER_INFO_KEY].value
    elif CLUSTER_INFO_KEY in found:
        value = found[CLUSTER_INFO_KEY].value
    else:
        raise InvalidInput("neither export nor datastore has one", subject="ClusterInformation default")
    if not cluster_facts(value).guid:
        raise InvalidInput(
            "is needed: it tells clusters apart", subject="ClusterInformation default", field="clusterGUID"
        )
    return value


def _with_ready(info: bytes, *, ready: bool) -> bytes:
    try:
        tree = json.loads(info)
        tree["spec"]["datastoreReady"] = ready
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InvalidInput(f"cannot be read: {error}", subject="ClusterInformation default") from None
    return json.dumps(tree, separators=(",", ":")).encode()


def _problems(entries: Iterable[Entry]) -> Iterator[str]:
    for entry in entries:
        key = parse_key(entry.key)
        if key is not None and (problems := decode(key, entry.value).problems):
            yield f"{key}: {'; '.join(problems)}"


def _rank(entry: Entry) -> tuple[int, int, str]:
    """Resources before IPAM and the rest; among them what others refer to first, endpoints last."""
    if not entry.key.startswith(RESOURCE_PREFIX):
        return (1, 0, entry.key)
    plural = entry.key.removeprefix(RESOURCE_PREFIX).partition("/")[0]
    if plural in _FIRST:
        return (0, _FIRST.index(plural), entry.key)
    return (0, len(_FIRST) + (plural in _LAST), entry.key)
