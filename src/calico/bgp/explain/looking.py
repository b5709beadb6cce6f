"""Looks at this host's BIRD, its kernel and its agent for a person who asks; changes nothing."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from calico.bgp.bird.client import ControlClient
from calico.bgp.bird.control import BirdStatus, Reply, Session
from calico.bgp.bird.routes import KnownRoute, parse_routes
from calico.bgp.explain.inquiry import PROTO_BIRD, Agent, Facts, KernelEntry, agent_of, inquire
from calico.bgp.explain.kernelroutes import read_kernel_routes
from calico.bgp.explain.seen import SeenRoute
from calico.errors import Transient
from calico.lib.packed import net
from calico.obs.statussocket import read_status

__all__ = ["Looker"]


class Looker:
    """``run_dir`` is the agent's. Every method raises Transient, with what to do, when BIRD does not answer.

    ``document`` gives the agent's status document to the agent itself; anybody else reads it from its socket.
    """

    def __init__(self, run_dir: Path, document: Callable[[], dict[str, Any]] | None = None) -> None:
        self._path = run_dir / "bird.ctl"
        self._document = document
        self._agent_path = run_dir / "bgp.sock"
        self._control = ControlClient(self._path)

    async def overview(self) -> tuple[BirdStatus, dict[str, Session]]:
        """BIRD and its sessions."""
        self._expect_socket()
        try:
            return await self._control.overview()
        except Transient as error:
            raise self._silent(error) from error

    def agent_document(self) -> dict[str, Any] | None:
        """The agent's status document; None when it does not answer."""
        if self._document is not None:
            return self._document()
        try:
            return read_status(self._agent_path)
        except Transient:
            return None

    async def routes(self, within: str) -> tuple[SeenRoute, ...]:
        """The routes within a prefix, or all (empty), sorted by prefix; those of one prefix in BIRD's order."""
        _, sessions = await self.overview()
        up = sorted(name for name, session in sessions.items() if session.established)
        where = f" in {within}" if within else ""
        families = (6,) if ":" in within else (4,) if within else (4, 6)
        questions = [f"show route{where} table master{family} all" for family in families]
        told_questions = [f"show route{where} export {name}" for name in up]
        replies = await self._ask(*questions, *told_questions)
        told: dict[tuple[str, str, str, str], list[str]] = defaultdict(list)
        for name, reply in zip(up, replies[len(questions) :], strict=True):
            for route in () if reply.failed else parse_routes(reply):
                told[route.identity].append(name)
        kernel = await asyncio.to_thread(_kernel_routes)
        found = [route for reply in replies[: len(questions)] for route in parse_routes(reply)]
        found.sort(key=lambda route: net(route.net))
        return tuple(SeenRoute(r, tuple(told[r.identity]), _is_in_kernel(r, kernel)) for r in found)

    async def known(self) -> tuple[KnownRoute, ...]:
        """All routes of both tables."""
        replies = await self._ask("show route table master4 all", "show route table master6 all")
        return tuple(route for reply in replies for route in parse_routes(reply))

    async def inquire(self, prefix: str) -> Facts:
        """The facts about a prefix in canonical form."""
        document = self.agent_document()
        agent: Agent | None = None if document is None else agent_of(document)
        rounds = inquire(prefix, await asyncio.to_thread(_kernel_routes), agent)
        questions = next(rounds)
        while True:
            try:
                questions = rounds.send(await self._ask(*questions))
            except StopIteration as end:
                facts: Facts = end.value
                return facts

    async def _ask(self, *questions: str) -> list[Reply]:
        self._expect_socket()
        try:
            return await self._control.ask_read_only(*questions)
        except Transient as error:
            raise self._silent(error) from error

    def _expect_socket(self) -> None:
        try:
            there = self._path.exists()
        except OSError as error:
            raise Transient(f"BIRD's control socket {self._path} cannot be reached: {error.strerror}") from error
        if not there:
            raise Transient(
                f"there is no control socket of BIRD at {self._path}: start `calico bgp` on this host, or name the "
                f"directory of its sockets with --run-dir"
            )

    @staticmethod
    def _silent(error: Transient) -> Transient:
        return Transient(f"{error}; `calico bgp` starts it again when it runs on this host, its log is bird.log there")


def _kernel_routes() -> Mapping[str, tuple[KernelEntry, ...]]:
    try:
        return read_kernel_routes()
    except OSError as error:
        raise Transient(f"the kernel's routes cannot be read: {error}") from error


def _is_in_kernel(route: KnownRoute, kernel: Mapping[str, tuple[KernelEntry, ...]]) -> bool:
    """Whether the kernel forwards as the route says: it came from the kernel, or BIRD has put it there."""
    entries = kernel.get(route.net, ())
    if route.protocol.startswith(("kernel", "direct")):
        return any(entry.protocol != PROTO_BIRD for entry in entries)
    ours = [entry for entry in entries if entry.protocol == PROTO_BIRD]
    return any((not entry.hops and not route.hops) or set(entry.hops) & set(route.hops) for entry in ours)
