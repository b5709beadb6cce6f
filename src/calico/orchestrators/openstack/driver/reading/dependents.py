"""Which ports an object has a part in, and where ports are."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from neutron.db import models_v2
from neutron.db.models import allowed_address_pair
from neutron.db.models import l3 as l3_models
from neutron.db.models import port_forwarding as forwarding_models
from neutron.db.models import securitygroup as group_models
from neutron.db.qos import models as qos_models
from neutron.plugins.ml2 import models as ml2_models
from sqlalchemy import select

from calico.orchestrators.openstack.driver.journal.recording import (
    FORWARDED_WITH,
    FORWARDING_PORTS,
    GROUP_PORTS,
    NETWORK,
    PAIRED_PORTS,
    QOS_POLICY,
    SUBNET_PORTS,
    Place,
)
from calico.orchestrators.openstack.driver.reading.rows import where_in

__all__ = ["dependent_ports", "dependent_subnets", "places_of"]


def places_of(session: Any, ports: Iterable[str]) -> dict[str, set[Place]]:
    """Where ports are and are going to, as the database says now."""
    import json

    wanted = list(ports)
    devices = {row.id: row.device_id or "" for row in where_in(session, models_v2.Port.__table__, "id", wanted)}
    found: dict[str, set[Place]] = {}
    for row in where_in(session, ml2_models.PortBinding.__table__, "port_id", wanted):
        hosts = [row.host]
        if "migrating_to" in (row.profile or ""):
            hosts.append(json.loads(row.profile).get("migrating_to"))
        device = devices.get(row.port_id, "")
        found.setdefault(row.port_id, set()).update((host, device) for host in hosts if host and device)
    return found


def dependent_ports(session: Any, kind: str, wanted: Iterable[str]) -> set[str]:
    """Ports whose endpoint is made of one of these objects as well."""
    objects = list(wanted)
    if kind == GROUP_PORTS:
        rows = where_in(session, group_models.SecurityGroupPortBinding.__table__, "security_group_id", objects)
        return {row.port_id for row in rows}
    if kind == NETWORK:
        table = models_v2.Port.__table__
        return {row.id for row in where_in(session, table, "network_id", objects, table.c.id)}
    if kind == FORWARDING_PORTS:
        rows = where_in(session, forwarding_models.PortForwarding.__table__, "floatingip_id", objects)
        return {row.internal_neutron_port_id for row in rows}
    if kind == FORWARDED_WITH:
        table = forwarding_models.PortForwarding.__table__
        own = where_in(session, table, "internal_neutron_port_id", objects)
        return dependent_ports(session, FORWARDING_PORTS, {row.floatingip_id for row in own})
    if kind == SUBNET_PORTS:
        return {row.port_id for row in where_in(session, models_v2.IPAllocation.__table__, "subnet_id", objects)}
    if kind == PAIRED_PORTS:
        return _paired(session, objects)
    if kind == QOS_POLICY:
        own = where_in(session, qos_models.QosPortPolicyBinding.__table__, "policy_id", objects)
        networks = where_in(session, qos_models.QosNetworkPolicyBinding.__table__, "policy_id", objects)
        limited = where_in(session, qos_models.QosFIPPolicyBinding.__table__, "policy_id", objects)
        floating = where_in(session, l3_models.FloatingIP.__table__, "id", [row.fip_id for row in limited])
        ports = {row.port_id for row in own} | {row.fixed_port_id for row in floating if row.fixed_port_id}
        return ports | dependent_ports(session, NETWORK, [row.network_id for row in networks])
    return set()


def _paired(session: Any, networks: Iterable[str]) -> set[str]:
    """Ports of these networks that have address pairs."""
    port, pair = models_v2.Port.__table__, allowed_address_pair.AllowedAddressPair.__table__
    joined = port.join(pair, pair.c.port_id == port.c.id)
    query = select(port.c.id).distinct().select_from(joined).where(port.c.network_id.in_(sorted(networks)))
    return {row.id for row in session.execute(query)}


def dependent_subnets(session: Any, networks: Iterable[str]) -> set[str]:
    """Subnets whose record says something of one of these networks."""
    table = models_v2.Subnet.__table__
    return {row.id for row in where_in(session, table, "network_id", networks, table.c.id)}
