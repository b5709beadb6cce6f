"""QoS policies with their rules."""

from __future__ import annotations

from typing import Any

from neutron.db.qos import models

from calico.orchestrators.openstack.driver.reading.rows import Wanted, every_or, grouped, revised, where_in
from calico.orchestrators.openstack.facts import BandwidthLimit, PacketRateLimit, QosPolicy

__all__ = ["policies"]

_UNSUPPORTED = {
    "minimum_bandwidth": models.QosMinimumBandwidthRule.__table__,
    "minimum_packet_rate": models.QosMinimumPacketRateRule.__table__,
}


def policies(session: Any, identifiers: Wanted) -> dict[str, QosPolicy]:
    """By id."""
    wanted = every_or(identifiers)

    def rules(table: Any) -> dict[str, list[Any]]:
        return grouped(where_in(session, table, "qos_policy_id", wanted), "qos_policy_id")

    bandwidth = rules(models.QosBandwidthLimitRule.__table__)
    packets = rules(models.QosPacketRateLimitRule.__table__)
    marks = rules(models.QosDscpMarkingRule.__table__)
    others = {name: rules(table) for name, table in _UNSUPPORTED.items()}
    return {
        row.id: QosPolicy(
            id=row.id,
            name=row.name or "",
            bandwidth_limits=tuple(
                BandwidthLimit(
                    direction=rule.direction, max_kbps=rule.max_kbps or 0, max_burst_kbps=rule.max_burst_kbps or 0
                )
                for rule in sorted(bandwidth.get(row.id, []), key=lambda rule: str(rule.direction))
            ),
            packet_rate_limits=tuple(
                PacketRateLimit(
                    direction=rule.direction, max_kpps=rule.max_kpps or 0, max_burst_kpps=rule.max_burst_kpps or 0
                )
                for rule in sorted(packets.get(row.id, []), key=lambda rule: str(rule.direction))
            ),
            dscp_mark=next((rule.dscp_mark for rule in marks.get(row.id, [])), None),
            unsupported=tuple(name for name, found in others.items() if found.get(row.id)),
            revision_number=row.revision_number,
        )
        for row in revised(session, models.QosPolicy.__table__, wanted)
    }
