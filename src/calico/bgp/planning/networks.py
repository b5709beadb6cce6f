"""Prefixes as resources write them. Pure."""

from __future__ import annotations

import ipaddress

from calico.errors import InvalidInput

__all__ = ["Network", "is_single", "parse_network"]

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def parse_network(text: str) -> Network:
    """The prefix, host bits dropped; InvalidInput for anything else, zones (``fe80::1%eth0``) among it."""
    try:
        if "%" not in text:
            return ipaddress.ip_network(text, strict=False)
    except ValueError:
        pass
    raise InvalidInput(f"{text[:60]!r} is not a prefix")


def is_single(network: Network) -> bool:
    """Whether it is one address."""
    return network.prefixlen == network.max_prefixlen
