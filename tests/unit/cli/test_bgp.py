"""``calico bgp`` and its subcommands as far as no BIRD is needed."""

from __future__ import annotations

import json
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from calico.cli.daemons import bgp
from calico.errors import Transient

RECORDED = Path(__file__).parent.parent / "bgp" / "recorded"
STATUS = """\
1000-BIRD 2.0.12
1011-Router ID is 10.99.0.1
 Last reboot on 2026-11-26 02:04:31.834
 Last reconfiguration on 2026-11-26 02:05:31.834
0013 Daemon is up and running
"""
AGENT = {
    "ready": True,
    "not_ready": "",
    "sessions": [{"name": "Node_10_99_0_9", "info": "the passwords differ"}, {"name": "Mesh_fd99__2", "info": ""}],
    "conditions": [{"severity": "error", "code": "bgp-x", "object": "BGPPeer \x1b[31m", "message": "wrong"}],
}


def _serve(path: Path, talk: Callable[[socket.socket], None]) -> socket.socket:
    """Talk to whoever connects, until the socket is closed."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()

    def run() -> None:
        while True:
            try:
                caller, _ = listener.accept()
            except OSError:
                return
            with caller:
                talk(caller)

    threading.Thread(target=run, daemon=True).start()
    return listener


def _bird(caller: socket.socket) -> None:
    """Says what BIRD said when it was recorded."""
    answers = {
        "restrict": "0016 Access restricted\n",
        "show status": STATUS,
        "show protocols all": (RECORDED / "2.0.12" / "disabled-session.txt").read_text(),
    }
    caller.sendall(b"0001 BIRD 2.0.12 ready.\n")
    while command := caller.recv(4096).decode().strip():
        caller.sendall(answers[command].encode())


@pytest.fixture
def run_dir() -> Iterator[Path]:
    """The directory of an agent and a BIRD that have both been recorded."""
    with tempfile.TemporaryDirectory(prefix="cli") as name:  # short: socket paths are limited to 107 bytes
        directory = Path(name)
        sockets = [
            _serve(directory / "bird.ctl", _bird),
            _serve(directory / "bgp.sock", lambda caller: caller.sendall(json.dumps(AGENT).encode())),
        ]
        yield directory
        for item in sockets:
            item.shutdown(socket.SHUT_RDWR)
            item.close()


def _say(*arguments: str, code: int = 0) -> str:
    done = CliRunner().invoke(bgp, arguments)
    assert done.exit_code == code, done.output
    return done.output


def test_status_counts_sessions_and_shows_conditions_without_driving_the_terminal(run_dir: Path) -> None:
    lines = [line.split() for line in _say("status", "--run-dir", str(run_dir), code=1).splitlines()]
    assert ["BIRD", "2.0.12,", "Daemon", "is", "up", "and", "running"] in lines
    assert ["Running", "since", "2026-11-26", "02:04:31.834"] in lines
    assert ["Reconfigured", "2026-11-26", "02:05:31.834"] in lines
    assert ["Sessions", "2", "of", "3", "up"] in lines
    assert ["Ready", "yes"] in lines
    assert ["error", "bgp-x", "BGPPeer", "\\x1b[31m", "wrong"] in lines


def test_peers_are_a_table_with_what_the_agent_suspects(run_dir: Path) -> None:
    head, *rows = (line.split("  ") for line in _say("peers", "--run-dir", str(run_dir)).splitlines())
    cells = [[cell.strip() for cell in row if cell.strip()] for row in rows]
    assert [cell.strip() for cell in head if cell.strip()][-5:] == [
        "IMPORTED",
        "FILTERED",
        "EXPORTED",
        "LAST ERROR",
        "WHY DOWN",
    ]
    assert cells[1] == ["Mesh_fd99__2", "fd99::2", "64512", "6", "Established", *cells[1][5:6], "0", "0", "1"]
    assert cells[2][0] == "Node_10_99_0_9"
    assert cells[2][-1] == "the passwords differ"


def test_json_and_yaml_hold_the_same(run_dir: Path) -> None:
    import yaml

    told: list[Any] = []
    for output, parse in (("json", json.loads), ("yaml", yaml.safe_load)):
        told.append(parse(_say("peers", "--run-dir", str(run_dir), "-o", output)))
    assert told[0] == told[1]
    assert [row["as"] for row in told[0]] == [64512, 64512, 65009]


@pytest.mark.parametrize("arguments", [["status"], ["peers"], ["routes"], ["why", "10.65.1.1"]])
def test_without_a_socket_it_is_named_with_what_to_do(tmp_path: Path, arguments: list[str]) -> None:
    done = CliRunner().invoke(bgp, [*arguments, "--run-dir", str(tmp_path)])
    assert done.exit_code == 1
    assert isinstance(done.exception, Transient)
    assert str(tmp_path / "bird.ctl") in str(done.exception)
    assert "start `calico bgp` on this host" in str(done.exception)


def test_a_socket_that_cannot_be_looked_at_is_named_with_the_reason(tmp_path: Path) -> None:
    done = CliRunner().invoke(bgp, ["peers", "--run-dir", str(tmp_path / ("x" * 300))])
    assert isinstance(done.exception, Transient)
    assert str(done.exception).endswith("bird.ctl cannot be reached: File name too long")


@pytest.mark.parametrize("command", ["why", "routes"])
@pytest.mark.parametrize("prefix", ["10.65.1.1/24", "nowhere", "10.65.0.0/16 all", "fe80::1%eth0"])
def test_what_is_no_prefix_is_wrong_usage(tmp_path: Path, command: str, prefix: str) -> None:
    done = CliRunner().invoke(bgp, [command, prefix, "--run-dir", str(tmp_path)])
    assert done.exit_code == 2
    assert "is not a prefix" in done.output


def test_the_directory_of_sockets_is_taken_from_the_command_then_the_group_then_the_environment(tmp_path: Path) -> None:
    last, group, own = (str(tmp_path / name) for name in ("environment", "group", "own"))
    runner, environment = CliRunner(), {"CALICO_RUN_DIR": last}
    for arguments, directory in (
        (["--run-dir", group, "peers", "--run-dir", own], own),
        (["--run-dir", group, "peers"], group),
        (["peers"], last),
    ):
        done = runner.invoke(bgp, arguments, env=environment)
        assert f"{directory}/bird.ctl" in str(done.exception)


def test_an_unknown_subcommand_starts_no_daemon() -> None:
    done = CliRunner().invoke(bgp, ["dance"])
    assert (done.exit_code, "No such command 'dance'" in done.output) == (2, True)
