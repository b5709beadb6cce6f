"""The command line against a real etcd on loopback."""

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from calico.datastore.embedded import EtcdConfig, EtcdProcess

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
