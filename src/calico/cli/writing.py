"""What the writing commands have in common: reading files, writing all of them, saying what failed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterable, Sequence
from functools import partial
from typing import Any

import click

from calico.cli.connection import load_connection, open_store
from calico.cli.documents import read_documents, to_resource
from calico.cli.trial import author, start_guard
from calico.datastore.store import Store
from calico.datastore.trial import DELETED, UNTOUCHED, Trials
from calico.errors import CalicoError, InvalidInput, Transient
from calico.model.keys import ResourceKey, key_path
from calico.model.meta import Resource
from calico.model.numorstring import parse_duration

__all__ = ["Work", "flipped", "read_resources", "refuse_copy", "write_all", "write_each"]

Work = Sequence[tuple[ResourceKey, Callable[[Store], Coroutine[Any, Any, object]]]]
"""What to do with each key. The result is the resource as written, ``DELETED``, or anything else: nothing was done."""


def read_resources(
    files: tuple[str, ...], recursive: bool, skip_empty: bool, namespace: str, done: str
) -> tuple[Resource, ...]:
    """The resources of the files. When one cannot be decoded, all that are wrong are named and none is tried."""
    documents = list(read_documents(files, recursive=recursive))
    if not documents and not skip_empty:
        raise InvalidInput("no resource found", subject=", ".join(files))
    items, errors = [], []
    for where, raw in documents:
        try:
            items.append(to_resource(where, raw, namespace))
            refuse_copy(type(items[-1]).__name__, items[-1].metadata.name)
        except InvalidInput as error:
            errors.append(str(error))
    if errors:
        _fail(errors, 0, len(documents), done, note="; the others were not tried")
    return tuple(items)


def refuse_copy(kind: str, name: str) -> None:
    """InvalidInput for the copy of a Kubernetes policy: it is changed in Kubernetes, and here only read."""
    if kind == "NetworkPolicy" and name.startswith("knp.default."):
        message = "is the copy of a Kubernetes NetworkPolicy and can only be changed there"
        raise InvalidInput(message, subject=f"NetworkPolicy {name}", field="metadata.name")


def write_each(
    done: str,
    action: Callable[[Store, Resource], Coroutine[Any, Any, object]],
    items: Iterable[Resource],
    config: str | None,
    confirm_within: str | None,
) -> None:
    """Do ``action`` with every resource; what the store refuses is named, and the others are written."""
    work: Work = [
        (ResourceKey(type(item).__name__, item.metadata.namespace, item.metadata.name), partial(flipped, action, item))
        for item in items
    ]
    write_all(done, work, config, confirm_within)


async def flipped(action: Callable[..., Coroutine[Any, Any, object]], *arguments: object) -> object:
    """Call ``action`` with the store, given last, first."""
    *rest, store = arguments
    return await action(store, *rest)


def write_all(done: str, work: Work, config: str | None, confirm_within: str | None) -> None:
    """Run every piece of work, going on after errors; a summary, and exit code 1 when any failed.

    On trial nothing is left of a run in which anything failed.
    """
    within_s = None if confirm_within is None else _within_s(confirm_within)

    async def run() -> tuple[list[str], str]:
        async with open_store(load_connection(config)) as store:
            if within_s is None or not work:
                return (await _write(store, work))[0], ""
            trials = Trials(store.backend, now=time.time)
            trial = await trials.begin([key for key, _ in work], within_s, author())
            start_guard(trial.id, config)
            errors, revisions = await _write(store, work)
            try:
                await trials.note(trial, revisions)
                if errors:
                    await trials.roll_back(trial.id)
            except Transient as error:
                later = f"what was written is undone within {confirm_within} unless you confirm trial {trial.id}"
                raise Transient(f"{error}; {later}") from error
            return errors, trial.id

    errors, trial_id = asyncio.run(run())
    if errors:
        note = "; everything was put back" if trial_id else ""
        _fail(errors, len(work) - len(errors), len(work), done, note)
    click.echo(f"Successfully {done} {len(work)} resource{'' if len(work) == 1 else 's'}")
    if trial_id:
        click.echo(f"On trial for {confirm_within}. To keep it: calico trial confirm {trial_id}", err=True)


async def _write(store: Store, work: Work) -> tuple[list[str], dict[str, int]]:
    """What failed, and the revision that each key has after its write (0: not known)."""
    errors: list[str] = []
    revisions: dict[str, int] = {}
    for key, action in work:
        try:
            result = await action(store)
        except CalicoError as error:
            if isinstance(error, Transient):  # it may have been written
                revisions[key_path(key)] = 0
            revisions.setdefault(key_path(key), UNTOUCHED)
            text, subject = str(error), f"{key.kind} {key.name}"
            errors.append(text if subject in text else f"{subject}: {text}")
        else:
            if isinstance(result, Resource):
                revisions[key_path(key)] = int(result.metadata.resource_version)
            elif result == DELETED:
                revisions[key_path(key)] = DELETED
            else:
                revisions.setdefault(key_path(key), UNTOUCHED)
    return errors, revisions


def _within_s(text: str) -> float:
    try:
        seconds = parse_duration(text)
    except InvalidInput as error:
        raise click.BadParameter(error.message, param_hint="--confirm-within") from None
    if not 1 <= seconds <= 86400:
        raise click.BadParameter("must be between 1s and 24h", param_hint="--confirm-within")
    return seconds


def _fail(errors: list[str], good: int, total: int, done: str, note: str = "") -> None:
    for error in errors:
        click.echo(f"error: {error}", err=True)
    click.echo(f"{good} of {total} resources {done}, {len(errors)} failed{note}", err=True)
    raise click.exceptions.Exit(1)
