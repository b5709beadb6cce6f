"""The BIRD process: it outlives us, is found again after our own restart, and is watched whoever its parent is."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import struct
from contextlib import suppress
from pathlib import Path

import msgspec

from calico.errors import Transient

__all__ = ["BirdFiles", "BirdProcess", "adopt", "check_file", "start"]

_CHECK_TIMEOUT_S = 20.0


class BirdFiles(msgspec.Struct, frozen=True):
    """Where one BIRD keeps its things. ``conf`` always holds the last configuration known to be good."""

    directory: Path

    @property
    def conf(self) -> Path:
        return self.directory / "bird.conf"

    @property
    def stage(self) -> Path:
        return self.directory / "bird.conf.new"

    @property
    def control(self) -> Path:
        return self.directory / "bird.ctl"

    @property
    def pid(self) -> Path:
        return self.directory / "bird.pid"

    @property
    def log(self) -> Path:
        return self.directory / "bird.log"

    @property
    def output(self) -> Path:
        return self.directory / "bird.out"


class BirdProcess:
    """A live BIRD. Holding it keeps it not alive and closing it kills nothing: only ``kill`` does."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._pidfd = os.pidfd_open(pid)
        self._gone: asyncio.Event | None = None

    async def ended(self) -> None:
        """Return once the process is gone, whoever its parent is. Any number of tasks may wait."""
        if self._gone is None:
            self._gone = asyncio.Event()
            asyncio.get_running_loop().add_reader(self._pidfd, self._on_end)
        await self._gone.wait()

    def _on_end(self) -> None:
        assert self._gone is not None
        self._gone.set()
        asyncio.get_running_loop().remove_reader(self._pidfd)
        with suppress(ChildProcessError):  # not our child when we adopted it
            os.waitpid(self.pid, os.WNOHANG)

    def kill(self) -> None:
        """SIGKILL: for BIRD's neighbours that is a crash, which graceful restart bridges."""
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)

    def close(self) -> None:
        """Let go of the process, which goes on if it has not ended."""
        if self._pidfd >= 0:
            if self._gone is not None and not self._gone.is_set():
                asyncio.get_running_loop().remove_reader(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = -1


def start(bird: str, files: BirdFiles, *, recover: bool) -> BirdProcess:
    """Start BIRD in its own session, in our network namespace. ``recover``: by graceful restart (-R)."""
    arguments = [bird, "-f", "-c", str(files.conf), "-s", str(files.control), "-P", str(files.pid)]
    if recover:
        arguments.append("-R")
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
    try:
        pid = os.posix_spawnp(
            bird,
            arguments,
            os.environ,
            setsid=True,
            setsigmask=(),
            setsigdef=(signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGPIPE),
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, str(files.output), flags, 0o600),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
        )
    except OSError as error:
        raise Transient(f"BIRD cannot be started: {error}") from error
    return BirdProcess(pid)


def adopt(files: BirdFiles) -> BirdProcess | None:
    """The BIRD that already serves these files: by who listens on the control socket, else by the pid file."""
    pid = _listener(files.control) or _recorded(files)
    if pid is None:
        return None
    try:
        return BirdProcess(pid)
    except OSError:
        return None


async def check_file(bird: str, path: Path) -> str:
    """What BIRD's own parser says against a file; empty when it accepts it."""
    try:
        process = await asyncio.create_subprocess_exec(
            bird, "-p", "-c", str(path), stdin=asyncio.subprocess.DEVNULL, stdout=-1, stderr=asyncio.subprocess.STDOUT
        )
    except OSError as error:
        raise Transient(f"BIRD cannot be started: {error}") from error
    try:
        async with asyncio.timeout(_CHECK_TIMEOUT_S):
            output, _ = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        return "BIRD's parser did not finish in time"
    if process.returncode == 0:
        return ""
    return output.decode("utf-8", "replace").strip() or f"BIRD's parser ended with status {process.returncode}"


def _listener(path: Path) -> int | None:
    """The pid behind a unix socket (SO_PEERCRED holds the listener's), or None when nobody accepts."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(1.0)
        try:
            sock.connect(str(path))
        except OSError:
            return None
        pid, _, _ = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return int(pid) or None


def _recorded(files: BirdFiles) -> int | None:
    """The pid in the pid file, if that process really is a BIRD with our control socket (pids are reused)."""
    try:
        pid = int(files.pid.read_text())
        arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except (OSError, ValueError):
        return None
    return pid if os.fsencode(files.control) in arguments else None
