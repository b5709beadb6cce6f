"""BGP communities as text: standard ``aa:nn`` (RFC 1997) and large ``aa:nn:mm`` (RFC 8092)."""

from __future__ import annotations

from calico.errors import InvalidInput

__all__ = ["parse_community"]

_LIMITS = {2: 2**16, 3: 2**32}


def parse_community(text: str) -> tuple[int, ...]:
    """Its two or three numbers; InvalidInput for anything else."""
    parts = text.split(":")
    top = _LIMITS.get(len(parts), 0)
    if not all(part.isascii() and part.isdigit() and len(part) <= 10 and int(part) < top for part in parts):
        raise InvalidInput("must be aa:nn (each to 65535) or aa:nn:mm (each to 4294967295)")
    return tuple(map(int, parts))
