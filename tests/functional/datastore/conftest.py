from __future__ import annotations

import logging
import shutil
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from calico.datastore.embedded import EtcdConfig, EtcdProcess

StartEtcd = Callable[..., Awaitable[EtcdProcess]]


@pytest.fixture(autouse=True, scope="module")
def _quiet_log() -> Iterator[None]:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.reset_defaults()


@pytest.fixture
def free_port() -> Callable[[], int]:
    def find() -> int:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            return int(probe.getsockname()[1])

    return find


@pytest.fixture
async def start_etcd(tmp_path: Path, free_port: Callable[[], int]) -> AsyncIterator[StartEtcd]:
    """Starts single etcd servers on loopback, with data under tmp_path; all are killed at the end."""
    if shutil.which("etcd") is None:
        pytest.skip("the etcd server is not installed")
    started: list[EtcdProcess] = []

    async def start(name: str = "solo", *, wait: bool = True, **options: Any) -> EtcdProcess:
        scheme = "https" if options.get("tls") else "http"
        options.setdefault("client_url", f"{scheme}://127.0.0.1:{free_port()}")
        options.setdefault("peer_url", f"http://127.0.0.1:{free_port()}")
        options.setdefault("data_dir", tmp_path / name)
        server = EtcdProcess(EtcdConfig(name=name, unsafe_no_fsync=True, election_ms=200, **options))
        started.append(server)
        await server.start()
        if wait:
            await server.wait_ready()
        return server

    yield start
    for server in started:
        await server.kill()
