"""Writing objects of Neutron's database to etcd: each whole in a transaction that never takes etcd back in time.

etcd is read first, then the database, then etcd is written if it is still as it was read. So every write says what the
database said after the write before it. What was made of a later revision than ours is left alone.
Objects of one kind share transactions; where one of them was changed meanwhile, each gets its own.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence

import msgspec

from calico.datastore.api import Backend, CompareFailed, KeyValue, Op, Query
from calico.datastore.typed.store import utc_now
from calico.errors import CalicoError, Conflict, Transient, Uncertain
from calico.obs.logger import Logger
from calico.orchestrators.openstack.convert import Converted, Options, Problem, compare, to_store
from calico.orchestrators.openstack.driver import desired
from calico.orchestrators.openstack.driver.journal.recording import MIRRORED, Work

__all__ = ["Mirror", "Outcome"]

log = Logger(__name__)

_ATTEMPTS = 6
_QUERIES_PER_READ = 100
_AT_ONCE = 8
_OPS_PER_TXN = 100
"""etcd takes 128 by default."""
_BYTES_PER_TXN = 500_000
"""etcd takes 1.5 MiB by default."""


class Outcome(msgspec.Struct, frozen=True):
    """What became of an object: how many keys were written, what of it cannot be followed, and why it failed."""

    written: int = 0
    problems: tuple[Problem, ...] = ()
    failed: str = ""


Written = tuple[Work, list[Op]]
"""An object, and what is to be written of it."""


class Mirror:
    """The keys of one region on a datastore."""

    def __init__(self, backend: Backend, options: Options) -> None:
        self._backend, self._options = backend, options

    async def mirror(self, works: Sequence[Work]) -> dict[Work, Outcome]:
        """Bring each object's keys to what the database says; Transient when etcd cannot be reached at all."""
        placed = await asyncio.to_thread(desired.with_places, works)
        paths = {work: set(desired.paths_of(at, self._options.region)) for work, at in zip(works, placed, strict=True)}
        outcomes: dict[Work, Outcome] = {}
        pending = list(works)
        for attempt in range(_ATTEMPTS):
            stored = await self._read({path for work in pending for path in paths[work]})
            found = await self._converted(pending, stored, outcomes)
            again = []
            for kind in MIRRORED:
                of_kind = [work for work in pending if work.kind == kind and work in found]
                for work in of_kind:
                    unread = {document.path for document in found[work].documents} - paths[work]
                    if unread:
                        paths[work] |= unread
                        again.append(work)
                ready = [work for work in of_kind if work not in again]
                again += await self._write_all(ready, found, paths, stored, outcomes)
            pending = again
            if not pending:
                return outcomes
            if attempt:
                await asyncio.sleep(0.02 * 2**attempt)
        for work in pending:
            outcomes[work] = Outcome(failed="its keys in etcd keep changing, or are of a later revision")
        return outcomes

    async def _read(self, paths: Iterable[str]) -> dict[str, KeyValue]:
        wanted = sorted(paths)
        found: dict[str, KeyValue] = {}
        for start in range(0, len(wanted), _QUERIES_PER_READ):
            queries = [Query(path) for path in wanted[start : start + _QUERIES_PER_READ]]
            for answer in await self._backend.read(queries):
                found.update({kv.key: kv for kv in answer})
        return found

    async def _converted(
        self, works: Sequence[Work], stored: Container[str], outcomes: dict[Work, Outcome]
    ) -> dict[Work, Converted]:
        """Of all at once; when that fails, one by one, so that a bad object fails alone."""
        keys = {(work.kind, work.identifier): work for work in works}
        try:
            found = await asyncio.to_thread(desired.converted, list(keys), self._options, stored)
            return {keys[key]: each for key, each in found.items()}
        except Exception as error:  # whatever a conversion stumbles over must not stop the others
            log.warning("calico_batch_not_converted", objects=len(works), error=repr(error))
        alone: dict[Work, Converted] = {}
        for key, work in keys.items():
            try:
                alone[work] = (await asyncio.to_thread(desired.converted, [key], self._options, stored))[key]
            except Exception as error:
                outcomes[work] = Outcome(failed=f"cannot be converted: {error!r}")
        return alone

    async def _write_all(
        self,
        works: Sequence[Work],
        found: Mapping[Work, Converted],
        paths: Mapping[Work, set[str]],
        stored: Mapping[str, KeyValue],
        outcomes: dict[Work, Outcome],
    ) -> list[Work]:
        """Those whose keys were changed meanwhile."""
        gate = asyncio.Semaphore(_AT_ONCE)
        ready: list[Written] = []
        again: list[Work] = []
        for work in works:
            try:
                ops = self._ops(found[work], paths[work], stored)
            except Conflict:
                again.append(work)
            except CalicoError as error:
                outcomes[work] = Outcome(problems=found[work].problems, failed=str(error))
            else:
                outcomes[work] = Outcome(written=len(ops), problems=found[work].problems)
                if ops:
                    ready.append((work, ops))

        async def write(batch: Sequence[Written]) -> list[Work]:
            """Together; when that is refused one by one, so that each is judged by its own keys."""
            try:
                async with gate:
                    await self._txn([op for _, ops in batch for op in ops])
                return []
            except Transient:
                raise
            except CalicoError as error:
                if len(batch) > 1:
                    return [each for one in batch for each in await write([one])]
                ((work, _),) = batch
                if isinstance(error, Conflict):
                    return [work]
                outcomes[work] = Outcome(problems=found[work].problems, failed=str(error))
                return []

        results = await asyncio.gather(*map(write, _batches(ready)), return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result
            again += result
        return again

    def _ops(self, converted: Converted, paths: Iterable[str], stored: Mapping[str, KeyValue]) -> list[Op]:
        ops, wanted = [], set()
        for document in converted.documents:
            wanted.add(document.path)
            kv = stored.get(document.path)
            change = compare(document, kv.value if kv is not None else None)
            if change.verdict == "newer":
                raise Conflict(f"{document.path} was made of a later revision")
            if change.verdict == "unchanged" or change.only_revision:
                continue
            value = to_store(document, kv.value if kv is not None else None, uid=str(uuid.uuid4()), created=utc_now())
            ops.append(Op(document.path, value, expect=kv.mod_revision if kv is not None else 0))
        gone = [stored[path] for path in sorted(paths) if path in stored and path not in wanted]
        return ops + [Op(kv.key, expect=kv.mod_revision) for kv in gone]

    async def _txn(self, ops: Sequence[Op]) -> None:
        try:
            await self._backend.txn(ops)
        except Uncertain as error:  # it happened or not: reading again tells
            raise CompareFailed(str(error), {}) from error


def _batches(objects: Sequence[Written]) -> Iterator[list[Written]]:
    """Objects whose writes fit into one transaction of etcd; one that fits into none is alone."""
    batch: list[Written] = []
    count = size = 0
    for work, ops in objects:
        octets = sum(len(op.value or b"") for op in ops)
        if batch and (count + len(ops) > _OPS_PER_TXN or size + octets > _BYTES_PER_TXN):
            yield batch
            batch, count, size = [], 0, 0
        batch.append((work, ops))
        count, size = count + len(ops), size + octets
    if batch:
        yield batch
