"""How the values of parameters are read: text of the environment and of files, or JSON of objects. Pure.

Each returns the value as ``FelixConfig`` has it, or raises ValueError saying what it must be.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from typing import Any

from calico.model.numorstring import PortRange, parse_duration, parse_port

__all__ = [
    "address_or_name",
    "boolean",
    "choice",
    "device_name",
    "enabled",
    "integer",
    "interface_filter",
    "ipv4",
    "ipv6",
    "log_prefix",
    "log_rate_limit",
    "mark_mask",
    "maybe",
    "metadata_server",
    "mtu",
    "names_openstack",
    "nat_ports",
    "prefixes",
    "region",
    "regular_expression",
    "seconds",
    "timeouts",
]


def choice(*allowed: str) -> Callable[[Any], str]:
    """One of some words, in any case."""

    def parse(value: Any) -> str:
        text = str(value).lower()
        if text not in allowed:
            raise ValueError(f"must be one of {', '.join(allowed)}")
        return text

    return parse


def boolean(value: Any) -> bool:
    """true or false, or what else means them."""
    text = str(value).lower()
    if text in ("true", "1", "yes", "y", "t"):
        return True
    if text in ("false", "0", "no", "n", "f"):
        return False
    raise ValueError("must be true or false")


def maybe(value: Any) -> str:
    """``true`` or ``false`` in any of their forms, or empty: neither is said."""
    return str(boolean(value)).lower() if str(value) else ""


def enabled(value: Any) -> bool:
    """Enabled or Disabled, in any case."""
    return choice("enabled", "disabled")(value) == "enabled"


def integer(low: int, high: int) -> Callable[[Any], int]:
    """A number in a range; also hexadecimal."""

    def parse(value: Any) -> int:
        number = int(str(value), 0)
        if not low <= number <= high:
            raise ValueError(f"must be between {low} and {high}")
        return number

    return parse


def mtu(value: Any) -> int:
    """0, or what IP can work with."""
    number = int(str(value), 0)
    if number and not 576 <= number <= 65535:
        raise ValueError("must be 0 or between 576 and 65535")
    return number


def regular_expression(value: Any) -> str:
    """A regular expression."""
    try:
        re.compile(str(value))
    except re.error as error:
        raise ValueError(f"must be a regular expression: {error}") from error
    return str(value)


def seconds(value: Any) -> float:
    """Plain seconds (environment) or a duration such as 1m30s (objects)."""
    try:
        seconds = float(value)
    except ValueError:
        seconds = parse_duration(str(value))
    if not 0 <= seconds < 1e9:
        raise ValueError("must be a duration of 0 s or more")
    return seconds


def prefixes(value: Any) -> tuple[str, ...]:
    """Prefixes of interface names, separated by commas."""
    parts = tuple(str(value).split(","))
    if not all(re.fullmatch(r"[a-zA-Z0-9_-]{1,15}", part) for part in parts):
        raise ValueError("must be a comma-separated list of interface name prefixes")
    return parts


def log_prefix(value: Any) -> str:
    """What a line of the kernel log may begin with."""
    if not re.fullmatch(r"[a-zA-Z0-9%: /_-]*", str(value)):
        raise ValueError("may hold letters, digits, blanks and % : / _ - only")
    return str(value)


def log_rate_limit(value: Any) -> str:
    """So many a second, minute, hour or day; or nothing."""
    if not re.fullmatch(r"([1-9]\d{0,3}/(second|minute|hour|day))?", str(value), re.ASCII):
        raise ValueError("must be 1 to 9999, /, and second, minute, hour or day")
    return str(value)


def mark_mask(value: Any) -> int:
    """At least two bits."""
    mask = integer(0, 0xFFFFFFFF)(value)
    if mask.bit_count() < 2:
        raise ValueError("must have at least 2 bits set")
    return mask


def region(value: Any) -> str:
    """A DNS label, or nothing."""
    if not re.fullmatch(r"([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)?", str(value)):
        raise ValueError("must be a DNS label")
    return str(value)


def nat_ports(value: Any) -> tuple[int, int]:
    """First and last port."""
    ports = parse_port(value)
    if not isinstance(ports, PortRange) or not ports.first:
        raise ValueError("must be a port or a range such as 32768:60999, from 1 on")
    return ports.first, ports.last


def ipv4(value: Any) -> str:
    """An IPv4 address in canonical form."""
    try:
        return str(ipaddress.IPv4Address(str(value)))
    except ValueError:
        raise ValueError("must be an IPv4 address") from None


def ipv6(value: Any) -> str:
    """An IPv6 address in canonical form."""
    try:
        return str(ipaddress.IPv6Address(str(value)))
    except ValueError:
        raise ValueError("must be an IPv6 address") from None


def metadata_server(value: Any) -> str:
    """An IPv4 address, or none."""
    return "none" if str(value).lower() == "none" else ipv4(value)


def device_name(value: Any) -> str:
    """A name that a network interface can have."""
    text = str(value)
    if not 0 < len(text.encode()) <= 15 or text in (".", "..") or any(c in "/:\0" or c.isspace() for c in text):
        raise ValueError("must be a name of an interface: at most 15 characters, without blanks, / and :")
    return text


def interface_filter(value: Any) -> str:
    """The name of an interface or a beginning."""
    if not re.fullmatch(r"[a-zA-Z0-9:._+-]{1,15}", str(value)):
        raise ValueError("must be an interface name, or the beginning of names and a +")
    return str(value)


def address_or_name(value: Any) -> str:
    """Where to listen."""
    if not re.fullmatch(r"[a-zA-Z0-9:._+-]{1,64}", str(value)):
        raise ValueError("must be an address or a name of a host")
    return str(value)


_PARTS = {"internaldataplanemainloop": "apply", "apply": "apply", "event-loop": "event-loop"}


def timeouts(value: Any) -> tuple[tuple[str, float], ...]:
    """``apply=90s,event-loop=30s``, or {name, timeout} objects. Parts that are none of ours are passed over."""
    if isinstance(value, str):
        pairs = [part.partition("=")[::2] for part in value.split(",") if part.strip()]
    else:
        pairs = [(entry.get("name", ""), entry.get("timeout", "")) for entry in value]
    found: dict[str, float] = {}
    for name, limit in pairs:
        if not limit:
            raise ValueError("must be part=duration, separated by commas")
        if part := _PARTS.get(name.strip().lower()):
            found[part] = seconds(limit.strip())
    return tuple(sorted(found.items()))


def names_openstack(value: Any) -> bool:
    """Whether a kind of cluster is OpenStack's."""
    return "openstack" in str(value).lower()
