"""Refusing what cannot be routed: two networks with the same addresses. All networks share one address space."""

from __future__ import annotations

import ipaddress
from typing import Any

from neutron.db import models_v2
from neutron_lib import exceptions
from sqlalchemy import select

from calico.orchestrators.openstack.driver.hooks.turn import SUBNETS, take_turn

__all__ = ["OverlappingSubnet", "refuse_overlap"]


class OverlappingSubnet(exceptions.Conflict):
    """409, naming both subnets."""

    message = (
        "Subnet %(cidr)s overlaps subnet %(other)s (%(other_cidr)s) of network %(network)s: Calico routes all networks "
        "in one address space."
    )


def refuse_overlap(session: Any, subnet: dict[str, Any]) -> None:
    """OverlappingSubnet when another network has an address of ``subnet``; within a network Neutron itself refuses.

    Whoever makes a subnet in the same instant waits for this transaction to end, and then sees what it made.
    """
    take_turn(session, SUBNETS)
    table = models_v2.Subnet.__table__
    query = select(table.c.id, table.c.cidr, table.c.network_id).where(
        table.c.ip_version == subnet["ip_version"], table.c.network_id != subnet["network_id"]
    )
    if session.get_bind().dialect.name == "mysql":  # a transaction sees the past there, except where it locks
        query = query.with_for_update(read=True)
    others = session.execute(query)
    ours = ipaddress.ip_network(subnet["cidr"])
    for other in others:
        if ours.overlaps(ipaddress.ip_network(other.cidr)):
            raise OverlappingSubnet(
                cidr=subnet["cidr"], other=other.id, other_cidr=other.cidr, network=other.network_id
            )
