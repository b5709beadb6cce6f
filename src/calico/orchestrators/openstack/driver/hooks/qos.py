"""Which QoS rules are followed, and that a changed policy changes the ports that have it."""

from __future__ import annotations

from typing import Any

from neutron_lib import constants
from neutron_lib.api.definitions import portbindings
from neutron_lib.db import api as db_api
from neutron_lib.db import constants as db_constants
from neutron_lib.services.qos import base
from neutron_lib.services.qos import constants as qos

from calico.orchestrators.openstack.driver.journal.recording import QOS_POLICY, record
from calico.orchestrators.openstack.driver.poke import poke

__all__ = ["CalicoQosDriver"]

_DIRECTION = {"type:values": ["ingress", "egress"]}
_NUMBER = {"type:range": [0, db_constants.DB_INTEGER_MAX_VALUE]}

_SUPPORTED = {
    qos.RULE_TYPE_BANDWIDTH_LIMIT: {qos.MAX_KBPS: _NUMBER, qos.MAX_BURST: _NUMBER, qos.DIRECTION: _DIRECTION},
    qos.RULE_TYPE_PACKET_RATE_LIMIT: {qos.MAX_KPPS: _NUMBER, qos.MAX_BURST_KPPS: _NUMBER, qos.DIRECTION: _DIRECTION},
    qos.RULE_TYPE_DSCP_MARKING: {qos.DSCP_MARK: {"type:values": list(constants.VALID_DSCP_MARKS)}},
}


class CalicoQosDriver(base.DriverBase):
    """Known to Neutron's QoS plugin, where that is configured."""

    @classmethod
    def create(cls) -> CalicoQosDriver:
        """Registers itself when the plugin starts."""
        return cls(
            name="calico",
            vif_types=[portbindings.VIF_TYPE_TAP],
            vnic_types=[portbindings.VNIC_NORMAL],
            supported_rules=_SUPPORTED,
            requires_rpc_notifications=False,
        )

    def update_policy_precommit(self, context: Any, policy: Any) -> None:
        """Also when a rule of it is made, changed or removed."""
        with db_api.CONTEXT_WRITER.using(context) as session:
            record(session, QOS_POLICY, [policy.id])

    def update_policy(self, context: Any, policy: Any) -> None:
        poke()
