"""``calico patch`` and ``calico label``: changes of what is stored, without its file."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from calico.cli.options import KindType, namespace_option
from calico.cli.resources.writing import How, Work, flipped, how_options, refuse_copy, write_all
from calico.errors import InvalidInput
from calico.model.keys import ResourceKey
from calico.model.kinds import KindInfo, find_kind

if TYPE_CHECKING:
    from calico.client.collection import AsyncCollection
    from calico.client.patching import PatchType
    from calico.datastore.typed.store import Store

__all__ = ["label", "patch"]

_THOSE_WITHOUT_VALUE = "\0"


@click.command()
@click.argument("kind", type=KindType())
@click.argument("names", nargs=-1, required=True)
@click.option("-p", "--patch", "text", help="The patch as JSON or YAML.")
@click.option("--patch-file", type=click.Path(dir_okay=False), help="A file that holds it; - is standard input.")
@click.option(
    "-t",
    "--type",
    "patch_type",
    type=click.Choice(["strategic", "merge", "json"]),
    default="strategic",
    show_default=True,
    help="strategic and merge: an object to merge (null removes); json: a list of operations (RFC 6902).",
)
@namespace_option
@how_options
def patch(
    kind: str,
    names: tuple[str, ...],
    text: str | None,
    patch_file: str | None,
    patch_type: PatchType,
    namespace: str,
    how: How,
) -> None:
    """Change some fields of the resources with the given NAMES. What others write meanwhile is kept."""
    if (text is None) == (patch_file is None):
        raise click.UsageError("give the patch with --patch, or its file with --patch-file")
    content = _parsed(text if text is not None else _read(str(patch_file)))

    async def action(store: Store, info: KindInfo, name: str) -> object:
        return await _collection(store, info).patch(name, content, namespace, patch_type)

    _change(kind, names, namespace, "patched", action, how)


@click.command()
@click.argument("kind", type=KindType())
@click.argument("name")
@click.argument("changes", nargs=-1, metavar="KEY=VALUE...")
@click.option(
    "--remove",
    is_flag=False,
    flag_value=_THOSE_WITHOUT_VALUE,
    multiple=True,
    metavar="[KEY]",
    help="Remove this label; without a KEY those named without a value.",
)
@click.option("--overwrite", is_flag=True, help="Change labels that have another value already.")
@namespace_option
@how_options
def label(
    kind: str,
    name: str,
    changes: tuple[str, ...],
    remove: tuple[str, ...],
    overwrite: bool,
    namespace: str,
    how: How,
) -> None:
    """Set labels of a resource (KEY=VALUE), or remove them (--remove KEY, or KEY-)."""
    values = {key: value for key, equals, value in (change.partition("=") for change in changes) if equals}
    bare = [change for change in changes if "=" not in change]
    gone = [key for key in remove if key != _THOSE_WITHOUT_VALUE] + [key[:-1] for key in bare if key.endswith("-")]
    bare = [key for key in bare if not key.endswith("-")]
    if bare and not remove:
        raise click.UsageError(f"{bare[0]!r}: give KEY=VALUE, or --remove to remove the label")
    gone += bare
    if not values and not gone:
        raise click.UsageError("give KEY=VALUE or --remove KEY")

    async def action(store: Store, info: KindInfo, name: str) -> object:
        collection = _collection(store, info)
        return await collection.label(name, values, remove=gone, overwrite=overwrite, namespace=namespace)

    _change(kind, (name,), namespace, "labelled", action, how)


def _change(kind: str, names: tuple[str, ...], namespace: str, done: str, action: Any, how: How) -> None:
    info = find_kind(kind)
    wanted = [name for argument in names for name in argument.split(",") if name]
    for name in wanted:
        refuse_copy(info.kind, name)
    ns = namespace if info.namespaced else ""
    work: Work = [(ResourceKey(info.kind, ns, name), partial(flipped, action, info, name)) for name in wanted]
    write_all(done, work, how)


def _collection(store: Store, info: KindInfo) -> AsyncCollection[Any]:
    from calico.client.collection import AsyncCollection

    return AsyncCollection(store, info.cls)


def _parsed(text: str) -> Any:
    import yaml

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InvalidInput(f"is not JSON or YAML: {' '.join(str(error).split())}", subject="the patch") from error


def _read(path: str) -> str:
    try:
        return sys.stdin.read() if path == "-" else Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"cannot be read: {error}", subject=path) from error
