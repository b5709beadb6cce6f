"""PostgreSQL with a data directory of its own, without a promise to survive a power cut."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
from pathlib import Path

from stack.process import Process, until

__all__ = ["Postgres", "find_postgres"]


def find_postgres() -> Path | None:
    """The folder of PostgreSQL's newest programs, as Debian puts them; None when it is not installed."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    return found[-1].parent if found else None


class Postgres:
    """A server with a role and a database ``neutron``, to which everybody on its address may connect."""

    def __init__(self, directory: Path, host: str, port: int, prefix: tuple[str, ...] = ()) -> None:
        programs = find_postgres()
        assert programs is not None, "PostgreSQL is not installed: make openstack"
        self._programs, self._directory, self._host, self._port = programs, directory, host, port
        self._prefix = prefix
        self.process: Process | None = None

    @property
    def url(self) -> str:
        """As SQLAlchemy writes it."""
        return f"postgresql+psycopg2://neutron@{self._host}:{self._port}/neutron"

    def start(self) -> None:
        user = _not_root()
        data = self._directory / "postgres"
        if not data.exists():
            data.mkdir(mode=0o700)
            if user is not None:
                os.chown(data, user.pw_uid, user.pw_gid)
            self._as_user(user, self._programs / "initdb", "-D", data, "-A", "trust", "--no-sync", "-U", "neutron")
        settings = {
            "port": self._port,
            "listen_addresses": self._host,
            "unix_socket_directories": "",
            "fsync": "off",
            "synchronous_commit": "off",
            "full_page_writes": "off",
            "max_connections": "200",
            "timezone": "UTC",
        }
        argv = [str(self._programs / "postgres"), "-D", str(data)]
        argv += [f"--{name}={value}" for name, value in settings.items()]
        become = ("setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups") if user else ()
        self.process = Process("postgres", argv, self._directory / "postgres.log", prefix=(*self._prefix, *become))
        self.process.start()
        until("PostgreSQL answers", self._answers, 30, dump=self.process.last_words)
        if not self._ask("postgres", "SELECT 1 FROM pg_database WHERE datname = 'neutron'"):
            self._ask("postgres", "CREATE DATABASE neutron")

    def ask(self, sql: str) -> list[list[str]]:
        """Rows of an SQL statement, as text."""
        return [line.split("\t") for line in self._ask("neutron", sql).splitlines()]

    def log(self) -> str:
        """All that it has logged."""
        return (self._directory / "postgres.log").read_text(errors="replace")

    def stop(self) -> None:
        if self.process is not None:
            self.process.stop(signal.SIGQUIT)  # at once, with its clients

    def _answers(self) -> bool:
        argv = [*self._prefix, str(self._programs / "pg_isready"), "-q", "-h", self._host, "-p", str(self._port)]
        return subprocess.run(argv, check=False).returncode == 0

    def _ask(self, database: str, sql: str) -> str:
        argv = [*self._prefix, str(self._programs / "psql"), "-h", self._host, "-p", str(self._port), "-U", "neutron"]
        argv += ["-d", database, "-qAtX", "-F", "\t", "-v", "ON_ERROR_STOP=1", "-c", sql]
        done = subprocess.run(argv, check=False, capture_output=True, text=True)
        assert done.returncode == 0, f"{sql}: {done.stderr}"
        return done.stdout

    def _as_user(self, user: pwd.struct_passwd | None, *argv: object) -> None:
        become = ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"] if user else []
        result = subprocess.run(
            [*become, *map(str, argv)], capture_output=True, text=True, check=False, cwd="/", env={"LC_ALL": "C.UTF-8"}
        )
        assert result.returncode == 0, f"{argv[0]}: {result.stdout}{result.stderr}"


def _not_root() -> pwd.struct_passwd | None:
    """Whom to become, for PostgreSQL refuses root."""
    if os.geteuid() != 0:
        return None
    assert shutil.which("setpriv"), "setpriv is not installed (util-linux)"
    return pwd.getpwnam("postgres")
