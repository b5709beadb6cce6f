"""BGP resources: cluster and node configuration, and explicit peerings."""

from __future__ import annotations

from msgspec import field

from calico.model.meta import Model, Resource

__all__ = ["BGPConfiguration", "BGPConfigurationSpec", "BGPPassword", "BGPPeer", "BGPPeerSpec", "SecretKeySelector"]


class SecretKeySelector(Model, frozen=True, kw_only=True):
    """A key of a named secret."""

    name: str = ""
    key: str = ""
    optional: bool | None = None


class BGPPassword(Model, frozen=True, kw_only=True):
    """Where the TCP-MD5 password of a session is kept."""

    secret_key_ref: SecretKeySelector | None = None


class Community(Model, frozen=True, kw_only=True):
    """A name for a BGP community ``aa:nn`` or ``aa:nn:mm``."""

    name: str = ""
    value: str = ""


class PrefixAdvertisement(Model, frozen=True, kw_only=True):
    """Communities to attach to routes within a prefix."""

    cidr: str = ""
    communities: tuple[str, ...] = ()


class ServiceBlock(Model, frozen=True, kw_only=True):
    """A CIDR of service addresses to advertise."""

    cidr: str = ""


class BGPConfigurationSpec(Model, frozen=True, kw_only=True):
    """``default`` applies to all nodes, ``node.<name>`` to one. AS 64512 and full mesh unless said otherwise."""

    log_severity_screen: str = ""
    node_to_node_mesh_enabled: bool | None = None
    as_number: int | str | None = None
    listen_port: int = 0
    service_load_balancer_ips: tuple[ServiceBlock, ...] = field(default=(), name="serviceLoadBalancerIPs")
    service_external_ips: tuple[ServiceBlock, ...] = field(default=(), name="serviceExternalIPs")
    service_cluster_ips: tuple[ServiceBlock, ...] = field(default=(), name="serviceClusterIPs")
    service_load_balancer_aggregation: str | None = None
    communities: tuple[Community, ...] = ()
    prefix_advertisements: tuple[PrefixAdvertisement, ...] = ()
    node_mesh_password: BGPPassword | None = None
    node_mesh_max_restart_time: str | None = None
    bind_mode: str | None = None
    ignored_interfaces: tuple[str, ...] = ()
    local_workload_peering_ipv4: str = field(default="", name="localWorkloadPeeringIPV4")
    local_workload_peering_ipv6: str = field(default="", name="localWorkloadPeeringIPV6")
    program_cluster_routes: str | None = None
    ipv4_normal_route_priority: int | None = field(default=None, name="ipv4NormalRoutePriority")
    ipv6_normal_route_priority: int | None = field(default=None, name="ipv6NormalRoutePriority")


class BGPConfiguration(Resource, frozen=True, kw_only=True):
    """Settings of BGP for the cluster or one node."""

    spec: BGPConfigurationSpec = BGPConfigurationSpec()


class BGPPeerSpec(Model, frozen=True, kw_only=True):
    """Which nodes (``node``, ``nodeSelector`` or all) peer with whom (``peerIP`` or ``peerSelector``)."""

    node: str = ""
    node_selector: str = ""
    peer_ip: str = field(default="", name="peerIP")
    as_number: int | str = 0
    local_as_number: int | str | None = field(default=None, name="localASNumber")
    peer_selector: str = ""
    keep_original_next_hop: bool = False
    next_hop_mode: str | None = None
    password: BGPPassword | None = None
    source_address: str = ""
    max_restart_time: str | None = None
    keepalive_time: str | None = None
    num_allowed_local_as_numbers: int | None = field(default=None, name="numAllowedLocalASNumbers")
    ttl_security: int | None = None
    reachable_by: str = ""
    filters: tuple[str, ...] = ()
    local_workload_selector: str = ""
    reverse_peering: str | None = None


class BGPPeer(Resource, frozen=True, kw_only=True):
    """An explicit peering."""

    spec: BGPPeerSpec = BGPPeerSpec()
