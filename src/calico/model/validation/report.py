"""Collecting what is wrong with a resource: every fault is found in one pass, each with its place and value."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec

from calico.errors import InvalidInput

__all__ = ["FieldError", "Report"]

_SHOWN = 120


class FieldError(msgspec.Struct, frozen=True):
    """One fault: where (``spec.ingress[0].source.nets[1]``), what was found there, and why it is refused."""

    field: str
    value: str
    reason: str

    def __str__(self) -> str:
        return f"{self.field}: {self.reason}" + (f" (found {self.value})" if self.value else "")


class Report:
    """The faults found so far. ``where`` arguments are paths; empty values of optional fields are never judged."""

    def __init__(self) -> None:
        self.errors: list[FieldError] = []

    def error(self, where: str, value: object, reason: str) -> None:
        """Record a fault."""
        shown = "" if value is None else repr(value)
        self.errors.append(FieldError(where, shown if len(shown) <= _SHOWN else shown[:_SHOWN] + "…", reason))

    def check(self, fine: object, where: str, value: object, reason: str) -> None:
        """Record a fault unless ``fine``."""
        if not fine:
            self.error(where, value, reason)

    def parses(self, parse: Callable[[str], object], where: str, value: str | None) -> None:
        """Record why a text does not parse; absent and empty texts are fine."""
        if value:
            self.means(parse, where, value)

    def means(self, parse: Callable[..., object], where: str, value: int | str | None) -> None:
        """Record why a scalar has no meaning (its parser raises InvalidInput); absent ones are fine."""
        if value is None:
            return
        try:
            parse(value)
        except InvalidInput as refused:
            self.error(where, value, refused.message)

    def one_of(self, allowed: Iterable[str], where: str, value: str | None) -> None:
        """Record a value that is neither empty nor among the allowed ones."""
        allowed = tuple(allowed)
        if value and value not in allowed:
            self.error(where, value, f"must be one of {', '.join(allowed)}")

    def distinct(self, values: tuple[object, ...], where: str) -> None:
        """Record values given twice."""
        seen: set[object] = set()
        for index, value in enumerate(values):
            if value in seen:
                self.error(f"{where}[{index}]", value, "is given twice")
            seen.add(value)

    def at_most(self, limit: int, values: tuple[object, ...], where: str) -> None:
        """Record a list that is too long."""
        if len(values) > limit:
            self.error(where, len(values), f"must have at most {limit} entries")

    def longest(self, limit: int, where: str, text: str | None) -> None:
        """Record a text that is too long."""
        if text is not None and len(text) > limit:
            self.error(where, len(text), f"must have at most {limit} characters")

    def within(self, low: int, high: int, where: str, value: float | None) -> None:
        """Record a number outside its range; absent ones are fine."""
        if value is not None and not low <= value <= high:
            self.error(where, value, f"must be within {low} and {high}")
