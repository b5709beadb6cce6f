"""Scalars that JSON may give as a number or a string: protocols, ports, AS numbers and DSCP (spec §3).

Resources keep what JSON gave (``int | str``); the functions here turn it into one meaning, and ``*_json`` into the one
spelling that is stored. All raise InvalidInput on what has no meaning.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

from calico.errors import InvalidInput
from calico.model.durations import format_duration, parse_duration

__all__ = [
    "PROTOCOL_NUMBERS",
    "PortRange",
    "dscp_value",
    "format_duration",
    "named_port",
    "parse_as_number",
    "parse_dscp",
    "parse_duration",
    "parse_port",
    "parse_protocol",
    "port_json",
    "protocol_lower",
    "protocol_number",
    "supports_ports",
]

PROTOCOL_NUMBERS: Final = {"TCP": 6, "UDP": 17, "ICMP": 1, "ICMPv6": 58, "SCTP": 132, "UDPLite": 136}
"""Numbers by canonical name; no other names are known."""

_CANONICAL = {name.lower(): name for name in PROTOCOL_NUMBERS}
_WITH_PORTS = {6, 17, 132}
_DIGITS = re.compile(r"[0-9]{1,20}")
_RANGE = re.compile(r"([0-9]{1,20}):([0-9]{1,20})")
_PORT_NAME = re.compile(r"[a-zA-Z0-9_.-]{1,128}")
_DOTTED = re.compile(r"([0-9]{1,20})\.([0-9]{1,20})")
_DSCP_NAMES: Final = {
    "DF": 0,
    "EF": 46,
    **{f"AF{c}{d}": 8 * c + 2 * d for c in range(1, 5) for d in range(1, 4)},
    **{f"CS{c}": 8 * c for c in range(7)},
}


class PortRange(msgspec.Struct, frozen=True, order=True):
    """Ports ``first`` to ``last``, both included."""

    first: int
    last: int


def _bounded(raw: int | str, top: int, what: str) -> int:
    if isinstance(raw, bool):
        raise InvalidInput(f"a boolean is no {what}")
    number = int(raw)
    if not 0 <= number <= top:
        raise InvalidInput(f"{what} {raw} is not within 0-{top}")
    return number


def parse_protocol(raw: int | str) -> int | str:
    """A number 0-255, or a name: canonical case when known, otherwise as given (validation refuses it)."""
    if isinstance(raw, int):
        return _bounded(raw, 255, "protocol")
    if _DIGITS.fullmatch(raw) and int(raw) <= 255:
        return int(raw)
    return _CANONICAL.get(raw.lower(), raw)


def protocol_lower(raw: int | str) -> int | str:
    """The protocol as the calculation knows it: a number, or a lower-case name."""
    protocol = parse_protocol(raw)
    return protocol.lower() if isinstance(protocol, str) else protocol


def protocol_number(raw: int | str) -> int:
    """The number of a protocol given by number or name."""
    protocol = parse_protocol(raw)
    if isinstance(protocol, int):
        return protocol
    try:
        return PROTOCOL_NUMBERS[protocol]
    except KeyError:
        known = ", ".join(PROTOCOL_NUMBERS)
        raise InvalidInput(f"unknown protocol {raw!r}; use a number or one of {known}") from None


def supports_ports(raw: int | str) -> bool:
    """Whether rules may match ports of this protocol: TCP, UDP and SCTP."""
    protocol = parse_protocol(raw)
    return (PROTOCOL_NUMBERS.get(protocol) if isinstance(protocol, str) else protocol) in _WITH_PORTS


def named_port(name: str) -> str:
    """The name, when it may name a port; digits alone are allowed here."""
    if not _PORT_NAME.fullmatch(name):
        raise InvalidInput(f"{name!r} is no port name: 1 to 128 of letters, digits, _ . -")
    return name


def parse_port(raw: int | str) -> PortRange | str:
    """A range (a single port is a range of one) or the name of a port. Port 0 is accepted here."""
    if isinstance(raw, int):
        port = _bounded(raw, 65535, "port")
        return PortRange(port, port)
    if found := _RANGE.fullmatch(raw):
        first, last = _bounded(found[1], 65535, "port"), _bounded(found[2], 65535, "port")
        if first > last:
            raise InvalidInput(f"the port range {raw} ends before it begins")
        return PortRange(first, last)
    if _DIGITS.fullmatch(raw):
        port = _bounded(raw, 65535, "port")
        return PortRange(port, port)
    return named_port(raw)


def port_json(raw: int | str) -> int | str:
    """The stored spelling: a number, ``first:last`` or a name."""
    port = parse_port(raw)
    if isinstance(port, str):
        return port
    return port.first if port.first == port.last else f"{port.first}:{port.last}"


def parse_as_number(raw: int | str) -> int:
    """A 32-bit AS number from a number, ``"65001"`` or dotted ``"1.10"`` (1 × 65536 + 10)."""
    if isinstance(raw, int):
        return _bounded(raw, 2**32 - 1, "AS number")
    if found := _DOTTED.fullmatch(raw):
        return _bounded(found[1], 65535, "AS number part") << 16 | _bounded(found[2], 65535, "AS number part")
    if _DIGITS.fullmatch(raw):
        return _bounded(raw, 2**32 - 1, "AS number")
    raise InvalidInput(f"{raw!r} is no AS number: a number to 4294967295 or two dotted parts to 65535")


def parse_dscp(raw: int | str) -> int | str:
    """A number 0-63 or an upper-case name; anything else is refused."""
    if isinstance(raw, int):
        return _bounded(raw, 63, "DSCP")
    if _DIGITS.fullmatch(raw):
        return _bounded(raw, 63, "DSCP")
    if raw.upper() not in _DSCP_NAMES:
        raise InvalidInput(f"{raw!r} is no DSCP: 0-63, DF, EF, AF11..AF43 or CS0..CS6")
    return raw.upper()


def dscp_value(raw: int | str) -> int:
    """The six bits of a DSCP given by number or name."""
    dscp = parse_dscp(raw)
    return dscp if isinstance(dscp, int) else _DSCP_NAMES[dscp]
