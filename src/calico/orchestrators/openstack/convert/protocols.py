"""Protocols of security group rules in their one meaning: a number, or any.

Neutron stores what the caller wrote: a name, a number as text (``'6'``), or nothing; the names and their numbers are
those of its API reference for security group rules.
"""

from __future__ import annotations

from typing import Final

from calico.errors import InvalidInput

__all__ = ["ICMP", "ICMPV6", "WITH_PORTS", "protocol_number", "spelled"]

ICMP: Final = 1
ICMPV6: Final = 58
DCCP: Final = 33
_UDPLITE: Final = 136

WITH_PORTS: Final = frozenset({6, 17, 132})
"""Protocols of which Calico can match ports."""

WITH_PORTS_IN_NEUTRON: Final = WITH_PORTS | {DCCP, _UDPLITE}

_NUMBERS: Final = {
    "ah": 51,
    "dccp": DCCP,
    "egp": 8,
    "esp": 50,
    "gre": 47,
    "icmp": ICMP,
    "icmpv6": ICMPV6,
    "igmp": 2,
    "ipip": 4,
    "ipv6-encap": 41,
    "ipv6-frag": 44,
    "ipv6-icmp": ICMPV6,
    "ipv6-nonxt": 59,
    "ipv6-opts": 60,
    "ipv6-route": 43,
    "ospf": 89,
    "pgm": 113,
    "rsvp": 46,
    "sctp": 132,
    "tcp": 6,
    "udp": 17,
    "udplite": _UDPLITE,
    "vrrp": 112,
}
_OF_IPV6_ONLY: Final = frozenset(_NUMBERS[name] for name in _NUMBERS if name.startswith("ipv6-"))
_ANY: Final = frozenset({"any", "0", "-1"})
_SPELLED: Final = {6: "TCP", 17: "UDP", ICMP: "ICMP", ICMPV6: "ICMPv6", 132: "SCTP", _UDPLITE: "UDPLite"}


def protocol_number(protocol: str | int | None, version: int) -> int | None:
    """The number (1-255), or None for any protocol; InvalidInput when it means nothing in IP of this version.

    In rules for IPv6, ICMP by name or number is ICMPv6, as Neutron has it.
    """
    if protocol is None:
        return None
    text = str(protocol).lower()
    if isinstance(protocol, bool):
        raise InvalidInput(f"protocol {protocol!r} is not known")
    if text in _ANY:
        return None
    number = _NUMBERS.get(text)
    if number is None:
        number = int(text) if text.isascii() and text.isdigit() and len(text) < 9 else 256
        if not 0 <= number <= 255:
            raise InvalidInput(f"protocol {protocol!r} is not known")
        if number == 0:
            return None
    if version == 6 and number == ICMP:
        return ICMPV6
    if version == 4 and number in _OF_IPV6_ONLY:
        raise InvalidInput(f"protocol {protocol!r} is of IPv6 only")
    return number


def spelled(number: int | None) -> int | str | None:
    """The protocol as resources spell it: by name where Calico has one."""
    return None if number is None else _SPELLED.get(number, number)
