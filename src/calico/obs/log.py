"""How daemons log: one line an event, ``key=value`` on a terminal, JSON in a file."""

from __future__ import annotations

import logging
import sys
from typing import TextIO

import structlog

__all__ = ["configure_logging", "set_level"]

_LEVELS = {"trace": 0, "debug": 10, "info": 20, "warning": 30, "error": 40, "fatal": 50}


def configure_logging(*, level: str = "info", file: str | None = None, json: bool | None = None) -> None:
    """Set up structlog for this process; ``level`` is one of trace, debug, info, warning, error, fatal."""
    stream: TextIO = sys.stderr if file is None else open(file, "a", buffering=1)  # noqa: SIM115 - lives as long as we
    as_json = file is not None if json is None else json
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer() if as_json else structlog.dev.ConsoleRenderer(colors=stream.isatty()),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level.lower()]),
        logger_factory=structlog.PrintLoggerFactory(stream),
        cache_logger_on_first_use=False,  # or a new level would not reach those who have logged before
    )
    logging.getLogger("grpc").setLevel(logging.ERROR)


def set_level(level: str) -> None:
    """From now on log what is at least as severe."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level.lower()]))
