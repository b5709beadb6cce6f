"""The L3 service plugin: routers and floating addresses of Neutron, without agents."""

from __future__ import annotations

from typing import Any

from neutron.services.l3_router import l3_router_plugin
from neutron_lib import constants
from neutron_lib.plugins import directory

__all__ = ["CalicoL3Plugin"]


class CalicoL3Plugin(l3_router_plugin.L3RouterPlugin):
    """``service_plugins = calico_l3``. Floating addresses are translated on the host of their port.

    One is ACTIVE while its port is: the leader follows the port, this plugin the association.
    """

    def get_plugin_description(self) -> str:
        return "Calico: floating addresses at the host of the instance"

    def create_floatingip(self, context: Any, floatingip: dict[str, Any], **more: Any) -> dict[str, Any]:
        return self._settled(context, super().create_floatingip(context, floatingip, **more))

    def update_floatingip(self, context: Any, id: str, floatingip: dict[str, Any]) -> dict[str, Any]:  # noqa: A002
        return self._settled(context, super().update_floatingip(context, id, floatingip))

    def _settled(self, context: Any, found: dict[str, Any]) -> dict[str, Any]:
        wanted = constants.FLOATINGIP_STATUS_DOWN
        if found["port_id"]:
            port = directory.get_plugin().get_port(context.elevated(), found["port_id"])
            if port["status"] == constants.PORT_STATUS_ACTIVE:
                wanted = constants.FLOATINGIP_STATUS_ACTIVE
        if found["status"] != wanted:
            self.update_floatingip_status(context.elevated(), found["id"], wanted)
            found = {**found, "status": wanted}
        return found
