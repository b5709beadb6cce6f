"""``calico explain``: what a kind or a field is for."""

from __future__ import annotations

from typing import Any

import click

from calico.cli.options import data_output_option
from calico.cli.output.printing import print_data, print_table
from calico.model.explaining import Explained, explain, fields_of
from calico.model.kinds import KINDS, KindInfo, find_kind

__all__ = ["explain_command"]


@click.command("explain")
@click.argument("what", metavar="[KIND[.FIELD...]]", default="")
@click.option("-R", "--recursive", is_flag=True, help="All fields below, not only the next ones.")
@data_output_option
def explain_command(what: str, recursive: bool, output: str) -> None:
    """Say what a KIND or a FIELD of it is for, with its type and its fields: `calico explain np.spec.ingress.source`.

    Without argument all kinds, with the names they may be called by.
    """
    if not what:
        _show_kinds(output)
        return
    kind, _, path = what.partition(".")
    info = find_kind(kind)
    found = explain(info, path)
    below = _below(found.cls, recursive) if found.cls is not None else []
    if output != "table":
        document = {"kind": info.kind, "field": found.path, "type": found.type_name, "text": _text(info, found)}
        print_data({**document, "fields": [_data(info, field) for field in below]}, output)
        return
    click.echo(f"{info.kind}{f'.{found.path}' if found.path else ''}: {found.type_name}")
    click.echo(f"  {_text(info, found) or 'No more is said of it.'}")
    if below:
        click.echo()
        print_table(["FIELD", "TYPE", "WHAT"], [[field.path, field.type_name, _text(info, field)] for field in below])


def _show_kinds(output: str) -> None:
    rows = [(info, explain(info, "").text) for info in KINDS]
    if output == "table":
        cells = [[i.kind, "yes" if i.namespaced else "no", ",".join((i.plural, *i.aliases)), text] for i, text in rows]
        print_table(["KIND", "NAMESPACED", "NAMES", "WHAT"], cells)
        return
    kinds = [
        {"kind": i.kind, "namespaced": i.namespaced, "names": [i.plural, *i.aliases], "text": text} for i, text in rows
    ]
    print_data(kinds, output)


def _below(cls: type, recursive: bool, prefix: str = "", depth: int = 8) -> list[Explained]:
    found = []
    for field in fields_of(cls):
        found.append(Explained(prefix + field.path, field.type_name, field.text, field.cls))
        if recursive and field.cls is not None and depth:
            found += _below(field.cls, recursive, f"{prefix}{field.path}.", depth - 1)
    return found


def _text(info: KindInfo, field: Explained) -> str:
    """Fields of FelixConfiguration are parameters of Felix, which says itself what they do."""
    if field.text or info.kind != "FelixConfiguration" or not field.path:
        return field.text
    from calico.felix.config.foreign import foreign
    from calico.felix.config.parameters import PARAMETERS

    name = field.path.rpartition(".")[2]
    texts = {parameter.json_name: parameter.doc for parameter in PARAMETERS}
    other = foreign().get(name.lower())
    return texts.get(name) or f"Accepted and kept, without effect. {other.reason if other else ''}".rstrip()


def _data(info: KindInfo, field: Explained) -> dict[str, Any]:
    return {"field": field.path, "type": field.type_name, "text": _text(info, field)}
