"""Interfaces and gateways of routers: with isolation they join networks, with pools they translate.

An interface is a port and, in a transaction after its own, a row that gives the port to a router; SQLAlchemy tells of
that row. It goes with the port, in one transaction.
"""

from __future__ import annotations

import json
from typing import Any

import sqlalchemy as sa
from neutron.db.models import l3 as models
from neutron_lib import constants
from sqlalchemy.orm import object_session

from calico.orchestrators.openstack.driver.journal.recording import ISOLATED_NETWORK, ROUTER, SUBNET, record
from calico.orchestrators.openstack.driver.journal.table import JournalEntry
from calico.orchestrators.openstack.driver.poke import poke

__all__ = ["listen", "record_leaving"]

_OWNERS = {*constants.ROUTER_INTERFACE_OWNERS, constants.DEVICE_OWNER_ROUTER_GW}


def listen() -> None:
    """Once per process; again is fine."""
    if not sa.event.contains(models.RouterPort, "after_insert", _on_interface):
        sa.event.listen(models.RouterPort, "after_insert", _on_interface)


def record_leaving(session: Any, port: dict[str, Any]) -> None:
    """A port goes: if it is a router's, its network and subnets are looked at again, and the router's others."""
    if port["device_owner"] not in _OWNERS:
        return
    record(session, ROUTER, [port["device_id"]])
    record(session, ISOLATED_NETWORK, [port["network_id"]])
    record(session, SUBNET, [each["subnet_id"] for each in port["fixed_ips"]])


def _on_interface(mapper: object, connection: Any, interface: Any) -> None:
    entry = {"kind": ROUTER, "object_id": interface.router_id, "places": json.dumps([])}
    connection.execute(JournalEntry.__table__.insert().values(entry))
    session = object_session(interface)
    if session is not None:
        sa.event.listen(session, "after_commit", lambda _: poke(), once=True)
