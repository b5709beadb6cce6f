"""``calico node install``: units, directories and a first configuration on a host, or below a staging directory."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import click
import msgspec

from calico.cli.node.layout import (
    CNI_UNITS,
    HOST_UNITS,
    PACKAGED_UNIT_DIR,
    PROGRAM,
    UNIT_DIR,
    UNIT_SOURCES,
    Item,
    items,
)
from calico.cli.options import data_output_option
from calico.cli.output.printing import print_data, print_table
from calico.errors import AlreadyExists, InvalidInput, Transient

__all__ = ["Done", "install", "install_tree"]

_ENVIRONMENT = """\
# Read by all daemons of this host. Parameters of Felix may stand here too (FELIX_...), see `calico felix config`.
NODENAME={node}
ETCD_ENDPOINTS=http://127.0.0.1:2379
"""


class Done(msgspec.Struct, frozen=True):
    """What became of one thing: made, updated, unchanged, or kept as it was found."""

    path: str
    what: str


@click.command()
@click.option("--root", default="/", show_default=True, help="Install below this directory; nothing is started then.")
@click.option("--node", help="Name of this host's Node. [default: host name]")
@click.option("--program", help="The calico to run. [default: this one]")
@click.option("--packaged", is_flag=True, help="As a package of the distribution has it: units in its directory.")
@click.option("--enable", is_flag=True, help="Have systemd start the services now and at each boot.")
@click.option("--cni", is_flag=True, help="With --enable: also the daemon that attaches containers.")
@data_output_option
def install(
    root: str, node: str | None, program: str | None, packaged: bool, enable: bool, cni: bool, output: str
) -> None:
    """Install the services of a host: systemd units, /etc/calico, /var/lib/calico, and /usr/bin/calico.

    Run it again after each upgrade: units are renewed, configuration is kept. Nothing is started without --enable.
    """
    if not Path(root).is_dir():
        raise InvalidInput("is no directory", subject="--root")
    staged = Path(root).resolve() != Path("/")
    if enable and staged:
        raise InvalidInput("services below another root cannot be started", subject="--enable")
    chosen = program or ("" if packaged else _this_program())
    if chosen and not os.path.isabs(chosen):
        raise InvalidInput("must be an absolute path", subject="--program")
    done = install_tree(Path(root), node or socket.gethostname().lower(), chosen, packaged=packaged)
    if not staged:
        _tell_systemd(enable, cni)
    if output != "table":
        print_data([msgspec.to_builtins(each) for each in done], output)
        return
    print_table(["PATH", "WHAT"], [(each.path, each.what) for each in done])
    if not enable and not staged:
        click.echo(f"next: look at /etc/calico, then: systemctl enable --now {' '.join(_enabled(cni))}")


def install_tree(root: Path, node: str, program: str, *, packaged: bool = False) -> list[Done]:
    """Put everything below ``root``. AlreadyExists when something else than ours is where the program should be."""
    unit_dir = PACKAGED_UNIT_DIR if packaged else UNIT_DIR
    done = []
    for item in items(unit_dir=unit_dir, link=bool(program) and program != PROGRAM):
        if not item.runtime:
            done.append(Done(item.path, _put(root, item, node, program)))
    return done


def _put(root: Path, item: Item, node: str, program: str) -> str:
    path = root / item.path.lstrip("/")
    try:
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        match item.kind:
            case "directory":
                return _directory(path, item)
            case "link":
                return _link(path, program)
            case "unit":
                return _write(path, (UNIT_SOURCES / path.name).read_text(), item.mode)
            case _ if path.exists():
                return "kept"
            case _:
                return _write(path, _ENVIRONMENT.format(node=node), item.mode)
    except OSError as error:
        raise Transient(f"{item.path} cannot be installed: {error}") from error


def _directory(path: Path, item: Item) -> str:
    """A directory that is there keeps its mode unless it is open to more than it should be."""
    if not path.exists():
        path.mkdir()
        path.chmod(item.mode)
        return "made"
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & ~item.mode:
        path.chmod(mode & item.mode)
        return "updated"
    return "unchanged"


def _link(path: Path, program: str) -> str:
    if path.is_symlink() or path.exists():
        if not path.is_symlink():
            raise AlreadyExists(
                f"{path} is there and is no link that install made; remove it, or give --program {path}"
            )
        if os.readlink(path) == program:
            return "unchanged"
        path.unlink()
        path.symlink_to(program)
        return "updated"
    path.symlink_to(program)
    return "made"


def _write(path: Path, text: str, mode: int) -> str:
    """A reader sees the old or the new file. What has the text already is left alone, but for its mode."""
    before = path.read_text() if path.exists() else None
    if before == text and stat.S_IMODE(path.stat().st_mode) == mode:
        return "unchanged"
    fresh = path.with_name(f".{path.name}.new")
    fresh.write_text(text)
    fresh.chmod(mode)
    os.replace(fresh, path)
    return "made" if before is None else "updated"


def _this_program() -> str:
    """The command beside this interpreter, which is how a wheel installs it."""
    beside = Path(sys.executable).with_name("calico")
    if not beside.exists():
        raise InvalidInput("there is no calico beside this Python; say which one to run", subject="--program")
    return str(beside)


def _enabled(cni: bool) -> list[str]:
    return [*HOST_UNITS, *(CNI_UNITS if cni else ())]


def _tell_systemd(enable: bool, cni: bool) -> None:
    """Units are read again; without a running systemd there is nobody to tell."""
    if not Path("/run/systemd/system").is_dir():
        if enable:
            raise Transient("systemd does not run here: nothing was enabled; all files are in place")
        return
    commands = [["systemctl", "daemon-reload"]]
    if enable:
        commands.append(["systemctl", "enable", "--now", *_enabled(cni)])
    for command in commands:
        with contextlib.suppress(FileNotFoundError):
            failed = subprocess.run(command, capture_output=True, text=True, check=False)
            if failed.returncode:
                raise Transient(f"{' '.join(command)}: {failed.stderr.strip()}")
