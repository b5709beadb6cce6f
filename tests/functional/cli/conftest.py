"""The command line against a real etcd on loopback."""

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from calico.datastore.api import Op
from calico.datastore.etcd.backend import EtcdBackend
from calico.datastore.etcd.server import EtcdConfig, EtcdProcess
from calico.datastore.lease import put_with_ttl

Run = Callable[..., subprocess.CompletedProcess[str]]


def _free_url() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


@pytest.fixture(scope="module")
def etcd_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    directory = tmp_path_factory.mktemp("etcd")
    config = EtcdConfig(
        name="cli", data_dir=directory, client_url=_free_url(), peer_url=_free_url(), unsafe_no_fsync=True
    )
    with asyncio.Runner() as runner:
        server = EtcdProcess(config)
        try:
            runner.run(server.start())
            runner.run(server.wait_ready())
            yield config.client_url
        finally:
            runner.run(server.kill())


@pytest.fixture
def calico(etcd_url: str, tmp_path: Path) -> Run:
    """Run ``calico`` with arguments; text for its standard input may be given."""
    environment = {**os.environ, "ETCD_ENDPOINTS": etcd_url}

    def run(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "calico", *arguments]
        return subprocess.run(
            command, input=stdin, capture_output=True, text=True, env=environment, cwd=tmp_path, check=False, timeout=60
        )

    return run


class Store:
    """An etcd of its own, with the command line and raw keys on it."""

    def __init__(self, runner: asyncio.Runner, directory: Path, name: str) -> None:
        self._runner, self.directory = runner, directory
        config = EtcdConfig(
            name=name,
            data_dir=directory / name,
            client_url=_free_url(),
            peer_url=_free_url(),
            unsafe_no_fsync=True,
            election_ms=200,
        )
        self.server = EtcdProcess(config)
        self.url = config.client_url

    def start(self) -> None:
        self._runner.run(self.server.start())
        self._runner.run(self.server.wait_ready())

    def stop(self) -> None:
        self._runner.run(self.server.kill())

    def calico(self, *arguments: str, stdin: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "calico", *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            env={**os.environ, "ETCD_ENDPOINTS": self.url, **environment},
            cwd=self.directory,
            check=False,
            timeout=60,
        )

    def ok(self, *arguments: str, stdin: str = "", **environment: str) -> str:
        done = self.calico(*arguments, stdin=stdin, **environment)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def put(self, values: dict[str, bytes]) -> None:
        async def work(backend: EtcdBackend) -> None:
            await backend.txn([Op(key, value) for key, value in values.items()])

        self._with(work)

    def remove(self, key: str) -> None:
        self._with(lambda backend: backend.txn([Op(key)]))

    def lease(self, key: str) -> None:
        self._with(lambda backend: put_with_ttl(backend, key, b"{}", 600))

    def all(self) -> dict[str, bytes]:
        found: Any = self._with(lambda backend: backend.list("/calico/"))
        return {kv.key: kv.value for kv in found.items}

    def _with(self, work: Callable[[EtcdBackend], Any]) -> Any:
        async def run() -> Any:
            backend = EtcdBackend([self.url])
            try:
                return await work(backend)
            finally:
                await backend.close()

        return self._runner.run(run())


@pytest.fixture
def new_store(tmp_path: Path) -> Iterator[Callable[[str], Store]]:
    made: list[Store] = []
    with asyncio.Runner() as runner:

        def make(name: str) -> Store:
            made.append(Store(runner, tmp_path, name))
            made[-1].start()
            return made[-1]

        try:
            yield make
        finally:
            for store in made:
                store.stop()
