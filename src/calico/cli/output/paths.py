"""JSONPath in outputs: paths as kubectl writes them, and templates with text, ``{path}`` and ``{range path}…{end}``."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

from calico.cli.output.printing import safe
from calico.errors import InvalidInput

__all__ = ["Template", "finder", "shown"]

_PIECE = re.compile(r"\{((?:\"(?:[^\"\\]|\\.)*\"|'[^']*'|[^{}\"'])*)\}")
_PLAIN = re.compile(r"\$(?:\.[A-Za-z_][A-Za-z0-9_]*|\[\d+\])+")
_STEP = re.compile(r"\.(\w+)|\[(\d+)\]")
_ESCAPED_DOT = re.compile(r"\.((?:[^.\[\]\\\s]|\\.)*\\\.(?:[^.\[\]\\\s]|\\.)*)")

Find = Callable[[Any], list[Any]]


def finder(path: str) -> Find:
    """A function that finds all values at a path: ``.spec.order``, ``$.items[*].metadata.name``,
    ``.metadata.labels.app\\.kubernetes\\.io/name``. InvalidInput when it does not parse."""
    text = path.strip()
    if text.startswith("@"):
        text = "$" + text[1:]
    if not text.startswith("$"):
        text = "$" + (text if text.startswith((".", "[")) else f".{text}")
    if _PLAIN.fullmatch(text):
        return _walker(text)
    import jsonpath

    text = _ESCAPED_DOT.sub(lambda m: f"[{json.dumps(m[1].replace(chr(92), ''))}]", text)
    try:
        compiled = jsonpath.compile(text)
    except jsonpath.JSONPathError as error:
        raise InvalidInput(f"is not a JSONPath: {error}", subject=path) from error
    return lambda document: list(compiled.findall(document))


def _walker(path: str) -> Find:
    """Most paths are names and indices: no library needs to be loaded for them."""
    steps = [name or int(index) for name, index in _STEP.findall(path)]

    def find(document: Any) -> list[Any]:
        for step in steps:
            try:
                holds = dict if isinstance(step, str) else (list, tuple)
                document = document[step] if isinstance(document, holds) else None
            except LookupError:
                return []
            if document is None:
                return []
        return [document]

    return find


def shown(values: list[Any]) -> str:
    """Values as text of a cell: text as it is, everything else as JSON."""
    return ",".join(safe(value if isinstance(value, str) else json.dumps(value)) for value in values)


class Template:
    """``{.items[*].metadata.name}{"\\n"}``; without braces the whole is one path, printed a value a line."""

    def __init__(self, text: str) -> None:
        self._lines: Find | None = None
        if "{" not in text:
            self._lines = finder(text)
            return
        pieces = list(_pieces(text))
        self._parts, rest = _block(pieces, inner=False)
        if rest:
            raise InvalidInput("{end} without {range}", subject=text)

    def render(self, document: Any) -> str:
        """The text for a document."""
        if self._lines is not None:
            return "".join(shown([value]) + "\n" for value in self._lines(document))
        return "".join(part(document) for part in self._parts)


Part = Callable[[Any], str]


def _pieces(text: str) -> Iterator[tuple[str, str]]:
    """("text", literal), ("path", path), ("range", path), ("end", "")."""
    at = 0
    for match in _PIECE.finditer(text):
        if match.start() > at:
            yield "text", _literal(text[at : match.start()])
        inner = match[1].strip()
        if inner[:1] in ("'", '"'):
            yield "text", inner[1:-1].encode().decode("unicode_escape") if inner.isascii() else inner[1:-1]
        elif inner == "end":
            yield "end", ""
        elif inner.startswith("range "):
            yield "range", inner[6:]
        else:
            yield "path", inner
        at = match.end()
    if at < len(text):
        yield "text", _literal(text[at:])


def _literal(text: str) -> str:
    if "{" in text or "}" in text:
        raise InvalidInput("a brace is not closed", subject=text)
    return text


def _block(pieces: list[tuple[str, str]], *, inner: bool) -> tuple[list[Part], list[tuple[str, str]]]:
    """The parts up to the end of a block, and what follows it."""
    parts: list[Part] = []
    while pieces:
        (kind, text), pieces = pieces[0], pieces[1:]
        if kind == "end":
            return (parts, pieces) if inner else (parts, [(kind, text), *pieces])
        if kind == "range":
            body, pieces = _block(pieces, inner=True)
            parts.append(_repeated(finder(text), body))
        elif kind == "path":
            parts.append(_found(finder(text)))
        else:
            parts.append(_fixed(text))
    if inner:
        raise InvalidInput("{range} without {end}")
    return parts, []


def _fixed(text: str) -> Part:
    return lambda _: text


def _found(find: Find) -> Part:
    return lambda document: " ".join(shown([value]) for value in find(document))


def _repeated(find: Find, body: list[Part]) -> Part:
    return lambda document: "".join(part(item) for item in find(document) for part in body)
