"""Extra DHCP options of a port: names as dnsmasq spells them (``dnsmasq --help dhcp``), or numbers, into bytes.

Neutron hands these texts on unread, and clouds have been using them with dnsmasq for years: so a value means here what
it means there. What decides is how the option is defined; for numbers without a definition, what the value looks like.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping
from typing import Final

from calico.errors import InvalidInput
from calico.orchestrators.openstack.answers.names import domain_bytes, domains_bytes

__all__ = ["NEXT_SERVER", "OURS_V4", "OURS_V6", "extra_option"]

NEXT_SERVER: Final = 255
"""What stands for the BOOTP field, not for an option: ``server-ip-address``."""

OURS_V4: Final = frozenset({0, 50, 51, 52, 53, 54, 55, 57, 61, 82})
OURS_V6: Final = frozenset({*range(1, 7), 8, 9, 11, 12, 13, 14, 16, 18, 19, 20, 25, 26})
"""Options that make the protocol work, which nobody gives a value."""

_VALUE_MAX: Final = 1024
_Reader = Callable[[str], bytes]


def _addresses(version: int) -> _Reader:
    def read(text: str) -> bytes:
        found = [ipaddress.ip_address(part.strip().strip("[]")) for part in text.split(",")]
        if any(address.version != version for address in found):
            raise ValueError(f"{text!r} has an address that is not IPv{version}")
        return b"".join(address.packed for address in found)

    return read


def _number(size: int) -> _Reader:
    def read(text: str) -> bytes:
        value = int(text, 0)
        return value.to_bytes(size, "big", signed=value < 0)

    return read


def _text(text: str) -> bytes:
    return text.encode()


def _bytes(text: str) -> bytes:
    """``01:02:ff`` as bytes, other text as it is."""
    return _hex(text) if _HEX.fullmatch(text) else text.encode()


def _hex(text: str) -> bytes:
    return bytes(int(part, 16) for part in text.split(":"))


def _domains(text: str) -> bytes:
    return domains_bytes(part.strip() for part in text.split(","))


def _sip(text: str) -> bytes:
    """RFC 3361: a byte says whether names or addresses follow."""
    try:
        return b"\1" + _addresses(4)(text)
    except ValueError:
        return b"\0" + _domains(text)


def _routes(text: str) -> bytes:
    """RFC 3442, from ``10.0.0.0/8,192.0.2.1,…``."""
    parts = [part.strip() for part in text.split(",")]
    if len(parts) % 2:
        raise ValueError("routes are pairs of a network and a next hop")
    out = b""
    for destination, nexthop in zip(parts[::2], parts[1::2], strict=True):
        net = ipaddress.IPv4Network(destination, strict=False)
        out += bytes((net.prefixlen,)) + net.network_address.packed[: (net.prefixlen + 7) // 8]
        out += ipaddress.IPv4Address(nexthop).packed
    return out


def _lengths_and_texts(text: str) -> bytes:
    """RFC 5970 section 3.2: each with its length before it."""
    parts = [part.encode() for part in text.split(",")]
    return b"".join(len(part).to_bytes(2, "big") + part for part in parts)


_V4: Final[Mapping[str, tuple[int, _Reader]]] = {
    "netmask": (1, _addresses(4)), "time-offset": (2, _number(4)), "router": (3, _addresses(4)),
    "dns-server": (6, _addresses(4)), "log-server": (7, _addresses(4)), "lpr-server": (9, _addresses(4)),
    "boot-file-size": (13, _number(2)), "domain-name": (15, _text), "swap-server": (16, _addresses(4)),
    "root-path": (17, _text), "extension-path": (18, _text), "ip-forward-enable": (19, _number(1)),
    "non-local-source-routing": (20, _number(1)), "policy-filter": (21, _addresses(4)),
    "max-datagram-reassembly": (22, _number(2)), "default-ttl": (23, _number(1)), "mtu": (26, _number(2)),
    "all-subnets-local": (27, _number(1)), "router-discovery": (31, _number(1)),
    "router-solicitation": (32, _addresses(4)), "static-route": (33, _addresses(4)),
    "trailer-encapsulation": (34, _number(1)), "arp-timeout": (35, _number(4)), "ethernet-encap": (36, _number(1)),
    "tcp-ttl": (37, _number(1)), "tcp-keepalive": (38, _number(4)), "nis-domain": (40, _text),
    "nis-server": (41, _addresses(4)), "ntp-server": (42, _addresses(4)), "netbios-ns": (44, _addresses(4)),
    "netbios-dd": (45, _addresses(4)), "netbios-nodetype": (46, _number(1)), "netbios-scope": (47, _text),
    "x-windows-fs": (48, _addresses(4)), "x-windows-dm": (49, _addresses(4)), "T1": (58, _number(4)),
    "T2": (59, _number(4)), "vendor-class": (60, _bytes), "nis+-domain": (64, _text),
    "nis+-server": (65, _addresses(4)), "tftp-server": (66, _text), "bootfile-name": (67, _text),
    "mobile-ip-home": (68, _addresses(4)), "smtp-server": (69, _addresses(4)), "pop3-server": (70, _addresses(4)),
    "nntp-server": (71, _addresses(4)), "irc-server": (74, _addresses(4)), "user-class": (77, _bytes),
    "posix-timezone": (100, _text), "tzdb-timezone": (101, _text), "ipv6-only": (108, _number(4)),
    "domain-search": (119, _domains), "sip-server": (120, _sip), "classless-static-route": (121, _routes),
    "vendor-id-encap": (125, _bytes), "tftp-server-address": (150, _addresses(4)),
    "server-ip-address": (NEXT_SERVER, _addresses(4)),
}  # fmt: skip
_V6: Final[Mapping[str, tuple[int, _Reader]]] = {
    "sip-server-domain": (21, _domains), "sip-server": (22, _addresses(6)), "dns-server": (23, _addresses(6)),
    "domain-search": (24, _domains), "nis-server": (27, _addresses(6)), "nis+-server": (28, _addresses(6)),
    "nis-domain": (29, domain_bytes), "nis+-domain": (30, domain_bytes), "sntp-server": (31, _addresses(6)),
    "information-refresh-time": (32, _number(4)), "posix-timezone": (41, _text), "tzdb-timezone": (42, _text),
    "ntp-server": (56, _addresses(6)), "bootfile-url": (59, _text), "bootfile-param": (60, _lengths_and_texts),
}  # fmt: skip
_BY_NUMBER: Final = {4: dict(_V4.values()), 6: dict(_V6.values())}
_HEX: Final = re.compile(r"[0-9A-Fa-f]{1,2}(:[0-9A-Fa-f]{1,2})+")
_NAME: Final = re.compile(r"(?:tag:[^,]*,)*(?:option6?:)?([^,]+)")


def extra_option(name: str, value: str, version: int) -> tuple[int, bytes]:
    """Code and bytes. InvalidInput naming the option when there is no such one, the value cannot be one, or the option
    is not for anybody to choose."""
    known, ours = (_V4, OURS_V4) if version == 4 else (_V6, OURS_V6)
    match = _NAME.fullmatch(name.strip())
    plain = match[1] if match else ""
    if name.strip().startswith("tag:"):
        raise InvalidInput("conditions (tag:) are not followed; the option is left out", field=name)
    if plain.isascii() and plain.isdigit():
        code = int(plain)
        read = _BY_NUMBER[version].get(code) or _guess(value, version)
        if not 0 < code < (NEXT_SERVER if version == 4 else 1 << 16):
            raise InvalidInput("there is no option of that number", field=name)
    elif plain in known:
        code, read = known[plain]
    else:
        raise InvalidInput(f"there is no DHCPv{version} option of that name", field=name)
    if code in ours:
        raise InvalidInput("the server itself gives this option", field=name)
    try:
        raw = read(value)
    except (ValueError, OverflowError) as error:
        raise InvalidInput(f"{value[:80]!r} is no value of it: {error}", field=name) from None
    except InvalidInput as error:
        raise InvalidInput(error.message, field=name) from None
    if len(raw) > _VALUE_MAX or (code == NEXT_SERVER and version == 4 and len(raw) != 4):
        raise InvalidInput(f"{value[:80]!r} is too long", field=name)
    return code, raw


def _guess(value: str, version: int) -> _Reader:
    """What an option without a definition holds, from the look of its value."""
    if _HEX.fullmatch(value):
        return _hex
    if re.fullmatch(r"0|[1-9][0-9]{0,9}", value) and int(value) < 1 << 32:
        number = int(value)
        return _number(1 if number < 1 << 8 else 2 if number < 1 << 16 else 4)
    try:
        _addresses(version)(value)
    except ValueError:
        return _text
    return _addresses(version)
