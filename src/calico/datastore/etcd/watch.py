"""One watch stream: creation, fragments put together, cancellation noticed, a silent member found by probing.

A long answer comes in fragments of about 2 MB; each is handed on as far as its revisions are complete, so that memory
stays small however much the store has to tell. The next fragment is fetched when the last one was taken.

Rules measured on etcd 3.4 and 3.5: a cancelled watch leaves its stream open; refusals come as a created-and-cancelled
answer; only the mod revision of a complete response's last event says how far we are, never a header; an answer to a
requested progress (watch id -1) may overtake events before 3.4.25 / 3.5.8.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import grpc
import grpc.aio

from calico.datastore.api import Compacted, Update, WatchBatch
from calico.datastore.etcd.client import CALL_TIMEOUT_S, EtcdClient, OpenStream
from calico.datastore.etcd.errors import is_token_error
from calico.datastore.etcd.wire import DELETE, key_of, message, raw_key
from calico.errors import CalicoError, InvalidInput, Transient

__all__ = ["PROBE_AFTER_S", "PROBE_TIMEOUT_S", "complete_updates", "prefix_end", "watch_prefix"]

PROBE_AFTER_S = 5.0
PROBE_TIMEOUT_S = 5.0
_LOOK_AFTER_S = 5.0
_PROGRESS_WATCH_ID = -1


def prefix_end(prefix: bytes) -> bytes:
    """The end of the range of all keys that start with ``prefix`` (which is not empty and not all 0xff)."""
    stem = prefix.rstrip(b"\xff")
    return stem[:-1] + bytes([stem[-1] + 1])


async def watch_prefix(
    client: EtcdClient, prefix: str, from_revision: int, *, probe_after_s: float | None = PROBE_AFTER_S
) -> AsyncGenerator[WatchBatch, None]:
    """Changes under ``prefix`` from ``from_revision`` on. ``probe_after_s`` None: never probe (behind grpc-proxy)."""
    doing = f"watching {prefix}"
    opened = await client.open_stream("Watch", doing)
    member = opened.member
    stream = _Stream(opened, doing, probe_after_s)
    try:
        await stream.create(raw_key(prefix), from_revision)
        updates: list[Update] = []
        while True:
            response = await stream.next()
            if response.canceled:
                raise _cancelled(client, opened, doing, response)
            updates.extend(_update(event) for event in response.events)
            done = len(updates)
            if response.fragment:
                done = complete_updates(updates)
                if not done:
                    continue
            if updates:
                yield WatchBatch(tuple(updates[:done]), updates[done - 1].mod_revision)
                del updates[:done]
            else:
                told = not response.created and response.watch_id != _PROGRESS_WATCH_ID
                yield WatchBatch((), response.header.revision if told else 0)
    except grpc.aio.AioRpcError as err:
        raise client.stream_error(opened, doing, err) from err
    except Transient:
        if not stream.is_superseded():
            client.rotate(member)
            member.leave(opened.generation)
        raise
    finally:
        await stream.close()


class _Stream:
    """The read side keeps one pending read: cancelling a read would end the whole stream."""

    def __init__(self, opened: OpenStream, doing: str, probe_after_s: float | None) -> None:
        self._member, self._call, self._doing = opened.member, opened.call, doing
        self._probe_after_s = probe_after_s
        self._read: asyncio.Task[Any] | None = None
        self._generation = opened.generation

    async def create(self, prefix: bytes, from_revision: int) -> None:
        request = message("WatchCreateRequest")(
            key=prefix,
            range_end=prefix_end(prefix),
            start_revision=from_revision,
            progress_notify=True,
            fragment=True,
        )
        async with asyncio.timeout(CALL_TIMEOUT_S):
            await self._call.write(message("WatchRequest")(create_request=request))

    async def next(self) -> Any:
        """The next response; Transient when the member does not even answer a probe, or its channel was replaced."""
        await self._check_certificates()
        if self._read is None:
            self._read = asyncio.ensure_future(self._call.read())
        done: set[asyncio.Task[Any]] = set()
        while not done:
            done, _ = await asyncio.wait({self._read}, timeout=self._probe_after_s or _LOOK_AFTER_S)
            if not done:
                await self._check_certificates()
                if self._probe_after_s is not None:
                    await self._probe()
                    break
        read, self._read = self._read, None
        response = read.result()
        if response is grpc.aio.EOF:
            raise Transient(f"etcd at {self._member.url}: {self._doing}: the stream ended")
        return response

    def is_superseded(self) -> bool:
        """The member has another channel now: nothing is wrong with it."""
        return self._member.generation != self._generation

    async def _check_certificates(self) -> None:
        await self._member.renew()
        if self.is_superseded():
            raise Transient(f"etcd at {self._member.url}: {self._doing}: goes on by another connection")

    async def _probe(self) -> None:
        assert self._read is not None
        request = message("WatchRequest")(progress_request=message("WatchProgressRequest")())
        try:
            async with asyncio.timeout(PROBE_TIMEOUT_S):
                await self._call.write(request)
        except (TimeoutError, asyncio.InvalidStateError):
            pass  # the pending read tells why
        done, _ = await asyncio.wait({self._read}, timeout=PROBE_TIMEOUT_S)
        if not done:
            raise Transient(f"etcd at {self._member.url}: {self._doing}: no answer for {PROBE_TIMEOUT_S:g} s")

    async def close(self) -> None:
        self._call.cancel()
        if self._read is not None:
            await asyncio.wait({self._read})
            if not self._read.cancelled():
                self._read.exception()  # it ended because we cancelled the call


def complete_updates(updates: list[Update]) -> int:
    """How many of the updates are of revisions that are certainly complete: all but those of the last one."""
    last = updates[-1].mod_revision if updates else 0
    return next((i + 1 for i in range(len(updates) - 1, -1, -1) if updates[i].mod_revision != last), 0)


def _update(event: Any) -> Update:
    kv = event.kv
    return Update(key_of(kv.key), None if event.type == DELETE else kv.value, kv.mod_revision)


def _cancelled(client: EtcdClient, stream: OpenStream, doing: str, response: Any) -> CalicoError:
    reason = response.cancel_reason or "cancelled"
    text = f"etcd at {stream.member.url}: {doing}: {reason}"
    if response.compact_revision or "compacted" in reason:
        return Compacted(f"{text} (oldest kept revision {response.compact_revision})", response.compact_revision)
    if is_token_error(reason):
        client.forget(stream.token)
        return Transient(text)
    if "permission denied" in reason.lower():
        return InvalidInput(f"{text} (the etcd user lacks the right)")
    return Transient(text)
