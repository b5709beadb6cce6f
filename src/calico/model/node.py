"""Node and ClusterInformation."""

from __future__ import annotations

from msgspec import field

from calico.model.meta import Model, Resource

__all__ = [
    "ClusterInformation",
    "ClusterInformationSpec",
    "Node",
    "NodeAddress",
    "NodeBGPSpec",
    "NodeSpec",
    "NodeStatus",
    "tunnel_addresses",
]


class NodeBGPSpec(Model, frozen=True, kw_only=True):
    """BGP identity of a host. Addresses are ``ip/len`` with host bits kept (the length is the host's subnet)."""

    as_number: int | str | None = None
    ipv4_address: str = field(default="", name="ipv4Address")
    ipv6_address: str = field(default="", name="ipv6Address")
    ipv4_ipip_tunnel_addr: str = field(default="", name="ipv4IPIPTunnelAddr")
    route_reflector_cluster_id: str = field(default="", name="routeReflectorClusterID")


class NodeAddress(Model, frozen=True, kw_only=True):
    """An address of the host and what it is for."""

    address: str = ""
    type: str = ""


class NodeInterface(Model, frozen=True, kw_only=True):
    """An interface of the host with its addresses."""

    name: str = ""
    addresses: tuple[str, ...] = ()


class OrchRef(Model, frozen=True, kw_only=True):
    """The orchestrator's own name of the host."""

    orchestrator: str = ""
    node_name: str = ""


class NodeWireguardSpec(Model, frozen=True, kw_only=True):
    """Addresses of the WireGuard interfaces."""

    interface_ipv4_address: str = field(default="", name="interfaceIPv4Address")
    interface_ipv6_address: str = field(default="", name="interfaceIPv6Address")


class NodeSpec(Model, frozen=True, kw_only=True):
    """A host."""

    bgp: NodeBGPSpec | None = None
    ipv4_vxlan_tunnel_addr: str = field(default="", name="ipv4VXLANTunnelAddr")
    vxlan_tunnel_mac_addr: str = field(default="", name="vxlanTunnelMACAddr")
    ipv6_vxlan_tunnel_addr: str = field(default="", name="ipv6VXLANTunnelAddr")
    vxlan_tunnel_mac_addr_v6: str = field(default="", name="vxlanTunnelMACAddrV6")
    orch_refs: tuple[OrchRef, ...] = ()
    wireguard: NodeWireguardSpec | None = None
    addresses: tuple[NodeAddress, ...] = ()
    interfaces: tuple[NodeInterface, ...] = ()


class NodeStatus(Model, frozen=True, kw_only=True):
    """What the host tells of itself. Keys are base64; CIDRs only come from Kubernetes."""

    wireguard_public_key: str = ""
    wireguard_public_key_v6: str = ""
    pod_cidrs: tuple[str, ...] = field(default=(), name="podCIDRs")


class Node(Resource, frozen=True, kw_only=True):
    """A host that runs Felix and BIRD."""

    spec: NodeSpec = NodeSpec()
    status: NodeStatus | None = None


class ClusterInformationSpec(Model, frozen=True, kw_only=True):
    """What the cluster is, and whether the datastore may be used."""

    cluster_guid: str = field(default="", name="clusterGUID")
    cluster_type: str = ""
    calico_version: str = ""
    datastore_ready: bool | None = None
    variant: str = ""


class ClusterInformation(Resource, frozen=True, kw_only=True):
    """The singleton ``default``."""

    spec: ClusterInformationSpec = ClusterInformationSpec()


def tunnel_addresses(node: Node) -> dict[str, str]:
    """What a node's tunnels have, by the kind of tunnel."""
    spec = node.spec
    found = {
        "ipip": spec.bgp.ipv4_ipip_tunnel_addr if spec.bgp is not None else "",
        "vxlan": spec.ipv4_vxlan_tunnel_addr,
        "vxlan-v6": spec.ipv6_vxlan_tunnel_addr,
        "wireguard": spec.wireguard.interface_ipv4_address if spec.wireguard is not None else "",
        "wireguard-v6": spec.wireguard.interface_ipv6_address if spec.wireguard is not None else "",
    }
    return {what: address for what, address in found.items() if address}
