"""``calico datastore export|import|migrate``: everything in a datastore, out, in, or over to another etcd."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

import click
import yaml

from calico.cli.datastore.group import config_option, with_store
from calico.cli.documents.yaml_loader import loader_for
from calico.cli.output.printing import print_data, safe
from calico.datastore.connection import load_connection, open_store
from calico.datastore.transfer.exporting import Export, collect, read_document, to_document
from calico.datastore.transfer.importing import Existing, ImportPlan, plan_import, run_import
from calico.datastore.transfer.migration import Migrated, migrate
from calico.datastore.typed.store import Store
from calico.errors import InvalidInput

__all__ = ["export_command", "import_command", "migrate_command"]

_existing = click.option(
    "--existing",
    type=click.Choice(["refuse", "keep", "replace"]),
    default="refuse",
    show_default=True,
    help="What becomes of keys that the datastore has already; nothing is ever deleted.",
)
_dry_run = click.option("--dry-run", is_flag=True, help="Only say what would be written.")
_output = click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", help="What to print.")


@click.command("export")
@click.option("-f", "--filename", default="-", help="File to write, readable by its owner alone; - is standard output.")
@click.option("-o", "--output", type=click.Choice(["yaml", "json"]), default="yaml", help="How to write it.")
@click.option("--no-secrets", is_flag=True, help="Leave out the passwords of BGP sessions.")
@config_option
def export_command(filename: str, output: str, no_secrets: bool, config: str | None) -> None:
    """Write everything that the datastore holds, as of one moment, into one document.

    Without what is leased, what hosts report of themselves, trials and acceptances. Lock the datastore first when
    nothing may change afterwards.
    """
    export = with_store(config, lambda store: collect(store.backend, secrets=not no_secrets))
    text = _as_text(to_document(export), output)
    if filename == "-":
        click.echo(text, nl=False)
        return
    _write_private(Path(filename), text)
    click.echo(f"{len(export.entries)} keys of revision {export.revision} are in {filename}", err=True)


@click.command("import")
@click.option("-f", "--filename", required=True, help="File that `calico datastore export` wrote; - is standard input.")
@_existing
@click.option("--unlock", is_flag=True, help="Unlock the datastore at the end.")
@_dry_run
@_output
@config_option
def import_command(
    filename: str, existing: Existing, unlock: bool, dry_run: bool, output: str, config: str | None
) -> None:
    """Write an export into the datastore, which is locked meanwhile, and afterwards unless --unlock is given.

    Everything is written as it was, with uids, times and damage. An import that broke off goes on with --existing keep.
    """
    export = read_document(_parse(filename), filename)

    async def work(store: Store) -> ImportPlan:
        plan = await plan_import(store.backend, export, existing)
        if not dry_run:
            await run_import(store.backend, plan, unlock=unlock, progress=_progress)
        return plan

    plan = with_store(config, work)
    _say(plan, export, output, dry_run)
    if not dry_run and not unlock and output == "text":
        click.echo("The datastore is locked: look at it, then `calico datastore unlock`")


@click.command("migrate")
@click.option("--from", "source", required=True, help="CalicoAPIConfig file of the old datastore (etcdEndpoints, ...).")
@_existing
@click.option("--keep-locked", is_flag=True, help="Leave the new datastore locked at the end.")
@_dry_run
@_output
@config_option
def migrate_command(
    source: str, existing: Existing, keep_locked: bool, dry_run: bool, output: str, config: str | None
) -> None:
    """Move everything from another etcd into this datastore: lock there, copy, compare, unlock here.

    The old datastore stays locked: agents that still follow it keep what they have until they are told of the new one.
    When the copy fails the old one is unlocked again.
    """

    async def run() -> Migrated:
        async with (
            open_store(load_connection(source, {})) as old,
            open_store(load_connection(config)) as new,
        ):
            return await migrate(
                old.backend,
                new.backend,
                existing=existing,
                unlock=not keep_locked,
                dry_run=dry_run,
                progress=lambda text: click.echo(text, err=True),
            )

    done = asyncio.run(run())
    _say(done.plan, Export((), revision=done.revision), output, dry_run)


def _say(plan: ImportPlan, export: Export, output: str, dry_run: bool) -> None:
    data: dict[str, Any] = {
        "revision": export.revision,
        "dryRun": dry_run,
        "written": len(plan.writes),
        "same": plan.same,
        "kept": list(plan.kept),
        "onlyHere": list(plan.other),
        "damaged": list(plan.problems),
    }
    if output == "json":
        print_data({**data, "keys": [entry.key for entry, _ in plan.writes]}, output)
        return
    for problem in plan.problems:
        click.echo(f"warning: {safe(problem)}; written as it is", err=True)
    for key in plan.other:
        click.echo(f"warning: {safe(key)} is only in the datastore; it stays", err=True)
    if dry_run:
        for entry, seen in plan.writes:
            click.echo(f"would {'replace' if seen else 'create'} {safe(entry.key)}")
    kept = f", {len(plan.kept)} kept as they are here" if plan.kept else ""
    click.echo(
        f"{len(plan.writes)} keys {'would be ' if dry_run else ''}written, {plan.same} are the same already{kept}"
    )


def _progress(done: int) -> None:
    if sys.stderr.isatty():
        click.echo(f"\r{done} keys written", nl=False, err=True)


def _as_text(document: dict[str, Any], output: str) -> str:
    if output == "json":
        return json.dumps(document, indent=1) + "\n"
    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    return str(yaml.dump(document, Dumper=dumper, sort_keys=False, allow_unicode=True))


def _write_private(path: Path, text: str) -> None:
    """Written anew beside its place and moved there: no half a file, and nobody else reads the secrets in it."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        beside.replace(path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise InvalidInput(f"cannot be written: {error.strerror}", subject=str(path)) from error


def _parse(filename: str) -> object:
    try:
        text = sys.stdin.read() if filename == "-" else Path(filename).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"cannot be read: {error}", subject=filename) from error
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    try:
        return yaml.load(text, Loader=loader_for(text))
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        raise InvalidInput(f"is not YAML or JSON: {' '.join(str(error).split())}", subject=filename) from error
