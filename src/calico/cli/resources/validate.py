"""``calico validate``: everything that is wrong with files, without a datastore."""

from __future__ import annotations

import click

from calico.cli.documents.reading import read_documents
from calico.cli.options import data_output_option, file_options
from calico.cli.output.printing import print_data, safe
from calico.errors import InvalidInput
from calico.model.judging import Judgement, judge_document

__all__ = ["validate"]


@click.command()
@file_options
@data_output_option
def validate(files: tuple[str, ...], recursive: bool, skip_empty: bool, namespace: str, output: str) -> None:
    """Check resources in files, and name every fault of each. Nothing is asked of a datastore.

    Exit code 1 when anything is wrong. What only the datastore can tell (whether a tier exists) is checked by
    `calico apply --dry-run`.
    """
    found: list[tuple[str, Judgement]] = []
    broken: list[InvalidInput] = []
    for name in files:
        try:
            found += [
                (where, judge_document(raw, namespace)) for where, raw in read_documents((name,), recursive=recursive)
            ]
        except InvalidInput as error:
            broken.append(error)
    if not found and not broken and not skip_empty:
        raise InvalidInput("no resource found", subject=", ".join(files))
    faults = [{"where": e.subject, "resource": "", "field": e.field, "message": e.message} for e in broken]
    faults += [fault for where, judgement in found for fault in _faults(where, judgement)]
    faults += _given_twice(found)
    if output == "table":
        for fault in faults:
            text = ": ".join(part for part in (fault["resource"], fault["field"], fault["message"]) if part)
            click.echo(f"error: {safe(fault['where'])}: {safe(text)}", err=True)
        click.echo(f"{_count(len(found), 'resource')}, {_count(len(faults), 'fault')}")
    else:
        print_data({"resources": len(found), "faults": faults}, output)
    if faults:
        raise click.exceptions.Exit(1)


def _faults(where: str, judgement: Judgement) -> list[dict[str, str]]:
    return [
        {
            "where": where,
            "resource": _title(judgement),
            "field": fault.field,
            "message": fault.reason + (f" (found {fault.value})" if fault.value else ""),
        }
        for fault in judgement.faults
    ]


def _given_twice(found: list[tuple[str, Judgement]]) -> list[dict[str, str]]:
    first: dict[tuple[str, str, str], str] = {}
    twice = []
    for where, judgement in found:
        if judgement.name and judgement.identity in first:
            message = f"is given already in {first[judgement.identity]}"
            twice.append({"where": where, "resource": _title(judgement), "field": "metadata.name", "message": message})
        first.setdefault(judgement.identity, where)
    return twice


def _title(judgement: Judgement) -> str:
    name = f"{judgement.namespace}/{judgement.name}" if judgement.namespace else judgement.name
    return f"{judgement.kind or '?'} {name}".strip()


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
