"""Routers: the networks that they join, and where their gateways are."""

from __future__ import annotations

from typing import Any

from neutron.db import models_v2
from neutron.db.models import l3 as models
from neutron_lib import constants
from sqlalchemy import select

from calico.orchestrators.openstack.driver.reading.rows import EVERY, Wanted, grouped, where_in
from calico.orchestrators.openstack.facts import Router

__all__ = ["routers", "routers_by_id"]

_INTERFACES = models.RouterPort.__table__
_PORTS = models_v2.Port.__table__


def routers(session: Any, networks: Wanted) -> tuple[Router, ...]:
    """Those with an interface or their gateway in one of the networks."""
    if networks is EVERY:
        return routers_by_id(session, EVERY)
    wanted = sorted(set(networks))
    if not wanted:
        return ()
    joined = _INTERFACES.join(_PORTS, _INTERFACES.c.port_id == _PORTS.c.id)
    near = select(_INTERFACES.c.router_id.distinct()).select_from(joined).where(_PORTS.c.network_id.in_(wanted))
    return routers_by_id(session, [row.router_id for row in session.execute(near)])


def routers_by_id(session: Any, identifiers: Wanted) -> tuple[Router, ...]:
    """By their ids; one that is gone is left out."""
    rows = where_in(session, models.Router.__table__, "id", identifiers)
    interfaces = where_in(session, _INTERFACES, "router_id", [row.id for row in rows])
    networks = {
        row.id: row.network_id for row in where_in(session, _PORTS, "id", [each.port_id for each in interfaces])
    }
    addresses = grouped(
        where_in(session, models_v2.IPAllocation.__table__, "port_id", [each.port_id for each in interfaces]), "port_id"
    )
    of_router = grouped(interfaces, "router_id")
    return tuple(
        _router(row, of_router.get(row.id, []), networks, addresses)
        for row in sorted(rows, key=lambda row: str(row.id))
    )


def _router(row: Any, interfaces: list[Any], networks: dict[str, str], addresses: dict[str, list[Any]]) -> Router:
    gateways = [each for each in interfaces if each.port_type == constants.DEVICE_OWNER_ROUTER_GW]
    inside = [each for each in interfaces if each not in gateways]
    return Router(
        id=row.id,
        project_id=row.project_id or "",
        network_ids=tuple(sorted({networks[each.port_id] for each in inside if each.port_id in networks})),
        subnet_ids=tuple(sorted({at.subnet_id for each in inside for at in addresses.get(each.port_id, [])})),
        gateway_network_id=next((networks[each.port_id] for each in gateways if each.port_id in networks), ""),
        enable_snat=bool(row.enable_snat),
    )
