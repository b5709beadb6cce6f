"""PostgreSQL of a lab as command lines: a cluster of its own, without a promise to survive a power cut."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

from calico.errors import NotFound
from calico.lab.openstack.configuration import POSTGRES_PORT

__all__ = ["create_argv", "own_directory", "ready_argv", "server_argv", "sql_argv"]

_USER = "postgres"  # PostgreSQL refuses to run as root
_SETTINGS = {
    "port": str(POSTGRES_PORT),
    "listen_addresses": "127.0.0.1",
    "dynamic_shared_memory_type": "mmap",  # files of the cluster: what a kill leaves is in its folder
    "unix_socket_directories": "",
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "max_connections": "200",
    "timezone": "UTC",
}
_ASKED = ("-h", "127.0.0.1", "-p", str(POSTGRES_PORT), "-U", "neutron")


def own_directory(data: Path) -> None:
    """Make the folder of the cluster, which only its user may read."""
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    user = _user()
    os.chown(data, user.pw_uid, user.pw_gid)


def create_argv(programs: Path, data: Path) -> tuple[str, ...]:
    """Make an empty cluster with the role ``neutron``."""
    return (
        "unshare",
        "--ipc",
        *_as_user(),
        str(programs / "initdb"),
        "-D",
        str(data),
        "-A",
        "trust",
        "--no-sync",
        "-U",
        "neutron",
    )


def server_argv(programs: Path, data: Path) -> tuple[str, ...]:
    """The server, with System V memory and semaphores of its own, which go with it however it ends."""
    settings = [f"--{name}={value}" for name, value in _SETTINGS.items()]
    return ("unshare", "--ipc", *_as_user(), str(programs / "postgres"), "-D", str(data), *settings)


def ready_argv(programs: Path) -> tuple[str, ...]:
    """Ends well when the server takes connections."""
    return (str(programs / "pg_isready"), "-q", *_ASKED)


def sql_argv(programs: Path, sql: str, database: str = "neutron") -> tuple[str, ...]:
    """Prints the rows of a statement, with tabs."""
    options = ("-qAtX", "-F", "\t", "-v", "ON_ERROR_STOP=1")
    return (str(programs / "psql"), *_ASKED, "-d", database, *options, "-c", sql)


def _user() -> pwd.struct_passwd:
    try:
        return pwd.getpwnam(_USER)
    except KeyError:
        raise NotFound(f"this machine has no user {_USER!r}, which Debian's package postgresql makes") from None


def _as_user() -> tuple[str, ...]:
    user = _user()
    return ("setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups")
