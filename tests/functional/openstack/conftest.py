"""One control plane for all tests here: two APIs and two workers. Each test has a project and hosts of its own."""

from __future__ import annotations

import itertools
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from functional.openstack.cloud import Cloud
from stack.stack import Stack, free_port, missing

_NETS = itertools.count()
_SETTINGS = """\
election_ttl_s = 4
agent_report_interval_s = 1
audit_interval_s = 3600
isolation = network+router
subnet_pools = true
"""


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    reason = missing()
    if reason:
        pytest.skip(reason)
    directory = Path(tempfile.mkdtemp(prefix="calico-stack-"))
    settings = f"{_SETTINGS}metrics_address = 127.0.0.1:{free_port()}\n"
    running = Stack(directory, settings=settings, apis=2, workers=2)
    try:
        running.start()
        yield running
    finally:
        running.stop()
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def cloud(stack: Stack) -> Cloud:
    """The stack as a project sees it."""
    return Cloud(stack, next(_NETS))
