from __future__ import annotations

import contextlib
import shutil
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from calico.datastore.etcd.backend import EtcdBackend
from calico.datastore.etcd.server import EtcdConfig, EtcdProcess
from calico.datastore.memory import MemoryBackend


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.asynccontextmanager
async def _etcd(directory: Path) -> AsyncIterator[EtcdProcess]:
    if shutil.which("etcd") is None:
        pytest.skip("the etcd server is not installed")
    config = EtcdConfig(
        name="solo",
        data_dir=directory / "etcd",
        client_url=f"http://127.0.0.1:{_free_port()}",
        peer_url=f"http://127.0.0.1:{_free_port()}",
        unsafe_no_fsync=True,
        election_ms=100,
    )
    server = EtcdProcess(config)
    try:
        await server.start()
        await server.wait_ready()
        yield server
    finally:
        await server.kill()


@pytest.fixture
async def etcd_server(tmp_path: Path) -> AsyncIterator[EtcdProcess]:
    """A single etcd on loopback with its data under tmp_path."""
    async with _etcd(tmp_path) as server:
        yield server


@pytest.fixture(params=["memory", pytest.param("etcd", marks=pytest.mark.etcd)])
async def backend(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[MemoryBackend | EtcdBackend]:
    """A fresh empty store of either kind."""
    if request.param == "memory":
        yield MemoryBackend()
        return
    async with _etcd(tmp_path) as server:
        etcd = EtcdBackend(server.endpoints, page_keys=500)
        yield etcd
        await etcd.close()
