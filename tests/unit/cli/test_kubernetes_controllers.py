"""Options of ``calico kubernetes controllers`` that cannot work are named before anything is started."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from calico.cli.main import cli
from calico.errors import InvalidInput


def test_a_controller_that_there_is_not_is_named_with_those_that_there_are() -> None:
    done = CliRunner().invoke(cli, ["kubernetes", "controllers", "--enable", "namespace, weather"])
    assert isinstance(done.exception, InvalidInput)
    assert "'weather' is none of" in str(done.exception)
    assert "workloadendpoint" in str(done.exception)


def test_without_a_kubeconfig_outside_of_a_pod_the_setting_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    done = CliRunner().invoke(cli, ["kubernetes", "controllers"])
    assert isinstance(done.exception, InvalidInput)
    assert done.exception.field == "kubeconfig"
    missing = str(tmp_path / "none")
    done = CliRunner().invoke(cli, ["kubernetes", "controllers", "--kubeconfig", missing])
    assert isinstance(done.exception, InvalidInput)
    assert done.exception.subject == missing
