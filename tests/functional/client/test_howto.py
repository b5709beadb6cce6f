"""The examples of the how-to for Python run as they stand, on a real etcd."""

from __future__ import annotations

import asyncio
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from calico.datastore.etcd.server import EtcdConfig, EtcdProcess

pytestmark = pytest.mark.etcd

PAGE = Path(__file__).resolve().parents[3] / "docs" / "howto" / "python.md"


def free_url() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


def test_every_example_runs_as_it_stands(tmp_path: Path) -> None:
    program = tmp_path / "examples.py"
    examples = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert len(examples) >= 7
    program.write_text("\n".join(examples))
    urls = {"client_url": free_url(), "peer_url": free_url()}
    config = EtcdConfig(name="howto", data_dir=tmp_path / "etcd", unsafe_no_fsync=True, **urls)
    with asyncio.Runner() as runner:
        server = EtcdProcess(config)
        try:
            runner.run(server.start())
            runner.run(server.wait_ready())
            done = subprocess.run(
                [sys.executable, "-W", "error", str(program)],
                env={**os.environ, "ETCD_ENDPOINTS": config.client_url},
                capture_output=True,
                text=True,
                check=False,
                timeout=100,
            )
        finally:
            runner.run(server.kill())
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "blocked ('192.0.2.0/24',)",
        "somebody was faster: GlobalNetworkSet blocked is at resourceVersion 6, not 5",
        "GlobalNetworkSet blocked metadata.labels {'owner': 'network', 'role': 'blocked'} -> None",
        "GlobalNetworkSet blocked spec.nets ['192.0.2.0/24', '203.0.113.0/24'] -> None",
        "ADDED blocked 6",
        "['blocked']",
        "ADDED offices",
    ]
