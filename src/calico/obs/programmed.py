"""Waiting on this host until an endpoint is programmed: a local socket of Felix, for whoever starts workloads.

A client writes one JSON line, ``{"endpoint": "namespace/name", "revision": n}``, and reads one line each time that what
there is to say changes, until the endpoint is up with all of that revision in the kernel. Nothing of this reaches the
datastore, and nothing is done while nobody asks. Who waits for many hosts uses ``calico.datastore.barrier``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from calico.errors import Transient
from calico.obs.unixsocket import serve

__all__ = ["SOCKET", "Programmed", "ProgrammedServer", "Question", "await_programmed", "is_programming"]

SOCKET: Final = "felix-programmed.sock"
_RETRY_S: Final = 0.1


class Question(msgspec.Struct, frozen=True):
    """Which endpoint at which revision; an empty endpoint asks for the revision alone."""

    endpoint: str = ""
    revision: int = 0


class Programmed(msgspec.Struct, frozen=True, omit_defaults=True):
    """``done``, or why not yet; ``error`` when Felix tried and the endpoint cannot be programmed as it is."""

    done: bool = False
    why: str = ""
    error: bool = False


OnQuestion = Callable[[Question], Programmed]


class ProgrammedServer:
    """Felix's side. ``answer`` is asked at each question and again after each ``on_applied``."""

    def __init__(self, path: Path | str, answer: OnQuestion) -> None:
        self._path, self._answer = Path(path), answer
        self._waiting: set[asyncio.Event] = set()

    def on_applied(self) -> None:
        """The kernel was programmed, or that failed."""
        for event in self._waiting:
            event.set()

    async def run(self) -> None:
        """Serve until cancelled."""
        await serve(self._path, self._serve)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        changed = asyncio.Event()
        self._waiting.add(changed)
        gone: asyncio.Task[bytes] | None = None
        try:
            question = msgspec.json.decode(await reader.readline(), type=Question)
            gone = asyncio.create_task(reader.read(1))
            gone.add_done_callback(lambda _: changed.set())
            told: Programmed | None = None
            while not gone.done():
                answer = self._answer(question)
                if answer != told:
                    writer.write(msgspec.json.encode(answer) + b"\n")
                    await writer.drain()
                    told = answer
                if answer.done:
                    break
                await changed.wait()
                changed.clear()
        except (OSError, ValueError, msgspec.DecodeError):
            pass  # the asker went away, or did not ask; nothing depends on it
        finally:
            self._waiting.discard(changed)
            if gone is not None:
                gone.cancel()
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()


async def await_programmed(path: Path | str, question: Question, timeout_s: float) -> Programmed:
    """The answer when it is done, or the last one before the timeout. A Felix that is away is waited for as well."""
    last = Programmed(why=f"Felix does not answer at {path}")
    with suppress(TimeoutError):
        async with asyncio.timeout(timeout_s):
            while not last.done:
                try:
                    reader, writer = await asyncio.open_unix_connection(str(path))
                except OSError:
                    await asyncio.sleep(_RETRY_S)
                    continue
                try:
                    writer.write(msgspec.json.encode(question) + b"\n")
                    while not last.done and (line := await reader.readline()):
                        last = msgspec.json.decode(line, type=Programmed)
                except (OSError, msgspec.DecodeError) as error:
                    last = Programmed(why=f"Felix's answer was cut off: {error}")
                finally:
                    writer.close()
                if not last.done:
                    await asyncio.sleep(_RETRY_S)
    return last


async def is_programming(path: Path | str, timeout_s: float = 1.0) -> None:
    """Transient, with the reason, when Felix does not answer or does not follow the datastore."""
    answer = await await_programmed(path, Question(), timeout_s)
    if not answer.done:
        raise Transient(answer.why)
