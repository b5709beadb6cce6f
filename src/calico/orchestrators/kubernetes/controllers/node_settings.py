"""What KubeControllersConfiguration ``default`` says of nodes; without one, what Calico takes for said."""

from __future__ import annotations

import msgspec

from calico.datastore.typed.store import Store
from calico.errors import NotFound
from calico.model.durations import parse_duration
from calico.model.kubecontrollers import KubeControllersConfiguration
from calico.model.node import Node

__all__ = ["NodeSettings", "kubernetes_name", "read_node_settings"]

_GRACE_S = 900.0


class NodeSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Whether labels are copied, whether every node gets a host endpoint, and how long (seconds) an address must have
    been without a user before it is released; 0: never."""

    sync_labels: bool = True
    auto_host_endpoints: bool = False
    leak_grace_s: float = _GRACE_S


async def read_node_settings(store: Store) -> NodeSettings:
    """The settings now."""
    try:
        found = await store.get("KubeControllersConfiguration", "default")
    except NotFound:
        return NodeSettings()
    assert isinstance(found, KubeControllersConfiguration)
    node = found.spec.controllers.node
    if node is None:
        return NodeSettings()
    return NodeSettings(
        sync_labels=node.sync_labels != "Disabled",
        auto_host_endpoints=node.host_endpoint is not None and node.host_endpoint.auto_create == "Enabled",
        leak_grace_s=_GRACE_S if node.leak_grace_period is None else parse_duration(node.leak_grace_period),
    )


def kubernetes_name(node: Node) -> str:
    """What Kubernetes calls the host; empty for hosts that it does not have."""
    return next((ref.node_name for ref in node.spec.orch_refs if ref.orchestrator == "k8s"), "")
