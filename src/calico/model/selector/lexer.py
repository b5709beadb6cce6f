"""Text to tokens. The language is context dependent in one place: word operators exist only right after a label.

So ``in in {"in"}`` is a legal selector on a label named ``in``. Whitespace is space and TAB; a newline is an error.
"""

from __future__ import annotations

import re
from enum import Enum

import msgspec

from calico.errors import InvalidInput

__all__ = ["MAX_LABEL_LENGTH", "Token", "TokenKind", "tokenize"]

MAX_LABEL_LENGTH = 512


class TokenKind(Enum):
    """Kinds of tokens; the value is how people know them."""

    LABEL = "Label"
    STRING = "StringLiteral"
    HAS = "Has"
    ALL = "All"
    GLOBAL = "Global"
    L_PAREN = "LParen"
    R_PAREN = "RParen"
    L_BRACE = "LBrace"
    R_BRACE = "RBrace"
    COMMA = "Comma"
    EQ = "Eq"
    NE = "Ne"
    IN = "In"
    NOT_IN = "NotIn"
    CONTAINS = "Contains"
    STARTS_WITH = "StartsWith"
    ENDS_WITH = "EndsWith"
    NOT = "Not"
    AND = "And"
    OR = "Or"
    EOF = "EOF"


class Token(msgspec.Struct, frozen=True):
    """A token with its text (labels, strings and ``has``) and its offset in the input, in characters."""

    kind: TokenKind
    value: str
    position: int


_IDENT = "[A-Za-z0-9_./-]"
_BLANK = "[ \t]*"
_AFTER_LABEL = re.compile(
    rf"(?P<EQ>==)|(?P<NE>!=)|(?:(?P<CONTAINS>contains)|(?P<STARTS_WITH>starts{_BLANK}with)"
    rf"|(?P<ENDS_WITH>ends{_BLANK}with)|(?P<NOT_IN>not{_BLANK}in)|(?P<IN>in))(?!{_IDENT})"
)
_ANYWHERE = re.compile(
    rf"(?P<L_PAREN>\()|(?P<R_PAREN>\))|(?P<L_BRACE>\{{)|(?P<R_BRACE>\}})|(?P<COMMA>,)"
    rf"|(?P<EQ>==)|(?P<NE>!=)|(?P<NOT>!)|(?P<AND>&&)|(?P<OR>\|\|)"
    rf"|(?P<STRING>\"[^\"]*\"|'[^']*')"
    rf"|(?P<ALL>all\({_BLANK}\))|(?P<GLOBAL>global\({_BLANK}\))|has\({_BLANK}(?P<HAS>{_IDENT}+){_BLANK}\)"
    rf"|(?P<LABEL>(?!(?:all|global|has)\(){_IDENT}+)"
)
_SPACES = re.compile(_BLANK)


def _reject(text: str, position: int, after_label: bool) -> InvalidInput:
    rest = text[position : position + 20]
    if after_label:
        reason = "expected an operator (==, !=, in, not in, contains, starts with, ends with) after the label"
    elif rest[0] in "\"'":
        reason = "the string is not closed"
    elif rest.startswith(("has(", "all(", "global(")):
        reason = f"malformed {rest.partition('(')[0]}()"
    elif rest[0] in "\r\n":
        reason = "line breaks are not allowed"
    else:
        reason = "unexpected character"
    return InvalidInput(f"selector {text!r}, position {position}: {reason} (at {rest!r})")


def tokenize(text: str) -> list[Token]:
    """The tokens of a selector, ending with EOF; InvalidInput naming the position of what is not a token."""
    tokens: list[Token] = []
    position, after_label = 0, False
    while (position := _SPACES.match(text, position).end()) < len(text):  # type: ignore[union-attr]
        found = (_AFTER_LABEL if after_label else _ANYWHERE).match(text, position)
        if found is None or found.lastgroup is None:
            raise _reject(text, position, after_label)
        kind = TokenKind[found.lastgroup]
        value = _value(kind, found[found.lastgroup])
        if kind in (TokenKind.LABEL, TokenKind.HAS) and len(value) > MAX_LABEL_LENGTH:
            raise InvalidInput(f"position {position}: a label name is longer than {MAX_LABEL_LENGTH} characters")
        tokens.append(Token(kind, value, position))
        after_label = kind is TokenKind.LABEL
        position = found.end()
    tokens.append(Token(TokenKind.EOF, "", len(text)))
    return tokens


def _value(kind: TokenKind, matched: str) -> str:
    if kind is TokenKind.STRING:
        return matched[1:-1]
    return matched if kind in (TokenKind.LABEL, TokenKind.HAS) else ""
