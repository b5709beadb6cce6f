"""The datastore on etcd v3: keys, values and revisions over our thin gRPC client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path
from typing import Any

import grpc.aio
import msgspec

from calico.datastore.api import KeyValue, Listing, Op, Query, WatchBatch
from calico.datastore.etcd.channel import TLSFiles
from calico.datastore.etcd.client import CALL_TIMEOUT_S, EtcdClient
from calico.datastore.etcd.watch import PROBE_AFTER_S, prefix_end, watch_prefix
from calico.datastore.etcd.wire import EQUAL, MOD, key_of, message, raw_key
from calico.datastore.ops import MAX_OPS, check_ops, compare_failed
from calico.datastore.sync.plausibility import CLUSTER_INFO_KEY
from calico.errors import InvalidInput, NotFound, Transient

__all__ = ["EtcdBackend", "MemberStatus", "TLSFiles"]

_PAGE_KEYS = 10_000  # every limited Range costs the server O(remaining keys), so small pages are slow
_MIN_PAGE_KEYS = 500
_PAGE_BYTES = 10_000_000
_PAGE_TIMEOUT_S = 30.0


class MemberStatus(msgspec.Struct, frozen=True):
    """What one member says of itself; ``error`` is set, and the rest empty, when it does not answer."""

    endpoint: str
    version: str = ""
    cluster_id: int = 0
    member_id: int = 0
    leader: int = 0
    raft_term: int = 0
    revision: int = 0
    db_size: int = 0
    db_size_in_use: int = 0
    alarms: tuple[str, ...] = ()
    error: str = ""


class EtcdBackend:
    """A ``Backend`` on an etcd cluster. ``endpoints`` are ``http(s)://host:port``; nothing connects before a call.

    ``password`` may be the file that holds it, read at every log-in.
    ``probe`` False switches the watch's own liveness check off (needed behind ``etcd grpc-proxy``, which never
    answers it).
    """

    def __init__(
        self,
        endpoints: Sequence[str],
        *,
        tls: TLSFiles | None = None,
        username: str = "",
        password: str | Path = "",
        probe: bool = True,
        page_keys: int = _PAGE_KEYS,
    ) -> None:
        self._client = EtcdClient(endpoints, tls, username, password)
        self._probe_after_s = PROBE_AFTER_S if probe else None
        self._page_keys = page_keys

    @property
    def client(self) -> EtcdClient:
        """The calls below, for what is no matter of keys."""
        return self._client

    async def wait_ready(self, timeout: float) -> None:
        """Return once a linearizable read succeeds; Transient with the last reason after ``timeout`` seconds."""
        last = ""
        try:
            async with asyncio.timeout(timeout):
                while True:
                    try:
                        await self.revision()
                        return
                    except Transient as err:
                        last = str(err)
                    await asyncio.sleep(0.1)
        except TimeoutError:
            raise Transient(f"etcd was not ready within {timeout:g} s: {last or 'no answer'}") from None

    async def get(self, key: str, *, revision: int = 0) -> KeyValue | None:
        """The key as of ``revision`` (0: now, linearizable)."""
        request = message("RangeRequest")(key=raw_key(key), revision=revision)
        response = await self._client.call("Range", request, f"reading {key}")
        return _key_value(response.kvs[0]) if response.kvs else None

    async def list(self, prefix: str, *, revision: int = 0, created_after: int = 0) -> Listing:
        """All keys under ``prefix`` as of one revision, fetched in pages; Compacted when it is too old."""
        newer = created_after + 1 if created_after else 0
        start, end = raw_key(prefix), prefix_end(raw_key(prefix))
        items: list[KeyValue] = []
        cluster_id, limit = 0, self._page_keys
        while True:
            request = message("RangeRequest")(
                key=start, range_end=end, limit=limit, revision=revision, min_create_revision=newer
            )
            page = await self._client.call("Range", request, f"listing {prefix}", timeout_s=_PAGE_TIMEOUT_S)
            revision = revision or page.header.revision
            cluster_id = page.header.cluster_id
            items.extend(map(_key_value, page.kvs))
            if not page.more:
                return Listing(tuple(items), revision, cluster_id)
            start = page.kvs[-1].key + b"\x00"
            limit = self._next_limit(page)

    def _next_limit(self, page: Any) -> int:
        """Keys for about 10 MB a page, where values are big."""
        mean = sum(len(kv.value) for kv in page.kvs) // len(page.kvs) + 1
        return min(self._page_keys, max(_MIN_PAGE_KEYS, _PAGE_BYTES // mean))

    async def read(self, queries: Sequence[Query]) -> tuple[tuple[KeyValue, ...], ...]:
        """The answers to all, as of one revision and in one round trip; linearizable."""
        if len(queries) > MAX_OPS:
            raise InvalidInput(f"{len(queries)} queries at once, at most {MAX_OPS} are possible")
        request = message("TxnRequest")(success=[_ask(query) for query in queries])
        response = await self._client.call("ReadTxn", request, f"reading {queries[0].key} and others")
        return tuple(tuple(map(_key_value, part.response_range.kvs)) for part in response.responses)

    async def revision(self) -> tuple[int, int]:
        """(current revision, cluster id) by a linearizable read, of a key that every role may read."""
        request = message("RangeRequest")(key=raw_key(CLUSTER_INFO_KEY), count_only=True)
        response = await self._client.call("Range", request, "reading the revision")
        return response.header.revision, response.header.cluster_id

    async def txn(self, ops: Sequence[Op]) -> int:
        """All or nothing; the store's revision after it. CompareFailed, or Uncertain when the answer was lost."""
        check_ops(ops)
        expecting = [op for op in ops if op.expect is not None]
        request = message("TxnRequest")(
            compare=[_compare(op) for op in expecting],
            success=[_write(op) for op in ops if not op.check_only],
            failure=[_read(op) for op in expecting],
        )
        response = await self._client.call("Txn", request, f"writing {_names(ops)}")
        if response.succeeded:
            return int(response.header.revision)
        found = [part.response_range.kvs for part in response.responses]
        current = {op.key: _key_value(kvs[0]) if kvs else None for op, kvs in zip(expecting, found, strict=True)}
        raise compare_failed(ops, current)

    async def count(self, prefix: str) -> int:
        """How many keys there are under ``prefix``."""
        request = message("RangeRequest")(key=raw_key(prefix), range_end=prefix_end(raw_key(prefix)), count_only=True)
        return int((await self._client.call("Range", request, f"counting {prefix}")).count)

    def watch(self, prefix: str, from_revision: int) -> AsyncGenerator[WatchBatch, None]:
        """Changes at or after ``from_revision``; see the contract in ``api``."""
        return watch_prefix(self._client, prefix, from_revision, probe_after_s=self._probe_after_s)

    async def delete_prefix(self, prefix: str) -> int:
        """Delete everything under ``prefix`` in one revision; how many keys there were."""
        request = message("DeleteRangeRequest")(key=raw_key(prefix), range_end=prefix_end(raw_key(prefix)))
        response = await self._client.call("DeleteRange", request, f"deleting {prefix}")
        return int(response.deleted)

    async def compact(self, revision: int) -> None:
        """Forget history before ``revision``; Compacted when that has happened already."""
        request = message("CompactionRequest")(revision=revision)
        await self._client.call("Compact", request, f"compacting to {revision}")

    async def grant(self, ttl_s: int) -> int:
        """A new lease id. A grant whose answer was lost expires unused."""
        response = await self._client.call("LeaseGrant", message("LeaseGrantRequest")(TTL=ttl_s), "granting a lease")
        return int(response.ID)

    async def keepalive(self, lease: int) -> int:
        """Renew; remaining TTL in seconds. NotFound when it has expired."""
        doing = f"keeping lease {lease:x} alive"
        member, call, token = await self._client.open_stream("LeaseKeepAlive", doing)
        try:
            async with asyncio.timeout(CALL_TIMEOUT_S):
                await call.write(message("LeaseKeepAliveRequest")(ID=lease))
                response = await call.read()
        except TimeoutError:
            self._client.rotate(member)
            raise Transient(f"etcd at {member.url}: {doing}: no answer within {CALL_TIMEOUT_S:g} s") from None
        except grpc.aio.AioRpcError as err:
            raise self._client.stream_error(member, doing, err, token) from err
        finally:
            call.cancel()
        if response is grpc.aio.EOF or response.TTL <= 0:
            raise NotFound(f"lease {lease:x} has expired")
        return int(response.TTL)

    async def revoke(self, lease: int) -> None:
        """End a lease and delete its keys; a lease that is gone is fine."""
        try:
            await self._client.call("LeaseRevoke", message("LeaseRevokeRequest")(ID=lease), f"revoking lease {lease:x}")
        except NotFound:
            pass

    async def members(self) -> tuple[MemberStatus, ...]:
        """What each configured endpoint says of itself, asked one by one."""
        return tuple([await self._member_status(index) for index in range(len(self._client.members))])

    async def _member_status(self, index: int) -> MemberStatus:
        member = self._client.members[index]
        deadline = asyncio.get_running_loop().time() + CALL_TIMEOUT_S
        request = message("StatusRequest")()
        try:
            answer = await self._client.call_member(member, "Status", request, "asking for its status", deadline)
        except Transient as err:
            return MemberStatus(member.url, error=str(err))
        return MemberStatus(
            endpoint=member.url,
            version=answer.version,
            cluster_id=answer.header.cluster_id,
            member_id=answer.header.member_id,
            leader=answer.leader,
            raft_term=answer.raftTerm,
            revision=answer.header.revision,
            db_size=answer.dbSize,
            db_size_in_use=answer.dbSizeInUse,
            alarms=tuple(answer.errors),
        )

    async def close(self) -> None:
        """End all connections."""
        await self._client.close()


def _key_value(kv: Any) -> KeyValue:
    return KeyValue(key_of(kv.key), kv.value, kv.mod_revision, kv.create_revision, kv.version, kv.lease)


def _compare(op: Op) -> Any:
    """``mod_revision`` 0 is etcd's way to say that the key must not exist."""
    return message("Compare")(result=EQUAL, target=MOD, key=raw_key(op.key), mod_revision=op.expect)


def _write(op: Op) -> Any:
    if op.value is None:
        return message("RequestOp")(request_delete_range=message("DeleteRangeRequest")(key=raw_key(op.key)))
    put = message("PutRequest")(key=raw_key(op.key), value=op.value, lease=op.lease)
    return message("RequestOp")(request_put=put)


def _read(op: Op) -> Any:
    return message("RequestOp")(request_range=message("RangeRequest")(key=raw_key(op.key)))


def _ask(query: Query) -> Any:
    request = message("RangeRequest")(key=raw_key(query.key))
    if query.prefix:  # an end that is there but empty means "all keys from here on" to etcd
        request.range_end = prefix_end(request.key)
    return message("RequestOp")(request_range=request)


def _names(ops: Sequence[Op]) -> str:
    return ops[0].key + (f" and {len(ops) - 1} more" if len(ops) > 1 else "") if ops else "nothing"
