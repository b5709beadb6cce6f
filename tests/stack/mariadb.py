"""MariaDB with a data directory of its own, without a promise to survive a power cut."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
from pathlib import Path

from stack.process import Process, until

__all__ = ["MariaDB", "find_mariadb"]

_USER = "nobody"


def find_mariadb() -> Path | None:
    """The server; None when it is not installed."""
    found = shutil.which("mariadbd", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    return Path(found) if found else None


class MariaDB:
    """A server with a user and a database ``neutron``, to which everybody on its address may connect."""

    def __init__(self, directory: Path, host: str, port: int, prefix: tuple[str, ...] = ()) -> None:
        assert find_mariadb() is not None, "MariaDB is not installed: apt-get install mariadb-server"
        self._directory, self._host, self._port, self._prefix = directory, host, port, prefix
        self.process: Process | None = None

    @property
    def url(self) -> str:
        """As SQLAlchemy writes it."""
        return f"mysql+pymysql://neutron@{self._host}:{self._port}/neutron?charset=utf8mb4"

    def start(self) -> None:
        data = self._directory / "mariadb"
        user = ["--user=nobody"] if os.geteuid() == 0 else []
        if not data.exists():
            data.mkdir(mode=0o700)
            if user:
                os.chown(data, pwd.getpwnam(_USER).pw_uid, pwd.getpwnam(_USER).pw_gid)
            words = ["mariadb-install-db", "--no-defaults", f"--datadir={data}", "--skip-test-db", *user]
            words += ["--auth-root-authentication-method=normal"]
            done = subprocess.run(words, capture_output=True, text=True, check=False)
            assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
        settings = {
            "datadir": data,
            "socket": data / "socket",
            "pid-file": data / "pid",
            "bind-address": self._host,
            "port": self._port,
            "character-set-server": "utf8mb4",
            "innodb-flush-log-at-trx-commit": 0,
            "innodb-flush-method": "nosync",
            "max-connections": 200,
            "default-time-zone": "+00:00",
        }
        argv = [str(find_mariadb()), "--no-defaults", *user, *(f"--{name}={value}" for name, value in settings.items())]
        self.process = Process("mariadb", argv, self._directory / "mariadb.log", prefix=self._prefix)
        self.process.start()
        until(
            "MariaDB answers", lambda: self._run("root", "SELECT 1").returncode == 0, 60, dump=self.process.last_words
        )
        self._run("root", "CREATE DATABASE IF NOT EXISTS neutron; CREATE USER IF NOT EXISTS neutron@'%'; "
                  "GRANT ALL ON neutron.* TO neutron@'%'", check=True)  # fmt: skip

    def ask(self, sql: str) -> list[list[str]]:
        """Rows of an SQL statement, as text."""
        return [line.split("\t") for line in self._run("neutron", sql, "neutron", check=True).stdout.splitlines()]

    def log(self) -> str:
        """All that it has logged."""
        return (self._directory / "mariadb.log").read_text(errors="replace")

    def stop(self) -> None:
        if self.process is not None:
            self.process.stop(signal.SIGKILL)

    def _run(self, user: str, sql: str, *database: str, check: bool = False) -> subprocess.CompletedProcess[str]:
        argv = [*self._prefix, "mariadb", "--no-defaults", "--batch", "--skip-column-names", f"--user={user}"]
        argv += [f"--socket={self._directory}/mariadb/socket", "--execute", sql, *database]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        assert not check or done.returncode == 0, f"{sql}: {done.stderr}"
        return done
