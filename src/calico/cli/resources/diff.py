"""``calico diff``: what applying files would change, in meaning."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import click

from calico.cli.options import config_option, data_output_option, file_options, opened
from calico.cli.output.printing import print_data, safe
from calico.cli.resources.writing import read_resources
from calico.errors import CalicoError

if TYPE_CHECKING:
    from calico.client.comparing import Difference
    from calico.model.meta import Resource

__all__ = ["diff"]

_FAILED = 3
_SIGNS = {"created": "+", "changed": "~", "deleted": "-"}


@click.command()
@file_options
@config_option
@data_output_option
def diff(
    files: tuple[str, ...], recursive: bool, skip_empty: bool, namespace: str, config: str | None, output: str
) -> None:
    """Show what `calico apply` of the same files would change; nothing is written.

    Spelling does not count: defaults, the order of names and networks in lists, and how selectors are written.
    Everything is checked as when it is written. Exit code 0: nothing changes, 1: something would, 3: it cannot be told.
    """
    try:
        items = read_resources(files, recursive, skip_empty, namespace, "compared")
        differences = asyncio.run(_differences(items, config))
    except CalicoError as error:
        click.echo(f"error: {safe(error)}", err=True)
        raise click.exceptions.Exit(_FAILED) from error
    except click.exceptions.Exit as error:
        raise click.exceptions.Exit(_FAILED) from error
    changed = [difference for difference in differences if difference.verdict != "unchanged"]
    if output == "table":
        for difference in changed:
            _show(difference)
        click.echo(f"{len(changed)} of {len(differences)} resources would change", err=True)
    else:
        print_data([_data(difference) for difference in differences], output)
    if changed:
        raise click.exceptions.Exit(1)


async def _differences(items: tuple[Resource, ...], config: str | None) -> tuple[Difference, ...]:
    from calico.client.aio import AsyncClient

    async with opened(config) as store:
        return await AsyncClient(store.backend, store).difference(items)


def _show(difference: Difference) -> None:
    click.echo(f"{_SIGNS[difference.verdict]} {safe(difference)}")
    for change in difference.changes:
        click.echo(f"    {safe(change.path)}")
        if change.before is not None:
            click.echo(f"      - {_value(change.before)}")
        if change.after is not None:
            click.echo(f"      + {_value(change.after)}")


def _value(value: Any) -> str:
    return safe(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


def _data(difference: Difference) -> dict[str, Any]:
    return {
        "kind": difference.kind,
        "namespace": difference.namespace,
        "name": difference.name,
        "verdict": difference.verdict,
        "changes": [
            {"path": change.path, "before": change.before, "after": change.after} for change in difference.changes
        ],
    }
