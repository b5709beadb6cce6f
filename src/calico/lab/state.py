"""What a lab leaves on disk: one directory under /run/calico-lab, a state file and a lock.

The state file is replaced atomically and says what was *about to be* made before it is made, so that whoever comes
after a crash knows what to look for. The lock is a file beside the directory and is held while a lab is changed.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import msgspec

from calico.errors import Conflict, InvalidInput, NotFound
from calico.lab.openstack.instance import Instance
from calico.lab.topology import Topology

__all__ = ["LAB_ROOT", "LabState", "ProcessRecord", "lab_dir", "lab_lock", "list_labs", "load_state", "save_state"]

LAB_ROOT = Path("/run/calico-lab")


class ProcessRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A process of a lab. ``pid`` 0 means: about to be started. ``start_ticks`` is field 22 of /proc/PID/stat.

    ``environment`` comes on top of what all daemons have.
    """

    kind: Literal["etcd", "gateway", "bird", "felix", "bgp", "openstack", "postgres", "nova", "api", "workers"]
    machine: str
    netns: str
    argv: tuple[str, ...]
    log: str
    environment: dict[str, str] = {}
    pid: int = 0
    start_ticks: int = 0

    @property
    def name(self) -> str:
        """Unique within a lab, for example ``felix/host1``."""
        return f"{self.kind}/{self.machine}"


class LabState(msgspec.Struct, frozen=True, kw_only=True):
    """A lab as built so far. ``topology`` has every automatic address written out, so that none ever moves.

    ``revision`` is the datastore revision of the last write of the lab itself; ``given`` the topology as in the file.
    ``instances`` are those of its cloud, by name.
    """

    topology: Topology
    given: Topology
    phase: Literal["building", "up"] = "building"
    revision: int = 0
    instances: dict[str, Instance] = {}
    processes: dict[str, ProcessRecord] = {}


def lab_dir(lab: str) -> Path:
    """Where a lab keeps its files."""
    return LAB_ROOT / lab


def save_state(state: LabState) -> None:
    """Replace the state file at once and as a whole."""
    directory = lab_dir(state.topology.name)
    directory.mkdir(mode=0o755, parents=True, exist_ok=True)
    draft = directory / "state.json.new"
    draft.write_bytes(msgspec.json.format(msgspec.json.encode(state)))
    draft.rename(directory / "state.json")


def load_state(lab: str) -> LabState:
    """The state of a lab; NotFound when there is none, InvalidInput when the file is damaged."""
    path = lab_dir(lab) / "state.json"
    try:
        return msgspec.json.decode(path.read_bytes(), type=LabState)
    except FileNotFoundError:
        raise NotFound(f"there is no lab {lab!r}; `calico lab up FILE` starts one") from None
    except msgspec.DecodeError as error:
        raise InvalidInput(f"damaged ({error}); `calico lab down {lab}` clears it away", subject=str(path)) from error


def list_labs() -> list[str]:
    """The names of the labs that have files, sorted."""
    try:
        return sorted(entry.name for entry in LAB_ROOT.iterdir() if entry.is_dir())
    except FileNotFoundError:
        return []


@contextmanager
def lab_lock(lab: str) -> Iterator[None]:
    """Hold the lab against everybody else who changes it; Conflict when somebody does so now.

    The file is unlinked when the lab's directory is gone, so a lab that is down leaves nothing behind.
    """
    LAB_ROOT.mkdir(mode=0o755, parents=True, exist_ok=True)
    path = LAB_ROOT / f"{lab}.lock"
    fd = _locked(path, lab)
    try:
        yield
    finally:
        if not lab_dir(lab).exists():
            path.unlink(missing_ok=True)
        os.close(fd)
        try:
            LAB_ROOT.rmdir()
        except OSError:
            pass  # other labs are there


def _locked(path: Path, lab: str) -> int:
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.exists() and os.fstat(fd).st_ino == path.stat().st_ino:
                return fd
        except BlockingIOError:
            os.close(fd)
            raise Conflict(f"lab {lab!r} is being changed by another command; try again when it is done") from None
        except FileNotFoundError:
            pass
        os.close(fd)  # the holder before us unlinked it: take the new one
