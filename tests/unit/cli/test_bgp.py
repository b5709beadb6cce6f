"""``calico bgp`` and its subcommands as far as no BIRD is needed."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from calico.cli.daemons import bgp
from calico.errors import Transient


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
