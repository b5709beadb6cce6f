"""A real etcd server as a child process: for the lab, for functional tests and for single-machine use.

It owns the child and nothing else: the data directory, the addresses and the network namespace are the caller's.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from calico.datastore.etcd.backend import EtcdBackend
from calico.datastore.etcd.channel import TLSFiles
from calico.errors import InvalidInput, Transient

__all__ = ["EtcdConfig", "EtcdProcess", "etcd_argv", "find_etcd"]

_STOP_TIMEOUT_S = 10.0


class EtcdConfig(msgspec.Struct, frozen=True, kw_only=True):
    """One member.

    ``cluster`` maps every member's name to its peer URL; empty means a cluster of this one. ``tls`` secures the client
    side and asks clients for a certificate of ``tls.ca``; ``peer_tls`` does so between members. ``unsafe_no_fsync``
    gives up durability, for tests alone. A single member takes about ``election_ms`` to start; the heartbeat is a tenth
    of it. ``also_listen`` are client URLs beside the one that is told to others. ``argv_prefix`` runs the server
    somewhere else, for example ``("nsenter", "--net=/run/netns/x")``.
    """

    name: str
    data_dir: Path
    client_url: str
    peer_url: str
    also_listen: tuple[str, ...] = ()
    cluster: Mapping[str, str] = {}
    token: str = "calico"
    existing: bool = False
    tls: TLSFiles | None = None
    peer_tls: TLSFiles | None = None
    unsafe_no_fsync: bool = False
    election_ms: int = 1000
    quota_bytes: int = 4 * 1024**3
    auto_compaction_retention: str = "10m"
    argv_prefix: tuple[str, ...] = ()
    extra_args: tuple[str, ...] = ()


def find_etcd() -> str:
    """The path of the etcd server; InvalidInput when it is not installed."""
    path = shutil.which("etcd")
    if path is None:
        raise InvalidInput("the etcd server is not installed (Debian: etcd-server)")
    return path


def etcd_argv(config: EtcdConfig, binary: str) -> list[str]:
    """The command line. Values and why: docs of the datastore; ``--pre-vote`` is the default only from 3.5 on."""
    cluster = config.cluster or {config.name: config.peer_url}
    flags = {
        "name": config.name,
        "data-dir": str(config.data_dir),
        "listen-client-urls": ",".join((config.client_url, *config.also_listen)),
        "advertise-client-urls": config.client_url,
        "listen-peer-urls": config.peer_url,
        "initial-advertise-peer-urls": config.peer_url,
        "initial-cluster": ",".join(f"{name}={url}" for name, url in cluster.items()),
        "initial-cluster-token": config.token,
        "initial-cluster-state": "existing" if config.existing else "new",
        "heartbeat-interval": str(config.election_ms // 10),
        "election-timeout": str(config.election_ms),
        "auto-compaction-mode": "periodic",
        "auto-compaction-retention": config.auto_compaction_retention,
        "quota-backend-bytes": str(config.quota_bytes),
        "snapshot-count": "10000",
        "max-txn-ops": "128",
        "max-request-bytes": "1572864",
        "experimental-watch-progress-notify-interval": "30s",
    }
    argv = [*config.argv_prefix, binary, *(f"--{flag}={value}" for flag, value in flags.items()), "--pre-vote"]
    if config.unsafe_no_fsync:
        argv.append("--unsafe-no-fsync")
    peer = _tls_args(config.peer_tls, "peer-", "--peer-client-cert-auth")
    return [*argv, *_tls_args(config.tls, "", "--client-cert-auth"), *peer, *config.extra_args]


def _tls_args(tls: TLSFiles | None, side: str, ask: str) -> list[str]:
    if tls is None:
        return []
    if any(isinstance(part, bytes) for part in (tls.ca, tls.cert, tls.key)):
        raise InvalidInput("a server needs its certificates in files")
    args = [f"--{side}cert-file={tls.cert!s}", f"--{side}key-file={tls.key!s}"]
    return [*args, f"--{side}trusted-ca-file={tls.ca!s}", ask] if tls.ca else args


class EtcdProcess:
    """A member that can be started, stopped, killed and started again on the same data."""

    def __init__(self, config: EtcdConfig, *, log_path: Path | None = None, binary: str = "") -> None:
        self.config = config
        self._binary = binary
        self._log_path = log_path or config.data_dir.with_suffix(".log")
        self._process: asyncio.subprocess.Process | None = None

    @property
    def endpoints(self) -> Sequence[str]:
        """What to give to ``EtcdBackend``."""
        return [self.config.client_url]

    @property
    def pid(self) -> int | None:
        """Process id while it runs."""
        running = self._process is not None and self._process.returncode is None
        return self._process.pid if running and self._process is not None else None

    async def start(self) -> None:
        """Start the server; it may not answer yet (see ``wait_ready``)."""
        self.config.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        argv = etcd_argv(self.config, self._binary or find_etcd())
        with self._log_path.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(*argv, stdout=log, stderr=log)

    async def wait_ready(self, timeout: float = 20.0) -> None:
        """Return once the server answers a linearizable read; Transient with its last words when it does not.

        Only for a server whose address can be reached from here (not inside another network namespace).
        """
        backend = EtcdBackend(self.endpoints, tls=self.config.tls)
        try:
            await backend.wait_ready(timeout)
        except Transient as err:
            raise Transient(f"{err}; its log ends with: {self.last_words()}") from err
        finally:
            await backend.close()

    async def stop(self, sig: signal.Signals = signal.SIGTERM) -> None:
        """End the server with ``sig`` and wait; SIGKILL when it does not end within 10 s."""
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(sig)
        try:
            async with asyncio.timeout(_STOP_TIMEOUT_S):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()

    async def kill(self) -> None:
        """End the server as a power cut would."""
        await self.stop(signal.SIGKILL)

    async def pause(self) -> None:
        """Stop the server as a wedged member would be; returns when none of its threads runs any more."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGSTOP)
        tasks = Path(f"/proc/{self._process.pid}/task")
        while any(_state(task) != "T" for task in tasks.iterdir()):  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.005)

    def last_words(self, lines: int = 3) -> str:
        """The end of the server's log."""
        try:
            return " | ".join(self._log_path.read_text(errors="replace").splitlines()[-lines:])
        except OSError:
            return "(no log)"


def _state(task: Path) -> str:
    """Of a thread, as in proc(5); T is stopped. One that has ended meanwhile counts as stopped."""
    try:
        return (task / "stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return "T"
