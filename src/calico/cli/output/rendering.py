"""How ``calico get`` prints resources: tables of known or chosen columns, YAML, JSON, names, JSONPath."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import click
import msgspec

from calico.cli.output.columns import columns_of
from calico.cli.output.printing import TableStream, print_data, print_list, safe
from calico.errors import InvalidInput
from calico.model.kinds import KindInfo
from calico.model.manifest import resource_to_data
from calico.model.meta import API_VERSION, Resource

__all__ = ["OUTPUTS", "Output", "OutputType", "custom_columns", "exported", "print_resources"]

OUTPUTS = ("table", "ps", "wide", "yaml", "json", "name")
_WITH_ARGUMENT = ("custom-columns", "jsonpath", "jsonpath-file")

Column = tuple[str, Callable[[Resource], object]]


class Output(msgspec.Struct, frozen=True):
    """A way to print, with the argument of those that have one."""

    name: str
    argument: str = ""


class OutputType(click.ParamType[Output]):
    """``table``, ``json``, ``custom-columns=NAME:.metadata.name,…``, ``jsonpath=TEMPLATE`` and so on."""

    name = "OUTPUT"

    def convert(self, value: str | Output, param: click.Parameter | None, ctx: click.Context | None) -> Output:
        if isinstance(value, Output):
            return value
        name, equals, argument = value.partition("=")
        if name in OUTPUTS and not equals:
            return Output(name)
        if name in _WITH_ARGUMENT and argument:
            return Output(name, argument)
        if name in ("go-template", "go-template-file"):
            message = "Go templates are not there: use jsonpath=TEMPLATE or custom-columns=NAME:PATH,..."
        else:
            options = ", ".join([*OUTPUTS, *(f"{each}=..." for each in _WITH_ARGUMENT)])
            message = f"{value!r} is none of {options}"
        raise click.BadParameter(message, ctx, param)


def print_resources(
    info: KindInfo,
    resources: Sequence[Resource],
    output: Output,
    *,
    revision: int = 0,
    single: bool = False,
    with_namespace: bool = False,
) -> None:
    """Print them; ``single`` prints data as one object instead of a list, ``revision`` is the list's."""
    match output.name:
        case "yaml" | "json" if single:
            print_data(resource_to_data(resources[0]), output.name)
        case "yaml" | "json":
            print_list(_head(info, revision), [resource_to_data(item) for item in resources], output.name)
        case "name":
            if resources:
                click.echo("\n".join(safe(f"{info.plural}/{item.metadata.name}") for item in resources))
        case "jsonpath" | "jsonpath-file":
            from calico.cli.output.paths import Template

            text = _file(output.argument) if output.name == "jsonpath-file" else output.argument
            click.echo(Template(text).render(_document(info, resources, revision, single=single)), nl=False)
        case _:
            columns = table_columns(info, output, with_namespace=with_namespace)
            cells = [[safe(read(item)) for _, read in columns] for item in resources]
            TableStream([title for title, _ in columns], cells).rows(cells)


def table_columns(info: KindInfo, output: Output, *, with_namespace: bool) -> tuple[Column, ...]:
    """The columns of a table."""
    if output.name == "custom-columns":
        return custom_columns(info, output.argument)
    return columns_of(info.kind, wide=output.name == "wide", namespace=info.namespaced and with_namespace)


def custom_columns(info: KindInfo, argument: str) -> tuple[Column, ...]:
    """``TITLE:.json.path`` columns, or titles of columns that the kind has, comma-separated."""
    from calico.cli.output.paths import finder

    known = dict(columns_of(info.kind, wide=True, namespace=info.namespaced)) | dict(columns_of(info.kind))
    columns: list[Column] = []
    for part in argument.split(","):
        title, colon, path = part.strip().partition(":")
        if colon and path:
            columns.append((title, _reader(finder(path))))
        elif title.upper() in known:
            columns.append((title.upper(), known[title.upper()]))
        else:
            message = f"{part!r} is neither TITLE:PATH nor one of {', '.join(known)}"
            raise InvalidInput(message, subject="custom-columns")
    return tuple(columns)


def _reader(find: Callable[[Any], list[Any]]) -> Callable[[Resource], object]:
    from calico.cli.output.paths import shown

    return lambda item: shown(find(resource_to_data(item))) or "<none>"


def exported(item: Resource) -> Resource:
    """Without what belongs to this cluster."""
    metadata = msgspec.structs.replace(item.metadata, uid="", resource_version="", creation_timestamp=None)
    return msgspec.structs.replace(item, metadata=metadata)


def _document(info: KindInfo, resources: Sequence[Resource], revision: int, *, single: bool) -> dict[str, Any]:
    data = [resource_to_data(item) for item in resources]
    return data[0] if single else {**_head(info, revision), "items": data}


def _head(info: KindInfo, revision: int) -> dict[str, Any]:
    metadata = {"resourceVersion": str(revision)} if revision else {}
    return {"kind": f"{info.kind}List", "apiVersion": API_VERSION, "metadata": metadata}


def _file(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"cannot be read: {error}", subject=path) from error
