"""Syntax tree to canonical text, and text to unique id. Equal canonical text means equal meaning, never the reverse."""

from __future__ import annotations

import base64
import hashlib

from calico.model.selector import nodes
from calico.model.selector.nodes import Node

__all__ = ["canonical_text", "unique_id", "with_prefix"]

_OPERATORS = {
    nodes.Equal: "==",
    nodes.NotEqual: "!=",
    nodes.Contains: "contains",
    nodes.StartsWith: "starts with",
    nodes.EndsWith: "ends with",
    nodes.In: "in",
    nodes.NotIn: "not in",
}


def _quote(value: str) -> str:
    # The language has no escapes, so a value holds at most one kind of quote.
    return f"'{value}'" if '"' in value else f'"{value}"'


def canonical_text(node: Node) -> str:
    """One spelling per tree: ``&&``/``||`` always in parentheses, single spaces, sorted sets, double quotes."""
    match node:
        case nodes.All():
            return "all()"
        case nodes.Global():
            return "global()"
        case nodes.Has(label):
            return f"has({label})"
        case nodes.Not(operand):
            return f"!{canonical_text(operand)}"
        case nodes.And(operands):
            return f"({' && '.join(map(canonical_text, operands))})"
        case nodes.Or(operands):
            return f"({' || '.join(map(canonical_text, operands))})"
        case nodes.In(label, values) | nodes.NotIn(label, values):
            return f"{label} {_OPERATORS[type(node)]} {{{', '.join(map(_quote, values))}}}"
        case _:
            return f"{node.label} {_OPERATORS[type(node)]} {_quote(node.value)}"


def with_prefix(node: Node, prefix: str) -> Node:
    """The same tree with ``prefix`` put before every label name."""
    match node:
        case nodes.All() | nodes.Global():
            return node
        case nodes.Not(operand):
            return nodes.Not(with_prefix(operand, prefix))
        case nodes.And(operands):
            return nodes.And(tuple(with_prefix(operand, prefix) for operand in operands))
        case nodes.Or(operands):
            return nodes.Or(tuple(with_prefix(operand, prefix) for operand in operands))
        case nodes.Has(label):
            return nodes.Has(prefix + label)
        case nodes.In(label, values):
            return nodes.In(prefix + label, values)
        case nodes.NotIn(label, values):
            return nodes.NotIn(prefix + label, values)
        case _:
            return type(node)(prefix + node.label, node.value)


def unique_id(text: str, kind: str = "s") -> str:
    """``<kind>:`` and the unpadded URL-safe base64 of SHA-224 over ``<kind>:<text>``; 40 characters for ``s``.

    ``kind`` ``s`` is for selectors (``text`` canonical); other kinds of sets use other letters, same construction.
    """
    digest = hashlib.sha224(f"{kind}:{text}".encode("utf-8", "surrogatepass")).digest()
    return f"{kind}:{base64.urlsafe_b64encode(digest).rstrip(b'=').decode()}"
