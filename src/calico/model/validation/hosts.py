"""Node, WorkloadEndpoint and HostEndpoint (spec §16.1, §16.2, §16.4)."""

from __future__ import annotations

from calico.errors import InvalidInput
from calico.model.hostendpoint import HostEndpointSpec
from calico.model.names import WorkloadEndpointIdentifiers
from calico.model.node import Node, NodeBGPSpec, NodeSpec, NodeStatus
from calico.model.numorstring import parse_as_number, supports_ports
from calico.model.qos import QOS_FIELDS, QoSControls, control_faults
from calico.model.validation import syntax
from calico.model.validation.report import Report
from calico.model.workload import IPNAT, EndpointPort, WorkloadEndpoint, WorkloadEndpointSpec

__all__ = [
    "check_endpoint_name",
    "check_endpoint_port",
    "check_endpoint_spec",
    "check_host_endpoint",
    "check_nat",
    "check_node",
    "check_node_spec",
    "check_node_status",
]

ADDRESS_TYPES = ("CalicoNodeIP", "InternalIP", "ExternalIP")
_container_id = syntax.pattern(r"[a-zA-Z0-9](?:[-a-zA-Z0-9]*[a-zA-Z0-9])?", "letters, digits and inner dashes")


def check_node(report: Report, node: Node) -> None:
    """Check a host and the keys in its status."""
    check_node_spec(report, node.spec)
    if node.status is not None:
        check_node_status(report, node.status)


def check_node_status(report: Report, status: NodeStatus) -> None:
    """Check the keys that a host tells."""
    report.parses(syntax.public_key, "status.wireguardPublicKey", status.wireguard_public_key)
    report.parses(syntax.public_key, "status.wireguardPublicKeyV6", status.wireguard_public_key_v6)


def check_node_spec(report: Report, spec: NodeSpec) -> None:
    """Check the addresses of a host."""
    _address(report, "spec.ipv4VXLANTunnelAddr", spec.ipv4_vxlan_tunnel_addr, 4)
    _address(report, "spec.ipv6VXLANTunnelAddr", spec.ipv6_vxlan_tunnel_addr, 6)
    report.parses(syntax.mac, "spec.vxlanTunnelMACAddr", spec.vxlan_tunnel_mac_addr)
    report.parses(syntax.mac, "spec.vxlanTunnelMACAddrV6", spec.vxlan_tunnel_mac_addr_v6)
    if spec.bgp is not None:
        _check_node_bgp(report, spec.bgp)
    if spec.wireguard is not None:
        _address(report, "spec.wireguard.interfaceIPv4Address", spec.wireguard.interface_ipv4_address, 4)
        _address(report, "spec.wireguard.interfaceIPv6Address", spec.wireguard.interface_ipv6_address, 6)
    for index, address in enumerate(spec.addresses):
        report.means(syntax.net, f"spec.addresses[{index}].address", address.address)
        report.one_of(ADDRESS_TYPES, f"spec.addresses[{index}].type", address.type)
    for index, interface in enumerate(spec.interfaces):
        report.parses(syntax.name, f"spec.interfaces[{index}].name", interface.name)


def _check_node_bgp(report: Report, bgp: NodeBGPSpec) -> None:
    report.check(bgp != NodeBGPSpec(), "spec.bgp", None, "must not be empty; leave it out to turn BGP off")
    report.means(parse_as_number, "spec.bgp.asNumber", bgp.as_number)
    report.parses(lambda text: syntax.cidr(text, 4), "spec.bgp.ipv4Address", bgp.ipv4_address)
    report.parses(lambda text: syntax.cidr(text, 6), "spec.bgp.ipv6Address", bgp.ipv6_address)
    _address(report, "spec.bgp.ipv4IPIPTunnelAddr", bgp.ipv4_ipip_tunnel_addr, 4)
    _address(report, "spec.bgp.routeReflectorClusterID", bgp.route_reflector_cluster_id, 4)


def _address(report: Report, where: str, text: str, version: int) -> None:
    report.parses(lambda given: syntax.address(given, version), where, text)


def check_endpoint_name(report: Report, endpoint: WorkloadEndpoint) -> None:
    """Check that the name is the one its identifiers give (spec §8)."""
    spec = endpoint.spec
    identifiers = WorkloadEndpointIdentifiers(
        node=spec.node,
        orchestrator=spec.orchestrator,
        workload=spec.workload,
        pod=spec.pod,
        container_id=spec.container_id,
        endpoint=spec.endpoint,
    )
    try:
        expected = identifiers.name()
    except InvalidInput as refused:
        report.error(f"spec.{refused.field}", None, refused.message)
        return
    name = endpoint.metadata.name
    report.check(name == expected, "metadata.name", name, f"must be {expected!r} by node, orchestrator and workload")


def check_endpoint_spec(report: Report, spec: WorkloadEndpointSpec) -> None:
    """Check an endpoint apart from its name."""
    for name, text in (
        ("orchestrator", spec.orchestrator),
        ("workload", spec.workload),
        ("node", spec.node),
        ("pod", spec.pod),
        ("endpoint", spec.endpoint),
        ("serviceAccountName", spec.service_account_name),
    ):
        report.parses(syntax.name, f"spec.{name}", text)
    report.parses(_container_id, "spec.containerID", spec.container_id)
    report.check(spec.interface_name, "spec.interfaceName", None, "is required")
    report.parses(syntax.interface, "spec.interfaceName", spec.interface_name)
    report.parses(syntax.mac, "spec.mac", spec.mac)
    _address(report, "spec.ipv4Gateway", spec.ipv4_gateway, 4)
    _address(report, "spec.ipv6Gateway", spec.ipv6_gateway, 6)
    own = _check_networks(report, spec.ip_networks)
    for index, nat in enumerate(spec.ip_nats):
        check_nat(report, f"spec.ipNATs[{index}]", nat)
        covered = _host(nat.internal_ip) in own
        report.check(covered, f"spec.ipNATs[{index}].internalIP", nat.internal_ip, "must be one of ipNetworks")
    for index, profile in enumerate(spec.profiles):
        report.means(syntax.name, f"spec.profiles[{index}]", profile)
    for index, port in enumerate(spec.ports):
        check_endpoint_port(report, f"spec.ports[{index}]", port)
    for index, prefix in enumerate(spec.allow_spoofed_source_prefixes):
        report.means(syntax.cidr, f"spec.allowSpoofedSourcePrefixes[{index}]", prefix)
    _check_qos(report, spec.qos_controls or QoSControls())


def _check_networks(report: Report, networks: tuple[str, ...]) -> set[str]:
    """Check that each is one address, and return them in one spelling."""
    own: set[str] = set()
    for index, text in enumerate(networks):
        try:
            network = syntax.net(text)
        except InvalidInput as refused:
            report.error(f"spec.ipNetworks[{index}]", text, refused.message)
            continue
        report.check(network.num_addresses == 1, f"spec.ipNetworks[{index}]", text, "must be a single address")
        own.add(str(network))
    return own


def _host(text: str) -> str:
    try:
        return str(syntax.cidr(text))
    except InvalidInput:
        return ""


def check_nat(report: Report, where: str, nat: IPNAT) -> None:
    """Check that both sides of a mapping are addresses of one family."""
    report.means(syntax.address, f"{where}.internalIP", nat.internal_ip)
    report.means(syntax.address, f"{where}.externalIP", nat.external_ip)
    same = (":" in nat.internal_ip) == (":" in nat.external_ip)
    report.check(same, f"{where}.externalIP", nat.external_ip, "must be of the family of internalIP")


def check_endpoint_port(report: Report, where: str, port: EndpointPort) -> None:
    """Check a port: it has a name, or is mapped on the host."""
    report.parses(syntax.port_name, f"{where}.name", port.name)
    report.check(port.name or port.host_port, f"{where}.name", None, "is required without hostPort")
    report.within(1, 65535, f"{where}.port", port.port)
    report.within(0, 65535, f"{where}.hostPort", port.host_port)
    report.parses(syntax.net, f"{where}.hostIP", port.host_ip)
    _check_port_protocol(report, f"{where}.protocol", port.protocol)


def _check_port_protocol(report: Report, where: str, protocol: int | str) -> None:
    try:
        fine = supports_ports(protocol)
    except InvalidInput:
        fine = False
    report.check(fine, where, protocol, "must be TCP, UDP or SCTP")


def check_host_endpoint(report: Report, spec: HostEndpointSpec) -> None:
    """Check a host endpoint: it says which host, and which interface by name or address."""
    report.check(spec.node, "spec.node", None, "is required")
    report.parses(syntax.name, "spec.node", spec.node)
    identified = spec.interface_name or spec.expected_ips
    report.check(identified, "spec.interfaceName", None, "is required without expectedIPs")
    report.parses(syntax.interface, "spec.interfaceName", spec.interface_name)
    possible = spec.interface_name not in (".", "..")
    report.check(possible, "spec.interfaceName", spec.interface_name, "is no name that an interface may have")
    report.distinct(spec.expected_ips, "spec.expectedIPs")
    for index, address in enumerate(spec.expected_ips):
        report.means(syntax.address, f"spec.expectedIPs[{index}]", address)
    report.distinct(spec.profiles, "spec.profiles")
    for index, profile in enumerate(spec.profiles):
        report.means(syntax.name, f"spec.profiles[{index}]", profile)
    for index, port in enumerate(spec.ports):
        where = f"spec.ports[{index}]"
        report.check(port.name, f"{where}.name", None, "is required")
        report.parses(syntax.port_name, f"{where}.name", port.name)
        _check_port_protocol(report, f"{where}.protocol", port.protocol)
        report.within(1, 65535, f"{where}.port", port.port)


def _check_qos(report: Report, controls: QoSControls) -> None:
    for name, reason in control_faults(controls):
        report.error(f"spec.qosControls.{QOS_FIELDS[name]}", getattr(controls, name), reason)
