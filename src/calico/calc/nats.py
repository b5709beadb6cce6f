"""Floating addresses of one endpoint, checked and packed.

A malformed NAT is left out and reported while the endpoint stays: without it the workload is reached by its own address
only, which opens nothing.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Iterable

from calico.lib import packed
from calico.model.workload import IPNAT

__all__ = ["Nats", "can_float", "decode_nats", "packed_address"]

Nats = tuple[tuple[bytes, bytes], ...]
"""(own address, external address), packed without length, in the order of the resource; no external one twice."""


def decode_nats(nats: Iterable[IPNAT], nets: Collection[bytes]) -> tuple[Nats, tuple[str, ...]]:
    """The NATs of an endpoint that owns ``nets``, and sentences on those left out (datamodel 16.2)."""
    found: dict[bytes, bytes] = {}
    problems: list[str] = []
    for position, nat in enumerate(nats):
        where = f"spec.ipNATs[{position}]"
        own, external = packed_address(nat.internal_ip), packed_address(nat.external_ip)
        if packed.net_of_host(own) not in nets:
            problems.append(f"{where}.internalIP: {nat.internal_ip!r} is not one of ipNetworks")
        elif not external or not can_float(external):
            problems.append(f"{where}.externalIP: {nat.external_ip!r} is no address that can be a workload's")
        elif len(own) != len(external):
            problems.append(f"{where}.externalIP: {nat.external_ip!r} is not of the family of {nat.internal_ip!r}")
        elif found.setdefault(external, own) != own:
            first = packed.addr_str(found[external])
            problems.append(f"{where}.externalIP: {nat.external_ip!r} is already the external address of {first}")
    return tuple((own, external) for external, own in found.items()), tuple(problems)


def packed_address(text: str) -> bytes:
    """An address as bytes; none of what is no address."""
    try:
        return b"" if "%" in text else packed.addr_bytes(text)
    except ValueError:
        return b""


def can_float(address: bytes) -> bool:
    """Not an address that means something else on every host: translating it would take it from the host itself."""
    parsed = ipaddress.ip_address(address)
    special = parsed.is_loopback or parsed.is_unspecified or parsed.is_multicast or parsed.is_link_local
    return not special and address != b"\xff\xff\xff\xff"
