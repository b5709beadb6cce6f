"""How long packets of workloads may be: the host's MTU less what a tunnel puts around them. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final, Literal

__all__ = ["DEFAULT_MTU", "OVERHEAD", "host_mtu", "tunnel_mtu", "workload_mtu"]

Tunnel = Literal["vxlan4", "vxlan6", "ipip", "wireguard4", "wireguard6"]

OVERHEAD: Final[Mapping[Tunnel, int]] = {"vxlan4": 50, "vxlan6": 70, "ipip": 20, "wireguard4": 60, "wireguard6": 80}
"""Bytes of IP, and of UDP and either VXLAN and the inner Ethernet header or WireGuard with its authentication."""

DEFAULT_MTU: Final = 1460
"""For a host none of whose interfaces is known to lead to others: what the common clouds carry."""

_LEAST: Final[Mapping[Tunnel, int]] = {
    "vxlan4": 576,
    "vxlan6": 1280,
    "ipip": 576,
    "wireguard4": 576,
    "wireguard6": 1280,
}


def host_mtu(interfaces: Iterable[tuple[str, int]], pattern: str) -> int:
    """The least MTU of the interfaces (name, MTU) whose names match; ``DEFAULT_MTU`` when none does."""
    matches = re.compile(pattern).search
    return min((mtu for name, mtu in interfaces if mtu > 0 and matches(name)), default=DEFAULT_MTU)


def tunnel_mtu(tunnel: Tunnel, host: int, given: int) -> int:
    """The MTU of a tunnel's device: what was given, else what fits; never less than the protocol needs."""
    return given or max(host - OVERHEAD[tunnel], _LEAST[tunnel])


def workload_mtu(host: int, tunnels: Iterable[int]) -> int:
    """The MTU that fits all ways that workloads' packets may take."""
    return min((host, *tunnels))
