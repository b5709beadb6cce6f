"""``calico node diags``: one file with what somebody needs who shall find out what is wrong with this host.

Secrets are not collected: settings are shown by what they are known to be, never as files; passwords of BGP sessions
are left out of BIRD's configuration statement by statement.
"""

from __future__ import annotations

import io
import json
import os
import platform
import socket
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import click

from calico import __version__
from calico.cli.options import config_option
from calico.cli.output.printing import print_table
from calico.errors import CalicoError, Transient

__all__ = ["diags"]

_COMMAND_TIMEOUT_S = 30
_COMMANDS: dict[str, tuple[str, ...]] = {
    "nft-ruleset.txt": ("nft", "-a", "list", "ruleset"),
    "links.txt": ("ip", "-d", "-s", "link"),
    "addresses.txt": ("ip", "address"),
    "routes-ipv4.txt": ("ip", "-4", "route", "show", "table", "all"),
    "routes-ipv6.txt": ("ip", "-6", "route", "show", "table", "all"),
    "rules-ipv4.txt": ("ip", "-4", "rule"),
    "rules-ipv6.txt": ("ip", "-6", "rule"),
    "neighbours.txt": ("ip", "neighbour"),
    "qdiscs.txt": ("tc", "-s", "qdisc"),
    "sockets.txt": ("ss", "-tunlp"),
    "log-felix.txt": ("journalctl", "--no-pager", "-n", "5000", "-u", "calico-felix"),
    "log-bgp.txt": ("journalctl", "--no-pager", "-n", "5000", "-u", "calico-bgp"),
}
_BIRD_COMMANDS = ("show status", "show protocols all", "show route all")
_SHOWN_VARIABLES = (
    "NODENAME",
    "HOSTNAME",
    "CALICO_RUN_DIR",
    "CALICO_LOG_FILE",
    "CALICO_LOG_LEVEL",
    "CALICO_ETCD_ENDPOINTS",
    "ETCD_ENDPOINTS",
    "CALICO_ETCD_CORE",
)
"""Environment whose values are told; of everything else only that it is set."""
_SYSCTLS = ("net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding", "net/netfilter/nf_conntrack_max")


@click.command()
@click.option("--log-dir", type=click.Path(), default=".", show_default=True, help="Directory for the file.")
@click.option(
    "--run-dir", envvar="CALICO_RUN_DIR", default="/var/run/calico", show_default=True, help="Where the sockets are."
)
@config_option
def diags(log_dir: str, run_dir: str, config: str | None) -> None:
    """Collect this host's ruleset, routes, BIRD, status, conditions, settings and versions in one file (0600).

    What cannot be had is named and left out. No secrets are collected.
    """
    collected: dict[str, str] = {}
    rows = []
    for name, collect in _sources(Path(run_dir), config).items():
        try:
            collected[name] = collect()
            rows.append([name, "ok", f"{len(collected[name])} characters"])
        except (CalicoError, OSError, subprocess.SubprocessError) as error:
            rows.append([name, "missing", str(error)])
    missing = "".join(f"{name}: {reason}\n" for name, state, reason in rows if state == "missing")
    path = _write(Path(log_dir), {**collected, "missing.txt": missing})
    print_table(["WHAT", "STATE", "REMARK"], rows)
    click.echo(f"\nWritten to {path}")


def _sources(run_dir: Path, config: str | None) -> dict[str, Callable[[], str]]:
    return {
        "versions.json": _versions,
        "settings.json": lambda: _settings(config),
        "status-felix.json": lambda: _status(run_dir / "felix.sock"),
        "status-bgp.json": lambda: _status(run_dir / "bgp.sock"),
        "bird.txt": lambda: _bird(run_dir / "bird.ctl"),
        "bird.conf": lambda: _without_passwords((run_dir / "bird.conf").read_text()),
        "sysctls.txt": _sysctls,
        **{name: _output_of(argv) for name, argv in _COMMANDS.items()},
    }


def _versions() -> str:
    libraries = {name: version(name) for name in ("grpcio", "protobuf", "msgspec", "click")}
    document = {
        "calico": __version__,
        "kernel": platform.release(),
        "machine": platform.machine(),
        "python": sys.version.split()[0],
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        **libraries,
    }
    return json.dumps(document, indent=2)


def _settings(config: str | None) -> str:
    """What is known not to be secret; of everything else that it is there."""
    from calico.datastore.connection import load_connection

    connection = load_connection(config)
    environment = {
        name: value if name in _SHOWN_VARIABLES else "(set)"
        for name, value in sorted(os.environ.items())
        if name.startswith(("CALICO_", "ETCD_", "FELIX_")) or name in _SHOWN_VARIABLES
    }
    datastore = {
        "endpoints": list(connection.endpoints),
        "username": connection.username,
        "password": "(set)" if connection.password or connection.password_file else "",
        "tlsFiles": [
            part if isinstance(part, str) else "(inline)"
            for part in (connection.ca, connection.cert, connection.key)
            if part
        ],
    }
    return json.dumps({"datastore": datastore, "environment": environment}, indent=2)


def _status(path: Path) -> str:
    from calico.obs.statussocket import read_status

    return json.dumps(read_status(path), indent=2)


def _bird(path: Path) -> str:
    import asyncio

    from calico.bgp.bird.client import ControlClient

    if not path.exists():
        raise Transient(f"no BIRD answers at {path}")
    replies = asyncio.run(ControlClient(path).ask_read_only(*_BIRD_COMMANDS))
    return "\n".join(f"# {command}\n{reply.text}" for command, reply in zip(_BIRD_COMMANDS, replies, strict=False))


def _without_passwords(text: str) -> str:
    """BIRD's configuration without the statements that hold a password; the agent writes one statement a line."""
    kept = [line if line.split()[:1] != ["password"] else "  # a password was here" for line in text.splitlines()]
    return "\n".join(kept) + "\n"


def _sysctls() -> str:
    return "".join(
        f"{name} = {Path('/proc/sys', name).read_text()}" for name in _SYSCTLS if Path("/proc/sys", name).exists()
    )


def _output_of(argv: tuple[str, ...]) -> Callable[[], str]:
    def collect() -> str:
        environment = {**os.environ, "PATH": os.environ.get("PATH", "") + ":/usr/sbin:/sbin", "LC_ALL": "C"}
        done = subprocess.run(
            argv,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=_COMMAND_TIMEOUT_S,
            env=environment,
        )
        if done.returncode:
            raise Transient(f"{argv[0]} ended with {done.returncode}: {done.stderr.strip()[:200]}")
        return done.stdout

    return collect


def _write(directory: Path, files: dict[str, str]) -> Path:
    stem = f"calico-diags-{socket.gethostname()}-{time.strftime('%Y%m%d-%H%M%S')}"
    path = directory / f"{stem}.tar.gz"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as raw, tarfile.open(fileobj=raw, mode="w:gz") as bundle:
        for name, text in files.items():
            data = text.encode()
            entry = tarfile.TarInfo(f"{stem}/{name}")
            entry.size, entry.mtime, entry.mode = len(data), int(time.time()), 0o600
            bundle.addfile(entry, io.BytesIO(data))
    return path
