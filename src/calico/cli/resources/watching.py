"""``calico get --watch``: what there is, then every change as it happens."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import aclosing
from typing import Any

import click

from calico.cli.options import opened
from calico.cli.output.printing import TableStream, json_text, safe, yaml_text
from calico.cli.output.rendering import Output, exported, table_columns
from calico.client.collection import AsyncCollection
from calico.model.kinds import KindInfo
from calico.model.manifest import resource_to_data
from calico.model.meta import Resource

__all__ = ["watch_resources"]

_MIN_WIDTHS = {"NAME": 24, "NAMESPACE": 12}


async def watch_resources(
    info: KindInfo,
    wanted: tuple[str, ...],
    namespace: str,
    selector: str,
    output: Output,
    *,
    export: bool,
    config: str | None,
) -> None:
    """Print events until interrupted: rows with the event, or a document ``{"type", "object"}`` each."""
    show = _printer(info, output, with_namespace=not namespace)
    async with opened(config) as store:
        collection: AsyncCollection[Any] = AsyncCollection(store, info.cls)
        async with aclosing(collection.watch(namespace, selector)) as events:
            async for event in events:
                if not wanted or event.resource.metadata.name in wanted:
                    show(event.type, exported(event.resource) if export else event.resource)


def _printer(info: KindInfo, output: Output, *, with_namespace: bool) -> Callable[[str, Resource], None]:
    match output.name:
        case "json":
            return lambda kind, item: click.echo(json_text({"type": kind, "object": resource_to_data(item)}, indent=0))
        case "yaml":
            return _print_yaml
        case "name":
            return lambda kind, item: click.echo(safe(f"{kind} {info.plural}/{item.metadata.name}"))
        case "jsonpath" | "jsonpath-file":
            raise click.UsageError("--watch prints table, wide, custom-columns, yaml, json or name")
    columns = table_columns(info, output, with_namespace=with_namespace)
    titles = [title for title, _ in columns]
    stream = TableStream(["EVENT", *titles], [["MODIFIED", *(" " * _MIN_WIDTHS.get(title, 10) for title in titles)]])
    return lambda kind, item: stream.rows([[kind, *(safe(read(item)) for _, read in columns)]])


def _print_yaml(kind: str, item: Resource) -> None:
    document = {"type": kind, "object": resource_to_data(item)}
    click.echo("---\n" + yaml_text(document), nl=False)
