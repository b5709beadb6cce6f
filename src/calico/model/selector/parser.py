"""Tokens to syntax tree. Precedence, lowest first: ``||``, ``&&``, ``!``; blank text means ``all()``.

The parser keeps its own stack of open parentheses, so that hostile nesting costs memory but never the interpreter's
stack; the depth of the resulting tree, which later code walks recursively, is limited.
"""

from __future__ import annotations

from collections.abc import Callable

from calico.errors import InvalidInput
from calico.model.selector import nodes
from calico.model.selector.lexer import Token, TokenKind, tokenize
from calico.model.selector.nodes import Node

__all__ = ["MAX_DEPTH", "negate", "parse_tree"]

MAX_DEPTH = 200
"""Deepest accepted tree; text within the 1024 characters of a resource field cannot exceed 150."""

_COMPARISONS: dict[TokenKind, Callable[[str, str], Node]] = {
    TokenKind.EQ: nodes.Equal,
    TokenKind.NE: nodes.NotEqual,
    TokenKind.CONTAINS: nodes.Contains,
    TokenKind.STARTS_WITH: nodes.StartsWith,
    TokenKind.ENDS_WITH: nodes.EndsWith,
}
_MEMBERSHIPS: dict[TokenKind, Callable[[str, tuple[str, ...]], Node]] = {
    TokenKind.IN: nodes.In,
    TokenKind.NOT_IN: nodes.NotIn,
}


def parse_tree(text: str) -> Node:
    """The tree of a selector; InvalidInput with the position of the first offence."""
    parser = _Parser(text)
    if parser.peek().kind is TokenKind.EOF:
        return nodes.All()
    return parser.expression()


def negate(node: Node) -> Node:
    """The negation, with double negations collapsed."""
    return node.operand if isinstance(node, nodes.Not) else nodes.Not(node)


class _Group:
    """One open parenthesis (or the whole text): alternatives finished so far, and the conjunction being read."""

    __slots__ = ("alternatives", "conjunction", "negated")

    def __init__(self, negated: bool) -> None:
        self.negated = negated
        self.alternatives: list[tuple[Node, int]] = []
        self.conjunction: list[tuple[Node, int]] = []

    def end_alternative(self) -> None:
        """Close the conjunction at ``||`` or at the end of the group."""
        self.alternatives.append(_combine(nodes.And, self.conjunction))
        self.conjunction = []

    def close(self) -> tuple[Node, int]:
        """The group's tree and its depth."""
        self.end_alternative()
        node, depth = _combine(nodes.Or, self.alternatives)
        return (negate(node), depth + 1) if self.negated else (node, depth)


def _combine(kind: type[nodes.And] | type[nodes.Or], terms: list[tuple[Node, int]]) -> tuple[Node, int]:
    if len(terms) == 1:
        return terms[0]
    return kind(tuple(node for node, _ in terms)), 1 + max(depth for _, depth in terms)


class _Parser:
    """A cursor over the tokens of one text."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = tokenize(text)
        self.index = 0

    def peek(self) -> Token:
        return self.tokens[self.index]

    def next(self) -> Token:
        token = self.tokens[self.index]
        self.index += 1
        return token

    def error(self, token: Token, expected: str) -> InvalidInput:
        found = "the end" if token.kind is TokenKind.EOF else repr(self.text[token.position : token.position + 20])
        return InvalidInput(f"selector {self.text!r}, position {token.position}: expected {expected}, found {found}")

    def expression(self) -> Node:
        """The whole text: operands and operators alternate; parentheses push and pop groups."""
        groups = [_Group(negated=False)]
        while True:
            self._open_operand(groups)
            while (token := self.next()).kind is TokenKind.R_PAREN and len(groups) > 1:
                closed = groups.pop().close()
                groups[-1].conjunction.append(closed)
            if token.kind is TokenKind.OR:
                groups[-1].end_alternative()
            elif token.kind is TokenKind.EOF and len(groups) == 1:
                break
            elif token.kind is not TokenKind.AND:
                raise self.error(token, "&&, || or )" if len(groups) > 1 else "&&, || or the end")
        node, depth = groups[0].close()
        if depth > MAX_DEPTH:
            raise InvalidInput(f"the selector is nested more than {MAX_DEPTH} deep")
        return node

    def _open_operand(self, groups: list[_Group]) -> None:
        """Read ``!`` and ``(`` up to and including the next leaf, which joins the innermost group."""
        negated = False
        while True:
            token = self.next()
            if token.kind is TokenKind.NOT:
                negated = not negated
            elif token.kind is TokenKind.L_PAREN:
                groups.append(_Group(negated))
                negated = False
            else:
                leaf = self._leaf(token)
                groups[-1].conjunction.append((nodes.Not(leaf), 2) if negated else (leaf, 1))
                return

    def _leaf(self, token: Token) -> Node:
        match token.kind:
            case TokenKind.HAS:
                return nodes.Has(token.value)
            case TokenKind.ALL:
                return nodes.All()
            case TokenKind.GLOBAL:
                return nodes.Global()
            case TokenKind.LABEL:
                return self._condition(token.value)
            case _:
                raise self.error(token, "a label, has(), all(), ! or (")

    def _condition(self, label: str) -> Node:
        operator = self.next()
        if (comparison := _COMPARISONS.get(operator.kind)) is not None:
            value = self.next()
            if value.kind is not TokenKind.STRING:
                raise self.error(value, "a quoted string")
            return comparison(label, value.value)
        if (membership := _MEMBERSHIPS.get(operator.kind)) is not None:
            return membership(label, self._set())
        raise self.error(operator, "an operator")

    def _set(self) -> tuple[str, ...]:
        """A set literal: possibly empty, a trailing comma allowed. Values come back sorted and distinct."""
        if (token := self.next()).kind is not TokenKind.L_BRACE:
            raise self.error(token, "{")
        values: set[str] = set()
        while (token := self.next()).kind is TokenKind.STRING:
            values.add(token.value)
            if (token := self.next()).kind is not TokenKind.COMMA:
                break
        if token.kind is not TokenKind.R_BRACE:
            raise self.error(token, "a quoted string, a comma or }")
        return tuple(sorted(values))
