"""A parsed selector: one immutable value that matches labels, prints canonically and hashes by its canonical text."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

import msgspec

from calico.model.selector.canonical import canonical_text, unique_id, with_prefix
from calico.model.selector.matching import Matcher, compile_matcher
from calico.model.selector.nodes import Node
from calico.model.selector.parser import parse_tree
from calico.model.selector.restrictions import Restriction, label_restrictions

__all__ = ["Selector", "parse", "selector_of"]

CACHED_SELECTORS = 16384


class Selector(msgspec.Struct, frozen=True, eq=False):
    """A selector. ``root`` is its tree; ``matches(labels)`` tells whether a label map is selected.

    ``matches`` is a compiled function kept in a field: calling it costs no method lookup.
    """

    canonical: str
    root: Node
    matches: Matcher

    @property
    def uid(self) -> str:
        """The unique id, ``s:`` and 38 characters."""
        return unique_id(self.canonical)

    def prefixed(self, prefix: str) -> Selector:
        """The selector on labels whose names all start with ``prefix``."""
        return selector_of(with_prefix(self.root, prefix))

    def restrictions(self) -> Mapping[str, Restriction]:
        """Necessary conditions by label."""
        return label_restrictions(self.root)

    def __eq__(self, other: object) -> bool:
        return self.canonical == other.canonical if isinstance(other, Selector) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.canonical)

    def __repr__(self) -> str:
        return f"Selector({self.canonical})"


def selector_of(root: Node) -> Selector:
    """The selector with a given tree."""
    return Selector(canonical_text(root), root, compile_matcher(root))


@lru_cache(maxsize=CACHED_SELECTORS)
def parse(text: str) -> Selector:
    """Parse a selector; InvalidInput with what was expected and where. Parsing the same text again is free."""
    return selector_of(parse_tree(text))
