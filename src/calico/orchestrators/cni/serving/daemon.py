"""``calico cni-daemon``: does for every container of a host what the shim asks, with everything warm.

One process with one connection to etcd; its network namespace is the host's. A call is finished even when its caller
went away, so that no half of it is left behind.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec

from calico.datastore.connection import Connection, open_backend
from calico.datastore.typed.store import Store
from calico.errors import InvalidInput, Transient
from calico.ipam.allocator import Allocator
from calico.obs.logger import Logger
from calico.orchestrators.cni.commands.abandoned import Sweeper
from calico.orchestrators.cni.commands.agent import Agent, Call, Settings
from calico.orchestrators.cni.commands.plugin import Reply, answer, failure
from calico.orchestrators.cni.commands.steps import OnStep, unwatched
from calico.orchestrators.cni.host.place import OWN_NETNS, place_at
from calico.orchestrators.cni.protocol.fault import WRONG_NAMESPACE, PluginError
from calico.orchestrators.cni.protocol.request import Request
from calico.orchestrators.cni.serving.frames import Question, encode_answer, parse_question
from calico.orchestrators.cni.serving.room import Room
from calico.orchestrators.cni.workload.pods import PodSource

__all__ = ["DEFAULT_SOCKET", "DaemonSettings", "run", "utc_now"]

log = Logger(__name__)

DEFAULT_SOCKET: Final = "/run/calico/cni.sock"
_BACKLOG: Final = 1024
_IN_KERNEL: Final = 64
_FINISH_S: Final = 20.0
_READ_S: Final = 10.0
_WRITE_S: Final = 10.0
_UCRED = struct.Struct("=iII")


class DaemonSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Where the daemon listens, which etcd it uses and how often it looks for what was abandoned (0: never), beside
    what all commands need."""

    agent: Settings
    etcd: Connection
    socket: str = DEFAULT_SOCKET
    sweep_interval_s: float = 30.0


def utc_now() -> datetime:
    """The time, for the allocator."""
    return datetime.now(UTC)


async def run(settings: DaemonSettings, *, pods: PodSource | None = None, on_step: OnStep = unwatched) -> None:
    """Serve until cancelled; calls that are being done then are finished first."""
    # what the kernel does on the way waits in it for others to look away, so that many at once take no longer than one
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(_IN_KERNEL, thread_name_prefix="kernel"))
    backend = open_backend(settings.etcd)
    agent = Agent(settings.agent, Store(backend), Allocator(backend, clock=utc_now), pods, on_step)
    server = _Server(agent, settings.socket)
    log.info("cni daemon starts", node=settings.agent.node, socket=settings.socket, etcd=settings.etcd.endpoints)
    sweeping = asyncio.create_task(_sweep(agent, settings.sweep_interval_s))
    try:
        await server.run()
    finally:
        sweeping.cancel()
        await asyncio.wait([sweeping])
        await agent.close()
        await backend.close()
        log.info("cni daemon stopped; containers keep their network")


async def _sweep(agent: Agent, interval_s: float) -> None:
    if interval_s:
        await Sweeper(agent, interval_s).run()


class _Server:
    """The socket, and one task per connection."""

    def __init__(self, agent: Agent, path: str) -> None:
        self._agent, self._path = agent, Path(path)
        self._netns = os.stat(OWN_NETNS).st_ino
        self._calls: set[asyncio.Task[None]] = set()
        self._room = Room()

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        listener = _listen(self._path)
        try:
            while True:
                await self._room.enter()
                try:
                    connection, _ = await loop.sock_accept(listener)
                except OSError as error:
                    self._room.leave()
                    log.warning("a caller could not be accepted", error=str(error))
                    await asyncio.sleep(0.1)
                    continue
                call = asyncio.create_task(self._serve(connection))
                self._calls.add(call)
                call.add_done_callback(self._calls.discard)
        finally:
            self._path.unlink(missing_ok=True)
            listener.close()
            if self._calls:
                await asyncio.wait(self._calls, timeout=_FINISH_S)

    async def _serve(self, connection: socket.socket) -> None:
        descriptors: list[int] = []
        held: list[int] = []
        loop = asyncio.get_running_loop()

        def hold(size: int) -> None:
            held.append(self._room.hold(size))

        connection.setblocking(False)
        try:
            _check_caller(connection)
            async with asyncio.timeout(_READ_S):
                question = await _read_question(connection, descriptors, hold)
            reply = await self._answer(question, descriptors)
            async with asyncio.timeout(_WRITE_S):
                await loop.sock_sendall(connection, encode_answer(reply.code, reply.out))
        except (OSError, TimeoutError) as error:
            log.info("a caller went away", error=str(error) or "it did not finish its question, or read its answer")
        except InvalidInput as error:
            log.warning("a caller was refused", error=str(error))
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
            connection.close()
            self._room.leave(sum(held))

    async def _answer(self, question: Question, descriptors: list[int]) -> Reply:
        began = asyncio.get_running_loop().time()
        if question.inode != self._netns:
            message = "the plugin was called in another network namespace than that of calico cni-daemon"
            hint = "run the daemon in the runtime's namespace, with a socket of its own"
            reply = failure(PluginError(WRONG_NAMESPACE, message, hint), question.stdin)
        else:

            def place(request: Request) -> Call:
                # what the caller opened: the path of its file system may lead elsewhere in ours
                return place_at(request, f"/proc/self/fd/{descriptors[0]}") if descriptors else Call(request=request)

            reply = await answer(self._agent, question.environment, question.stdin, question.plugin, place)
        took_ms = round((asyncio.get_running_loop().time() - began) * 1000, 1)
        said = {"said": reply.out.decode(errors="replace")} if reply.code else {}
        log.info("cni command done", command=question.environment.get("CNI_COMMAND", ""), code=reply.code,
                 container=question.environment.get("CNI_CONTAINERID", ""), took_ms=took_ms, **said)  # fmt: skip
        return reply


def _listen(path: Path) -> socket.socket:
    """Only root can reach it; that of a dead predecessor is replaced, that of a living one is not taken."""
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe, suppress(OSError):
        probe.connect(str(path))
        raise Transient(f"another calico cni-daemon listens on {path}")
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.setblocking(False)
    mask = os.umask(0o177)
    try:
        listener.bind(str(path))
    finally:
        os.umask(mask)
    listener.listen(_BACKLOG)
    return listener


def _check_caller(connection: socket.socket) -> None:
    _, user, _ = _UCRED.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
    if user != 0:
        raise InvalidInput("only root may attach containers", subject=f"user {user}")


async def _read_question(connection: socket.socket, descriptors: list[int], hold: Callable[[int], object]) -> Question:
    """All of the question; descriptors that come with it are added to the list, whatever happens. ``hold`` is told of
    each part that is kept, and refuses by raising."""
    loop = asyncio.get_running_loop()
    data = await _first_bytes(connection, descriptors)
    hold(len(data))
    while (question := parse_question(data)) is None:
        part = await loop.sock_recv(connection, 65536)
        if not part:
            raise InvalidInput("a question was cut off")
        hold(len(part))
        data += part
    return question


async def _first_bytes(connection: socket.socket, descriptors: list[int]) -> bytes:
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    loop.add_reader(connection, readable.set)
    try:
        await readable.wait()
    finally:
        loop.remove_reader(connection)
    data, received, _, _ = socket.recv_fds(connection, 65536, 1, socket.MSG_CMSG_CLOEXEC)
    descriptors += received
    return data
