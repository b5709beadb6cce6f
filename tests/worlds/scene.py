"""The host on which every world is set: its interfaces and who may have which address. Few, so that things collide.

Interfaces ``cali1`` to ``cali4`` may be workloads'; ``eth0`` leads outside. Which way an address lies never depends on
the resources, so the routes of the kernel's namespaces stay while worlds come and go.
"""

from __future__ import annotations

from typing import Final

from calico.calc.settings import CalcSettings
from calico.lib.packed import addr_bytes, addr_str

__all__ = ["CALC", "HOST", "HOST_ADDRESSES", "OUTSIDE", "POOLS", "SLOTS", "UPLINK", "addresses_behind", "interface_to"]

HOST: Final = "here"
CALC: Final = CalcSettings(source_spoofing=True)
"""What the host's calculation is told, in every world."""
UPLINK: Final = "eth0"
SLOTS: Final = ("cali1", "cali2", "cali3", "cali4")
POOLS: Final = {
    slot: tuple(f"10.65.{n}.{host}" for host in (1, 2)) + tuple(f"fd00:65:{n}::{host}" for host in (1, 2))
    for n, slot in enumerate(SLOTS, 1)
}
"""What routes lead to each interface of a workload, whoever owns it."""

OUTSIDE: Final = ("10.66.0.1", "10.66.0.130", "192.0.2.7", "fd00:66::1", "fd00:66::8001", "2001:db8::7")
HOST_ADDRESSES: Final = ("10.65.0.1", "fd00:65::1")
"""Told to be those of the uplink."""

_BEHIND = {addr_bytes(text): slot for slot, pool in POOLS.items() for text in pool}
_BEHIND |= {addr_bytes(text): UPLINK for text in OUTSIDE}


def interface_to(address: bytes) -> str:
    """The interface by which a packet to a packed address leaves; outside for one that nobody knows."""
    return _BEHIND.get(address, UPLINK)


def addresses_behind(interface: str) -> tuple[str, ...]:
    """The addresses that routes lead to by an interface."""
    return tuple(addr_str(address) for address, behind in _BEHIND.items() if behind == interface)
