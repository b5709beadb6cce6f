"""Services as rules see them: which addresses are behind one, and which address ports.

A service is told in parts, of which each brings what it says (an EndpointSlice is one): what changes in a service costs
the part that changed. While nobody tells services, sets of services are empty.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from calico.errors import InvalidInput
from calico.lib import packed
from calico.model.kubernetes.services import EndpointSliceRecord
from calico.model.numorstring import PROTOCOL_NUMBERS

__all__ = ["ServiceEndpoints", "ServiceName", "endpoints_of_slice", "service_members"]

ServiceName: TypeAlias = tuple[str, str]
"""(namespace, name)."""


class ServiceEndpoints(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """What one part says of its service: packed single addresses (nets), and packed (address, protocol, port)."""

    addresses: frozenset[bytes] = frozenset()
    ports: frozenset[bytes] = frozenset()


def service_members(kind: Literal["nets", "ports"], service: ServiceEndpoints | None) -> frozenset[bytes]:
    """What a service brings into a set of that kind; nothing while it does not exist."""
    if service is None:
        return frozenset()
    return service.addresses if kind == "nets" else service.ports


def endpoints_of_slice(record: EndpointSliceRecord) -> ServiceEndpoints:
    """What a slice says. Endpoints count whether or not they are ready: a policy names who they are, not how they do.

    InvalidInput when an address is none.
    """
    addresses: set[bytes] = set()
    for number, endpoint in enumerate(record.endpoints):
        for text in endpoint.addresses:
            try:
                addresses.add(packed.addr_bytes(text))
            except ValueError as error:
                raise InvalidInput(f"{text!r} is no address", field=f"endpoints[{number}].addresses") from error
    ports = {(PROTOCOL_NUMBERS[port.protocol], port.port) for port in record.ports}
    return ServiceEndpoints(
        addresses=frozenset(packed.net_of_host(address) for address in addresses),
        ports=frozenset(packed.addr_port(address, *port) for address in addresses for port in ports),
    )
