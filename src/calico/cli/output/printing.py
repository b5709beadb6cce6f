"""Tables, YAML and JSON for people and scripts; what comes from the datastore cannot drive the terminal."""

from __future__ import annotations

import re
import sys
import unicodedata
from collections.abc import Iterable, Sequence

import click

__all__ = ["TableStream", "json_text", "print_data", "print_list", "print_table", "safe", "yaml_text"]

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters, and those that turn the direction of writing or break lines, and bytes that are no text."""

_GAP = "  "
_CHUNK = 100


def safe(value: object) -> str:
    """Text of a value with control characters made visible."""
    return _CONTROL.sub(_visible, "" if value is None else str(value))


def _visible(match: re.Match[str]) -> str:
    code = ord(match.group())
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def print_table(titles: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """A plain table, one line a row; the titles are bold on a terminal."""
    cells = [[safe(cell) for cell in row] for row in rows]
    TableStream(titles, cells).rows(cells)


class TableStream:
    """A table whose rows come bit by bit: columns are as wide as the first rows need."""

    def __init__(self, titles: Sequence[str], first: Iterable[Sequence[str]]) -> None:
        self._widths = [_width(title) for title in titles]
        for row in first:
            for index, cell in enumerate(row):
                self._widths[index] = max(self._widths[index], _width(cell))
        line = self._line(titles)
        click.echo(click.style(line, bold=True) if sys.stdout.isatty() else line)

    def rows(self, rows: Iterable[Sequence[str]]) -> None:
        """Print rows of text that ``safe`` has seen."""
        lines = [self._line(row) for row in rows]
        if lines:
            click.echo("\n".join(lines))

    def _line(self, cells: Sequence[str]) -> str:
        padded = [cell + " " * (width - _width(cell)) for cell, width in zip(cells, self._widths, strict=True)]
        return _GAP.join(padded).rstrip()


def _width(text: str) -> int:
    """Columns on a terminal."""
    if text.isascii():
        return len(text)
    wide = sum(unicodedata.east_asian_width(char) in "WF" for char in text)
    return len(text) + wide - sum(bool(unicodedata.combining(char)) for char in text)


def print_data(document: object, output: str) -> None:
    """The document as ``yaml`` or ``json``."""
    if output == "json":
        click.echo(json_text(document))
    else:
        click.echo(yaml_text(document), nl=False)


def print_list(head: dict[str, object], items: Sequence[object], output: str) -> None:
    """``head`` with the items under ``items``, as ``print_data`` prints it; YAML is printed as it is made."""
    if output == "json" or not items:
        print_data({**head, "items": items}, output)
        return
    click.echo(yaml_text(head) + "items:")
    for start in range(0, len(items), _CHUNK):
        click.echo(yaml_text(items[start : start + _CHUNK]), nl=False)


def json_text(document: object, *, indent: int = 2) -> str:
    """JSON, indented or (0) in one line. What could drive a terminal is escaped; it stands in strings only."""
    import msgspec

    try:
        encoded = msgspec.json.encode(document)
        text = (msgspec.json.format(encoded, indent=indent) if indent else encoded).decode()
    except UnicodeEncodeError:  # keys of etcd need not be text
        import json

        text = json.dumps(document, indent=indent or None)
    return _CONTROL.sub(lambda match: match.group() if match.group() == "\n" else f"\\u{ord(match.group()):04x}", text)


def yaml_text(document: object) -> str:
    """YAML in block style."""
    import yaml

    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    text: str = yaml.dump(document, Dumper=dumper, sort_keys=False, allow_unicode=True)
    if _CONTROL.search(text.replace("\n", "")):
        text = yaml.dump(document, Dumper=dumper, sort_keys=False, allow_unicode=False)
    return text
