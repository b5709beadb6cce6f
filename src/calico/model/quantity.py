"""Quantities as Kubernetes writes them: a decimal number with a suffix (``10M``, ``1Gi``, ``1e6``)."""

from __future__ import annotations

import math
import re
from fractions import Fraction
from typing import Final

from calico.errors import InvalidInput

__all__ = ["parse_quantity"]

_QUANTITY: Final = re.compile(
    r"(?P<sign>[+-]?)(?P<number>[0-9]{1,40}\.?[0-9]{0,40}|\.[0-9]{1,40})"
    r"(?:[eE](?P<exponent>[+-]?[0-9]{1,2})|(?P<suffix>[KMGTPE]i|[numkMGTPE])?)"
)
_FACTORS: Final = {
    **{suffix: Fraction(10) ** (3 * power) for power, suffix in enumerate("num", -3)},
    **{suffix: Fraction(1000) ** power for power, suffix in enumerate("kMGTPE", 1)},
    **{f"{suffix}i": Fraction(1024) ** power for power, suffix in enumerate("KMGTPE", 1)},
}


def parse_quantity(text: str) -> int:
    """The whole number that a quantity stands for, rounded up; InvalidInput when it is none."""
    found = _QUANTITY.fullmatch(text)
    if found is None:
        raise InvalidInput(f"{text[:64]!r} is no quantity: a number and one of k M G T P E Ki Mi Gi Ti Pi Ei, or none")
    number = Fraction(found["number"].rstrip(".")) * (-1 if found["sign"] == "-" else 1)
    factor = Fraction(10) ** int(found["exponent"]) if found["exponent"] else _FACTORS.get(found["suffix"], Fraction(1))
    return math.ceil(number * factor)
