"""What an operator does to the members of a core: list, add, remove, defragment, back up, lift the alarm for space."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import grpc.aio
import msgspec

from calico.datastore.etcd.backend import EtcdBackend, MemberStatus
from calico.datastore.etcd.channel import TLSFiles
from calico.datastore.etcd.client import CALL_TIMEOUT_S, EtcdClient
from calico.datastore.etcd.wire import message
from calico.errors import InvalidInput, NotFound, Transient

__all__ = ["CoreAdmin", "Member", "read_backup"]

_DEFRAGMENT_TIMEOUT_S = 120.0
_LIST, _DEACTIVATE, _NOSPACE = 0, 2, 1
_DIGEST = 32


class Member(msgspec.Struct, frozen=True):
    """A member as the cluster knows it; ``name`` is empty until it has started for the first time."""

    id: int
    name: str
    peer_urls: tuple[str, ...]
    client_urls: tuple[str, ...]


class CoreAdmin:
    """Connects to the core through any of ``endpoints``; asks each member at the address it gives itself."""

    def __init__(
        self, endpoints: Sequence[str], tls: TLSFiles | None = None, username: str = "", password: str | Path = ""
    ) -> None:
        self._client = EtcdClient(endpoints, tls, username, password)
        self._to_member: Callable[[str], EtcdClient] = lambda url: EtcdClient([url], tls, username, password)
        self._to_all: Callable[[Sequence[str]], EtcdBackend] = lambda urls: EtcdBackend(
            urls, tls=tls, username=username, password=password
        )

    async def close(self) -> None:
        """End all connections."""
        await self._client.close()

    async def members(self) -> list[Member]:
        """The members that the cluster has, by name."""
        answer = await self._client.call("MemberList", message("MemberListRequest")(), "listing the members")
        return sorted(map(_member, answer.members), key=lambda member: (member.name, member.id))

    async def statuses(self) -> list[tuple[Member, MemberStatus]]:
        """Each member and what it says of itself, asked one by one."""
        found = []
        for member in await self.members():
            if not member.client_urls:
                found.append((member, MemberStatus("", error="it has not started yet")))
                continue
            backend = self._to_all(member.client_urls[:1])
            try:
                found.append((member, (await backend.members())[0]))
            finally:
                await backend.close()
        return found

    async def add(self, peer_url: str) -> None:
        """A member to come, at this address for the others. InvalidInput when there is one already."""
        known = await self.members()
        if any(peer_url in member.peer_urls for member in known):
            raise InvalidInput(f"the cluster has a member at {peer_url} already")
        waiting = [member.peer_urls for member in known if not member.name]
        if waiting:
            raise InvalidInput(f"the member at {waiting[0][0]} has not started yet: start or remove it first")
        await self._client.call("MemberAdd", message("MemberAddRequest")(peerURLs=[peer_url]), f"adding {peer_url}")

    async def remove(self, which: str) -> Member:
        """Remove a member by name or peer URL; NotFound. InvalidInput for the last one."""
        known = await self.members()
        found = [member for member in known if which == member.name or which in member.peer_urls]
        if not found:
            raise NotFound(f"the cluster has no member {which!r}; it has {', '.join(_label(m) for m in known)}")
        if len(known) == 1:
            raise InvalidInput("the last member cannot be removed: the data would be gone")
        request = message("MemberRemoveRequest")(ID=found[0].id)
        await self._client.call("MemberRemove", request, f"removing {which}")
        return found[0]

    async def defragment(self, on_member: Callable[[Member, int, int], None]) -> None:
        """Give back the space of deleted history, one member after the other and the leader last: each is deaf
        meanwhile. ``on_member`` is told the member and its database's bytes before and after."""
        statuses = await self.statuses()
        silent = [_label(member) for member, status in statuses if status.error]
        if silent:
            raise Transient(f"{', '.join(silent)} did not answer: defragment when all members do")
        for member, status in sorted(statuses, key=lambda pair: pair[1].member_id == pair[1].leader):
            client = self._to_member(member.client_urls[0])
            try:
                request = message("DefragmentRequest")()
                await client.call(
                    "Defragment", request, f"defragmenting {member.name}", timeout_s=_DEFRAGMENT_TIMEOUT_S
                )
                after = await client.call("Status", message("StatusRequest")(), "asking for its status")
            finally:
                await client.close()
            on_member(member, status.db_size, after.dbSize)

    async def lift_space_alarm(self) -> None:
        """Let a core that had no space left take writes again, after compaction and defragmentation."""
        raised = await self._client.call("Alarm", message("AlarmRequest")(action=_LIST), "listing the alarms")
        for alarm in raised.alarms:
            if alarm.alarm == _NOSPACE:
                request = message("AlarmRequest")(action=_DEACTIVATE, memberID=alarm.memberID, alarm=_NOSPACE)
                await self._client.call("Alarm", request, "lifting the alarm")

    async def compact(self) -> int:
        """Forget all history but the newest state; the revision of that. Hosts that are behind read everything anew."""
        answer = await self._client.call(
            "Range", message("RangeRequest")(key=b"/", count_only=True), "asking for the revision"
        )
        revision: int = answer.header.revision
        request = message("CompactionRequest")(revision=revision, physical=True)
        await self._client.call("Compact", request, "compacting", timeout_s=_DEFRAGMENT_TIMEOUT_S)
        return revision

    async def back_up(self, path: Path, on_bytes: Callable[[int, int], None] = lambda done, left: None) -> int:
        """A snapshot of one member into ``path``, readable by its owner alone, there only when it is whole; its bytes.

        ``on_bytes`` is told how many have come and how many are left. Transient when it broke off.
        """
        partial = path.with_name(f".{path.name}.partial")
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        done = 0
        try:
            with open(descriptor, "wb") as file:
                async for blob, left in self._snapshot():
                    file.write(blob)
                    done += len(blob)
                    on_bytes(done, left)
                file.flush()
                os.fsync(file.fileno())
            read_backup(partial)
            partial.rename(path)
        finally:
            partial.unlink(missing_ok=True)
        return done

    async def _snapshot(self) -> AsyncIterator[tuple[bytes, int]]:
        stream = await self._client.open_stream("Snapshot", "opening a backup")
        call = stream.call
        try:
            await call.write(message("SnapshotRequest")())
            await call.done_writing()
            while True:
                async with asyncio.timeout(CALL_TIMEOUT_S * 6):
                    answer = await call.read()
                if answer is grpc.aio.EOF:
                    return
                yield answer.blob, answer.remaining_bytes
        except grpc.aio.AioRpcError as error:
            raise self._client.stream_error(stream, "reading a backup", error) from error
        except TimeoutError:
            raise Transient(f"etcd at {stream.member.url}: the backup stalled") from None
        finally:
            call.cancel()


def read_backup(path: Path) -> str:
    """The SHA-256 of a backup's database, checked against the one that etcd puts at its end; InvalidInput if broken."""
    size = path.stat().st_size
    if size <= _DIGEST or size % 512 != _DIGEST:
        raise InvalidInput("is no whole backup of etcd", subject=str(path))
    digest = hashlib.sha256()
    left = size - _DIGEST
    with path.open("rb") as file:
        while left:
            chunk = file.read(min(left, 1 << 20))
            digest.update(chunk)
            left -= len(chunk)
        if file.read() != digest.digest():
            raise InvalidInput("is damaged: its checksum is another", subject=str(path))
    return digest.hexdigest()


def _member(answer: Any) -> Member:
    return Member(answer.ID, answer.name, tuple(answer.peerURLs), tuple(answer.clientURLs))


def _label(member: Member) -> str:
    return member.name or member.peer_urls[0]
