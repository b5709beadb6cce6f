"""Which Node a host takes itself for."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from calico.cli.thisnode import VARIABLES, this_node


def test_a_node_is_what_is_said_then_the_environments_then_the_files_then_the_hosts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    file = tmp_path / "nodename"
    assert this_node(file=file) == socket.gethostname().lower()
    file.write_text("stored\n")
    assert this_node(file=file) == "stored"
    for name in reversed(VARIABLES):
        monkeypatch.setenv(name, f"of-{name}")
        assert this_node(file=file) == f"of-{name}"
    assert this_node("said", file) == "said"
