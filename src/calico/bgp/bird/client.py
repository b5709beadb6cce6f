"""Commands to a running BIRD over its control socket, each with a deadline."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from calico.bgp.bird.control import BirdStatus, Reply, ReplyDecoder, Session, parse_sessions, parse_status
from calico.bgp.birdconf.text import quoted
from calico.errors import InvalidInput, Transient

__all__ = ["ControlClient"]

TIMEOUT_S = 2.0
_MANY_S = 20.0


class ControlClient:
    """A connection per question: BIRD outlives us and we outlive BIRD, so none of them is worth keeping.

    Every method raises Transient when BIRD does not answer in time or at all.
    """

    def __init__(self, path: Path, timeout_s: float = TIMEOUT_S) -> None:
        self._path = path
        self._timeout_s = timeout_s

    async def ask(self, *commands: str, timeout_s: float | None = None) -> list[Reply]:
        """The replies to ``commands`` on one connection; InvalidInput for a command that is not one line."""
        for command in commands:
            if not command.isprintable():
                raise InvalidInput(f"{command[:60]!r} is not one line")
        try:
            async with asyncio.timeout(timeout_s or self._timeout_s):
                return await self._converse(commands)
        except (OSError, TimeoutError, InvalidInput) as error:
            raise Transient(f"BIRD does not answer at {self._path}: {error or type(error).__name__}") from error

    async def status(self) -> BirdStatus:
        """``show status``."""
        (reply,) = await self.ask("show status")
        return parse_status(reply)

    async def sessions(self) -> dict[str, Session]:
        """All BGP sessions by name, by one question."""
        (reply,) = await self.ask("show protocols all")
        return parse_sessions(reply)

    async def overview(self) -> tuple[BirdStatus, dict[str, Session]]:
        """Status and sessions over one connection, which is made read-only first."""
        _, status, sessions = await self.ask("restrict", "show status", "show protocols all")
        return parse_status(status), parse_sessions(sessions)

    async def ask_read_only(self, *commands: str) -> list[Reply]:
        """The replies to questions, over a connection that can change nothing; many of them may take a while."""
        _, *replies = await self.ask("restrict", *commands, timeout_s=_MANY_S)
        return replies

    async def configure(self, path: Path, undo_after_s: int) -> Reply:
        """Run the file; BIRD itself takes that back unless it is confirmed within ``undo_after_s``."""
        (reply,) = await self.ask(f"configure {quoted(str(path))} timeout {undo_after_s}", timeout_s=10.0)
        return reply

    async def confirm(self) -> Reply:
        """Keep what ``configure timeout`` brought."""
        (reply,) = await self.ask("configure confirm")
        return reply

    async def undo(self) -> Reply:
        """Go back to the configuration before the last one."""
        (reply,) = await self.ask("configure undo", timeout_s=10.0)
        return reply

    async def enable(self, names: Sequence[str]) -> None:
        """Try sessions again that BIRD has disabled; one that is enabled already is left alone."""
        await self.ask(*(f"enable {quoted(name)}" for name in names))

    async def learn(self, names: Sequence[str]) -> None:
        """Read the kernel's routes now, by these kernel protocols; those that are not there are passed over."""
        await self.ask(*(f"reload in {quoted(name)}" for name in names))

    async def graceful_restart(self) -> Reply:
        """End BIRD so that neighbours and kernel keep the routes until its successor has caught up."""
        (reply,) = await self.ask("graceful restart")
        return reply

    def _close_to_others(self) -> None:
        """BIRD makes its socket for a group as well; whoever may write to it commands BIRD."""
        with suppress(OSError):
            if os.stat(self._path).st_mode & 0o077:
                os.chmod(self._path, 0o600)

    async def _converse(self, commands: tuple[str, ...]) -> list[Reply]:
        self._close_to_others()
        reader, writer = await asyncio.open_unix_connection(str(self._path))
        decoder, pending = ReplyDecoder(), []
        try:
            pending += await self._read(reader, decoder)  # the greeting
            replies = []
            for command in commands:
                writer.write(command.encode() + b"\n")
                received = await self._read(reader, decoder)
                replies.append(received[0])
            return replies
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    @staticmethod
    async def _read(reader: asyncio.StreamReader, decoder: ReplyDecoder) -> list[Reply]:
        while True:
            data = await reader.read(65536)
            if not data:
                raise ConnectionResetError("BIRD closed the connection")
            if replies := decoder.feed(data):
                return replies
