"""A port's inactive bindings: Neutron tells no driver when one is made or removed, so SQLAlchemy does.

The entry is written in the transaction that writes the binding.
"""

from __future__ import annotations

import json
from typing import Any

import sqlalchemy as sa
from neutron.db import models_v2
from neutron.plugins.ml2 import models
from neutron_lib import constants
from sqlalchemy.orm import object_session

from calico.orchestrators.openstack.driver.journal.recording import FORWARDED_WITH, PORT
from calico.orchestrators.openstack.driver.journal.table import JournalEntry
from calico.orchestrators.openstack.driver.poke import poke

__all__ = ["listen"]

_EVENTS = ("after_insert", "after_update", "after_delete")


def listen() -> None:
    """Once per process; again is fine."""
    for name in _EVENTS:
        if not sa.event.contains(models.PortBinding, name, _on_binding):
            sa.event.listen(models.PortBinding, name, _on_binding)


def _on_binding(mapper: object, connection: Any, binding: Any) -> None:
    changed = sa.inspect(binding).attrs.status.history.has_changes()
    if binding.status != constants.INACTIVE and not changed:
        return  # the driver hears of active ones
    ports = models_v2.Port.__table__
    device = connection.execute(sa.select(ports.c.device_id).where(ports.c.id == binding.port_id)).scalar()
    places = json.dumps([[binding.host, device]] if binding.host and device else [])
    entry = {"kind": PORT, "object_id": binding.port_id, "places": places}
    others = {"kind": FORWARDED_WITH, "object_id": binding.port_id, "places": "[]"}
    connection.execute(JournalEntry.__table__.insert(), [entry, others] if changed else [entry])
    session = object_session(binding)
    if session is not None:
        sa.event.listen(session, "after_commit", lambda _: poke(), once=True)
