"""A child process with a log of its own: started, waited for with a deadline, ended by its pid."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

__all__ = ["Process", "until"]

_STOP_S = 15.0


def until(what: str, holds: Callable[[], object], timeout_s: float = 60.0, *, dump: Callable[[], str] = str) -> object:
    """The first true answer of ``holds``; AssertionError naming ``what`` was awaited, with ``dump`` of the logs."""
    deadline = time.monotonic() + timeout_s
    while True:
        answer = holds()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout_s:g} s: {what}\n{dump()}")
        time.sleep(0.05)


class Process:
    """``argv`` in a process group of its own, which ends with it; its pid is noted in ``pids`` beside the log."""

    def __init__(
        self, name: str, argv: Sequence[str], log: Path, *, env: Mapping[str, str] = {}, prefix: Sequence[str] = ()
    ) -> None:
        self.name, self.log = name, log
        self._argv, self._env = [*prefix, *argv], {**os.environ, **env}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Of the running process."""
        assert self._process is not None, f"{self.name} does not run"
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self._env, start_new_session=True
            )
        with self.log.with_name("pids").open("a") as pids:  # for the guard
            pids.write(f"{self._process.pid}\n")

    def children(self) -> list[int]:
        """Direct children of the process, oldest first."""
        found = []
        for task in Path(f"/proc/{self.pid}/task").iterdir():
            with contextlib.suppress(OSError):
                found += [int(pid) for pid in (task / "children").read_text().split()]
        return sorted(found)

    def stop(self, sig: signal.Signals = signal.SIGTERM) -> None:
        """End it and all that it started, and wait."""
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(sig)
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            pass
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def kill(self) -> None:
        """End it, and all that it started, as a power cut would."""
        process = self._process
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        self.stop(signal.SIGKILL)

    def last_words(self, lines: int = 25) -> str:
        """The end of its log."""
        try:
            text = self.log.read_text(errors="replace").splitlines()[-lines:]
        except OSError:
            text = ["(no log)"]
        return "\n".join([f"---- {self.name} ({self.log})", *text])
