"""Showing progress on standard error: one live line on a terminal, one line per phase elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.status import Status

from calico.lab.up import Progress

__all__ = ["shown_progress"]


@contextmanager
def shown_progress() -> Iterator[Progress]:
    """A ``Progress`` for as long as the block lasts."""
    console = Console(stderr=True, highlight=False)
    if sys.stderr.isatty():
        with console.status("starting") as line:
            yield _live(line)
    else:
        yield _lines(console)


def _live(line: Status) -> Progress:
    began = time.monotonic()

    def show(phase: str, done: int, total: int) -> None:
        line.update(f"{phase} {done}/{total}  [dim]{time.monotonic() - began:.1f} s[/dim]")

    return show


def _lines(console: Console) -> Progress:
    began = time.monotonic()
    last = ""

    def show(phase: str, done: int, total: int) -> None:
        nonlocal last
        if phase != last:
            last = phase
            console.print(f"[{time.monotonic() - began:5.1f} s] {phase} ({total})", markup=False)

    return show
