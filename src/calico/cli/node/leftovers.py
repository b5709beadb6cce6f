"""What of Calico is on a host besides its kernel state: processes, units, files, and its objects in the datastore.

Each function takes away what it finds (or with ``dry_run`` only tells of it) and can be called again.
"""

from __future__ import annotations

import asyncio
import json
import os
import select
import signal
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from calico.cli.node.layout import MEMBER_UNITS, UNITS
from calico.dataplane.removal import Item
from calico.datastore.api import Op
from calico.errors import CalicoError, NotFound, Transient
from calico.obs.statussocket import read_status

if TYPE_CHECKING:
    from calico.datastore.typed.store import Store

__all__ = [
    "end_bird",
    "end_daemons",
    "other_birds",
    "remove_files",
    "remove_node",
    "remove_units",
    "running",
    "strangers",
]

DAEMONS: Final = ("felix", "bgp")
_UNITS: Final = tuple(name for name in UNITS if name not in MEMBER_UNITS)
"""That of an etcd member stays: it holds the data of the cluster."""

_RUN_FILES: Final = (
    "felix.sock",
    "felix-flows.sock",
    "openstack-agent.sock",
    "endpoint-status",
    "bgp.sock",
    "cni.sock",
    "programmed.sock",
    "bird.conf",
    "bird.conf.new",
    "bird.ctl",
    "bird.pid",
    "bird.log",
    "bird.out",
    "settings-before.jsonl",
    "settings-before.jsonl.new",
)
_OTHERS_FIELDS: Final = frozenset({"datastore_type", "kubernetes", "etcd_endpoints", "kubeconfig"})
_STATE_FILES: Final = ("cni", "nodename", "mtu", "openstack")
_PATIENCE_S: Final = 20.0
_SYSTEMCTL_S: Final = 90


def running(run_dir: Path) -> dict[str, int]:
    """The daemons that answer here, and their process ids."""
    found = {}
    for name in DAEMONS:
        try:
            found[name] = int(read_status(run_dir / f"{name}.sock")["pid"])
        except (Transient, KeyError, ValueError):
            continue
    return found


def end_daemons(pids: dict[str, int]) -> list[Item]:
    """End them, by systemd if it keeps them; Transient when one does not end."""
    items = []
    if pids and _has_systemd():
        _systemctl("stop", *_UNITS)
    for name, pid in pids.items():
        try:
            pidfd = os.pidfd_open(pid)
        except ProcessLookupError:
            items.append(Item("process", f"calico {name} {pid}"))
            continue
        try:
            signal.pidfd_send_signal(pidfd, signal.SIGTERM)
            _await_end(pidfd, f"calico {name} (process {pid})")
        finally:
            os.close(pidfd)
        items.append(Item("process", f"calico {name} {pid}"))
    return items


def _await_end(pidfd: int, what: str) -> None:
    if not select.select([pidfd], [], [], _PATIENCE_S)[0]:
        raise Transient(f"{what} did not end within {_PATIENCE_S:g} s")


def end_bird(run_dir: Path, *, dry_run: bool) -> list[Item]:
    """The BIRD that the agent started: ended in order, so that it says goodbye to its neighbours, else killed."""
    from calico.bgp.bird.client import ControlClient
    from calico.bgp.bird.process import BirdFiles, adopt

    files = BirdFiles(run_dir)
    process = adopt(files)
    if process is None:
        return []
    item = Item("process", f"bird {process.pid}")
    try:
        if not dry_run:
            try:
                asyncio.run(ControlClient(files.control).ask("down"))
            except CalicoError:
                process.kill()
            pidfd = os.pidfd_open(process.pid)
            try:
                _await_end(pidfd, item.name)
            finally:
                os.close(pidfd)
    except ProcessLookupError:
        pass
    except CalicoError as error:
        return [Item(item.kind, item.name, str(error))]
    finally:
        process.close()
    return [item]


def other_birds(ours: Path) -> list[int]:
    """Processes named bird in this network namespace that are not of our files: their routes are theirs."""
    here = os.readlink("/proc/self/ns/net")
    found = []
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            is_bird = (directory / "comm").read_text().strip() in ("bird", "bird6")
            arguments = (directory / "cmdline").read_bytes().split(b"\0")
            if (
                is_bird
                and os.readlink(directory / "ns/net") == here
                and os.fsencode(ours / "bird.ctl") not in arguments
            ):
                found.append(int(directory.name))
        except OSError:
            continue
    return found


def remove_units(directory: Path, *, dry_run: bool) -> list[Item]:
    """Units of ours in the administrator's folder (those of a package are the package's), stopped first where systemd
    runs."""
    ours = [path for name in _UNITS if _is_ours(path := directory / name)]
    if not ours:
        return []
    items = []
    systemd = _has_systemd()
    for path in ours:
        fault = ""
        if not dry_run:
            if systemd:
                fault = _systemctl("disable", "--now", path.name)
            if not fault:
                fault = _removed(path)
        items.append(Item("unit", str(path), fault))
    if systemd and not dry_run:
        _systemctl("daemon-reload")
    return items


def _has_systemd() -> bool:
    return Path("/run/systemd/system").exists()


def _is_ours(path: Path) -> bool:
    try:
        text = "" if path.is_symlink() else path.read_text()
        return "/calico " in text or "Description=Calico " in text
    except (OSError, UnicodeDecodeError):
        return False


def _systemctl(*words: str) -> str:
    """What went wrong."""
    try:
        done = subprocess.run(
            ["systemctl", *words], capture_output=True, text=True, check=False, timeout=_SYSTEMCTL_S
        )  # as a person would: systemd has no smaller door
    except (OSError, subprocess.SubprocessError) as error:
        return str(error)
    return done.stderr.strip()[:200] if done.returncode else ""


def remove_files(
    run_dir: Path, state_dir: Path, cni_dirs: Iterable[Path], cni_conf_dir: Path, *, dry_run: bool
) -> list[Item]:
    """Sockets, records and the CNI plugin. A folder goes when nothing else is in it."""
    items = _in_folder("run file", run_dir, _RUN_FILES, dry_run=dry_run)
    items += _in_folder("state", state_dir, _STATE_FILES, dry_run=dry_run)
    for folder in cni_dirs:
        for name in ("calico", "calico-ipam"):
            if _is_plugin(folder / name):
                items.append(Item("CNI plugin", str(folder / name), "" if dry_run else _removed(folder / name)))
    for path in sorted(cni_conf_dir.glob("*.conflist")):
        if _is_network(path):
            items.append(Item("CNI network", str(path), "" if dry_run else _removed(path)))
    return items


def strangers(*folders: Path) -> list[str]:
    """What of somebody else is still in folders of ours."""
    return [str(path) for folder in folders if folder.is_dir() for path in sorted(folder.iterdir())]


def _in_folder(kind: str, folder: Path, names: Iterable[str], *, dry_run: bool) -> list[Item]:
    items = []
    for name in names:
        path = folder / name
        if path.exists() or path.is_symlink():
            items.append(Item(kind, str(path), "" if dry_run else _removed(path)))
    if not dry_run and folder.is_dir() and not any(folder.iterdir()):
        fault = _removed(folder)
        items.append(Item("folder", str(folder), fault))
    return items


def _removed(path: Path) -> str:
    """Remove a file or a folder; what went wrong."""
    try:
        if path.is_dir() and not path.is_symlink():
            for record in path.iterdir():
                record.unlink()  # a folder in it would be none of ours, and stays
            path.rmdir()
        else:
            path.unlink(missing_ok=True)
    except OSError as error:
        return str(error)
    return ""


def _is_plugin(path: Path) -> bool:
    """Ours, and not another Calico's of the same name: those are programs, ours is a script that names itself."""
    try:
        with path.open("rb") as file:
            head = file.read(65536)
    except OSError:
        return False
    return head.startswith(b"#!") and (b"calico cni" in head or b"cni call" in head or b"cni-daemon" in head)


def _is_network(path: Path) -> bool:
    """Ours, and not another Calico's, whose plugin must be told where its datastore is."""
    try:
        document = json.loads(path.read_text())
        ours = [plugin for plugin in document.get("plugins", []) if plugin.get("type") == "calico"]
        return bool(ours) and not any(_OTHERS_FIELDS & plugin.keys() for plugin in ours)
    except (OSError, ValueError, AttributeError):
        return False


async def remove_node(store: Store, node: str, *, dry_run: bool) -> list[Item]:
    """The Node with all that it owns (endpoints, addresses, peers), and what its daemons reported."""
    items = []
    try:
        await store.get("Node", node)
        if not dry_run:
            await store.delete("Node", node)
        items.append(Item("object", f"Node {node}"))
    except NotFound:
        pass
    regions = {key.split("/")[4] for key in await _keys(store, "/calico/felix/v2/") if f"/host/{node}/" in key}
    prefixes = [f"/calico/felix/v2/{region}/host/{node}/" for region in sorted(regions)]
    for prefix in [*prefixes, f"/calico/felix/v1/host/{node}/"]:
        keys = await _keys(store, prefix)
        if keys and not dry_run:
            for start in range(0, len(keys), 100):
                await store.backend.txn([Op(key) for key in keys[start : start + 100]])
        if keys:
            items.append(Item("report", f"{prefix} ({len(keys)} keys)"))
    return items


async def _keys(store: Store, prefix: str) -> list[str]:
    return [item.key for item in (await store.backend.list(prefix)).items]
