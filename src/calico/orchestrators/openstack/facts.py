"""What Neutron's database says, as far as Calico follows it. Plain values: no Neutron, no SQLAlchemy, no clock.

Fields are named as in Neutron's API where they are the same. Identifiers are Neutron's (UUIDs as text); an empty text
or tuple means that Neutron says nothing. Who reads the database fills these in, ``convert`` makes documents of them.
"""

from __future__ import annotations

from typing import Any

import msgspec

__all__ = [
    "AddressGroup",
    "AddressPair",
    "BandwidthLimit",
    "Binding",
    "DhcpOption",
    "DnsAssignment",
    "FixedIp",
    "FloatingIp",
    "GroupRef",
    "HostRoute",
    "Network",
    "PacketRateLimit",
    "Port",
    "PortForwarding",
    "PortView",
    "Project",
    "QosPolicy",
    "Router",
    "SecurityGroup",
    "SecurityGroupRule",
    "Subnet",
]


class Fact(msgspec.Struct, frozen=True, kw_only=True):
    """Base of the facts: values, compared by what they hold."""


class Project(Fact, frozen=True, kw_only=True):
    """A Keystone project; ``name`` and ``parent_id`` are empty when nobody may ask Keystone."""

    id: str
    name: str = ""
    parent_id: str = ""


class Network(Fact, frozen=True, kw_only=True):
    """A network. ``external`` is ``router:external``; ``mtu`` 0 is unknown."""

    id: str
    name: str = ""
    project_id: str = ""
    mtu: int = 0
    external: bool = False
    shared: bool = False
    dns_domain: str = ""
    qos_policy_id: str = ""
    port_security_enabled: bool = True
    revision_number: int = 0


class HostRoute(Fact, frozen=True, kw_only=True):
    """A route that DHCP gives to instances."""

    destination: str
    nexthop: str


class Subnet(Fact, frozen=True, kw_only=True):
    """A subnet. ``gateway_ip`` is empty when it has none; the modes are of IPv6 only: ``slaac``,
    ``dhcpv6-stateful``, ``dhcpv6-stateless`` or empty."""

    id: str
    network_id: str
    cidr: str
    name: str = ""
    project_id: str = ""
    ip_version: int = 4
    gateway_ip: str = ""
    enable_dhcp: bool = True
    ipv6_ra_mode: str = ""
    ipv6_address_mode: str = ""
    dns_nameservers: tuple[str, ...] = ()
    host_routes: tuple[HostRoute, ...] = ()
    service_types: tuple[str, ...] = ()
    revision_number: int = 0


class FixedIp(Fact, frozen=True, kw_only=True):
    """An address of a port, and the subnet that it is of."""

    subnet_id: str
    ip_address: str


class AddressPair(Fact, frozen=True, kw_only=True):
    """An allowed address pair: an address or a prefix, and a MAC (empty: the port's own)."""

    ip_address: str
    mac_address: str = ""


class Binding(Fact, frozen=True, kw_only=True):
    """One binding of a port to a host; a port that migrates has an ``ACTIVE`` and an ``INACTIVE`` one."""

    host: str = ""
    vif_type: str = ""
    vnic_type: str = "normal"
    profile: dict[str, Any] = {}
    vif_details: dict[str, Any] = {}
    status: str = "ACTIVE"


class DhcpOption(Fact, frozen=True, kw_only=True):
    """An extra DHCP option: its name as dnsmasq spells it (``bootfile-name``) or its number, its value, and 4 or 6."""

    opt_name: str
    opt_value: str
    ip_version: int = 4


class DnsAssignment(Fact, frozen=True, kw_only=True):
    """The name that Neutron gave to one address of a port; ``fqdn`` may end with a dot."""

    ip_address: str
    hostname: str = ""
    fqdn: str = ""


class Port(Fact, frozen=True, kw_only=True):
    """A port with all its bindings. ``security_groups`` are ids; ``qos_policy_id`` is the port's own policy."""

    id: str
    network_id: str
    name: str = ""
    project_id: str = ""
    device_id: str = ""
    device_owner: str = ""
    mac_address: str = ""
    fixed_ips: tuple[FixedIp, ...] = ()
    allowed_address_pairs: tuple[AddressPair, ...] = ()
    security_groups: tuple[str, ...] = ()
    port_security_enabled: bool = True
    bindings: tuple[Binding, ...] = ()
    status: str = ""
    admin_state_up: bool = True
    dns_name: str = ""
    dns_domain: str = ""
    dns_assignment: tuple[DnsAssignment, ...] = ()
    extra_dhcp_opts: tuple[DhcpOption, ...] = ()
    qos_policy_id: str = ""
    revision_number: int = 0


class SecurityGroupRule(Fact, frozen=True, kw_only=True):
    """A rule as stored. ``protocol`` is None, a name, or a number as number or as text; ``ethertype`` is ``IPv4`` or
    ``IPv6``; ``direction`` is ``ingress`` or ``egress``. At most one of the three remotes should be given."""

    id: str
    direction: str
    ethertype: str = "IPv4"
    protocol: str | int | None = None
    port_range_min: int | None = None
    port_range_max: int | None = None
    remote_ip_prefix: str = ""
    remote_group_id: str = ""
    remote_address_group_id: str = ""


class SecurityGroup(Fact, frozen=True, kw_only=True):
    """A security group with its rules, as the project that owns it sees it; RBAC shares no copies of it."""

    id: str
    name: str = ""
    project_id: str = ""
    stateful: bool = True
    shared: bool = False
    rules: tuple[SecurityGroupRule, ...] = ()
    revision_number: int = 0


class GroupRef(Fact, frozen=True, kw_only=True):
    """What a port needs to know of one of its security groups."""

    id: str
    name: str = ""
    stateful: bool = True


class AddressGroup(Fact, frozen=True, kw_only=True):
    """A named list of addresses and prefixes that rules can name as remote."""

    id: str
    name: str = ""
    project_id: str = ""
    addresses: tuple[str, ...] = ()
    revision_number: int = 0


class FloatingIp(Fact, frozen=True, kw_only=True):
    """A floating address; ``port_id`` and ``fixed_ip_address`` are empty while it is not associated."""

    id: str
    floating_ip_address: str
    floating_network_id: str = ""
    project_id: str = ""
    port_id: str = ""
    fixed_ip_address: str = ""
    router_id: str = ""
    qos_policy_id: str = ""
    revision_number: int = 0


class PortForwarding(Fact, frozen=True, kw_only=True):
    """One port (or range, as ``8000:8010``) of a floating address to one of a port's address. ``host`` is where the
    floating address is: all its forwards lead from there (empty: unknown)."""

    id: str
    floating_ip_id: str
    floating_ip_address: str
    protocol: str
    external_port: str
    internal_port_id: str
    internal_ip_address: str
    internal_port: str
    host: str = ""


class BandwidthLimit(Fact, frozen=True, kw_only=True):
    """Bandwidth in kbit/s and burst in kbit, of one direction as the instance sees it."""

    direction: str
    max_kbps: int
    max_burst_kbps: int = 0


class PacketRateLimit(Fact, frozen=True, kw_only=True):
    """Packets in thousands per second, and the burst in thousands, of one direction as the instance sees it."""

    direction: str
    max_kpps: int
    max_burst_kpps: int = 0


class QosPolicy(Fact, frozen=True, kw_only=True):
    """A QoS policy. ``unsupported`` holds the types of its rules that Calico cannot follow, by Neutron's name."""

    id: str
    name: str = ""
    bandwidth_limits: tuple[BandwidthLimit, ...] = ()
    packet_rate_limits: tuple[PacketRateLimit, ...] = ()
    dscp_mark: int | None = None
    unsupported: tuple[str, ...] = ()
    revision_number: int = 0


class Router(Fact, frozen=True, kw_only=True):
    """A router: the networks and subnets it has interfaces in, and the external network of its gateway, if any."""

    id: str
    project_id: str = ""
    network_ids: tuple[str, ...] = ()
    subnet_ids: tuple[str, ...] = ()
    gateway_network_id: str = ""
    enable_snat: bool = True


class PortView(Fact, frozen=True, kw_only=True):
    """A port with all that its endpoint is made of; its cost is that of the port, not of the cloud.

    ``subnets`` are those of its network, at least those of its fixed addresses. ``qos`` is the policy that counts: the
    port's own, otherwise its network's. ``floating_ips`` and ``port_forwardings`` are those that lead to this port;
    ``floating_qos`` are the policies of its floating addresses, by the id of the address.
    """

    port: Port
    network: Network
    subnets: tuple[Subnet, ...] = ()
    groups: tuple[GroupRef, ...] = ()
    project: Project | None = None
    floating_ips: tuple[FloatingIp, ...] = ()
    port_forwardings: tuple[PortForwarding, ...] = ()
    qos: QosPolicy | None = None
    floating_qos: dict[str, QosPolicy] = {}
