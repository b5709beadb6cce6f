"""Keeps one BIRD running with the wanted configuration, without losing a session or a route that need not be lost.

A new text is staged, checked by BIRD's own parser, and compared with the one in force. What resets no established
session is applied by ``configure timeout``, verified, confirmed, and only then becomes bird.conf; if sessions that
should have stayed are gone it is undone. What would reset sessions is applied by a graceful restart of BIRD instead.
BIRD is never ended with us: our successor finds it by its control socket.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from enum import Enum
from pathlib import Path

import structlog

from calico.bgp.bird.client import ControlClient
from calico.bgp.bird.control import Session, same_moment
from calico.bgp.bird.process import BirdFiles, BirdProcess, adopt, check_file, start
from calico.bgp.birdconf.difference import Difference, compare
from calico.bgp.birdconf.render import KERNEL_PROTOCOLS
from calico.bgp.problem import Problem
from calico.errors import Transient

__all__ = ["Applied", "Supervisor"]

log = structlog.get_logger(__name__)

UNDO_AFTER_S = 30
_BACK_OFF_S = (0.0, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
_STABLE_AFTER_S = 30.0
_ANSWER_WITHIN_S = 10.0
_POLL_S = 0.05
_SETTLE_S = 0.15
_END_WITHIN_S = 10.0


class Applied(Enum):
    """What became of a configuration."""

    UNCHANGED = "unchanged"
    STARTED = "started"
    RECONFIGURED = "reconfigured"
    RESTARTED = "restarted"
    POSTPONED = "postponed"  # it needs a graceful restart, for which it is not the time
    REFUSED = "refused"  # BIRD's parser or BIRD itself; the last good one runs
    UNDONE = "undone"  # it cost sessions; the last good one runs again

    @property
    def in_force(self) -> bool:
        """Whether BIRD now runs what was asked for."""
        return self not in (Applied.POSTPONED, Applied.REFUSED, Applied.UNDONE)


class Supervisor:
    """One BIRD in one directory. ``run`` keeps it alive; ``apply`` gives it a configuration. They may overlap."""

    def __init__(self, directory: Path, bird: str = "bird") -> None:
        self.files = BirdFiles(directory)
        self.control = ControlClient(self.files.control)
        self._bird = bird
        self._process: BirdProcess | None = None
        self._changing = asyncio.Lock()
        self.changed = asyncio.Event()  # something happened to BIRD; whoever reports on it clears this
        self._wanted = asyncio.Event()  # there is a configuration to run
        self._certain = False  # BIRD is known to run bird.conf
        self._restarts = 0
        self._problems: dict[str, Problem] = {}

    @property
    def pid(self) -> int | None:
        """BIRD's process, when it runs."""
        return self._process.pid if self._process is not None else None

    @property
    def restarts(self) -> int:
        """How often BIRD ended unexpectedly and was started again."""
        return self._restarts

    @property
    def problems(self) -> tuple[Problem, ...]:
        """What is wrong with BIRD or its last configuration."""
        return tuple(self._problems.values())

    @property
    def configuration(self) -> str:
        """The last good configuration; empty when there never was one."""
        try:
            return self.files.conf.read_text()
        except FileNotFoundError:
            return ""

    async def run(self) -> None:
        """Adopt or start BIRD, and start it again whenever it ends. Cancelled: BIRD goes on."""
        if self.configuration:
            self._wanted.set()  # forward with what we had before the datastore answers
        try:
            await self._keep_running()
        finally:
            if self._process is not None:
                self._process.close()

    async def _keep_running(self) -> None:
        failures = 0
        loop = asyncio.get_running_loop()
        while True:
            await self._wanted.wait()
            began = loop.time()
            try:
                process = await self._ensure_running()
                await process.ended()
            except Transient as error:
                self._set("bird-not-running", str(error))
                log.error("bird start failed", error=str(error))
            else:
                if not await self._on_end(process):
                    continue  # a planned restart, already replaced
            failures = 1 if loop.time() - began > _STABLE_AFTER_S else failures + 1
            await asyncio.sleep(_BACK_OFF_S[min(failures, len(_BACK_OFF_S)) - 1])

    async def apply(self, text: str, *, may_restart: bool = True, insist: bool = False) -> Applied:
        """Bring BIRD to ``text``. Never raises for what BIRD thinks of it; Transient when BIRD cannot be reached.

        A graceful restart is bridged by the neighbours, so it must not coincide with one of theirs: without
        ``may_restart``, or while a neighbour is away (unless we ``insist``), a text that needs one is postponed.
        """
        async with self._changing:
            current = self.configuration
            if text == current and self._certain and self._process is not None:
                self._clear("bird-check-failed", "bird-reconfigure-undone")
                return Applied.UNCHANGED
            self._write(self.files.stage, text)
            refusal = await check_file(self._bird, self.files.stage)
            if refusal:
                return self._refuse(refusal)
            self._clear("bird-check-failed")
            if self._process is None:
                self._process = self._found()
            if self._process is None:
                return await self._start_with_stage(had_state=bool(current))
            return await self._change(compare(current, text), may_restart=may_restart, insist=insist)

    async def _change(self, difference: Difference, *, may_restart: bool, insist: bool) -> Applied:
        before = await self.control.sessions()
        spared = {name for name, session in before.items() if session.worth_sparing}
        losing = {name for name in spared if difference.restarts_direct or _is_reset(difference, before[name])}
        fragile = {name for name in spared if name in difference.watched or not before[name].graceful}
        if len(losing) <= len(fragile):
            return await self._reconfigure(difference, before)  # a restart would cost as many or more
        away = {name for name in spared - difference.rekeyed if not before[name].established}
        if not may_restart or (away and not insist):
            return Applied.POSTPONED
        return await self._restart_gracefully(len(losing))

    async def _reconfigure(self, difference: Difference, before: dict[str, Session]) -> Applied:
        reply = await self.control.configure(self.files.stage, UNDO_AFTER_S)
        if reply.failed:
            return self._refuse(reply.text)
        lost = await self._lost(difference, before)
        if lost:
            await self.control.undo()
            names = ", ".join(sorted(lost)[:5])
            self._set("bird-reconfigure-undone", f"{len(lost)} sessions were lost ({names}); the change was undone")
            log.error("configuration undone", lost=sorted(lost))
            return Applied.UNDONE
        reply = await self.control.confirm()
        if reply.failed:
            raise Transient(f"BIRD did not confirm: {reply.text}")
        self._promote()
        self._clear("bird-reconfigure-undone", "bird-listen-failed")
        self.changed.set()
        log.info("bird reconfigured", added=len(difference.added), removed=len(difference.removed))
        return Applied.RECONFIGURED

    async def _lost(self, difference: Difference, before: dict[str, Session]) -> set[str]:
        """Sessions that should have stayed established and did not, judged by since when they are."""
        kept = frozenset() if difference.restarts_direct else difference.kept
        up = {name for name in kept if name in before and before[name].established}
        steady = {name for name in up if not _is_reset(difference, before[name])}
        for _ in range(int(_ANSWER_WITHIN_S / _POLL_S)):
            if not (await self.control.status()).reconfiguring:
                break
            await asyncio.sleep(_POLL_S)
        if not steady:
            return set()
        await asyncio.sleep(_SETTLE_S)
        after = await self.control.sessions()
        return {
            name
            for name in steady
            if name not in after
            or not after[name].established
            or not same_moment(after[name].since, before[name].since)
        }

    async def _restart_gracefully(self, losing: int) -> Applied:
        process = self._process
        assert process is not None
        self._promote()
        try:
            await self.control.graceful_restart()
            async with asyncio.timeout(_END_WITHIN_S):
                await process.ended()
        except (Transient, TimeoutError) as error:
            log.warning("bird did not end by itself", error=str(error))
            process.kill()
            await process.ended()
        process.close()
        self._process = None
        await self._start(recover=True)
        log.info("bird restarted gracefully", sessions_spared=losing)
        return Applied.RESTARTED

    async def _start_with_stage(self, *, had_state: bool) -> Applied:
        self._promote()
        await self._start(recover=had_state)
        self._wanted.set()
        return Applied.STARTED

    async def _ensure_running(self) -> BirdProcess:
        async with self._changing:
            if self._process is None:
                self._process = self._found()
            if self._process is None:
                await self._start(recover=True)
            assert self._process is not None
            return self._process

    def _found(self) -> BirdProcess | None:
        process = adopt(self.files)
        if process is not None:
            self._certain = False
            self._clear("bird-not-running")
            log.info("bird adopted", pid=process.pid)
        return process

    async def _start(self, *, recover: bool) -> None:
        """Start on bird.conf and wait until it answers."""
        process = start(self._bird, self.files, recover=recover)
        self._process, self._certain = process, True
        log.info("bird started", pid=process.pid, recover=recover)
        for _ in range(int(_ANSWER_WITHIN_S / _POLL_S)):
            if await self._answers():
                await self._learn_at_once()
                self._clear("bird-not-running", "bird-unresponsive", "bird-listen-failed", "bird-reconfigure-undone")
                self.changed.set()
                return
            await asyncio.sleep(_POLL_S / 5)
        self._set("bird-unresponsive", "BIRD was started but does not answer on its control socket")

    async def _answers(self) -> bool:
        try:
            await self.control.status()
        except Transient:
            return False
        return True

    async def _learn_at_once(self) -> None:
        """A recovering BIRD reads the kernel only a second after its start. A session that is up before would be told
        that this host has no workloads (End-of-RIB, RFC 4724), and neighbours that kept their routes would drop them.
        """
        with suppress(Transient):  # then it happens a second later
            await self.control.learn(KERNEL_PROTOCOLS)

    async def _on_end(self, process: BirdProcess) -> bool:
        """True when it ended by itself, false when a planned restart has replaced it."""
        async with self._changing:
            if self._process is not process:
                return False
            process.close()
            self._process = None
            self._restarts += 1
            self.changed.set()
            self._set("bird-not-running", f"BIRD (pid {process.pid}) ended: {self._last_words()}")
            log.error("bird ended", pid=process.pid, output=self._last_words())
            return True

    def _last_words(self) -> str:
        try:
            return self.files.output.read_text(errors="replace")[-200:].strip() or "it said nothing"
        except OSError:
            return "it said nothing"

    def note(self, code: str, message: str) -> None:
        """State a problem that somebody else observed (in the log, for example)."""
        self._set(code, message)

    def forget(self, code: str) -> None:
        """State that a problem is over."""
        self._clear(code)

    def _refuse(self, why: str) -> Applied:
        self._set("bird-check-failed", why[:500])
        log.error("configuration refused", why=why[:500])
        return Applied.REFUSED

    def _promote(self) -> None:
        os.replace(self.files.stage, self.files.conf)
        self._certain = True

    @staticmethod
    def _write(path: Path, text: str) -> None:
        """Write with mode 0600 from the first byte on: a configuration can hold passwords."""
        path.unlink(missing_ok=True)
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())

    def _set(self, code: str, message: str) -> None:
        self._problems[code] = Problem(code, "BIRD", message)

    def _clear(self, *codes: str) -> None:
        for code in codes:
            self._problems.pop(code, None)


def _is_reset(difference: Difference, session: Session) -> bool:
    return difference.resets_session(session.name, refreshes=session.refreshes)
