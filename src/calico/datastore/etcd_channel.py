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

from calico.datastore.etcd_wire import METHODS, message
from calico.errors import InvalidInput, Transient

__all__ = ["Endpoint", "TLSFiles", "parse_endpoint"]

# keepalive_time must not be below the server's --grpc-keepalive-min-time (5 s); keepalive_timeout also becomes
# TCP_USER_TIMEOUT; gRPC's own reconnect backoff would grow to 120 s, and its receive limit is 4 MiB.
_OPTIONS = [
    ("grpc.max_receive_message_length", -1),
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 4_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.min_reconnect_backoff_ms", 1_000),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_retries", 0),
]
_READY = grpc.ChannelConnectivity.READY
_FAILED = grpc.ChannelConnectivity.TRANSIENT_FAILURE


class TLSFiles(msgspec.Struct, frozen=True):
    """PEM files. Without ``ca`` the system's roots are used; ``cert`` and ``key`` (both or none) identify us."""

    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None

    def stamp(self) -> tuple[tuple[int, int], ...]:
        """Changes whenever a file is replaced: (inode, mtime in ns) of each."""
        stats = [os.stat(path) for path in (self.ca, self.cert, self.key) if path is not None]
        return tuple((stat.st_ino, stat.st_mtime_ns) for stat in stats)

    def credentials(self) -> grpc.ChannelCredentials:
        """Read the files; InvalidInput naming the one that cannot be read."""
        try:
            ca, cert, key = (path.read_bytes() if path else None for path in (self.ca, self.cert, self.key))
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


class Endpoint:
    """A member's channel, made at first use and made anew when it is broken and the TLS files changed on disk."""

    def __init__(self, url: str, tls: TLSFiles | None) -> None:
        self.url = url
        self.target, secure = parse_endpoint(url)
        self._tls = (tls or TLSFiles()) if secure else None
        self._stamp: tuple[tuple[int, int], ...] = ()
        self._channel: grpc.aio.Channel | None = None
        self._calls: dict[str, Any] = {}

    async def connected(self, timeout_s: float) -> None:
        """Wait until the channel is ready or has failed (then the next call says why); Transient when neither."""
        if self._channel is not None and self._channel.get_state() is _READY:
            return
        channel = await self._current()
        try:
            async with asyncio.timeout(timeout_s):
                state = channel.get_state(try_to_connect=True)
                while state not in (_READY, _FAILED):
                    await channel.wait_for_state_change(state)
                    state = channel.get_state(try_to_connect=True)
        except TimeoutError:
            raise Transient(f"etcd at {self.url}: no connection within {timeout_s:g} s") from None

    def call(self, name: str) -> Any:
        """The callable of an RPC of the method table; after ``connected``."""
        method = METHODS[name]
        assert self._channel is not None
        make = self._channel.stream_stream if method.stream else self._channel.unary_unary
        serialize = message(method.request).SerializeToString
        return make(
            method.path, request_serializer=serialize, response_deserializer=message(method.response).FromString
        )

    async def close(self) -> None:
        """End the channel and every call on it."""
        channel, self._channel = self._channel, None
        self._calls = {}
        if channel is not None:
            await channel.close()

    async def _current(self) -> grpc.aio.Channel:
        """The channel; a gRPC channel never reads its certificates again, so a broken one is replaced on change."""
        broken = self._channel is not None and self._channel.get_state() is not _READY
        if broken and self._tls is not None and self._files_stamp() != self._stamp:
            await self.close()
        if self._channel is None:
            if self._tls is None:
                self._channel = grpc.aio.insecure_channel(self.target, options=_OPTIONS)
            else:
                self._stamp = self._files_stamp()
                self._channel = grpc.aio.secure_channel(self.target, self._tls.credentials(), options=_OPTIONS)
        return self._channel

    def _files_stamp(self) -> tuple[tuple[int, int], ...]:
        assert self._tls is not None
        try:
            return self._tls.stamp()
        except OSError:
            return ()
