"""What tests ask of a BGP speaker that is not ours: one interface for FRR, GoBGP and ExaBGP."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar


@dataclass(frozen=True)
class FarEnd:
    """A session to have. ``client``: reflect routes to it. ``link``: on this interface, at a link-local address, or at
    whichever the far end makes known there if ``address`` is the interface's name."""

    address: str
    as_number: int
    password: str = ""
    client: bool = False
    bfd: bool = False
    link: str = ""

    @property
    def family(self) -> int:
        return 6 if ":" in self.address else 4


@dataclass(frozen=True)
class LearnedPath:
    """A path of a prefix, as the speaker learned it. Communities of both kinds are written with colons."""

    next_hop: str
    communities: frozenset[str] = field(default_factory=frozenset)
    as_path: tuple[int, ...] = ()


class Speaker:
    """A speaker in the namespace of ``host``. Sessions are told at ``start``; routes come and go afterwards."""

    name: ClassVar[str]

    def __init__(self, host: Any, as_number: int) -> None:
        self.host, self.as_number = host, as_number
        self.directory: Path = host.fabric.directory / f"{self.name}{host.number}"
        self.directory.mkdir()
        self._processes: list[subprocess.Popen[bytes]] = []

    def start(self, *sessions: FarEnd) -> None:
        raise NotImplementedError

    def announce(self, prefix: str, *communities: str) -> None:
        raise NotImplementedError

    def withdraw(self, prefix: str) -> None:
        raise NotImplementedError

    def paths(self, prefix: str) -> list[LearnedPath]:
        """The paths that sessions brought for a prefix."""
        raise NotImplementedError

    def is_up(self, far: str) -> bool:
        raise NotImplementedError

    def knows(self, prefix: str, *next_hops: str) -> bool:
        """Whether it learned the prefix, by exactly these next hops if any are given."""
        found = sorted(path.next_hop for path in self.paths(prefix))
        return found == sorted(next_hops) if next_hops else bool(found)

    def own(self, family: int) -> str:
        """This end's address."""
        return str(self.host.ipv6 if family == 6 else self.host.ipv4)

    def stop(self) -> None:
        for process in self._processes:
            process.kill()
        for process in self._processes:
            process.wait()

    def spawn(self, *command: str, env: dict[str, str] | None = None) -> None:
        """Run a program in the speaker's namespace until ``stop``."""
        with open(self.host.fabric.directory / f"{self.directory.name}.log", "ab") as output:
            inside = ["nsenter", f"--net=/run/netns/{self.host.netns}", *command]
            self._processes.append(subprocess.Popen(inside, stdout=output, stderr=output, env=env))

    def run(self, *command: str) -> str:
        """What a program says; ValueError with its complaint when it fails."""
        inside = ["nsenter", f"--net=/run/netns/{self.host.netns}", *command]
        done = subprocess.run(inside, capture_output=True, text=True, check=False, timeout=30)
        if done.returncode:
            raise ValueError(f"{' '.join(command)}: {done.stdout}{done.stderr}")
        return done.stdout


def family_of(prefix: str) -> int:
    return 6 if ":" in prefix else 4
