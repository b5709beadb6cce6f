"""A delta debugger for documents: leaves out what is not needed for something to go wrong.

It knows nothing of worlds, so that new kinds and fields need nothing here. A part is an entry of a list or a dict at
any depth. Parts are tried from large to small until no single one can be left out.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

__all__ = ["minimal"]

Document: TypeAlias = Any
Path: TypeAlias = tuple[Any, ...]


def minimal(document: Document, fails: Callable[[Document], bool]) -> Document:
    """The smallest document found that still ``fails``; the given one must. An exception means that it does not."""
    best = copy.deepcopy(document)
    while (smaller := _pass(best, fails)) is not best:
        best = smaller
    return best


def _pass(document: Document, fails: Callable[[Document], bool]) -> Document:
    """Leave out what can be of every list and dict, the outermost first: what they lose need not be looked into."""
    depth = 0
    while [path for path in _containers(document, ()) if len(path) == depth]:
        for chunk in (8, 4, 2, 1):
            for path in [path for path in _containers(document, ()) if len(path) == depth]:
                document = _thin(document, path, fails, chunk)
        depth += 1
    return document


def _thin(document: Document, path: Path, fails: Callable[[Document], bool], chunk: int) -> Document:
    """Try to leave out runs of ``chunk`` neighbours of one list or dict."""
    at = 0
    while True:
        inner = _at(document, path)
        if inner is None or at + chunk > len(inner):
            return document
        smaller = copy.deepcopy(document)
        place = _at(smaller, path)
        for key in list(range(at, at + chunk))[::-1] if isinstance(place, list) else list(place)[at : at + chunk]:
            del place[key]
        if _still(smaller, fails):
            document = smaller
        else:
            at += 1


def _still(document: Document, fails: Callable[[Document], bool]) -> bool:
    try:
        return fails(document)
    except Exception:
        return False


def _containers(document: Document, path: Path) -> Iterator[Path]:
    if isinstance(document, dict | list):
        yield path
        for key, value in document.items() if isinstance(document, dict) else enumerate(document):
            yield from _containers(value, (*path, key))


def _at(document: Document, path: Path) -> Any:
    """What is at a path; None where earlier leaving-out has taken it away."""
    for key in path:
        if isinstance(document, dict):
            document = document.get(key)
        elif isinstance(document, list) and key < len(document):
            document = document[key]
        else:
            return None
    return document if isinstance(document, dict | list) else None
