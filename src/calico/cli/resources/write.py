"""``calico apply|create|replace|delete``: resources into the datastore and out of it."""

from __future__ import annotations

from collections.abc import Coroutine, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from calico.cli.options import KindType, file_options, namespace_option
from calico.cli.resources.writing import (
    Deleted,
    How,
    Work,
    flipped,
    how_options,
    read_resources,
    refuse_copy,
    write_all,
    write_each,
)
from calico.errors import NotFound
from calico.model.keys import ResourceKey
from calico.model.kinds import find_kind
from calico.model.meta import Resource

if TYPE_CHECKING:
    from calico.datastore.typed.store import Store

__all__ = ["apply", "create", "delete", "replace"]

_WITH_CASCADES = frozenset(("IPPool", "Node", "Tier"))


@click.command()
@file_options
@how_options
def apply(
    files: tuple[str, ...],
    recursive: bool,
    skip_empty: bool,
    namespace: str,
    how: How,
) -> None:
    """Create the resources of files, or replace those that exist."""
    items = read_resources(files, recursive, skip_empty, namespace, "applied")
    write_each("applied", lambda store, item: store.apply(item), items, how)


@click.command()
@file_options
@how_options
@click.option("--skip-exists", is_flag=True, help="Leave existing resources as they are.")
def create(
    files: tuple[str, ...],
    recursive: bool,
    skip_empty: bool,
    namespace: str,
    skip_exists: bool,
    how: How,
) -> None:
    """Create the resources of files; those that exist are errors."""
    from calico.errors import AlreadyExists

    async def action(store: Store, item: Resource) -> object:
        try:
            return await store.create(item)
        except AlreadyExists:
            if skip_exists:
                return None
            raise

    write_each("created", action, read_resources(files, recursive, skip_empty, namespace, "created"), how)


@click.command()
@file_options
@how_options
def replace(
    files: tuple[str, ...],
    recursive: bool,
    skip_empty: bool,
    namespace: str,
    how: How,
) -> None:
    """Replace existing resources by those of files; absent ones are errors."""
    items = read_resources(files, recursive, skip_empty, namespace, "replaced")
    write_each("replaced", lambda store, item: store.replace(item), items, how)


@click.command()
@click.argument("kind", required=False, type=KindType())
@click.argument("names", nargs=-1)
@click.option("-f", "--filename", "files", multiple=True, help="File, directory or - (stdin).")
@click.option("-R", "--recursive", is_flag=True, help="Read directories with all below them.")
@click.option("-s", "--skip-not-exists", is_flag=True, help="Absent resources are no errors.")
@namespace_option
@how_options
def delete(
    kind: str | None,
    names: tuple[str, ...],
    files: tuple[str, ...],
    recursive: bool,
    skip_not_exists: bool,
    namespace: str,
    how: How,
) -> None:
    """Delete resources by KIND and NAMES, or those that files name."""

    async def remove(store: Store, kind_name: str, name: str, ns: str, version: str = "") -> object:
        refuse_copy(kind_name, name)
        try:
            return Deleted(await store.delete(kind_name, name, ns, resource_version=version))
        except NotFound:
            if not skip_not_exists:
                raise
            return Deleted(0)

    if files:
        if kind:
            raise click.UsageError("give either files or KIND and NAMES, not both")

        def action(store: Store, item: Resource) -> Coroutine[Any, Any, object]:
            meta = item.metadata
            return remove(store, type(item).__name__, meta.name, meta.namespace, meta.resource_version)

        items = read_resources(files, recursive, False, namespace, "deleted")
        _refuse_cascades((type(item).__name__ for item in items), how.confirm_within)
        write_each("deleted", action, items, how)
        return
    wanted = [name for argument in names for name in argument.split(",") if name]
    if not kind or not wanted:
        raise click.UsageError("give -f FILE, or KIND and at least one NAME")
    info = find_kind(kind)
    ns = namespace if info.namespaced else ""
    _refuse_cascades((info.kind,), how.confirm_within)
    work: Work = [(ResourceKey(info.kind, ns, name), partial(flipped, remove, info.kind, name, ns)) for name in wanted]
    write_all("deleted", work, how)


def _refuse_cascades(kinds: Iterable[str], confirm_within: str | None) -> None:
    for kind in kinds:
        if confirm_within and kind in _WITH_CASCADES:
            raise click.UsageError(f"deleting a {kind} deletes more than itself, so it cannot be undone")
