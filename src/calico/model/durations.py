"""Durations as Go writes them (``1m30s``, ``500ms``), in seconds."""

from __future__ import annotations

import re

from calico.errors import InvalidInput

__all__ = ["format_duration", "parse_duration"]

_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART = r"(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:ns|us|µs|μs|ms|s|m|h)"
_DURATION = re.compile(rf"([-+]?)(0|(?:{_PART})+)")
_SPLIT = re.compile(r"([0-9.]+)([a-zµμ]+)")
_LONGEST_S = 2**63 / 1e9


def parse_duration(text: str) -> float:
    """Seconds of a Go duration; a bare number is refused except ``0``, as is what 64 bits of nanoseconds cannot hold.

    InvalidInput when malformed.
    """
    found = _DURATION.fullmatch(text) if len(text) <= 128 else None
    if found is None:
        raise InvalidInput(f"{text[:128]!r} is not a duration such as 30s, 1m30s or 500ms")
    seconds = sum(float(number) * _UNITS[unit] for number, unit in _SPLIT.findall(found[2]))
    if seconds >= _LONGEST_S:
        raise InvalidInput(f"the duration {text!r} is longer than 292 years")
    return -seconds if found[1] == "-" else float(seconds)


def format_duration(seconds: float) -> str:
    """The duration as Go prints it: ``0s``, ``1.5ms``, ``1m30s``, ``2h0m0s``; exact to the nanosecond."""
    nanoseconds = round(abs(seconds) * 1e9)
    sign = "-" if seconds < 0 and nanoseconds else ""
    for limit, divisor, unit in ((1_000, 1, "ns"), (1_000_000, 1_000, "µs"), (1_000_000_000, 1_000_000, "ms")):
        if 0 < nanoseconds < limit:
            return f"{sign}{_decimal(nanoseconds, divisor)}{unit}"
    minutes, rest = divmod(nanoseconds, 60 * 10**9)
    hours, minutes = divmod(minutes, 60)
    text = f"{_decimal(rest, 10**9)}s"
    if hours:
        return f"{sign}{hours}h{minutes}m{text}"
    return f"{sign}{minutes}m{text}" if minutes else f"{sign}{text}"


def _decimal(value: int, divisor: int) -> str:
    whole, rest = divmod(value, divisor)
    if not rest:
        return str(whole)
    return f"{whole}.{str(rest).zfill(len(str(divisor)) - 1).rstrip('0')}"
