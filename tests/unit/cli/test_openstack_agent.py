"""Options of ``calico openstack agent`` that cannot work are named before anything is started."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from calico.cli.main import cli
from calico.errors import InvalidInput


@pytest.mark.parametrize(
    ("options", "field"),
    [
        (["--metadata-url", "http://nova:8775"], "--metadata-secret-file"),
        (["--metadata-url", "nova", "--metadata-secret-file", "{secret}"], "--metadata-url"),
        (["--metadata-url", "http://nova", "--metadata-secret-file", "{empty}"], "--metadata-secret-file"),
        (["--metadata-url", "http://nova", "--metadata-secret-file", "/nowhere"], "--metadata-secret-file"),
        (["--metadata-url", "http://n", "--metadata-secret-file", "{secret}", "--metadata-listen", "8775"],
         "--metadata-listen"),
        (["--health", "localhost"], "--health"),
        (["--metrics", "localhost:70000"], "--metrics"),
        (["--lease-time", "5"], "--lease-time"),
        (["--dns-server", "10.0.0.53,dns.example"], "--dns-server"),
        (["--interface-prefix", " , "], "--interface-prefix"),
        (["--region", "No Region"], "openstack_region"),
    ],
)  # fmt: skip
def test_an_option_that_cannot_work_is_named(tmp_path: Path, options: list[str], field: str) -> None:
    (tmp_path / "secret").write_text("x")
    (tmp_path / "empty").write_text("\n")
    given = [option.format(secret=tmp_path / "secret", empty=tmp_path / "empty") for option in options]
    where = ["--run-dir", str(tmp_path / "run"), "--state-dir", str(tmp_path / "state"), "--node", "h"]
    result = CliRunner().invoke(cli, ["openstack", "agent", *where, *given])
    assert isinstance(result.exception, InvalidInput)
    assert result.exception.field == field
    assert not (tmp_path / "run").exists()


def test_without_an_agent_there_is_nobody_to_ask(tmp_path: Path) -> None:
    result = CliRunner().invoke(cli, ["openstack", "instances", "--run-dir", str(tmp_path)])
    assert "no daemon answers" in str(result.exception)
