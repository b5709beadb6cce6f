"""What the writing commands have in common: reading files, writing all of them, saying what failed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterable
from functools import partial, wraps
from typing import TYPE_CHECKING, Any, TypeVar

import click
import msgspec

from calico.cli.documents.reading import read_documents
from calico.cli.options import config_option, opened
from calico.cli.output.printing import safe
from calico.cli.resources.batches import Deleted, Work, do_all
from calico.errors import CalicoError, InvalidInput, Transient
from calico.model.keys import ResourceKey, key_path
from calico.model.manifest import to_resource
from calico.model.meta import Resource
from calico.model.numorstring import parse_duration

if TYPE_CHECKING:
    from calico.datastore.typed.store import Store

__all__ = [
    "Deleted",
    "How",
    "Work",
    "flipped",
    "how_options",
    "read_resources",
    "refuse_copy",
    "write_all",
    "write_each",
]

_F = TypeVar("_F", bound=Callable[..., Any])


class How(msgspec.Struct, frozen=True):
    """How to write: where, for how long on trial, only as a rehearsal, and whether to wait for the hosts."""

    config: str | None = None
    confirm_within: str | None = None
    dry_run: bool = False
    wait: bool = False
    timeout: str = "30s"


def how_options(function: _F) -> _F:
    """The options of ``How``, given to the command as ``how``."""

    @wraps(function)
    def command(**arguments: Any) -> Any:
        how = How(**{name: arguments.pop(name) for name in How.__struct_fields__})
        if how.dry_run and (how.wait or how.confirm_within):
            raise click.UsageError("--dry-run writes nothing: leave out --wait and --confirm-within")
        return function(how=how, **arguments)

    wrapped: Any = command
    for option in (
        click.option("--dry-run", is_flag=True, help="Check everything and say what would be done; write nothing."),
        click.option("--wait", is_flag=True, help="Return when every host has it in its kernel; exit 1 when not."),
        click.option("--timeout", default="30s", show_default=True, metavar="DURATION", help="How long to --wait."),
        click.option(
            "--confirm-within",
            metavar="DURATION",
            help="Undo everything after this time (60s, 5m) unless `calico trial confirm` is given before.",
        ),
        config_option,
    ):
        wrapped = option(wrapped)
    result: _F = wrapped
    return result


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
    how: How,
) -> None:
    """Do ``action`` with every resource; what the store refuses is named, and the others are written."""
    work: Work = [
        (ResourceKey(type(item).__name__, item.metadata.namespace, item.metadata.name), partial(flipped, action, item))
        for item in items
    ]
    write_all(done, work, how)


async def flipped(action: Callable[..., Coroutine[Any, Any, object]], *arguments: object) -> object:
    """Call ``action`` with the store, given last, first."""
    *rest, store = arguments
    return await action(store, *rest)


def write_all(done: str, work: Work, how: How) -> None:
    """Run every piece of work, going on after errors; a summary, and exit code 1 when any failed.

    On trial nothing is left of a run in which anything failed.
    """
    within_s = None if how.confirm_within is None else _seconds(how.confirm_within, "--confirm-within", 1, 86400)
    timeout_s = _seconds(how.timeout, "--timeout", 0.001, 86400)

    async def run() -> None:
        async with opened(how.config) as store:
            if how.dry_run:
                await _rehearse(store, work, done)
                return
            if within_s is None or not work:
                errors, results, trial_id = *await do_all(store, work), ""
            else:
                errors, results, trial_id = await _write_on_trial(store, work, within_s, how)
            if errors:
                note = "; everything was put back" if trial_id else ""
                _fail(errors, len(work) - len(errors), len(work), done, note)
            click.echo(f"Successfully {done} {len(work)} resource{'' if len(work) == 1 else 's'}")
            if trial_id:
                click.echo(f"On trial for {how.confirm_within}. To keep it: calico trial confirm {trial_id}", err=True)
            await _wait(store, max(map(_revision, results.values()), default=0), how.wait, timeout_s)

    asyncio.run(run())


async def _wait(store: Store, revision: int, wanted: bool, timeout_s: float) -> None:
    if wanted and revision:
        from calico.cli.resources.waiting import wait_in_kernels

        if not await wait_in_kernels(store, revision, timeout_s):
            raise click.exceptions.Exit(1)


async def _write_on_trial(
    store: Store, work: Work, within_s: float, how: How
) -> tuple[list[str], dict[ResourceKey, object], str]:
    from calico.cli.resources.trial import author, start_guard
    from calico.datastore.trial import Trials

    trials = Trials(store.backend, now=time.time)
    trial = await trials.begin([key for key, _ in work], within_s, author())
    start_guard(trial.id, how.config)
    errors, results = await do_all(store, work)
    try:
        await trials.note(trial, {key_path(key): _noted(result) for key, result in results.items()})
        if errors:
            await trials.roll_back(trial.id)
    except Transient as error:
        later = f"what was written is undone within {how.confirm_within} unless you confirm trial {trial.id}"
        raise Transient(f"{error}; {later}") from error
    return errors, results, trial.id


def _noted(result: object) -> int:
    """What a trial notes of a result: a write whose answer was lost may have happened."""
    from calico.datastore.trial import DELETED, UNTOUCHED

    if isinstance(result, Transient):
        return 0
    return DELETED if isinstance(result, Deleted) else _revision(result) or UNTOUCHED


def _revision(result: object) -> int:
    if isinstance(result, Resource):
        return int(result.metadata.resource_version or 0)
    return result.revision if isinstance(result, Deleted) else 0


async def _rehearse(store: Store, work: Work, done: str) -> None:
    """Do everything on a rehearsal, and say what would become of each resource."""
    from calico.client.aio import AsyncClient
    from calico.client.comparing import compare
    from calico.model.codec import decode

    rehearsal = AsyncClient(store.backend, store).rehearse().store
    befores = {key: await store.backend.get(key_path(key)) for key, _ in work}
    errors, results = await do_all(rehearsal, work, at_once=1)
    for key, result in results.items():
        if isinstance(result, CalicoError):
            continue
        states = (befores[key], await rehearsal.backend.get(key_path(key)))
        before, after = (decode(key, kv.value, kv.mod_revision).resource if kv is not None else None for kv in states)
        verdict = "unchanged" if before is after is None else compare(before, after).verdict
        click.echo(f"{safe(key)} would be {'left as it is' if verdict == 'unchanged' else verdict}")
    if errors:
        _fail(errors, len(work) - len(errors), len(work), f"would be {done}")


def _seconds(text: str, option: str, least: float, most: float) -> float:
    try:
        seconds = parse_duration(text)
    except InvalidInput as error:
        raise click.BadParameter(error.message, param_hint=option) from None
    if not least <= seconds <= most:
        raise click.BadParameter(f"must be between {least:g}s and {most / 3600:g}h", param_hint=option)
    return seconds


def _fail(errors: list[str], good: int, total: int, done: str, note: str = "") -> None:
    for error in errors:
        click.echo(f"error: {safe(error)}", err=True)
    click.echo(f"{good} of {total} resources {done}, {len(errors)} failed{note}", err=True)
    raise click.exceptions.Exit(1)
