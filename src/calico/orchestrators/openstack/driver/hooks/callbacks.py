"""What ML2 does not tell its drivers: changes of security groups, address groups, floating addresses, forwardings.

Each is written to the journal: in the transaction of the change where Neutron has a hook in it, otherwise right after
(address groups and port forwardings; what is lost there, if the process dies, the audit finds).
"""

from __future__ import annotations

from typing import Any

from neutron.db.models import l3 as l3_models
from neutron_lib.callbacks import events, registry, resources
from neutron_lib.db import api as db_api
from sqlalchemy import select

from calico.orchestrators.openstack.driver.journal.recording import (
    ADDRESS_GROUP,
    FORWARDING_PORTS,
    GROUP_PORTS,
    PORT,
    ROUTER,
    SECURITY_GROUP,
    record,
)
from calico.orchestrators.openstack.driver.poke import poke

__all__ = ["subscribe"]

PORT_FORWARDING = "port_forwarding"


def subscribe() -> None:
    """Hear of everything, once per process."""
    in_transaction = {
        resources.SECURITY_GROUP: (
            _on_group,
            (events.PRECOMMIT_CREATE, events.PRECOMMIT_UPDATE, events.PRECOMMIT_DELETE),
        ),
        resources.SECURITY_GROUP_RULE: (_on_rule, (events.PRECOMMIT_CREATE, events.PRECOMMIT_DELETE)),
        resources.FLOATING_IP: (
            _on_floating_ip,
            (events.PRECOMMIT_CREATE, events.PRECOMMIT_UPDATE, events.PRECOMMIT_DELETE),
        ),
    }
    for resource, (receiver, kinds) in in_transaction.items():
        for event in kinds:
            registry.subscribe(receiver, resource, event)
    registry.subscribe(_on_router, resources.ROUTER, events.PRECOMMIT_UPDATE)
    after = (events.AFTER_CREATE, events.AFTER_UPDATE, events.AFTER_DELETE)
    for event in after:
        registry.subscribe(_on_address_group, resources.ADDRESS_GROUP, event)
        registry.subscribe(_on_forwarding, PORT_FORWARDING, event)
        for resource in in_transaction:
            registry.subscribe(_on_after, resource, event)


def _on_group(resource: str, event: str, trigger: object, payload: Any) -> None:
    session = payload.context.session
    record(session, SECURITY_GROUP, [payload.resource_id])
    if event == events.PRECOMMIT_UPDATE:
        before, after = payload.states[0], payload.desired_state
        if any(before.get(name) != after.get(name) for name in ("name", "stateful")):
            record(session, GROUP_PORTS, [payload.resource_id])


def _on_router(resource: str, event: str, trigger: object, payload: Any) -> None:
    """Whether it translates may have changed; its interfaces and gateway are told by ``routers``."""
    record(payload.context.session, ROUTER, [payload.resource_id])


def _on_rule(resource: str, event: str, trigger: object, payload: Any) -> None:
    group = payload.metadata.get("security_group_id") or payload.latest_state["security_group_id"]
    record(payload.context.session, SECURITY_GROUP, [group])


def _on_floating_ip(resource: str, event: str, trigger: object, payload: Any) -> None:
    """The ports that the address led to and leads to; when it goes, the payload tells of its own port only."""
    session = payload.context.session
    if event == events.PRECOMMIT_DELETE:
        owner = l3_models.FloatingIP.__table__
        found = session.execute(
            select(owner.c.fixed_port_id).where(owner.c.floating_port_id == payload.latest_state["id"])
        )
        record(session, PORT, [row.fixed_port_id for row in found])
        return
    ports = [getattr(payload.desired_state, "fixed_port_id", None)]
    ports += [_port_of(state) for state in payload.states]
    record(session, PORT, [port for port in ports if port])


def _port_of(state: Any) -> str | None:
    """Of a floating address as the API shows it, as a request has it, or as the database does."""
    if not isinstance(state, dict):
        return getattr(state, "fixed_port_id", None)
    inner = state.get("floatingip", state)
    return inner.get("port_id") or inner.get("fixed_port_id")


def _on_address_group(resource: str, event: str, trigger: object, payload: Any) -> None:
    _record_after(payload, ADDRESS_GROUP, [payload.resource_id])


def _on_forwarding(resource: str, event: str, trigger: object, payload: Any) -> None:
    """All ports of the address: which host has it may be another than before."""
    _record_after(payload, PORT, [state.internal_port_id for state in payload.states])
    _record_after(payload, FORWARDING_PORTS, [state.floatingip_id for state in payload.states])


def _record_after(payload: Any, kind: str, identifiers: list[str]) -> None:
    with db_api.CONTEXT_WRITER.using(payload.context) as session:
        record(session, kind, identifiers)
    poke()


def _on_after(resource: str, event: str, trigger: object, payload: Any) -> None:
    poke()
