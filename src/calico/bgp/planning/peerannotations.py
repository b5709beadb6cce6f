"""What Calico's resources have no field for, asked for by annotations of a BGPPeer, BGPConfiguration or Node. Pure.

Only the names are ours; a Calico that does not know them passes over them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from calico.bgp.planning.birdplan import BfdPlan
from calico.errors import InvalidInput
from calico.model.durations import parse_duration

__all__ = [
    "BFD",
    "DRAIN",
    "INSTEAD_OF_MESH",
    "INTERFACE",
    "IPV4_OVER_IPV6",
    "MAX_PREFIXES",
    "OWN_ROUTES_ONLY",
    "bfd",
    "drain",
    "instead_of_mesh",
    "interface",
    "ipv4_over_ipv6",
    "max_prefixes",
    "own_routes_only",
]

INSTEAD_OF_MESH = "bgp.calico-network/instead-of-mesh"
BFD = "bgp.calico-network/bfd"
IPV4_OVER_IPV6 = "bgp.calico-network/ipv4-over-ipv6"
INTERFACE = "bgp.calico-network/interface"
MAX_PREFIXES = "bgp.calico-network/max-prefixes"
OWN_ROUTES_ONLY = "bgp.calico-network/own-routes-only"
DRAIN = "bgp.calico-network/drain"

_MULTIPLIER = 3
_BFD = re.compile(r"(?P<interval>[0-9.a-zµμ]+)(?: *[x*] *(?P<multiplier>[0-9]{1,3}))?")
_INTERFACE = re.compile(r"(?!\.{1,2}\Z)[A-Za-z0-9_.:@+-]{1,15}", re.ASCII)


def instead_of_mesh(annotations: Mapping[str, str]) -> bool:
    """``true``: nodes peer with reflectors by the sessions that they have, or had, in the mesh."""
    return _truth(annotations, INSTEAD_OF_MESH)


def bfd(annotations: Mapping[str, str]) -> BfdPlan | None:
    """``100ms`` or ``100ms x5``: the interval of packets, and how many may be missing (3 unless said)."""
    text = annotations.get(BFD, "")
    if text in ("", "off", "false"):
        return None
    found = _BFD.fullmatch(text)
    if found is None:
        raise InvalidInput(f"{text[:60]!r} is no interval such as 100ms or 300ms x5", field=_field(BFD))
    try:
        interval_ms = int(parse_duration(found["interval"]) * 1000 + 0.5)
    except InvalidInput as error:
        raise InvalidInput(error.message, field=_field(BFD)) from None
    multiplier = int(found["multiplier"] or _MULTIPLIER)
    if not 10 <= interval_ms <= 60_000:
        raise InvalidInput(f"the interval {interval_ms} ms is not between 10 ms and 60 s", field=_field(BFD))
    if not 2 <= multiplier <= 255:
        raise InvalidInput(f"{multiplier} missing packets are not between 2 and 255", field=_field(BFD))
    return BfdPlan(interval_ms, multiplier)


def ipv4_over_ipv6(annotations: Mapping[str, str]) -> bool:
    """``true``: IPv6 sessions carry IPv4 routes, too (RFC 8950)."""
    return _truth(annotations, IPV4_OVER_IPV6)


def max_prefixes(annotations: Mapping[str, str]) -> int | None:
    """How many prefixes of an IP version a far end may send before the session ends."""
    text = annotations.get(MAX_PREFIXES, "")
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:11]) <= 0xFFFFFFFF):
        raise InvalidInput(f"{text[:60]!r} is no number between 1 and 4294967295", field=_field(MAX_PREFIXES))
    return int(text)


def drain(annotations: Mapping[str, str]) -> bool:
    """``true`` on a Node: its neighbours shall prefer other ways (RFC 8326)."""
    return _truth(annotations, DRAIN)


def own_routes_only(annotations: Mapping[str, str]) -> bool:
    """``true`` on BGPConfiguration ``default``: reflectors take from a client only routes that are its own."""
    return _truth(annotations, OWN_ROUTES_ONLY)


def interface(annotations: Mapping[str, str]) -> str:
    """The interface whose link a link-local far end is on."""
    text = annotations.get(INTERFACE, "")
    if text and not _INTERFACE.fullmatch(text):
        raise InvalidInput(f"{text[:60]!r} is no name of an interface", field=_field(INTERFACE))
    return text


def _truth(annotations: Mapping[str, str], name: str) -> bool:
    text = annotations.get(name, "false")
    if text not in ("true", "false"):
        raise InvalidInput(f"{text[:60]!r} is neither true nor false", field=_field(name))
    return text == "true"


def _field(name: str) -> str:
    return f"metadata.annotations[{name}]"
