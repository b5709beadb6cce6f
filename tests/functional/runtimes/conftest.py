"""Real callers of CNI plugins on a host that is a network namespace."""

from __future__ import annotations

import itertools
import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from functional.bgp.conftest import Fabric
from functional.runtimes.cluster import Cluster
from functional.runtimes.containerd_runtime import Containerd
from functional.runtimes.images import docker_archive
from functional.runtimes.podman_runtime import Podman
from functional.runtimes.privileges import what_is_missing
from functional.runtimes.site import Site

_serial = itertools.count()


@pytest.fixture(scope="session", autouse=True)
def able_to_run_containers(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Skips where the machine refuses what every container needs, and says what that is."""
    if missing := what_is_missing(tmp_path_factory.mktemp("privileges")):
        pytest.skip(missing)


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The images of the tests."""
    path = tmp_path_factory.mktemp("images") / "images.tar"
    docker_archive(path)
    return path


@pytest.fixture
def site() -> Iterator[Site]:
    """A host of its own for one test."""
    with tempfile.TemporaryDirectory(prefix="crt", ignore_cleanup_errors=True) as directory, ExitStack() as stack:
        made = Site(Path(directory), f"crt{os.getpid() % 100000}-{next(_serial)}", make_netns=True)
        stack.callback(made.close)
        yield made


@pytest.fixture
def containerd(site: Site, archive: Path) -> Iterator[Containerd]:
    """containerd on the host, not started."""
    made = Containerd(site, archive)
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def podman(site: Site, archive: Path) -> Iterator[Podman]:
    """podman on the host."""
    made = Podman(site, archive)
    try:
        yield made
    finally:
        made.close()


@pytest.fixture(scope="session")
def running_cluster(archive: Path) -> Iterator[Cluster]:
    """Two hosts that most tests share."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that a run cut short cleans up as well
    with tempfile.TemporaryDirectory(prefix="crt", ignore_cleanup_errors=True) as directory:
        made = Cluster(Fabric(Path(directory)), archive)
        try:
            yield made
        finally:
            made.close()


@pytest.fixture
def cluster(running_cluster: Cluster) -> Iterator[Cluster]:
    """The shared hosts; whatever the test did, nothing of it may be left when its containers are gone."""
    running_cluster.start_again()
    try:
        yield running_cluster
    finally:
        running_cluster.clear()
    running_cluster.nothing_is_left()
