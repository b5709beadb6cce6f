"""``calico apply|create|replace|delete|get``: resources in and out of the datastore."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, TypeVar

import click
import msgspec

from calico.cli.columns import columns_of
from calico.cli.connection import DEFAULT_CONFIG, load_connection, open_store
from calico.cli.documents import read_documents, resource_to_data, to_resource
from calico.cli.printing import print_data, print_table
from calico.datastore.store import Store
from calico.errors import CalicoError, InvalidInput, NotFound
from calico.model.kinds import KindInfo, find_kind
from calico.model.meta import API_VERSION, Resource

__all__ = ["apply", "create", "delete", "get", "replace"]

_F = TypeVar("_F", bound=Callable[..., Any])
Work = list[tuple[str, Callable[[Store], Coroutine[Any, Any, object]]]]
Action = Callable[[Store, Resource], Coroutine[Any, Any, object]]

_config = click.option(
    "-c", "--config", help=f"CalicoAPIConfig file; default {DEFAULT_CONFIG}. ETCD_... in the environment wins."
)
_namespace = click.option("-n", "--namespace", default="default", show_default=True, help="Namespace of the resource.")


def _file_options(function: _F) -> _F:
    for option in (
        click.option("-f", "--filename", "files", multiple=True, required=True, help="File, directory or - (stdin)."),
        click.option("-R", "--recursive", is_flag=True, help="Read directories with all below them."),
        click.option("--skip-empty", is_flag=True, help="Succeed when the files hold no resource."),
        _namespace,
        _config,
    ):
        function = option(function)
    return function


@click.command()
@_file_options
def apply(files: tuple[str, ...], recursive: bool, skip_empty: bool, namespace: str, config: str | None) -> None:
    """Create the resources of files, or replace those that exist."""
    _each("applied", lambda store, item: store.apply(item), files, recursive, skip_empty, namespace, config)


@click.command()
@_file_options
@click.option("--skip-exists", is_flag=True, help="Leave existing resources as they are.")
def create(
    files: tuple[str, ...], recursive: bool, skip_empty: bool, namespace: str, config: str | None, skip_exists: bool
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

    _each("created", action, files, recursive, skip_empty, namespace, config)


@click.command()
@_file_options
def replace(files: tuple[str, ...], recursive: bool, skip_empty: bool, namespace: str, config: str | None) -> None:
    """Replace existing resources by those of files; absent ones are errors."""
    _each("replaced", lambda store, item: store.replace(item), files, recursive, skip_empty, namespace, config)


@click.command()
@click.argument("kind", required=False)
@click.argument("names", nargs=-1)
@click.option("-f", "--filename", "files", multiple=True, help="File, directory or - (stdin).")
@click.option("-R", "--recursive", is_flag=True, help="Read directories with all below them.")
@click.option("-s", "--skip-not-exists", is_flag=True, help="Absent resources are no errors.")
@_namespace
@_config
def delete(
    kind: str | None,
    names: tuple[str, ...],
    files: tuple[str, ...],
    recursive: bool,
    skip_not_exists: bool,
    namespace: str,
    config: str | None,
) -> None:
    """Delete resources by KIND and NAMES, or those that files name."""

    async def remove(store: Store, kind_name: str, name: str, ns: str, version: str = "") -> object:
        _refuse_copy(kind_name, name)
        try:
            await store.delete(kind_name, name, ns, resource_version=version)
        except NotFound:
            if not skip_not_exists:
                raise
        return None

    if files:
        if kind:
            raise click.UsageError("give either files or KIND and NAMES, not both")

        def action(store: Store, item: Resource) -> Coroutine[Any, Any, object]:
            meta = item.metadata
            return remove(store, type(item).__name__, meta.name, meta.namespace, meta.resource_version)

        _each("deleted", action, files, recursive, False, namespace, config)
        return
    wanted = [name for argument in names for name in argument.split(",") if name]
    if not kind or not wanted:
        raise click.UsageError("give -f FILE, or KIND and at least one NAME")
    info = find_kind(kind)
    ns = namespace if info.namespaced else ""
    work: Work = [(f"{info.kind} {name}", partial(_flipped, remove, info.kind, name, ns)) for name in wanted]
    _run_all("deleted", work, config)


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


def _each(
    done: str,
    action: Action,
    files: tuple[str, ...],
    recursive: bool,
    skip_empty: bool,
    namespace: str,
    config: str | None,
) -> None:
    """Do ``action`` with every resource of the files. When one cannot be decoded none is tried; what the store
    validates is refused one by one, and the others are written.
    """
    documents = list(read_documents(files, recursive=recursive))
    if not documents and not skip_empty:
        raise InvalidInput("no resource found", subject=", ".join(files))
    items, errors = [], []
    for where, raw in documents:
        try:
            items.append(to_resource(where, raw, namespace))
            _refuse_copy(type(items[-1]).__name__, items[-1].metadata.name)
        except InvalidInput as error:
            errors.append(str(error))
    if errors:
        _fail(errors, 0, len(documents), done, note="; the others were not tried")
    work: Work = [(f"{type(item).__name__} {item.metadata.name}", partial(_flipped, action, item)) for item in items]
    _run_all(done, work, config)


def _refuse_copy(kind: str, name: str) -> None:
    """InvalidInput for the copy of a Kubernetes policy: it is changed in Kubernetes, and here only read."""
    if kind == "NetworkPolicy" and name.startswith("knp.default."):
        message = "is the copy of a Kubernetes NetworkPolicy and can only be changed there"
        raise InvalidInput(message, subject=f"NetworkPolicy {name}", field="metadata.name")


async def _flipped(action: Callable[..., Coroutine[Any, Any, object]], *arguments: object) -> object:
    """Call ``action`` with the store, given last, first."""
    *rest, store = arguments
    return await action(store, *rest)


def _run_all(done: str, work: Work, config: str | None) -> None:
    """Run every piece of work, going on after errors; a summary, and exit code 1 when any failed."""

    async def run() -> list[str]:
        errors = []
        async with open_store(load_connection(config)) as store:
            for subject, action in work:
                try:
                    await action(store)
                except CalicoError as error:
                    text = str(error)
                    errors.append(text if subject in text else f"{subject}: {text}")
        return errors

    errors = asyncio.run(run())
    if errors:
        _fail(errors, len(work) - len(errors), len(work), done)
    click.echo(f"Successfully {done} {len(work)} resource{'' if len(work) == 1 else 's'}")


def _fail(errors: list[str], good: int, total: int, done: str, note: str = "") -> None:
    for error in errors:
        click.echo(f"error: {error}", err=True)
    click.echo(f"{good} of {total} resources {done}, {len(errors)} failed{note}", err=True)
    raise click.exceptions.Exit(1)
