"""What is asked of the allocator, and its answers."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Final, Literal

import msgspec

from calico.errors import AlreadyExists, Conflict

__all__ = [
    "INTERFACE_ATTRIBUTE",
    "AssignRequest",
    "Assignment",
    "BadHandle",
    "BadSequenceNumber",
    "InCooldown",
    "Recorded",
    "ReleaseRequest",
    "Released",
    "Use",
    "owner_of",
]

Use = Literal["Workload", "Tunnel", "LoadBalancer"]


class BadHandle(Conflict):
    """The address is held under another handle than the request says: it has been given anew meanwhile."""


class BadSequenceNumber(Conflict):
    """The address was given at another time than the request says: it has been given anew meanwhile."""


class InCooldown(AlreadyExists):
    """The address was released so short ago that nobody may have it yet."""


class AssignRequest(msgspec.Struct, frozen=True, kw_only=True):
    """``v4`` and ``v6`` addresses for one workload, under one handle.

    Pools are names or CIDRs; with none given, all that select the node and the namespace are used. ``max_blocks``: the
    host may have at most so many blocks (0: as configured).
    """

    hostname: str
    v4: int = 0
    v6: int = 0
    handle: str | None = None
    attrs: Mapping[str, str] = {}
    pools_v4: tuple[str, ...] = ()
    pools_v6: tuple[str, ...] = ()
    use: Use = "Workload"
    namespace_labels: Mapping[str, str] | None = None
    max_blocks: int = 0


class Assignment(msgspec.Struct, frozen=True):
    """The addresses; ``reason`` says, when they are fewer than asked for, what was tried and why each failed."""

    v4: tuple[ipaddress.IPv4Interface, ...] = ()
    v6: tuple[ipaddress.IPv6Interface, ...] = ()
    reason: str = ""


INTERFACE_ATTRIBUTE: Final = "interface"
"""Says for which interface of a container an address is that another main plugin attached: there is no endpoint."""


class ReleaseRequest(msgspec.Struct, frozen=True, kw_only=True):
    """An address to take back, only while it is held under ``handle`` and since ``sequence``, where those are said."""

    address: str
    handle: str | None = None
    sequence: int | None = None


class Released(msgspec.Struct, frozen=True):
    """Addresses that were taken back, those that nobody held, and what was refused, by address."""

    released: tuple[str, ...] = ()
    unallocated: tuple[str, ...] = ()
    refused: Mapping[str, Conflict] = {}


class Recorded(msgspec.Struct, frozen=True, kw_only=True):
    """What is recorded of an address that is given out."""

    address: str
    block: str
    owner: str | None
    handle: str | None
    attrs: Mapping[str, str]
    sequence: int | None


def owner_of(hostname: str, use: str) -> str:
    """Who owns the blocks that a request is served from."""
    return "virtual:load-balancer" if use == "LoadBalancer" else f"host:{hostname}"
