"""Parsers of the small languages inside fields: names, labels, addresses, selectors (spec §5).

Each takes text and raises InvalidInput with what was expected.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
from collections.abc import Callable

from calico.errors import InvalidInput
from calico.model.selector import nodes
from calico.model.selector import parse as parse_selector

__all__ = [
    "address",
    "cidr",
    "dns_label",
    "interface",
    "interface_filter",
    "label_value",
    "mac",
    "name",
    "namespace_selector",
    "net",
    "pattern",
    "port_name",
    "public_key",
    "qualified_name",
    "regular_expression",
    "selector",
]

LONGEST_NAME = 253
LONGEST_SELECTOR = 1024
LABEL = r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?"
SUBDOMAIN = rf"{LABEL}(?:\.{LABEL})*"
_QUALIFIED = re.compile(rf"(?:({SUBDOMAIN})/)?([A-Za-z0-9](?:[-A-Za-z0-9_.]*[A-Za-z0-9])?)")

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def pattern(expression: str, expected: str) -> Callable[[str], None]:
    """A parser that accepts what an expression matches as a whole."""
    compiled = re.compile(expression)

    def parse(text: str) -> None:
        if not compiled.fullmatch(text):
            raise InvalidInput(f"must be {expected}")

    return parse


_name = pattern(SUBDOMAIN, "lower-case letters, digits, '-' and '.', beginning and ending with a letter or digit")
dns_label = pattern(rf"(?=.{{1,63}}\Z){LABEL}", "one DNS label of at most 63 lower-case letters, digits and '-'")
interface = pattern(r"\*|[a-zA-Z0-9_.-]{1,15}", "'*' or 1 to 15 letters, digits, '_', '.' and '-'")
interface_filter = pattern(r"[a-zA-Z0-9:._+-]{1,15}", "1 to 15 letters, digits, ':', '.', '_', '+' and '-'")
port_name = pattern(
    r"(?=.{1,15}\Z)(?=.*[a-z])(?!.*--)[a-z0-9](?:[a-z0-9-]*[a-z0-9])?",
    "1 to 15 lower-case letters (at least one), digits and single inner dashes",
)
mac = pattern(r"[0-9a-fA-F]{2}(?:[:-][0-9a-fA-F]{2}){5}|(?:[0-9a-fA-F]{4}\.){2}[0-9a-fA-F]{4}", "a 48-bit MAC address")
label_value = pattern(
    r"|(?=.{1,63}\Z)[A-Za-z0-9](?:[-A-Za-z0-9_.]*[A-Za-z0-9])?",
    "at most 63 letters, digits, '-', '_' and '.', beginning and ending with a letter or digit",
)


def name(text: str) -> None:
    """A DNS-1123 subdomain of at most 253 characters."""
    if len(text) > LONGEST_NAME:
        raise InvalidInput(f"must have at most {LONGEST_NAME} characters")
    _name(text)


def qualified_name(text: str) -> None:
    """A label or annotation key: an optional DNS prefix and ``/``, then a name of at most 63 characters."""
    found = _QUALIFIED.fullmatch(text)
    if found is None or len(found[1] or "") > LONGEST_NAME or len(found[2]) > 63:
        raise InvalidInput("must be a name of at most 63 letters, digits, '-', '_' and '.', after an optional prefix/")


def address(text: str, version: int | None = None) -> None:
    """A bare IP address, of one version when given."""
    try:
        parsed = ipaddress.ip_address(text)
    except ValueError:
        parsed = None
    if parsed is None or "%" in text or version not in (None, parsed.version):
        raise InvalidInput(f"must be an IP{f'v{version}' if version else ''} address")


def cidr(text: str, version: int | None = None) -> Network:
    """The network of an IP or CIDR, host bits allowed (and masked here), of one version when given."""
    length = text.partition("/")[2]
    try:
        if "%" in text or ("/" in text and not (length.isascii() and length.isdigit())):
            raise ValueError(text)
        parsed = ipaddress.ip_network(text, strict=False)
    except ValueError:
        parsed = None
    if parsed is None or version not in (None, parsed.version):
        raise InvalidInput(f"must be an IP{f'v{version}' if version else ''} address or CIDR")
    return parsed


def net(text: str, version: int | None = None) -> Network:
    """The network of an IP or CIDR without host bits set."""
    parsed = cidr(text, version)
    if "/" in text and ipaddress.ip_address(text.partition("/")[0]) != parsed.network_address:
        raise InvalidInput(f"has bits set beyond its prefix length; did you mean {parsed}?")
    return parsed


def selector(text: str) -> None:
    """A selector of at most 1024 characters, without ``global()``."""
    if "global(" in text:
        raise InvalidInput("global() is allowed only as the whole namespaceSelector of a rule's source or destination")
    if len(text) > LONGEST_SELECTOR:
        raise InvalidInput(f"must have at most {LONGEST_SELECTOR} characters")
    parse_selector(text)


def namespace_selector(text: str) -> None:
    """The namespace selector of a rule: as ``selector``, or ``global()`` alone."""
    if "global(" not in text or parse_selector(text).root != nodes.Global():
        selector(text)


def public_key(text: str) -> None:
    """A WireGuard public key: base64 of 32 bytes."""
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if len(raw) != 32:
        raise InvalidInput("must be base64 of 32 bytes")


def regular_expression(text: str) -> None:
    """A regular expression that compiles."""
    try:
        re.compile(text)
    except (re.error, OverflowError, RecursionError) as error:
        raise InvalidInput(f"is no regular expression: {error}") from None
