"""Starting and ending a lab's processes so that none is ever lost.

A process is known in two ways: by its record (pid and start time, written down first) and by where it runs. Every
process whose network namespace is one of the lab's, or whose environment names the lab, is the lab's: this also finds
the BIRD that an agent started, a forgotten shell, and whatever a crash kept from being recorded.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import msgspec

from calico.errors import Transient
from calico.lab.state import ProcessRecord

__all__ = ["alive", "daemon_environment", "end_processes", "find_processes", "last_words", "start_process"]

MARK = "CALICO_LAB_DAEMON"
_TERM_S, _KILL_S = 2.0, 5.0
_LOG_TO_OUTPUT = frozenset({"etcd", "gateway", "postgres", "nova", "api", "workers"})


def daemon_environment(lab: str) -> dict[str, str]:
    """The environment of the lab's daemons: nothing of the caller's but PATH and locale, and the mark of the lab."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])
    return {"PATH": path, "LANG": "C.UTF-8", "HOME": "/", MARK: lab}


def start_process(record: ProcessRecord, environment: Mapping[str, str]) -> ProcessRecord:
    """Start it in its namespace, detached from us; its output goes to its log. The record with pid and start time."""
    argv = ["nsenter", f"--net=/run/netns/{record.netns}", *record.argv]
    log = Path(record.log)
    log.parent.mkdir(parents=True, exist_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, str(_output(record)), flags, 0o644),
        (os.POSIX_SPAWN_DUP2, 1, 2),
    ]
    pid = os.posix_spawnp("nsenter", argv, {**environment, **record.environment}, file_actions=actions, setsid=True)
    return msgspec.structs.replace(record, pid=pid, start_ticks=_start_ticks(pid))


def alive(record: ProcessRecord) -> bool:
    """Whether the very process of the record still runs (a zombie does not)."""
    if not record.pid:
        return False
    _reap(record.pid)
    return _state(record.pid) not in ("", "Z", "X") and _start_ticks(record.pid) == record.start_ticks


def find_processes(lab: str, netns: Iterable[str], records: Iterable[ProcessRecord]) -> dict[int, int]:
    """pid -> start time of every process of the lab, whether recorded or not; never this process itself.

    With an empty ``lab`` only those that run in the namespaces given (or are recorded).
    """
    inodes = {os.stat(f"/run/netns/{name}").st_ino for name in netns if os.path.exists(f"/run/netns/{name}")}
    mark = f"{MARK}={lab}".encode() if lab else None
    found = {record.pid: record.start_ticks for record in records if alive(record)}
    for entry in os.listdir("/proc"):
        if entry.isdigit() and int(entry) != os.getpid() and _belongs(int(entry), inodes, mark):
            found[int(entry)] = _start_ticks(int(entry))
    return {pid: ticks for pid, ticks in found.items() if _state(pid) not in ("", "Z", "X")}


def end_processes(find: Callable[[], Mapping[int, int]]) -> int:
    """End all that ``find`` finds, asking first and insisting after two seconds; how many there were.

    ``find`` is asked again until it finds nothing, so children started meanwhile end too. Transient if some stay.
    """
    targets = dict(find())
    ended = len(targets)
    _signal(targets, signal.SIGTERM)
    if not _gone(targets, _TERM_S):
        _signal(targets, signal.SIGKILL)
        _gone(targets, _KILL_S)
    deadline = time.monotonic() + _KILL_S
    while left := dict(find()):
        if time.monotonic() > deadline:
            raise Transient(f"processes do not end: {', '.join(map(str, sorted(left)))}")
        _signal(left, signal.SIGKILL)
        _gone(left, 0.5)
    return ended


def signal_process(record: ProcessRecord, number: signal.Signals) -> None:
    """Send a signal, if the process is still the recorded one."""
    _signal({record.pid: record.start_ticks}, number)


def last_words(record: ProcessRecord, lines: int = 5) -> str:
    """The last lines the process wrote, for a message."""
    for path in (_output(record), Path(record.log)):
        try:
            text = path.read_text(errors="replace").strip()
        except OSError:
            continue
        if text:
            return "\n".join(text.splitlines()[-lines:])
    return "(it wrote nothing)"


def _output(record: ProcessRecord) -> Path:
    """Where standard output goes: the log of a process that has no other, else a file beside it."""
    log = Path(record.log)
    return log if record.kind in _LOG_TO_OUTPUT else log.with_suffix(f".{record.kind}.out")


def _belongs(pid: int, inodes: set[int], mark: bytes | None) -> bool:
    try:
        if os.stat(f"/proc/{pid}/ns/net").st_ino in inodes:
            return True
        return mark is not None and mark in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return False  # it ended meanwhile, or it is a kernel thread


def _signal(targets: Mapping[int, int], number: signal.Signals) -> None:
    for pid, ticks in targets.items():
        if pid and _start_ticks(pid) == ticks:
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                pass


def _gone(targets: Mapping[int, int], timeout_s: float) -> bool:
    deadline = time.monotonic() + timeout_s
    left = set(targets)
    while left and time.monotonic() < deadline:
        for pid in left:
            _reap(pid)
        left = {pid for pid in left if _state(pid) not in ("", "Z", "X") and _start_ticks(pid) == targets[pid]}
        if left:
            time.sleep(0.01)
    return not left


def _reap(pid: int) -> None:
    """Take the exit status if it is our own child, so that no zombie stays."""
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        pass


def _stat_fields(pid: int) -> list[str]:
    try:
        # the command name may hold blanks and brackets: fields start after its last bracket
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _state(pid: int) -> str:
    fields = _stat_fields(pid)
    return fields[0] if fields else ""


def _start_ticks(pid: int) -> int:
    fields = _stat_fields(pid)
    return int(fields[19]) if fields else 0
