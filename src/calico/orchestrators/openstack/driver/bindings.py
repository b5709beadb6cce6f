"""Bindings of ports that ML2 tells no driver of: the inactive ones, by which Nova prepares and ends a migration.

Neutron writes them after it asked the driver to bind and calls no hook in that transaction or after it, so the rows
themselves are listened to.
"""

from __future__ import annotations

from typing import Any

from neutron.db import models_v2
from neutron.plugins.ml2 import models as ml2_models
from sqlalchemy import event, select
from sqlalchemy.orm import object_session

from calico.orchestrators.openstack.driver.journal.recording import PORT, record
from calico.orchestrators.openstack.driver.poke import poke

__all__ = ["subscribe"]


def subscribe() -> None:
    """Hear of every binding that is written or deleted; again is fine."""
    for what in ("after_insert", "after_update", "after_delete"):
        if not event.contains(ml2_models.PortBinding, what, _on_binding):
            event.listen(ml2_models.PortBinding, what, _on_binding)


def _on_binding(mapper: Any, connection: Any, binding: Any) -> None:
    """Note the port in the transaction of the binding."""
    if not binding.host:
        return
    ports = models_v2.Port.__table__
    device = connection.execute(select(ports.c.device_id).where(ports.c.id == binding.port_id)).scalar()
    record(connection, PORT, [binding.port_id], {(binding.host, device)} if device else ())
    session = object_session(binding)
    if session is not None:
        event.listen(session, "after_commit", lambda _: poke(), once=True)
