"""Calls to a cluster of etcd members: rotation, deadlines, log-in. Knows messages, not what they are for.

Always true: a call that may have had an effect is never sent twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import grpc.aio

from calico.datastore.etcd.channel import Endpoint, TLSFiles
from calico.datastore.etcd.errors import NO_LEADER, error_of, is_token_error
from calico.datastore.etcd.wire import METHODS, message
from calico.errors import CalicoError, InvalidInput, Transient, Uncertain

__all__ = ["CALL_TIMEOUT_S", "CONNECT_TIMEOUT_S", "EtcdClient", "OpenStream"]

CALL_TIMEOUT_S = 5.0  # etcd was seen to stall for 2 s on a busy disk
CONNECT_TIMEOUT_S = 2.0
_ELECTION_PAUSE_S = 0.2
_ATTEMPTS_PER_MEMBER = 2
# A member cut off from its quorum then refuses at once instead of answering late or going silently stale.
_NEEDS_LEADER = ("hasleader", "true")


class OpenStream(NamedTuple):
    """A stream, the member that serves it, the token it was opened with, and the connection it runs on."""

    member: Endpoint
    call: Any
    token: str
    generation: int


class EtcdClient:
    """The members of one cluster; calls go to one of them until it fails, then to the next."""

    def __init__(
        self, endpoints: Sequence[str], tls: TLSFiles | None = None, username: str = "", password: str | Path = ""
    ) -> None:
        if not endpoints:
            raise InvalidInput("no etcd endpoint is configured")
        self.members = [Endpoint(url, tls) for url in endpoints]
        self._at = 0
        self._username, self._password = username, password
        self._token: str | None = None if username else ""
        self._login = asyncio.Lock()

    @property
    def current(self) -> Endpoint:
        """The member in use."""
        return self.members[self._at]

    def rotate(self, failed: Endpoint) -> None:
        """Use the next member, unless somebody moved on from ``failed`` already."""
        if self.current is failed:
            self._at = (self._at + 1) % len(self.members)

    async def call(self, name: str, request: Any, doing: str, *, timeout_s: float = CALL_TIMEOUT_S) -> Any:
        """A unary call, tried at the other members where that is safe; raises our errors (see ``etcd_errors``)."""
        deadline = asyncio.get_running_loop().time() + timeout_s
        problems: list[str] = []
        attempts = 0
        while True:
            member = self.current
            generation = member.generation
            try:
                return await self.call_member(member, name, request, doing, deadline)
            except Uncertain:
                self.rotate(member)
                raise
            except Transient as err:
                self.rotate(member)
                problems.append(str(err))
            attempts += 1
            if asyncio.get_running_loop().time() >= deadline:
                break
            if NO_LEADER in problems[-1]:
                member.leave(generation)
                await asyncio.sleep(_ELECTION_PAUSE_S)  # an election takes 1-2 s; the budget allows for it
            elif attempts >= _ATTEMPTS_PER_MEMBER * len(self.members):
                break
        raise Transient("; ".join(dict.fromkeys(problems)))

    async def call_member(self, member: Endpoint, name: str, request: Any, doing: str, deadline: float) -> Any:
        """A unary call to one member, logging in anew once when the token was refused. ``deadline``: loop time."""
        left = max(deadline - asyncio.get_running_loop().time(), 0.05)
        await member.connected(min(CONNECT_TIMEOUT_S, left))
        for retry in (True, False):
            token = await self.token(member)
            left = max(deadline - asyncio.get_running_loop().time(), 0.05)
            try:
                return await member.start(name, request, timeout=left, metadata=self.metadata(token))
            except grpc.aio.AioRpcError as err:
                details = err.details() or ""
                if retry and self._username and is_token_error(details):
                    self.forget(token)
                    continue
                raise _error(member, doing, err, writes=METHODS[name].writes) from err
        raise AssertionError("unreachable")

    async def open_stream(self, name: str, doing: str) -> OpenStream:
        """A stream opened at the current member, or the next one that connects."""
        problems: list[str] = []
        for _ in self.members:
            member = self.current
            try:
                await member.connected(CONNECT_TIMEOUT_S)
                token = await self.token(member)
                call = member.start(name, metadata=self.metadata(token))
                return OpenStream(member, call, token, member.generation)
            except Transient as err:
                self.rotate(member)
                problems.append(str(err))
        raise Transient("; ".join(problems) or doing)

    def stream_error(self, stream: OpenStream, doing: str, err: grpc.aio.AioRpcError) -> CalicoError:
        """Our error for a stream that ended; the next stream goes to another member or with another token."""
        details = err.details() or ""
        if self._username and is_token_error(details):
            self.forget(stream.token)
            return Transient(f"etcd at {stream.member.url}: {doing}: {details}")
        error = _error(stream.member, doing, err)
        if NO_LEADER in details:
            stream.member.leave(stream.generation)
        if not isinstance(error, InvalidInput):
            self.rotate(stream.member)
        return error

    async def token(self, member: Endpoint) -> str:
        """The token of our user, by logging in when there is none; empty without a user or without auth."""
        if self._token is not None:
            return self._token
        async with self._login:
            if self._token is None:
                self._token = await self._log_in(member)
            return self._token

    def forget(self, token: str) -> None:
        """The token was refused: log in at the next call, unless somebody did meanwhile."""
        if self._token == token:
            self._token = None

    @staticmethod
    def metadata(token: str) -> tuple[tuple[str, str], ...]:
        """Metadata of every call."""
        return (_NEEDS_LEADER, ("token", token)) if token else (_NEEDS_LEADER,)

    async def close(self) -> None:
        """End all channels."""
        for member in self.members:
            await member.close()

    def _secret(self) -> str:
        if isinstance(self._password, str):
            return self._password
        try:
            return self._password.read_text().rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as err:
            raise InvalidInput(f"cannot read the etcd password: {err}", subject=str(self._password)) from err

    async def _log_in(self, member: Endpoint) -> str:
        request = message("AuthenticateRequest")(name=self._username, password=self._secret())
        try:
            response = await member.start("Authenticate", request, timeout=CALL_TIMEOUT_S, metadata=(_NEEDS_LEADER,))
        except grpc.aio.AioRpcError as err:
            details = err.details() or ""
            if "authentication is not enabled" in details:
                return ""
            raise _error(member, f"logging in as {self._username}", err) from err
        return str(response.token)


def _error(member: Endpoint, doing: str, err: grpc.aio.AioRpcError, *, writes: bool = False) -> CalicoError:
    """Our error for what gRPC raised. A broken connection over TLS may be a certificate of ours that is out of date."""
    error = error_of(member.url, doing, err.code(), err.details() or "", writes=writes)
    if member.tls is not None and err.code() is grpc.StatusCode.UNAVAILABLE:
        from calico.datastore.etcd.validity import out_of_date

        if fault := out_of_date(member.tls):
            return type(error)(f"{error}; {fault}")
    return error
