"""How daemons log: one line an event, ``key=value`` on a terminal, JSON in a file."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from typing import Any, cast

import structlog

__all__ = ["configure_logging", "set_level"]

_LEVELS = {"trace": 0, "debug": 10, "info": 20, "warning": 30, "error": 40, "fatal": 50}


class _Lines:
    """A stream that loses lines rather than the daemon that writes them: a disk may be full, a reader may be gone. How
    many were lost is said as soon as one can be written again."""

    def __init__(self, emit: Callable[[bytes], int], *, is_terminal: bool) -> None:
        """``emit`` writes bytes and returns how many, or raises OSError."""
        self._emit = emit
        self._is_terminal = is_terminal
        self._line = ""
        self._lost = 0
        self._is_cut = False

    def write(self, text: str) -> int:
        """Lines are written when they are complete."""
        *lines, self._line = (self._line + text).split("\n")
        for line in lines:
            if self._lost and self._put(f"{self._lost} lines of this log were lost"):
                self._lost = 0
            self._lost += not self._put(line)
        return len(text)

    def flush(self) -> None:
        """Nothing waits but an incomplete line."""

    def isatty(self) -> bool:
        return self._is_terminal

    def _put(self, line: str) -> bool:
        data = ("\n" * self._is_cut + line + "\n").encode(errors="backslashreplace")
        try:
            done = self._emit(data)
        except OSError:
            return False
        self._is_cut = done < len(data) and (done > 0 or self._is_cut)
        return done == len(data)


def _to_file(path: str) -> _Lines:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
    return _Lines(lambda data: os.write(descriptor, data), is_terminal=False)


def _to_stderr() -> _Lines:
    def emit(data: bytes) -> int:
        sys.stderr.write(data.decode())
        sys.stderr.flush()
        return len(data)

    return _Lines(emit, is_terminal=sys.stderr.isatty())


def configure_logging(*, level: str = "info", file: str | None = None, json: bool | None = None) -> None:
    """Set up structlog for this process; ``level`` is one of trace, debug, info, warning, error, fatal."""
    stream = _to_stderr() if file is None else _to_file(file)
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
        logger_factory=structlog.PrintLoggerFactory(cast(Any, stream)),
        cache_logger_on_first_use=False,  # or a new level would not reach those who have logged before
    )
    logging.getLogger("grpc").setLevel(logging.ERROR)


def set_level(level: str) -> None:
    """From now on log what is at least as severe."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level.lower()]))
