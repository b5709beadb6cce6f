"""``calico trial``: changes that are undone unless somebody confirms them."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import click

from calico.cli.output.printing import print_data, print_table
from calico.datastore.connection import DEFAULT_CONFIG, load_connection, open_store
from calico.datastore.trial import Trial, Trials

__all__ = ["author", "start_guard", "trial"]

T = TypeVar("T")

_config = click.option("-c", "--config", help=f"CalicoAPIConfig file; default {DEFAULT_CONFIG}.")
_output = click.option("-o", "--output", type=click.Choice(["table", "json", "yaml"]), default="table")


@click.group()
def trial() -> None:
    """Confirm or undo what was written with --confirm-within."""


@trial.command("list")
@_output
@_config
def list_trials(output: str, config: str | None) -> None:
    """Show the trials that wait, and those of the last day with their outcome."""
    trials = _with(config, lambda trials: trials.list())
    if output != "table":
        print_data([_data(item) for item in trials], output)
        return
    rows = [[item.id, item.state, _left(item), len(item.entries), item.by, _subjects(item)] for item in trials]
    print_table(["ID", "STATE", "LEFT", "RESOURCES", "BY", "WHICH"], rows)


@trial.command()
@click.argument("id_", metavar="ID")
@_config
def confirm(id_: str, config: str | None) -> None:
    """Keep what trial ID wrote."""
    item = _with(config, lambda trials: trials.confirm(id_))
    click.echo(f"Trial {id_} is confirmed: {_count(item)} stay as they are")


@trial.command()
@click.argument("id_", metavar="ID")
@_config
def rollback(id_: str, config: str | None) -> None:
    """Undo what trial ID wrote, now."""
    _say_outcome(_with(config, lambda trials: trials.roll_back(id_)))


@trial.command()
@click.argument("id_", metavar="[ID]", default="")
@_config
def guard(id_: str, config: str | None) -> None:
    """Wait for trial ID and undo it in time unless it is confirmed; without an ID all there are, or the next.

    --confirm-within starts one in the background. Run another on a machine that the change cannot cut off from the
    datastore if yours may be.
    """
    for item in _with(config, lambda trials: trials.guard(id_)):
        _say_outcome(item)


def start_guard(trial_id: str, config: str | None) -> None:
    """Start a guard that outlives this process and its terminal."""
    command = [sys.executable, "-m", "calico", "trial", "guard", trial_id]
    if config:
        command += ["--config", os.path.abspath(config)]
    subprocess.Popen(
        ["nohup", *command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        cwd="/",
    )


def author() -> str:
    """Who writes, for people: user and machine."""
    return f"{os.environ.get('SUDO_USER') or os.environ.get('USER') or os.getuid()}@{socket.gethostname()}"


def _with(config: str | None, work: Callable[[Trials], Awaitable[T]]) -> T:
    async def run() -> T:
        async with open_store(load_connection(config)) as store:
            return await work(Trials(store.backend, now=time.time))

    return asyncio.run(run())


def _say_outcome(item: Trial) -> None:
    if item.state == "confirmed":
        click.echo(f"Trial {item.id} was confirmed")
        return
    click.echo(f"Trial {item.id} is rolled back")
    for entry in item.entries:
        click.echo(f"  {entry.subject}: {entry.outcome}")


def _left(item: Trial) -> str:
    return f"{max(0.0, item.deadline - time.time()):.0f}s" if item.state == "open" else "-"


def _subjects(item: Trial) -> str:
    names = [f"{e.subject} ({e.outcome})" if e.outcome else e.subject for e in item.entries]
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _count(item: Trial) -> str:
    return f"{len(item.entries)} resource{'' if len(item.entries) == 1 else 's'}"


def _data(item: Trial) -> dict[str, object]:
    """Without what was stored before: that may hold secrets."""
    return {
        "id": item.id,
        "state": item.state,
        "by": item.by,
        "withinSeconds": item.within_s,
        "deadline": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(item.deadline)),
        "resources": [{"resource": e.subject, "outcome": e.outcome or None} for e in item.entries],
    }
