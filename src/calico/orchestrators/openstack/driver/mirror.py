"""Writing objects of Neutron's database to etcd: each in one transaction that never takes etcd back in time.

etcd is read first, then the database, then etcd is written if it is still as it was read. So every write says what the
database said after the write before it. What was made of a later revision than ours is left alone.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Container, Iterable, Mapping, Sequence

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
_AT_ONCE = 32


class Outcome(msgspec.Struct, frozen=True):
    """What became of an object: how many keys were written, what of it cannot be followed, and why it failed."""

    written: int = 0
    problems: tuple[Problem, ...] = ()
    failed: str = ""


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

        async def write(work: Work) -> Work | None:
            async with gate:
                try:
                    outcomes[work] = await self._write(found[work], paths[work], stored)
                except Conflict:
                    return work
                except Transient:
                    raise
                except CalicoError as error:
                    outcomes[work] = Outcome(problems=found[work].problems, failed=str(error))
                return None

        results = await asyncio.gather(*map(write, works), return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result
        return [result for result in results if isinstance(result, Work)]

    async def _write(self, converted: Converted, paths: Iterable[str], stored: Mapping[str, KeyValue]) -> Outcome:
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
        ops += [Op(kv.key, expect=kv.mod_revision) for kv in gone]
        if ops:
            await self._txn(ops)
        return Outcome(written=len(ops), problems=converted.problems)

    async def _txn(self, ops: Sequence[Op]) -> None:
        try:
            await self._backend.txn(ops)
        except Uncertain as error:  # it happened or not: reading again tells
            raise CompareFailed(str(error), {}) from error
