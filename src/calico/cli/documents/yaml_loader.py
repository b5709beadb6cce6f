"""Which YAML loader may read a text: libyaml's is fast, but it overflows its stack on what is nested deeply.

Depth is estimated from above by brackets, indentation and dashes; only what might be deep is left to the slow loader,
which says so instead.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

__all__ = ["loader_for"]

_FAST = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_MAX_DEPTH = 200
_BRACKETS = re.compile(r"[][{}]")
_NESTING = re.compile(r"[-?:](?=\s)")


def loader_for(text: str) -> Any:
    """The class for ``yaml.load``; with it, deep nesting is a RecursionError at the worst."""
    return yaml.SafeLoader if _may_be_deep(text) else _FAST


def _may_be_deep(text: str) -> bool:
    depth = 0
    for match in _BRACKETS.finditer(text):
        depth = depth + 1 if match.group() in "[{" else max(0, depth - 1)
        if depth > _MAX_DEPTH:
            return True
    return any(
        len(line) - len(line.lstrip(" ")) > _MAX_DEPTH or len(_NESTING.findall(line)) > _MAX_DEPTH
        for line in text.split("\n")
        if len(line) > _MAX_DEPTH
    )
