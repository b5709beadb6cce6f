"""What BIRD's configuration language can express: strings, names, prefixes, addresses, numbers. Pure.

Everything that comes from outside passes through one of these; what cannot be expressed is refused, never escaped.
"""

from __future__ import annotations

import ipaddress
import re

from calico.bgp.planning.filterplan import Family
from calico.errors import InvalidInput

__all__ = ["MAX_PREFERENCE", "address", "is_expressible", "number", "prefix", "quoted", "symbol"]

MAX_PREFERENCE = 2147483647
_EXPRESSIBLE = re.compile(r"[\x20\x21\x23-\x7e]{0,255}", re.ASCII)
_SYMBOL = re.compile(r"[A-Z][a-z]+_[A-Za-z0-9_]{1,58}", re.ASCII)


def is_expressible(text: str) -> bool:
    """Whether a string literal can hold the text: the language has no escapes."""
    return _EXPRESSIBLE.fullmatch(text) is not None


def quoted(text: str) -> str:
    """A string literal; quotes, control and non-ASCII characters are refused."""
    if not is_expressible(text):
        raise InvalidInput(f"{text[:60]!r} cannot be written in a BIRD configuration")
    return f'"{text}"'


def symbol(text: str) -> str:
    """A protocol name: an upper-case prefix keeps it apart from keywords; 64 characters at most."""
    if len(text) > 64 or not _SYMBOL.fullmatch(text):
        raise InvalidInput(f"{text[:80]!r} cannot be the name of a BIRD protocol")
    return text


def prefix(text: str, family: Family) -> str:
    """A network of the family, without host bits."""
    try:
        network = ipaddress.ip_network(text)
    except ValueError:
        raise InvalidInput(f"{text[:60]!r} is not a prefix") from None
    if network.version != family or "%" in text:
        raise InvalidInput(f"{text[:60]!r} is not an IPv{family} prefix")
    return str(network)


def address(text: str, family: Family) -> str:
    """An address of the family."""
    try:
        parsed = ipaddress.ip_address(text)
    except ValueError:
        raise InvalidInput(f"{text[:60]!r} is not an address") from None
    if parsed.version != family or "%" in text:
        raise InvalidInput(f"{text[:60]!r} is not an IPv{family} address")
    return str(parsed)


def number(value: int, lowest: int, highest: int) -> str:
    """A number within bounds."""
    if not lowest <= value <= highest:
        raise InvalidInput(f"{value} is not between {lowest} and {highest}")
    return str(int(value))
