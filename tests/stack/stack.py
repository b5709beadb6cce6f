"""The whole control plane, started and ended as one; its parts can be stopped, killed and started again by tests."""

from __future__ import annotations

import json
import os
import random
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from calico.datastore.etcd.server import EtcdConfig, etcd_argv, find_etcd
from stack.client import ApiError, Neutron
from stack.configuration import Addresses, write_configuration
from stack.guard import Guard
from stack.mariadb import MariaDB, find_mariadb
from stack.postgres import Postgres, find_postgres
from stack.process import Process, until

__all__ = ["DATABASE", "ENVIRONMENT", "Stack", "free_port", "missing"]

_ROOT = Path(__file__).parents[2]
ENVIRONMENT = Path(os.environ.get("CALICO_OPENSTACK_ENVIRONMENT", _ROOT / ".venv-openstack"))
"""Where ``make openstack`` puts Neutron."""
DATABASE = os.environ.get("CALICO_TEST_DATABASE", "postgresql")
"""Which database the stack has: ``postgresql`` or ``mariadb``, of which the latter is not installed by ``make``."""
_WORKER_ALONE = any(ENVIRONMENT.glob("lib/*/site-packages/neutron-2[678].*.dist-info"))
"""Whether the driver's worker is a service of its own, because Neutron starts none."""
_GIVEN: set[int] = set()
_START_S = 240.0


def missing() -> str:
    """What keeps the stack from running here, with the fix; empty when nothing does."""
    if not (ENVIRONMENT / "bin/neutron-periodic-workers").exists():
        return "needs Neutron: make openstack"
    if DATABASE == "mariadb" and find_mariadb() is None:
        return "needs MariaDB: apt-get install mariadb-server"
    if DATABASE != "mariadb" and find_postgres() is None:
        return "needs PostgreSQL: make openstack"
    if shutil.which("etcd") is None or shutil.which("etcdctl") is None:
        return "needs etcd and etcdctl: make deps"
    return ""


def free_port() -> int:
    """A port of loopback that nobody listens on, and none that the kernel gives to outgoing connections."""
    while True:
        port = random.SystemRandom().randrange(15_000, 32_000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        if port not in _GIVEN:
            _GIVEN.add(port)
            return port


class Stack:
    """Servers with all they write under ``directory``.

    ``prefix`` is put before every server's command, for example ``("ip", "netns", "exec", "x")``; then ``addresses``
    must be given, and the API is called from inside the same namespace. ``settings`` are lines of the driver's section.
    ``workers`` and ``apis`` say how many processes of each there are.
    """

    def __init__(
        self,
        directory: Path,
        *,
        addresses: Addresses | None = None,
        prefix: Sequence[str] = (),
        mechanism: str = "calico",
        services: str = "calico_l3,calico_port_forwarding,qos,revisions",
        settings: str = "",
        apis: int = 1,
        workers: int = 1,
    ) -> None:
        self.directory, self.prefix = directory, tuple(prefix)
        self.addresses = addresses or Addresses(
            database=free_port(),
            etcd=free_port(),
            etcd_peer=free_port(),
            nova=free_port(),
            apis=tuple(free_port() for _ in range(apis)),
        )
        self._mechanism, self._services, self._settings = mechanism, services, settings
        directory.mkdir(parents=True, exist_ok=True)
        directory.chmod(0o711)  # PostgreSQL's user must reach its part
        kind = MariaDB if DATABASE == "mariadb" else Postgres
        self.database: MariaDB | Postgres = kind(directory, self.addresses.host, self.addresses.database, self.prefix)
        self.etcd = self._etcd()
        self._events = directory / "nova-events"
        self._guard: Guard | None = None
        nova = [sys.executable, str(Path(__file__).with_name("nova.py"))]
        self.nova = self._process("nova", [*nova, f"{self.addresses.host}:{self.addresses.nova}", str(self._events)])
        self._files = self._configure(directory / "state")
        self.apis = [self._api(number, port) for number, port in enumerate(self.addresses.apis)]
        self.workers = [self._worker(number) for number in range(workers)]

    # ---- as a whole

    def start(self, *, worker_says: str = "calico_worker_started") -> None:
        """Start everything, but of APIs and workers the first; they answer when this returns.

        ``worker_says`` is what a worker logs when it runs, with another driver than ours.
        """
        self._guard = Guard(self.directory)
        with ThreadPoolExecutor() as together:
            database = together.submit(self._make_database)
            self.etcd.start()
            self.nova.start()
            database.result()
        self.start_api(0)
        self.start_worker(0)
        self.wait_api(0)
        self.wait_worker(0, says=worker_says)

    def start_api(self, number: int) -> None:
        self.apis[number].start()

    def start_worker(self, number: int) -> None:
        self.workers[number].log.unlink(missing_ok=True)
        self.workers[number].start()

    def stop(self) -> None:
        """End everything."""
        for process in (*self.workers, *self.apis, self.nova, self.etcd):
            process.kill()
        self.database.stop()
        if self._guard is not None:
            self._guard.dismiss()
            self._guard = None

    def logs(self) -> str:
        """The ends of all logs, to be shown when something was awaited in vain."""
        return "\n".join(process.last_words() for process in (*self.apis, *self.workers, self.etcd))

    def until(self, what: str, holds: Callable[[], object], timeout_s: float = 60.0) -> Any:
        """The first true answer of ``holds``; AssertionError with the ends of all logs."""
        return until(what, holds, timeout_s, dump=self.logs)

    # ---- Neutron

    def client(self, project: str = "", *, api: int = 0, roles: str = "admin,member,reader,service") -> Neutron:
        """A caller of the API, by default with a project of its own and every right."""
        return Neutron(self.addresses.host, self.addresses.apis[api], project, roles)

    def wait_api(self, number: int = 0) -> None:
        """Until the API answers."""
        client = self.client("probe", api=number)

        def answers() -> bool:
            assert self.apis[number].running, f"API {number} has ended\n{self.apis[number].last_words()}"
            try:
                client.call("GET", "networks?limit=1")
            except (OSError, ApiError):
                return False
            return True

        self.until(f"API {number} answers", answers, _START_S)

    def wait_worker(self, number: int = 0, *, says: str = "calico_worker_started") -> None:
        """Until a worker says that it runs."""
        log = self.workers[number].log

        def runs() -> bool:
            assert self.workers[number].running, f"worker {number} has ended\n{self.workers[number].last_words()}"
            return log.exists() and says in log.read_text(errors="replace")

        self.until(f"worker {number} runs", runs, _START_S)

    def worker_pid(self, number: int = 0) -> int:
        """Process id of the driver's own worker among the children of ``neutron-periodic-workers``."""
        for pid in self.workers[number].children():
            if b"calico" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"(")[0]:
                return pid
        raise AssertionError(f"the driver's worker does not run\n{self.workers[number].last_words()}")

    def events(self) -> list[dict[str, str]]:
        """What Nova was told, in order."""
        if not self._events.exists():
            return []
        return [json.loads(line) for line in self._events.read_text().splitlines()]

    def journal(self) -> int:
        """Entries of the journal that are not drained."""
        return int(self.database.ask("SELECT count(*) FROM calico_journal")[0][0])

    def settle(self) -> None:
        """Until the journal is empty."""
        self.until("the journal is drained", lambda: self.journal() == 0)

    # ---- etcd, by its own tool

    def etcdctl(self, *arguments: str, stdin: str = "") -> str:
        """What etcdctl prints."""
        endpoint = f"--endpoints=http://{self.addresses.host}:{self.addresses.etcd}"
        argv = [*self.prefix, "etcdctl", endpoint, *arguments]
        environment = {**os.environ, "ETCDCTL_API": "3"}
        done = subprocess.run(argv, input=stdin, capture_output=True, text=True, check=False, env=environment)
        assert done.returncode == 0, f"etcdctl {arguments}: {done.stderr}"
        return done.stdout

    def stored(self, prefix: str) -> dict[str, Any]:
        """Documents below a prefix of keys, by the rest of the key."""
        lines = self.etcdctl("get", "--prefix", prefix).split("\n")
        return {
            key.removeprefix(prefix): json.loads(value)
            for key, value in zip(lines[::2], lines[1::2], strict=False)
            if key
        }

    def resources(self, plural: str, namespace: str = "openstack") -> dict[str, Any]:
        """Resources of a kind, by name."""
        return self.stored(f"/calico/resources/v3/projectcalico.org/{plural}/{namespace}/")

    def put(self, key: str, document: object, *, ttl_s: int = 0) -> None:
        """Write a document, leased when ``ttl_s`` is given."""
        lease = []
        if ttl_s:
            lease = [f"--lease={self.etcdctl('lease', 'grant', str(ttl_s)).split()[1]}"]
        self.etcdctl("put", *lease, key, json.dumps(document))

    # ---- parts

    def _process(self, name: str, argv: Sequence[str], **environment: str) -> Process:
        return Process(name, argv, self.directory / f"{name}.log", env=environment, prefix=self.prefix)

    def _etcd(self) -> Process:
        url = f"http://{self.addresses.host}:{{}}"
        config = EtcdConfig(
            name="stack",
            data_dir=self.directory / "etcd",
            client_url=url.format(self.addresses.etcd),
            peer_url=url.format(self.addresses.etcd_peer),
            unsafe_no_fsync=True,
            election_ms=200,
        )
        return self._process("etcd", etcd_argv(config, find_etcd()))

    def _configure(self, state: Path) -> tuple[Path, ...]:
        return write_configuration(
            self.directory,
            ENVIRONMENT,
            self.addresses,
            self.database.url,
            mechanism=self._mechanism,
            services=self._services,
            settings=self._settings,
            state=state,
        )

    def program(self, name: str, *arguments: str) -> list[str]:
        """The command line of a program of Neutron's environment with the stack's configuration."""
        files = [part for path in self._files for part in ("--config-file", str(path))]
        return [str(ENVIRONMENT / "bin" / name), *arguments, *files]

    def _api(self, number: int, port: int) -> Process:
        options = "--processes 1 --threads 4 --enable-threads --master --die-on-term --need-app --lazy-apps"
        argv = [str(ENVIRONMENT / "bin/uwsgi"), "--http-socket", f"{self.addresses.host}:{port}"]
        argv += ["--module", "neutron.wsgi.api:application", *options.split(), "--thunder-lock"]
        argv += ["--add-header", "Connection: close", "--buffer-size", "65535", "--pyhome", str(ENVIRONMENT)]
        return self._process(
            f"api-{number}",
            argv,
            OS_NEUTRON_CONFIG_DIR=f"{self.directory}/etc/",
            OS_NEUTRON_CONFIG_FILES=";".join(path.name for path in self._files),
        )

    def _worker(self, number: int) -> Process:
        argv = self.program("neutron-periodic-workers")
        if _WORKER_ALONE:  # started again when it ends, as by systemd
            again = 'while true; do "$@"; sleep 0.2; done'
            argv = ["sh", "-c", again, "sh", *self.program("calico", "openstack", "worker")]
        return self._process(f"workers-{number}", argv)

    def _make_database(self) -> None:
        self.database.start()
        if self.database.ask("SELECT 1 FROM information_schema.tables WHERE table_name = 'ports'"):
            return
        schema = str(Path(__file__).with_name("schema.py"))
        argv = [*self.prefix, *self.program("python", schema, self.database.url)]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{argv}: {done.stdout[-2000:]}{done.stderr[-4000:]}"
