"""The L3 service plugin: routers and floating addresses of Neutron, without agents."""

from __future__ import annotations

from neutron.services.l3_router import l3_router_plugin

__all__ = ["CalicoL3Plugin"]


class CalicoL3Plugin(l3_router_plugin.L3RouterPlugin):
    """``service_plugins = calico_l3``. Floating addresses are translated on the host of their port."""

    @classmethod
    def get_plugin_type(cls) -> str:
        return "L3_ROUTER_NAT"

    def get_plugin_description(self) -> str:
        return "Calico: floating addresses at the host of the instance"
