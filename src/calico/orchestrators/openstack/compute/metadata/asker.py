"""Who asks: the port behind an interface, if the source is one that it may send from. Pure.

Felix lets an instance send only from addresses of its own. That the interface is known as well tells apart two
instances that share an address, as a virtual router's.
"""

from __future__ import annotations

import ipaddress

import msgspec

from calico.orchestrators.openstack.records import EndpointRecord

__all__ = ["Asker", "asker_of"]


class Asker(msgspec.Struct, frozen=True):
    """What Nova wants to know: the instance, its project, and an address of the port."""

    port_id: str
    device_id: str
    project_id: str
    address: str


def asker_of(port: EndpointRecord, source: str) -> Asker | None:
    """The instance that sent from ``source``; None when that is none of the port's addresses, or nobody says which
    instance it is.

    A link-local source stands for the port's first address, preferably of IPv6: Nova knows no other.
    """
    try:
        address = ipaddress.ip_address(source.partition("%")[0])
    except ValueError:
        return None
    own = [found for text in port.addresses if (found := _parsed(text)) is not None]
    if address.version == 6 and address.is_link_local:
        address = next((one for one in own if one.version == 6), own[0] if own else address)
    elif address not in own and not _is_paired(port, address):
        return None
    if not port.device_id or not port.project_id:
        return None
    return Asker(port.port_id, port.device_id, port.project_id, str(address))


def _is_paired(port: EndpointRecord, address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Whether it is in an allowed address pair, or no source is wrong because port security is off."""
    if not port.port_security:
        return True
    for pair in port.address_pairs:
        try:
            if address in ipaddress.ip_network(pair.ip_address, strict=False):
                return True
        except ValueError:
            continue
    return False


def _parsed(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None
