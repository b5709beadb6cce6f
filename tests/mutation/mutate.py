"""Mutants of a module: copies of its syntax tree in which one thing is wrong.

What only people read (docstrings, comments of rules, messages of errors), types and imports are left alone, and so is
``zip``'s ``strict``: it changes nothing in a program that is right.
"""

from __future__ import annotations

import ast
import copy
import difflib
from collections.abc import Iterator
from typing import NamedTuple

__all__ = ["Mutant", "mutants"]

Path = tuple[tuple[str, int | None], ...]

_COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
}  # fmt: skip
_OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.FloorDiv, ast.FloorDiv: ast.Mult, ast.Mod: ast.FloorDiv,
    ast.BitOr: ast.BitAnd, ast.BitAnd: ast.BitOr, ast.BitXor: ast.BitOr, ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
}  # fmt: skip
_CALLS = {"min": "max", "max": "min", "any": "all", "all": "any", "sorted": "list"}
_FOR_TYPES = ("TypeVar", "TypeAlias", "__all__")
_FOR_PEOPLE = {"Rule": 1, "InvalidInput": 0, "comment_text": 0, "_for_prefixes": 3}
"""Calls that have a text for people, and its position."""

_HELD_BY_TYPES = {
    "src", "dst", "eq", "neq", "network", "transport", "big", "verdict", "iifname", "oifname", "l4proto", "nfproto",
    "accept", "drop", "return", "jump", "goto", "dnat", "snat", "nat", "filter", "bytes", "packets", "tcp-reset",
    "ifname", "ipv4_addr", "ipv6_addr", "inet_proto", "inet_service", "prerouting", "postrouting", "forward",
}  # fmt: skip
"""Words of ``Literal`` types that stand where mypy refuses any other."""


class Mutant(NamedTuple):
    """``change`` names it: what a line was and what it became, in normal form. ``function``: first and last line of
    the function or method outside of which nothing differs; None where something does."""

    change: str
    line: int
    tree: ast.Module
    function: tuple[int, int] | None


def mutants(source: str) -> Iterator[Mutant]:
    """Every mutant of a module, in the order of its text."""
    tree = ast.parse(source)
    normal = ast.unparse(tree).splitlines()
    seen: set[str] = set()
    for path, replacement, line in list(_mutations(tree, ())):
        mutated = copy.deepcopy(tree)
        _replace(mutated, path, copy.deepcopy(replacement))
        ast.fix_missing_locations(mutated)
        change = _change(normal, ast.unparse(mutated).splitlines())
        if change and change not in seen:
            seen.add(change)
            yield Mutant(change, line, mutated, _function(tree, path))


def _function(tree: ast.AST, path: Path) -> tuple[int, int] | None:
    node = tree
    for name, index in path:
        if isinstance(node, ast.FunctionDef):
            break
        node = getattr(node, name) if index is None else getattr(node, name)[index]
    if not isinstance(node, ast.FunctionDef):
        return None
    return min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)]), node.end_lineno or node.lineno


def _change(before: list[str], after: list[str]) -> str:
    minus, plus, at = [], [], ""
    for text in difflib.unified_diff(before, after, lineterm="", n=0):
        if text.startswith("@@"):
            at = text.split("+")[0].strip("@ -").split(",")[0]
        elif text.startswith("-") and not text.startswith("---"):
            minus.append(text[1:].strip())
        elif text.startswith("+") and not text.startswith("+++"):
            plus.append(text[1:].strip())
    number = sum(line.strip() == minus[0] for line in before[: int(at)]) if minus else 1
    return f"{' '.join(minus)} -> {' '.join(plus)}" + (f" [{number}]" if number > 1 else "")


def _mutations(node: ast.AST, path: Path) -> Iterator[tuple[Path, ast.AST, int]]:
    for replacement in _replacements(node):
        yield path, replacement, getattr(node, "lineno", 0)
    for name, index, child in _children(node):
        yield from _mutations(child, (*path, (name, index)))


def _children(node: ast.AST) -> Iterator[tuple[str, int | None, ast.AST]]:
    """The parts that may be mutated."""
    for name, value in ast.iter_fields(node):
        if name in _left_alone(node):
            continue
        if isinstance(value, ast.AST):
            yield name, None, value
        elif isinstance(value, list):
            for index, item in enumerate(value):
                if isinstance(item, ast.AST) and not _is_for_people(node, name, index, item):
                    yield name, index, item


def _left_alone(node: ast.AST) -> tuple[str, ...]:
    match node:
        case ast.FunctionDef():
            return ("returns", "decorator_list")
        case ast.ClassDef():
            return ("bases", "keywords", "decorator_list")
        case ast.AnnAssign():
            return ("annotation", "target")
        case ast.keyword(arg="strict"):
            return ("value",)
        case ast.arg() | ast.Import() | ast.ImportFrom() | ast.JoinedStr():
            return tuple(node._fields)
        case ast.Assign(targets=[ast.Name(id="__all__")]):
            return tuple(node._fields)
        case ast.Assign(value=ast.Subscript(value=ast.Name(id="Literal"))):
            return tuple(node._fields)
        case ast.Assign(value=ast.Call(func=ast.Name(id=name))) if name in _FOR_TYPES:
            return tuple(node._fields)
    return ()


def _is_for_people(node: ast.AST, name: str, index: int, item: ast.AST) -> bool:
    if isinstance(item, ast.AnnAssign) and isinstance(item.annotation, ast.Name) and item.annotation.id in _FOR_TYPES:
        return True
    if isinstance(item, ast.Expr) and isinstance(item.value, ast.Constant):
        return True
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and name == "args":
        return _FOR_PEOPLE.get(node.func.id) == index
    return False


def _replacements(node: ast.AST) -> Iterator[ast.AST]:
    match node:
        case ast.If() | ast.IfExp():
            for value in (True, False):
                yield _with(node, test=ast.Constant(value))
        case ast.While():
            yield _with(node, test=ast.Constant(False))
        case ast.comprehension(ifs=[_, *_]):
            yield _with(node, ifs=[])
        case ast.BoolOp():
            for left_out in range(len(node.values)):
                rest = [value for index, value in enumerate(node.values) if index != left_out]
                yield rest[0] if len(rest) == 1 else _with(node, values=rest)
        case ast.UnaryOp(op=ast.Not()):
            yield node.operand
        case ast.Compare(ops=[operator]):
            yield _with(node, ops=[_COMPARISONS[type(operator)]()])
        case ast.Compare(ops=[first, second]):
            yield _with(node, ops=[_COMPARISONS[type(first)](), second])
            yield _with(node, ops=[first, _COMPARISONS[type(second)]()])
        case ast.BinOp() if type(node.op) in _OPERATORS:
            yield _with(node, op=_OPERATORS[type(node.op)]())
        case ast.Call(func=ast.Name(id=name)) if name in _CALLS:
            yield _with(node, func=ast.Name(_CALLS[name], ast.Load()), **({"keywords": []} if name == "sorted" else {}))
        case ast.Constant():
            yield from _other_constants(node.value)
        case ast.Expr() | ast.AugAssign() | ast.Delete() | ast.Continue() | ast.Break() | ast.Raise():
            yield ast.Pass()
        case ast.Assign(targets=[ast.Attribute() | ast.Subscript()]):
            yield ast.Pass()
        case ast.Return(value=ast.expr()) if not _is_nothing(node.value):
            yield ast.Return(None)


def _is_nothing(value: ast.expr | None) -> bool:
    """Whether it is None, or False: who is told no by either cannot tell them apart."""
    return isinstance(value, ast.Constant) and (value.value is None or value.value is False)


def _other_constants(value: object) -> Iterator[ast.AST]:
    if isinstance(value, bool):
        yield ast.Constant(not value)
    elif isinstance(value, int):
        yield ast.Constant(value + 1)
    elif isinstance(value, bytes) and value:
        yield ast.Constant(value[:-1] + bytes((value[-1] ^ 1,)))
    elif isinstance(value, str) and value and " " not in value and value not in _HELD_BY_TYPES:
        yield ast.Constant(f"{value}X")


def _with(node: ast.AST, **fields: object) -> ast.AST:
    made = copy.copy(node)
    for name, value in fields.items():
        setattr(made, name, value)
    return made


def _replace(tree: ast.AST, path: Path, replacement: ast.AST) -> None:
    node: ast.AST = tree
    for name, index in path[:-1]:
        node = getattr(node, name) if index is None else getattr(node, name)[index]
    name, index = path[-1]
    if index is None:
        setattr(node, name, replacement)
    else:
        getattr(node, name)[index] = replacement
