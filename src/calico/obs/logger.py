"""A logger that imports structlog when it first says something: for modules that short commands load as well."""

from __future__ import annotations

from typing import Any

__all__ = ["Logger", "warn_on_stderr"]

_to_stderr: list[bool] = []


class Logger:
    """As ``structlog.get_logger(name)``, whose configuration holds at the time of each message."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, level: str) -> Any:
        import structlog

        if _to_stderr and not structlog.is_configured():
            from calico.obs.log import configure_logging

            configure_logging(level="warning", json=False)
        return getattr(structlog.get_logger(self._name), level)


def warn_on_stderr() -> None:
    """Warnings go to standard error, unless the process says where before the first."""
    _to_stderr[:] = [True]
