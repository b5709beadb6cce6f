"""Tables, YAML and JSON for people and scripts; what comes from the datastore cannot drive the terminal."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Sequence

import click

__all__ = ["print_data", "print_table", "safe"]

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_WIDE = 10_000


def safe(value: object) -> str:
    """Text of a value with control characters, and bytes that are no text, made visible."""
    return _CONTROL.sub(lambda match: f"\\x{ord(match.group()):02x}", "" if value is None else str(value))


def print_table(titles: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """A plain table, one line a row; cut to the terminal only when there is one."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else _WIDE
    table = Table(box=box.SIMPLE_HEAD if sys.stdout.isatty() else None, pad_edge=False, header_style="bold")
    for title in titles:
        table.add_column(title, overflow="fold", no_wrap=not sys.stdout.isatty())
    for row in rows:
        table.add_row(*(safe(cell) for cell in row))
    Console(width=width, markup=False, highlight=False, emoji=False).print(table)


def print_data(document: object, output: str) -> None:
    """The document as ``yaml`` or ``json``."""
    if output == "json":
        click.echo(json.dumps(document, indent=2))
        return
    import yaml

    click.echo(yaml.safe_dump(document, sort_keys=False, allow_unicode=True), nl=False)
