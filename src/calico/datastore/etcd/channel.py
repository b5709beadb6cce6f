"""One gRPC channel to one etcd member: its options, its TLS files, and whether it is connected."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import grpc
import grpc.aio
import msgspec

from calico.datastore.etcd.wire import METHODS, message
from calico.errors import InvalidInput, Transient
from calico.obs.logger import Logger

__all__ = ["Endpoint", "TLSFiles", "parse_endpoint"]

log = Logger(__name__)

# keepalive_time must not be below the server's --grpc-keepalive-min-time (5 s), and etcd ends connections that send
# pings while nothing runs on them (GOAWAY "too_many_pings"); keepalive_timeout also becomes TCP_USER_TIMEOUT; gRPC's
# own reconnect backoff would grow to 120 s, and its receive limit is 4 MiB.
_OPTIONS = [
    ("grpc.max_receive_message_length", -1),
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 4_000),
    ("grpc.keepalive_permit_without_calls", 0),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.min_reconnect_backoff_ms", 1_000),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_retries", 0),
]
_LOOK_AT_FILES_S = 1.0
_RETRY_REFUSED_S = 10.0
_RENEWAL_TIMEOUT_S = 2.0
_LEAVE_AFTER_S = 1.0
_READY = grpc.ChannelConnectivity.READY
_FAILED = grpc.ChannelConnectivity.TRANSIENT_FAILURE

Stamp = tuple[tuple[int, int], ...]


class TLSFiles(msgspec.Struct, frozen=True):
    """PEM files, or their content. Without ``ca`` the system's roots are used; ``cert`` and ``key`` (both or none)
    identify us."""

    ca: Path | bytes | None = None
    cert: Path | bytes | None = None
    key: Path | bytes | None = None

    def __repr__(self) -> str:
        shown = (part if isinstance(part, Path) else "inline" for part in (self.ca, self.cert, self.key) if part)
        return f"TLSFiles({', '.join(map(str, shown))})"

    def stamp(self) -> Stamp:
        """Changes whenever a file is replaced: (inode, mtime in ns) of each."""
        stats = [os.stat(path) for path in (self.ca, self.cert, self.key) if isinstance(path, Path)]
        return tuple((stat.st_ino, stat.st_mtime_ns) for stat in stats)

    def credentials(self) -> grpc.ChannelCredentials:
        """Read the files; InvalidInput naming the one that cannot be read."""
        try:
            ca, cert, key = (
                part.read_bytes() if isinstance(part, Path) else part for part in (self.ca, self.cert, self.key)
            )
        except OSError as err:
            raise InvalidInput(f"cannot read the TLS file: {err.strerror}", subject=str(err.filename)) from err
        return grpc.ssl_channel_credentials(ca, key, cert)


def parse_endpoint(url: str) -> tuple[str, bool]:
    """``(host:port, tls)`` of ``http(s)://host:port``; InvalidInput otherwise."""
    parts = urlsplit(url if "//" in url else f"//{url}")
    try:
        port = parts.port
    except ValueError:
        port = None
    if parts.scheme not in ("http", "https") or not parts.hostname or port is None or parts.path not in ("", "/"):
        raise InvalidInput("an etcd endpoint is http://host:port or https://host:port", subject=url)
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{host}:{port}", parts.scheme == "https"


class _Channel:
    """A gRPC channel, the state of the TLS files that it was made from, and how many calls run on it."""

    def __init__(self, channel: grpc.aio.Channel, stamp: Stamp) -> None:
        self.grpc, self.stamp = channel, stamp
        self.made_at = asyncio.get_running_loop().time()
        self.calls = 0

    def is_ready(self) -> bool:
        return self.grpc.get_state() is _READY

    async def settled(self) -> bool:
        """Wait until it is connected (True) or has failed."""
        state = self.grpc.get_state(try_to_connect=True)
        while state not in (_READY, _FAILED):
            await self.grpc.wait_for_state_change(state)
            state = self.grpc.get_state(try_to_connect=True)
        return state is _READY

    def start(self, name: str, *args: Any, **options: Any) -> Any:
        """Begin the RPC ``name`` of the method table."""
        method = METHODS[name]
        make = self.grpc.stream_stream if method.stream else self.grpc.unary_unary
        serialize, parse = message(method.request).SerializeToString, message(method.response).FromString
        call = make(method.path, request_serializer=serialize, response_deserializer=parse)(*args, **options)
        self.calls += 1
        call.add_done_callback(self._on_done)
        return call

    def _on_done(self, _: object) -> None:
        self.calls -= 1


class Endpoint:
    """A member's channel, made at first use. A gRPC channel never reads its certificates again, so when the TLS files
    change on disk another takes its place: at once when it is broken, else when the other is connected. So it does when
    what answers has no leader. Calls end on the channel on which they began; streams see by ``generation`` that they
    should begin anew.
    """

    def __init__(self, url: str, tls: TLSFiles | None) -> None:
        self.url = url
        self.target, secure = parse_endpoint(url)
        self.tls = (tls or TLSFiles()) if secure else None
        self._channel: _Channel | None = None
        self._retired: list[_Channel] = []
        self._looked_at = 0.0
        self._refused_stamp: Stamp | None = None
        self._refused_at = 0.0
        self._renewing = False
        self.generation = 0

    async def connected(self, timeout_s: float) -> None:
        """Wait until the channel is ready or has failed (then the next call says why); Transient when neither."""
        if self._channel is not None and self._channel.is_ready():
            await self.renew()
            return
        channel = await self._current()
        try:
            async with asyncio.timeout(timeout_s):
                await channel.settled()
        except TimeoutError:
            raise Transient(f"etcd at {self.url}: no connection within {timeout_s:g} s") from None

    def start(self, name: str, *args: Any, **options: Any) -> Any:
        """Begin an RPC of the method table; after ``connected``."""
        assert self._channel is not None
        return self._channel.start(name, *args, **options)

    async def renew(self) -> None:
        """Look whether the TLS files changed (at most once a second), and go over to a channel made from the new ones.

        One that does not connect, for example while only one of two files is replaced, changes nothing and is tried
        again later.
        """
        now = asyncio.get_running_loop().time()
        if self.tls is None or self._channel is None or self._renewing or now - self._looked_at < _LOOK_AT_FILES_S:
            return
        self._looked_at = now
        stamp = self._files_stamp()
        if stamp in ((), self._channel.stamp):
            return
        if stamp == self._refused_stamp and now - self._refused_at < _RETRY_REFUSED_S:
            return
        self._renewing = True
        try:
            await self._go_over(stamp)
        finally:
            self._renewing = False

    def leave(self, generation: int) -> None:
        """What answers on the connection of that generation is of no use: go on by a new one.

        Behind the endpoint may be a gateway, which leads each connection to the next member, and a connection for ever
        to the same. Not within a second of the last time, so that an election is no storm of connections.
        """
        now = asyncio.get_running_loop().time()
        if self._channel is None or generation != self.generation or now - self._channel.made_at < _LEAVE_AFTER_S:
            return
        try:
            other = self._make(self._files_stamp())
        except InvalidInput:
            return
        self._retired.append(self._channel)
        self._channel = other
        self.generation += 1

    async def _go_over(self, stamp: Stamp) -> None:
        candidate: _Channel | None = None
        try:
            candidate = self._make(stamp)
            async with asyncio.timeout(_RENEWAL_TIMEOUT_S):
                connected = await candidate.settled()
        except (TimeoutError, InvalidInput):
            connected = False
        except BaseException:
            if candidate is not None:
                await candidate.grpc.close()
            raise
        if candidate is not None and connected and self._channel is not None:
            log.info("etcd_certificates_renewed", endpoint=self.url)
            self._retired.append(self._channel)
            self._channel = candidate
            self.generation += 1
            await self._close_retired()
            return
        if stamp != self._refused_stamp:
            log.warning("etcd_certificates_not_renewed", endpoint=self.url, reason="no connection with the new files")
        self._refused_stamp, self._refused_at = stamp, asyncio.get_running_loop().time()
        if candidate is not None:
            await candidate.grpc.close()

    async def _close_retired(self) -> None:
        """Those on which nothing runs any more: closing a channel under a call breaks the call."""
        idle = [channel for channel in self._retired if not channel.calls]
        self._retired = [channel for channel in self._retired if channel.calls]
        for channel in idle:
            await channel.grpc.close()

    async def close(self) -> None:
        """End the channel and every call on it."""
        channels, self._channel, self._retired = [*self._retired, self._channel], None, []
        for channel in channels:
            if channel is not None:
                await channel.grpc.close()

    async def _current(self) -> _Channel:
        """The channel; a broken one is replaced when the files changed."""
        await self._close_retired()
        if self._channel is not None and self.tls is not None and self._files_stamp() != self._channel.stamp:
            self._retired.append(self._channel)
            self._channel = None
            self.generation += 1
        if self._channel is None:
            self._channel = self._make(self._files_stamp())
        return self._channel

    def _make(self, stamp: Stamp) -> _Channel:
        if self.tls is None:
            return _Channel(grpc.aio.insecure_channel(self.target, options=_OPTIONS), stamp)
        return _Channel(grpc.aio.secure_channel(self.target, self.tls.credentials(), options=_OPTIONS), stamp)

    def _files_stamp(self) -> Stamp:
        try:
            return self.tls.stamp() if self.tls is not None else ()
        except OSError:
            return ()
