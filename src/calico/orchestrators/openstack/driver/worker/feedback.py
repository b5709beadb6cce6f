"""Neutron's status of ports and floating addresses, written from what hosts report; Neutron itself tells Nova."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
import sqlalchemy as sa
from neutron.db import models_v2, provisioning_blocks
from neutron.db.models import l3 as l3_models
from neutron.plugins.ml2 import models as ml2_models
from neutron_lib import constants
from neutron_lib import context as n_context
from neutron_lib.callbacks import resources
from neutron_lib.db import api as db_api
from neutron_lib.plugins import directory

from calico.obs.logger import Logger
from calico.orchestrators.openstack.driver.reading.rows import reading, where_in

__all__ = ["PortState", "inactive_ports", "port_states", "report_denied", "report_down", "report_up"]

log = Logger(__name__)


class PortState(msgspec.Struct, frozen=True):
    """Neutron's status of a port, the host it is at, and those it migrates to."""

    status: str
    host: str
    targets: frozenset[str]


def port_states(identifiers: Iterable[str]) -> Mapping[str, PortState]:
    """By id; two queries."""
    wanted = list(identifiers)
    with reading() as session:
        ports = models_v2.Port.__table__
        rows = where_in(session, ports, "id", wanted, ports.c.id, ports.c.status)
        bindings = where_in(session, ml2_models.PortBinding.__table__, "port_id", wanted)
    hosts: dict[str, str] = {}
    targets: dict[str, set[str]] = {}
    for row in bindings:
        if row.status == constants.ACTIVE:
            hosts[row.port_id] = row.host
            if "migrating_to" in (row.profile or ""):
                targets.setdefault(row.port_id, set()).add(json.loads(row.profile).get("migrating_to") or "")
        else:
            targets.setdefault(row.port_id, set()).add(row.host)
    return {row.id: PortState(row.status, hosts.get(row.id, ""), frozenset(targets.get(row.id, ()))) for row in rows}


def inactive_ports() -> set[str]:
    """Ports that are bound to a tap and not ACTIVE."""
    ports, bindings = models_v2.Port.__table__, ml2_models.PortBinding.__table__
    with reading() as session:
        rows = session.execute(
            sa.select(ports.c.id)
            .select_from(ports.join(bindings, bindings.c.port_id == ports.c.id))
            .where(ports.c.status != constants.PORT_STATUS_ACTIVE, bindings.c.vif_type == "tap")
        )
        return {row.id for row in rows}


def report_up(port_id: str, host: str, state: PortState) -> None:
    """The port works at ``host``: ACTIVE if it is there, a word to Nova if it comes there."""
    context, plugin = n_context.get_admin_context(), directory.get_plugin()
    if host == state.host:
        if state.status != constants.PORT_STATUS_ACTIVE:
            provisioning_blocks.provisioning_complete(
                context, port_id, resources.PORT, provisioning_blocks.L2_AGENT_ENTITY
            )
        _floating(port_id, constants.FLOATINGIP_STATUS_ACTIVE)
    elif host in state.targets:
        _tell_nova(context, plugin, port_id)


def report_down(port_id: str, host: str, state: PortState, status: str) -> None:
    """The port does not work at ``host``, where it is; ``status`` is DOWN or ERROR."""
    if host != state.host:
        return
    if state.status != status:
        plugin = directory.get_plugin()
        plugin.update_port_status(n_context.get_admin_context(), port_id, status, host=host)
    _floating(port_id, constants.FLOATINGIP_STATUS_DOWN)


def report_denied(identifiers: Iterable[str]) -> None:
    """Ports whose endpoint cannot do what Neutron says: ERROR until they are changed."""
    plugin = directory.get_plugin()
    for port_id, state in port_states(identifiers).items():
        if state.status != constants.PORT_STATUS_ERROR and state.host:
            plugin.update_port_status(
                n_context.get_admin_context(), port_id, constants.PORT_STATUS_ERROR, host=state.host
            )


def _tell_nova(context: Any, plugin: Any, port_id: str) -> None:
    notifier = getattr(plugin, "nova_notifier", None)
    if notifier is None:
        return
    with db_api.CONTEXT_READER.using(context) as session:
        row = session.get(models_v2.Port, port_id)
        if row is not None:
            notifier.notify_port_active_direct(row)
            log.info("calico_migration_target_ready", port=port_id)


def _floating(port_id: str, status: str) -> None:
    table = l3_models.FloatingIP.__table__
    with db_api.CONTEXT_WRITER.using(n_context.get_admin_context()) as session:
        session.execute(
            sa.update(table).where(table.c.fixed_port_id == port_id, table.c.status != status).values(status=status)
        )
