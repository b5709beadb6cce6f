"""``calico get``: resources out of the datastore, once or as they change."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import click

from calico.cli.options import KindType, config_option, namespace_option, opened
from calico.cli.output.printing import safe
from calico.cli.output.rendering import Output, OutputType, exported, print_resources
from calico.errors import NotFound
from calico.model.kinds import KindInfo, find_kind
from calico.model.meta import Resource

if TYPE_CHECKING:
    from calico.datastore.typed.store import Store

__all__ = ["get"]


@click.command()
@click.argument("kind", type=KindType())
@click.argument("names", nargs=-1)
@click.option(
    "-o",
    "--output",
    type=OutputType(),
    default="table",
    metavar="OUTPUT",
    help="table (or ps), wide, yaml, json, name, custom-columns=TITLE:PATH,... (or titles of wide), "
    "jsonpath=TEMPLATE, jsonpath-file=FILE.",
)
@click.option("-A", "-a", "--all-namespaces", is_flag=True, help="Resources of all namespaces.")
@click.option("-l", "--selector", default="", help="Only those whose labels match: \"app == 'web' && has(zone)\".")
@click.option("--sort-by", metavar="PATH", default="", help="Order by the value at a JSONPath, as .spec.order.")
@click.option("-w", "--watch", is_flag=True, help="Go on with every change; breaks and compaction are survived.")
@click.option("--export", is_flag=True, help="Leave out what belongs to this cluster (uid, versions, times).")
@namespace_option
@config_option
def get(
    kind: str,
    names: tuple[str, ...],
    output: Output,
    all_namespaces: bool,
    selector: str,
    sort_by: str,
    watch: bool,
    export: bool,
    namespace: str,
    config: str | None,
) -> None:
    """Show resources of a KIND: all, or those with the given NAMES (also KIND/NAME, and comma-separated)."""
    kind, _, first = kind.partition("/")
    info = find_kind(kind)
    wanted = tuple(name for argument in (first, *names) for name in argument.split(",") if name)
    if wanted and info.namespaced and all_namespaces:
        raise click.UsageError("a name needs one namespace: leave out --all-namespaces")
    if wanted and selector:
        raise click.UsageError("give names or a selector, not both")
    ns = "" if all_namespaces or not info.namespaced else namespace
    if watch:
        from calico.cli.resources.watching import watch_resources

        asyncio.run(watch_resources(info, wanted, ns, selector, output, export=export, config=config))
        return
    resources, revision, missing = asyncio.run(_read(info, wanted, ns, config))
    if selector:
        from calico.model.selector import parse

        matches = parse(selector).matches
        resources = [item for item in resources if matches(item.metadata.labels)]
    if sort_by:
        resources = _sorted(resources, sort_by)
    if export:
        resources = [exported(item) for item in resources]
    if resources or not missing:
        single = len(wanted) == 1
        print_resources(info, resources, output, revision=revision, single=single, with_namespace=all_namespaces)
    if missing:
        for error in missing:
            click.echo(f"error: {safe(error)}", err=True)
        raise click.exceptions.Exit(1)


async def _read(
    info: KindInfo, wanted: tuple[str, ...], namespace: str, config: str | None
) -> tuple[list[Resource], int, list[str]]:
    """What there is, the revision of a list, and what is wrong with names that have nothing to show."""
    async with opened(config) as store:
        if not wanted:
            listed, revision = await store.list_at(info.kind, namespace)
            return list(listed), revision, []
        return await _read_each(store, info, wanted, namespace)


async def _read_each(
    store: Store, info: KindInfo, wanted: tuple[str, ...], namespace: str
) -> tuple[list[Resource], int, list[str]]:
    found, missing = [], []
    for name in wanted:
        try:
            found.append(await store.get(info.kind, name, namespace))
        except NotFound as error:
            missing.append(str(error))
    return found, 0, missing


def _sorted(resources: list[Resource], path: str) -> list[Resource]:
    """Numbers before text, what has no value last."""
    from calico.cli.output.paths import finder
    from calico.model.manifest import resource_to_data

    find = finder(path)

    def rank(item: Resource) -> tuple[int, float, str]:
        value = next(iter(find(resource_to_data(item))), None)
        if isinstance(value, int | float):
            return 0, float(value), ""
        return (2, 0.0, "") if value is None else (1, 0.0, str(value))

    return sorted(resources, key=rank)
