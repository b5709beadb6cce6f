from __future__ import annotations

import json

import pytest
import structlog

from calico.obs.log import configure_logging


@pytest.mark.parametrize("level", ["trace", "debug", "info", "warning", "error", "fatal", "INFO"])
def test_every_level_can_be_chosen_and_lower_ones_are_left_out(capsys: pytest.CaptureFixture[str], level: str) -> None:
    order = ["debug", "info", "warning", "error", "critical"]
    try:
        configure_logging(level=level, json=True)
        for name in order:
            getattr(structlog.get_logger(), name)(name)
    finally:
        structlog.reset_defaults()
    written = [json.loads(line)["level"] for line in capsys.readouterr().err.splitlines()]
    lowest = {"trace": "debug", "fatal": "critical"}.get(level.lower(), level.lower())
    assert written == order[order.index(lowest) :]
