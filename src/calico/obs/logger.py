"""A logger that imports structlog when it first says something: for modules that short commands load as well."""

from __future__ import annotations

from typing import Any

__all__ = ["Logger"]


class Logger:
    """As ``structlog.get_logger(name)``, whose configuration holds at the time of each message."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, level: str) -> Any:
        import structlog

        return getattr(structlog.get_logger(self._name), level)
