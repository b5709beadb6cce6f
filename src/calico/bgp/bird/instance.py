"""The BIRD of one directory: found or started, restarted gracefully, and given the file it runs.

What is to be done with it is the supervisor's business; here is how. All methods are for one task at a time.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from pathlib import Path

import structlog

from calico.bgp.bird.client import ControlClient
from calico.bgp.bird.process import BirdFiles, BirdProcess, adopt, start
from calico.bgp.birdconf.render import KERNEL_PROTOCOLS
from calico.bgp.problem import Problem
from calico.errors import Transient

__all__ = ["ANSWER_WITHIN_S", "POLL_S", "BirdInstance"]

log = structlog.get_logger(__name__)

ANSWER_WITHIN_S = 10.0
POLL_S = 0.05
_END_WITHIN_S = 10.0


class BirdInstance:
    """``process`` is the BIRD that runs, as far as is known; ``certain``: it is known to run bird.conf."""

    def __init__(self, directory: Path, bird: str) -> None:
        self.files = BirdFiles(directory)
        self.control = ControlClient(self.files.control)
        self.process: BirdProcess | None = None
        self.certain = False
        self.changed = asyncio.Event()  # something happened to BIRD; whoever reports on it clears this
        self._bird = bird
        self._problems: dict[str, Problem] = {}

    @property
    def problems(self) -> tuple[Problem, ...]:
        """What is wrong."""
        return tuple(self._problems.values())

    @property
    def configuration(self) -> str:
        """The last good configuration; empty when there never was one."""
        try:
            return self.files.conf.read_text()
        except FileNotFoundError:
            return ""

    def note(self, code: str, message: str) -> None:
        """State a problem."""
        self._problems[code] = Problem(code, "BIRD", message)

    def forget(self, *codes: str) -> None:
        """State that problems are over."""
        for code in codes:
            self._problems.pop(code, None)

    def find(self) -> None:
        """Adopt the BIRD that serves these files, if there is one and it is not known."""
        if self.process is not None:
            return
        self.process = adopt(self.files)
        if self.process is not None:
            self.certain = False
            self.forget("bird-not-running")
            log.info("bird adopted", pid=self.process.pid)

    async def start(self, *, recover: bool) -> None:
        """Start on bird.conf and wait until it answers."""
        process = start(self._bird, self.files, recover=recover)
        self.process, self.certain = process, True
        log.info("bird started", pid=process.pid, recover=recover)
        for _ in range(int(ANSWER_WITHIN_S / POLL_S)):
            if await self._answers():
                await self._learn_at_once()
                self.forget("bird-not-running", "bird-unresponsive", "bird-listen-failed", "bird-reconfigure-undone")
                self.changed.set()
                return
            await asyncio.sleep(POLL_S / 5)
        self.note("bird-unresponsive", "BIRD was started but does not answer on its control socket")

    async def restart_gracefully(self) -> None:
        """End BIRD so that neighbours keep its routes, and start it on bird.conf."""
        process = self.process
        assert process is not None
        try:
            await self.control.graceful_restart()
            async with asyncio.timeout(_END_WITHIN_S):
                await process.ended()
        except (Transient, TimeoutError) as error:
            log.warning("bird did not end by itself", error=str(error))
            process.kill()
            await process.ended()
        process.close()
        self.process = None
        await self.start(recover=True)

    def on_end(self, process: BirdProcess) -> None:
        """It has ended by itself."""
        process.close()
        self.process = None
        self.changed.set()
        said = self._last_words()
        self.note("bird-not-running", f"BIRD (pid {process.pid}) ended: {said}")
        log.error("bird ended", pid=process.pid, output=said)

    def stage(self, text: str) -> Path:
        """Write with mode 0600 from the first byte on: a configuration can hold passwords."""
        path = self.files.stage
        path.unlink(missing_ok=True)
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        return path

    def promote(self) -> None:
        """The staged file is the one that BIRD runs, or is about to."""
        os.replace(self.files.stage, self.files.conf)
        self.certain = True

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

    def _last_words(self) -> str:
        try:
            return self.files.output.read_text(errors="replace")[-200:].strip() or "it said nothing"
        except OSError:
            return "it said nothing"
