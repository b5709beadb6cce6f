"""The proxy: takes connections of instances, finds out who asks, asks Nova in their name.

A port has few connections and asks slowly, or is refused: by itself, not at the cost of others. No connection lasts
longer than a minute, whatever is or is not said on it. Bodies go through in pieces and are nowhere kept whole, but for
the small ones of requests.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections import Counter
from collections.abc import Callable
from typing import Final

import msgspec
import structlog
from aiohttp import ClientError, ClientSession, ClientTimeout, TCPConnector, web
from yarl import URL

from calico.errors import InvalidInput
from calico.orchestrators.openstack.compute.bucket import Bucket
from calico.orchestrators.openstack.compute.metadata.asker import Asker, asker_of
from calico.orchestrators.openstack.compute.metadata.forwarding import (
    METHODS,
    answer_headers,
    request_headers,
    target_path,
)
from calico.orchestrators.openstack.compute.metadata.settings import MetadataSettings
from calico.orchestrators.openstack.compute.metadata.sockets import came_in_by, listen_on_link, listen_v4
from calico.orchestrators.openstack.records import EndpointRecord

__all__ = ["MetadataProxy"]

log = structlog.get_logger(__name__)

_AT_ONCE: Final = 16
_LIFE_S: Final = 60.0
_IDLE_S: Final = 15.0
_BODY_MAX: Final = 64 << 10
_PIECE: Final = 64 << 10
_PORT_HTTP: Final = 80
_AGAIN_S: Final = 5.0
_PAUSE_S: Final = 0.5
"""After the process could not take a connection: it has no descriptors left."""


class _Connection(web.RequestHandler):
    """One connection of an instance, that tells when it ends."""

    __slots__ = ("_ended",)

    def __init__(self, server: web.Server, loop: asyncio.AbstractEventLoop, ended: asyncio.Event) -> None:
        super().__init__(server, loop=loop, keepalive_timeout=_IDLE_S, lingering_time=1.0)
        self._ended = ended

    def connection_lost(self, exc: BaseException | None) -> None:
        super().connection_lost(exc)
        self._ended.set()


class _Port(msgspec.Struct):
    """What a port does to us."""

    bucket: Bucket
    connections: int = 0


class MetadataProxy:
    """Always true: who cannot be told from its interface and source is connected to nobody."""

    def __init__(
        self,
        settings: MetadataSettings,
        port_at: Callable[[int], EndpointRecord | None],
        on_answer: Callable[[int, float], None],
    ) -> None:
        """``port_at``: the port behind the interface with an index; ``on_answer``: told status and seconds."""
        self._settings = settings
        self._port_at = port_at
        self._on_answer = on_answer
        self._base = settings.url.rstrip("/")
        self._listeners: dict[str, socket.socket] = {}
        self._wanted: dict[str, int] = {}
        self._ports: dict[int, _Port] = {}
        self._askers: dict[web.RequestHandler, int] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._session: ClientSession | None = None
        self._server: web.Server | None = None
        self._complaints = Bucket(0.2, 5.0)
        self.troubles: dict[str, str] = {}
        """Where nobody listens, and why."""
        self.refused: Counter[str] = Counter()

    @property
    def connections(self) -> int:
        """How many there are."""
        return len(self._tasks)

    def on_link(self, name: str, index: int) -> None:
        """An instance has this interface, or (0) has it no longer."""
        if index:
            self._wanted[name] = index
        else:
            self._ports.pop(self._wanted.pop(name, 0), None)
        self._close_listener(name)
        if index and self._server is not None:
            self._listen_on_link(name, index)

    async def run(self) -> None:
        """Serve until cancelled; what is being answered then is cut off."""
        logging.getLogger("aiohttp").setLevel(logging.CRITICAL)  # instances must not fill the log with their nonsense
        tls = ssl.create_default_context(cafile=self._settings.ca or None) if self._base.startswith("https:") else True
        connector = TCPConnector(limit=self._settings.to_nova, ssl=tls)
        timeout = ClientTimeout(total=self._settings.timeout_s, connect=5.0)
        async with ClientSession(connector=connector, timeout=timeout, auto_decompress=False) as session:
            self._session = session
            self._server = web.Server(self._handle, access_log=None)
            try:
                while True:
                    self._listen()
                    await asyncio.sleep(_AGAIN_S)
            finally:
                for name in list(self._listeners):
                    self._close_listener(name)
                await self._server.shutdown(1.0)
                self._server = None
                for task in self._tasks:
                    task.cancel()
                if self._tasks:
                    await asyncio.wait(self._tasks)

    # ---- connections

    def _listen(self) -> None:
        """Listen wherever we should and do not."""
        if "" not in self._listeners:
            self._open("", f"{self._settings.address}:{self._settings.port}",
                       lambda: listen_v4(self._settings.address, self._settings.port))  # fmt: skip
        for name, index in self._wanted.items():
            if name not in self._listeners:
                self._listen_on_link(name, index)

    def _listen_on_link(self, name: str, index: int) -> None:
        self._open(name, f"[fe80::a9fe:a9fe%{name}]:{_PORT_HTTP}", lambda: listen_on_link(index, _PORT_HTTP))

    def _open(self, name: str, where: str, listen: Callable[[], socket.socket]) -> None:
        try:
            sock = listen()
        except OSError as error:
            if self.troubles.get(where) != str(error):
                log.info("metadata: cannot listen yet", where=where, error=str(error))
            self.troubles[where] = str(error)
            return
        self.troubles.pop(where, None)
        self._listeners[name] = sock
        asyncio.get_running_loop().add_reader(sock, self._accept, sock)

    def _close_listener(self, name: str) -> None:
        self.troubles.pop(f"[fe80::a9fe:a9fe%{name}]:{_PORT_HTTP}", None)
        sock = self._listeners.pop(name, None)
        if sock is not None:
            asyncio.get_running_loop().remove_reader(sock)
            sock.close()

    def _accept(self, listener: socket.socket) -> None:
        for _ in range(_AT_ONCE):
            try:
                connection, _ = listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                log.warning("metadata: a connection could not be taken", error=str(error))
                self._rest(listener)
                return
            connection.setblocking(False)
            self._admit(connection)

    def _rest(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        loop.remove_reader(listener)

        def again() -> None:
            if listener.fileno() >= 0:
                loop.add_reader(listener, self._accept, listener)

        loop.call_later(_PAUSE_S, again)

    def _admit(self, connection: socket.socket) -> None:
        try:
            index, _ = came_in_by(connection)
        except OSError:
            connection.close()
            return
        if self._port_at(index) is None:
            self._refuse(connection, "unknown")
            return
        port = self._ports.setdefault(index, _Port(Bucket(self._settings.rate, self._settings.burst)))
        if port.connections >= self._settings.per_port or self.connections >= self._settings.in_all:
            self._refuse(connection, "too-many")
            return
        task = asyncio.get_running_loop().create_task(self._serve(connection, index))
        self._tasks.add(task)
        port.connections += 1  # here, not when the task runs: many may be taken before

        def ended(_: object) -> None:
            self._tasks.discard(task)
            port.connections -= 1

        task.add_done_callback(ended)

    def _refuse(self, connection: socket.socket, why: str) -> None:
        self.refused[why] += 1
        connection.close()

    async def _serve(self, connection: socket.socket, index: int) -> None:
        loop, server = asyncio.get_running_loop(), self._server
        if server is None:
            connection.close()
            return
        ended = asyncio.Event()
        handler = _Connection(server, loop, ended)
        self._askers[handler] = index
        try:
            transport, _ = await loop.connect_accepted_socket(lambda: handler, connection)
            try:
                async with asyncio.timeout(_LIFE_S):
                    await ended.wait()
            finally:
                transport.abort()
        except (OSError, TimeoutError):
            connection.close()
        finally:
            self._askers.pop(handler, None)

    # ---- requests

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        started = asyncio.get_running_loop().time()
        status = 500
        try:
            response = await self._answer(request)
            status = response.status
            return response
        except Exception:
            if self._complaints.take(asyncio.get_running_loop().time()):
                log.exception("metadata: a request could not be dealt with")
            return _said(500, "the request could not be dealt with")
        finally:
            self._on_answer(status, asyncio.get_running_loop().time() - started)

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        index = self._askers.get(request.protocol, 0)
        asker, state = self._who(request, index), self._ports.get(index)
        if asker is None or state is None:
            return _said(404, "no instance is known at this address")
        if not state.bucket.take(asyncio.get_running_loop().time()):
            return _said(429, "too many requests", {"Retry-After": "1"})
        if request.method not in METHODS:
            return _said(405, "no such method")
        try:
            path = target_path(request.raw_path)
        except InvalidInput as error:
            return _said(400, str(error))
        body = b""
        async for piece in request.content.iter_any():
            body += piece
            if len(body) > _BODY_MAX:
                return _said(413, "the request is too long")
        return await self._ask(request, asker, path, body)

    def _who(self, request: web.BaseRequest, index: int) -> Asker | None:
        port = self._port_at(index)
        transport = request.transport
        peer = transport.get_extra_info("peername") if transport is not None else None
        return asker_of(port, peer[0]) if port is not None and peer else None

    async def _ask(self, request: web.BaseRequest, asker: Asker, path: str, body: bytes) -> web.StreamResponse:
        assert self._session is not None
        url = URL(self._base + path, encoded=True)
        try:
            secret = self._settings.secret()
        except InvalidInput as error:
            log.error("metadata: the shared secret cannot be read", error=str(error))
            return _said(503, "the metadata service is not set up")
        headers = request_headers(asker, secret, request.headers.items())
        response: web.StreamResponse | None = None
        try:
            async with self._session.request(
                request.method, url, headers=headers, data=body or None, allow_redirects=False,
                skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
            ) as found:  # fmt: skip
                response = web.StreamResponse(status=found.status, reason=found.reason)
                for name, value in answer_headers(found.headers.items()):
                    response.headers.add(name, value)
                if found.content_length is not None and request.method != "HEAD":
                    response.content_length = found.content_length
                await response.prepare(request)
                async for piece in found.content.iter_chunked(_PIECE):
                    await response.write(piece)
                await response.write_eof()
                return response
        except (ClientError, OSError, TimeoutError) as error:
            if self._complaints.take(asyncio.get_running_loop().time()):
                why = str(error) or "timeout"
                log.warning("metadata: not handed on whole", instance=asker.device_id, url=self._base, error=why)
            if response is not None and response.prepared:  # half of it is said: all that is left is to break off
                if request.transport is not None:
                    request.transport.abort()
                return response
            late = isinstance(error, TimeoutError)
            return _said(504 if late else 502, "the metadata service cannot be reached", {"Retry-After": "5"})


def _said(status: int, text: str, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(status=status, text=f"{text}\n", headers=headers)
