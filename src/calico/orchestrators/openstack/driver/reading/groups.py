"""Security groups with their rules, and address groups."""

from __future__ import annotations

from typing import Any

from neutron.db.models import address_group as address_models
from neutron.db.models import securitygroup as models

from calico.orchestrators.openstack.driver.reading.rows import Wanted, every_or, grouped, revised, where_in
from calico.orchestrators.openstack.facts import AddressGroup, SecurityGroup, SecurityGroupRule

__all__ = ["address_groups", "security_groups"]


def security_groups(session: Any, identifiers: Wanted) -> dict[str, SecurityGroup]:
    """By id, with rules in the order of their ids, so that the same rules are the same document."""
    wanted = every_or(identifiers)
    rules = grouped(
        where_in(session, models.SecurityGroupRule.__table__, "security_group_id", wanted), "security_group_id"
    )
    return {
        row.id: SecurityGroup(
            id=row.id,
            name=row.name or "",
            project_id=row.project_id or "",
            stateful=bool(row.stateful),
            rules=tuple(_rule(rule) for rule in sorted(rules.get(row.id, []), key=lambda rule: str(rule.id))),
            revision_number=row.revision_number,
        )
        for row in revised(session, models.SecurityGroup.__table__, wanted)
    }


def _rule(row: Any) -> SecurityGroupRule:
    return SecurityGroupRule(
        id=row.id,
        direction=row.direction,
        ethertype=row.ethertype or "",
        protocol=row.protocol,
        port_range_min=row.port_range_min,
        port_range_max=row.port_range_max,
        remote_ip_prefix=row.remote_ip_prefix or "",
        remote_group_id=row.remote_group_id or "",
        remote_address_group_id=row.remote_address_group_id or "",
    )


def address_groups(session: Any, identifiers: Wanted) -> dict[str, AddressGroup]:
    """By id, with addresses in order."""
    wanted = every_or(identifiers)
    addresses = grouped(
        where_in(session, address_models.AddressAssociation.__table__, "address_group_id", wanted), "address_group_id"
    )
    return {
        row.id: AddressGroup(
            id=row.id,
            name=row.name or "",
            project_id=row.project_id or "",
            addresses=tuple(sorted(str(each.address) for each in addresses.get(row.id, []))),
            revision_number=row.revision_number,
        )
        for row in revised(session, address_models.AddressGroup.__table__, wanted)
    }
