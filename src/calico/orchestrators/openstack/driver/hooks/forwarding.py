"""The port forwarding service plugin: Neutron's own, without the L3 plugin and messages to agents that it brings."""

from __future__ import annotations

from neutron.services.portforwarding import pf_plugin

__all__ = ["CalicoPortForwardingPlugin"]


class CalicoPortForwardingPlugin(pf_plugin.PortForwardingPlugin):
    """``service_plugins = calico_l3,calico_port_forwarding``, in this order.

    Neutron's asks for ``router`` where it does not know the L3 plugin, so that there would be two; each locks what the
    other waits for.
    """

    required_service_plugins: tuple[str, ...] = ()
    _rpc_notifications_required = False
