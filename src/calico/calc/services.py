"""Services as rules see them: which addresses are behind one, and which address ports.

Where they come from is not known here. While nobody tells services, sets of services are empty.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

__all__ = ["ServiceEndpoints", "ServiceName", "service_members"]

ServiceName: TypeAlias = tuple[str, str]
"""(namespace, name)."""


class ServiceEndpoints(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """What EndpointSlices say of one service: packed single addresses (nets), and packed (address, protocol, port)."""

    addresses: frozenset[bytes] = frozenset()
    ports: frozenset[bytes] = frozenset()


def service_members(kind: Literal["nets", "ports"], service: ServiceEndpoints | None) -> frozenset[bytes]:
    """What a service brings into a set of that kind; nothing while it does not exist."""
    if service is None:
        return frozenset()
    return service.addresses if kind == "nets" else service.ports
