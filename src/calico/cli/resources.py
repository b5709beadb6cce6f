"""``calico apply|create|replace|delete|get``: resources in and out of the datastore."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from functools import partial
from typing import Any, TypeVar

import click
import msgspec

from calico.cli.columns import columns_of
from calico.cli.connection import DEFAULT_CONFIG, load_connection, open_store
from calico.cli.documents import resource_to_data
from calico.cli.printing import print_data, print_table
from calico.cli.writing import Work, flipped, read_resources, refuse_copy, write_all, write_each
from calico.datastore.store import Store
from calico.datastore.trial import DELETED
from calico.errors import NotFound
from calico.model.keys import ResourceKey
from calico.model.kinds import KindInfo, find_kind
from calico.model.meta import API_VERSION, Resource

__all__ = ["apply", "create", "delete", "get", "replace"]

_F = TypeVar("_F", bound=Callable[..., Any])
_WITH_CASCADES = frozenset(("IPPool", "Node", "Tier"))

_config = click.option(
    "-c", "--config", help=f"CalicoAPIConfig file; default {DEFAULT_CONFIG}. ETCD_... in the environment wins."
)
_confirm_within = click.option(
    "--confirm-within",
    metavar="DURATION",
    help="Undo everything after this time (60s, 5m) unless `calico trial confirm` is given before.",
)
_namespace = click.option("-n", "--namespace", default="default", show_default=True, help="Namespace of the resource.")


def _file_options(function: _F) -> _F:
    for option in (
        click.option("-f", "--filename", "files", multiple=True, required=True, help="File, directory or - (stdin)."),
        click.option("-R", "--recursive", is_flag=True, help="Read directories with all below them."),
        click.option("--skip-empty", is_flag=True, help="Succeed when the files hold no resource."),
        _confirm_within,
        _namespace,
        _config,
    ):
        function = option(function)
    return function


@click.command()
@_file_options
def apply(
    files: tuple[str, ...],
    recursive: bool,
    skip_empty: bool,
    confirm_within: str | None,
    namespace: str,
    config: str | None,
) -> None:
    """Create the resources of files, or replace those that exist."""
    items = read_resources(files, recursive, skip_empty, namespace, "applied")
    write_each("applied", lambda store, item: store.apply(item), items, config, confirm_within)


@click.command()
@_file_options
@click.option("--skip-exists", is_flag=True, help="Leave existing resources as they are.")
def create(
    files: tuple[str, ...],
    recursive: bool,
    skip_empty: bool,
    confirm_within: str | None,
    namespace: str,
    config: str | None,
    skip_exists: bool,
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

    write_each(
        "created", action, read_resources(files, recursive, skip_empty, namespace, "created"), config, confirm_within
    )


@click.command()
@_file_options
def replace(
    files: tuple[str, ...],
    recursive: bool,
    skip_empty: bool,
    confirm_within: str | None,
    namespace: str,
    config: str | None,
) -> None:
    """Replace existing resources by those of files; absent ones are errors."""
    items = read_resources(files, recursive, skip_empty, namespace, "replaced")
    write_each("replaced", lambda store, item: store.replace(item), items, config, confirm_within)


@click.command()
@click.argument("kind", required=False)
@click.argument("names", nargs=-1)
@click.option("-f", "--filename", "files", multiple=True, help="File, directory or - (stdin).")
@click.option("-R", "--recursive", is_flag=True, help="Read directories with all below them.")
@click.option("-s", "--skip-not-exists", is_flag=True, help="Absent resources are no errors.")
@_confirm_within
@_namespace
@_config
def delete(
    kind: str | None,
    names: tuple[str, ...],
    files: tuple[str, ...],
    recursive: bool,
    skip_not_exists: bool,
    confirm_within: str | None,
    namespace: str,
    config: str | None,
) -> None:
    """Delete resources by KIND and NAMES, or those that files name."""

    async def remove(store: Store, kind_name: str, name: str, ns: str, version: str = "") -> object:
        refuse_copy(kind_name, name)
        try:
            await store.delete(kind_name, name, ns, resource_version=version)
        except NotFound:
            if not skip_not_exists:
                raise
        return DELETED

    if files:
        if kind:
            raise click.UsageError("give either files or KIND and NAMES, not both")

        def action(store: Store, item: Resource) -> Coroutine[Any, Any, object]:
            meta = item.metadata
            return remove(store, type(item).__name__, meta.name, meta.namespace, meta.resource_version)

        items = read_resources(files, recursive, False, namespace, "deleted")
        _refuse_cascades((type(item).__name__ for item in items), confirm_within)
        write_each("deleted", action, items, config, confirm_within)
        return
    wanted = [name for argument in names for name in argument.split(",") if name]
    if not kind or not wanted:
        raise click.UsageError("give -f FILE, or KIND and at least one NAME")
    info = find_kind(kind)
    ns = namespace if info.namespaced else ""
    _refuse_cascades((info.kind,), confirm_within)
    work: Work = [(ResourceKey(info.kind, ns, name), partial(flipped, remove, info.kind, name, ns)) for name in wanted]
    write_all("deleted", work, config, confirm_within)


@click.command()
@click.argument("kind")
@click.argument("names", nargs=-1)
@click.option(
    "-o",
    "--output",
    type=click.Choice(["table", "ps", "wide", "yaml", "json", "name"]),
    default="table",
    help="What to print.",
)
@click.option("-A", "-a", "--all-namespaces", is_flag=True, help="Resources of all namespaces.")
@click.option("--export", is_flag=True, help="Leave out what belongs to this cluster (uid, versions, times).")
@_namespace
@_config
def get(
    kind: str,
    names: tuple[str, ...],
    output: str,
    all_namespaces: bool,
    export: bool,
    namespace: str,
    config: str | None,
) -> None:
    """Show resources of a KIND: all, or those with the given NAMES."""
    info = find_kind(kind)
    wanted = [name for argument in names for name in argument.split(",") if name]
    ns = "" if all_namespaces or not info.namespaced else namespace
    if wanted and info.namespaced and all_namespaces:
        raise click.UsageError("a name needs one namespace: leave out --all-namespaces")

    async def read() -> tuple[tuple[Resource, ...], int]:
        async with open_store(load_connection(config)) as store:
            if not wanted:
                return await store.list_at(info.kind, ns)
            return tuple([await store.get(info.kind, name, ns) for name in wanted]), 0

    resources, revision = asyncio.run(read())
    if export:
        resources = tuple(_exported(item) for item in resources)
    _show(info, resources, revision, output, single=len(wanted) == 1, with_namespace=all_namespaces)


def _show(
    info: KindInfo, resources: tuple[Resource, ...], revision: int, output: str, *, single: bool, with_namespace: bool
) -> None:
    if output in ("yaml", "json"):
        data = [resource_to_data(item) for item in resources]
        metadata = {"resourceVersion": str(revision)} if revision else {}
        document: object = (
            data[0]
            if single
            else {"kind": f"{info.kind}List", "apiVersion": API_VERSION, "metadata": metadata, "items": data}
        )
        print_data(document, output)
    elif output == "name":
        for item in resources:
            click.echo(f"{info.plural}/{item.metadata.name}")
    else:
        columns = columns_of(info.kind, wide=output == "wide", namespace=info.namespaced and with_namespace)
        print_table([title for title, _ in columns], [[read(item) for _, read in columns] for item in resources])


def _exported(item: Resource) -> Resource:
    metadata = msgspec.structs.replace(item.metadata, uid="", resource_version="", creation_timestamp=None)
    return msgspec.structs.replace(item, metadata=metadata)


def _refuse_cascades(kinds: Iterable[str], confirm_within: str | None) -> None:
    for kind in kinds:
        if confirm_within and kind in _WITH_CASCADES:
            raise click.UsageError(f"deleting a {kind} deletes more than itself, so it cannot be undone")
