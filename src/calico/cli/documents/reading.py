"""Resources in files: YAML or JSON, several to a file, lists, directories; read strictly."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import yaml

from calico.cli.documents.yaml_loader import loader_for
from calico.errors import InvalidInput

__all__ = ["read_documents"]

_SUFFIXES = (".yaml", ".yml", ".json")


def read_documents(names: Iterable[str], *, recursive: bool = False) -> Iterator[tuple[str, object]]:
    """(where it stands, raw document) for every document of every file; ``-`` is standard input.

    InvalidInput names the file, line and column of what does not parse.
    """
    for path in _files(names, recursive):
        text = sys.stdin.read() if path == "-" else _text(path)
        try:
            documents = list(yaml.load_all(text, Loader=loader_for(text)))
        except (yaml.YAMLError, RecursionError) as error:
            raise InvalidInput(f"is not YAML or JSON: {' '.join(str(error).split())}", subject=path) from error
        index = 0
        for document in documents:
            for item in _items(document):
                index += 1
                yield f"{path} document {index}", item


def _items(document: object) -> list[object]:
    if document is None:
        return []
    if isinstance(document, list):
        return [item for part in document for item in _items(part)]
    if isinstance(document, dict) and str(document.get("kind", "")).endswith("List") and "items" in document:
        return [item for part in document["items"] or [] for item in _items(part)]
    return [document]


def _files(names: Iterable[str], recursive: bool) -> Iterator[str]:
    for name in names:
        path = Path(name)
        if name == "-" or not path.is_dir():
            yield name
            continue
        pattern = "**/*" if recursive else "*"
        yield from sorted(str(found) for found in path.glob(pattern) if found.suffix in _SUFFIXES and found.is_file())


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"cannot be read: {error}", subject=path) from error
