"""Keeps one BIRD running with the wanted configuration, without losing a session or a route that need not be lost.

A new text is staged, checked by BIRD's own parser, and compared with the one in force. What resets no established
session is applied by ``configure timeout``, verified, confirmed, and only then becomes bird.conf; if sessions that
should have stayed are gone it is undone. What would reset sessions is applied by a graceful restart of BIRD instead.
BIRD is never ended with us: our successor finds it by its control socket.
"""

from __future__ import annotations

import asyncio
from enum import Enum
from pathlib import Path

import structlog

from calico.bgp.bird.control import Session, same_moment
from calico.bgp.bird.instance import ANSWER_WITHIN_S, POLL_S, BirdInstance
from calico.bgp.bird.process import BirdProcess, check_file
from calico.bgp.birdconf.difference import Difference, compare
from calico.bgp.problem import Problem
from calico.errors import Transient

__all__ = ["Applied", "Supervisor"]

log = structlog.get_logger(__name__)

UNDO_AFTER_S = 30
_BACK_OFF_S = (0.0, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
_STABLE_AFTER_S = 30.0
_SETTLE_S = 0.15


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
        self._bird, self._binary = BirdInstance(directory, bird), bird
        self.files, self.control, self.changed = self._bird.files, self._bird.control, self._bird.changed
        self._changing = asyncio.Lock()
        self._wanted = asyncio.Event()  # there is a configuration to run
        self._restarts = 0

    @property
    def pid(self) -> int | None:
        """BIRD's process, when it runs."""
        return self._bird.process.pid if self._bird.process is not None else None

    @property
    def restarts(self) -> int:
        """How often BIRD ended unexpectedly and was started again."""
        return self._restarts

    @property
    def problems(self) -> tuple[Problem, ...]:
        """What is wrong with BIRD or its last configuration."""
        return self._bird.problems

    @property
    def configuration(self) -> str:
        """The last good configuration; empty when there never was one."""
        return self._bird.configuration

    @property
    def configured_at(self) -> float:
        """When that was written, in seconds of the epoch; 0 when there never was one."""
        try:
            return self.files.conf.stat().st_mtime
        except OSError:
            return 0.0

    async def run(self) -> None:
        """Adopt or start BIRD, and start it again whenever it ends. Cancelled: BIRD goes on."""
        if self.configuration:
            self._wanted.set()  # forward with what we had before the datastore answers
        try:
            await self._keep_running()
        finally:
            if self._bird.process is not None:
                self._bird.process.close()

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
                self._bird.note("bird-not-running", str(error))
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
            if text == current and self._bird.certain and self._bird.process is not None:
                self._bird.forget("bird-check-failed", "bird-reconfigure-undone")
                return Applied.UNCHANGED
            refusal = await check_file(self._binary, self._bird.stage(text))
            if refusal:
                return self._refuse(refusal)
            self._bird.forget("bird-check-failed")
            self._bird.find()
            if self._bird.process is None:
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
        self._bird.promote()
        await self._bird.restart_gracefully()
        log.info("bird restarted gracefully", sessions_spared=len(losing))
        return Applied.RESTARTED

    async def _reconfigure(self, difference: Difference, before: dict[str, Session]) -> Applied:
        reply = await self.control.configure(self.files.stage, UNDO_AFTER_S)
        if reply.failed:
            return self._refuse(reply.text)
        lost = await self._lost(difference, before)
        if lost:
            await self.control.undo()
            names = ", ".join(sorted(lost)[:5])
            self._bird.note(
                "bird-reconfigure-undone", f"{len(lost)} sessions were lost ({names}); the change was undone"
            )
            log.error("configuration undone", lost=sorted(lost))
            return Applied.UNDONE
        reply = await self.control.confirm()
        if reply.failed:
            raise Transient(f"BIRD did not confirm: {reply.text}")
        self._bird.promote()
        self._bird.forget("bird-reconfigure-undone", "bird-listen-failed")
        self.changed.set()
        log.info("bird reconfigured", added=len(difference.added), removed=len(difference.removed))
        return Applied.RECONFIGURED

    async def _lost(self, difference: Difference, before: dict[str, Session]) -> set[str]:
        """Sessions that should have stayed established and did not, judged by since when they are."""
        kept = frozenset() if difference.restarts_direct else difference.kept
        up = {name for name in kept if name in before and before[name].established}
        steady = {name for name in up if not _is_reset(difference, before[name])}
        for _ in range(int(ANSWER_WITHIN_S / POLL_S)):
            if not (await self.control.status()).reconfiguring:
                break
            await asyncio.sleep(POLL_S)
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

    async def _start_with_stage(self, *, had_state: bool) -> Applied:
        self._bird.promote()
        await self._bird.start(recover=had_state)
        self._wanted.set()
        return Applied.STARTED

    async def _ensure_running(self) -> BirdProcess:
        async with self._changing:
            self._bird.find()
            if self._bird.process is None:
                await self._bird.start(recover=True)
            assert self._bird.process is not None
            return self._bird.process

    async def _on_end(self, process: BirdProcess) -> bool:
        """True when it ended by itself, false when a planned restart has replaced it."""
        async with self._changing:
            if self._bird.process is not process:
                return False
            self._restarts += 1
            self._bird.on_end(process)
            return True

    def note(self, code: str, message: str) -> None:
        """State a problem that somebody else observed (in the log, for example)."""
        self._bird.note(code, message)

    def forget(self, code: str) -> None:
        """State that a problem is over."""
        self._bird.forget(code)

    def _refuse(self, why: str) -> Applied:
        self._bird.note("bird-check-failed", why[:500])
        log.error("configuration refused", why=why[:500])
        return Applied.REFUSED


def _is_reset(difference: Difference, session: Session) -> bool:
    return difference.resets_session(session.name, refreshes=session.refreshes)
