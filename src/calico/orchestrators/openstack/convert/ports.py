"""A port to its WorkloadEndpoints: one at each host that it is bound to, and its LiveMigration between two of them.

Endpoints are the ports of instances that are bound as a tap of Calico and administratively up; all other ports
(routers, DHCP, ports of other drivers) have no documents.
"""

from __future__ import annotations

import ipaddress
from typing import Any

from calico.errors import InvalidInput
from calico.lib.packed import addr_bytes
from calico.model.keys import ResourceKey
from calico.model.livemigration import (
    LiveMigration,
    LiveMigrationSource,
    LiveMigrationSpec,
    LiveMigrationTarget,
    WorkloadEndpointIdentifier,
)
from calico.model.meta import Resource
from calico.model.workload import IPNAT, WorkloadEndpoint, WorkloadEndpointSpec
from calico.orchestrators.openstack import naming, records
from calico.orchestrators.openstack.convert.documents import Converted, Options, Problem, finished, metadata_of
from calico.orchestrators.openstack.convert.forwards import convert_forwards
from calico.orchestrators.openstack.convert.limits import convert_qos
from calico.orchestrators.openstack.facts import AddressPair, Port, PortView

__all__ = ["ALLOW_ALL", "convert_port", "endpoint_hosts", "is_endpoint"]

ALLOW_ALL = "projectcalico-default-allow"
"""The profile of ports without port security, which every cluster has without storing it."""

_OWNERS = ("compute:", "kuryr:container")
_VIF = "tap"
_EVERYWHERE = ("0.0.0.0/0", "::/0")
_BITS = {4: 32, 6: 128}


def is_endpoint(port: Port) -> bool:
    """Whether a port has endpoints anywhere."""
    return any(endpoint_hosts(port))


def endpoint_hosts(port: Port) -> tuple[str, tuple[str, ...]]:
    """The host where the port is (empty: none), and those where it is expected, because it migrates to them."""
    if not port.device_owner.startswith(_OWNERS) or not port.admin_state_up:
        return "", ()
    bound = [binding for binding in port.bindings if binding.host and binding.vif_type == _VIF]
    active = next((binding for binding in bound if binding.status == "ACTIVE"), None)
    targets = {binding.host for binding in bound if binding.status != "ACTIVE"}
    if active is not None:
        named = active.profile.get("migrating_to")
        if isinstance(named, str) and named:
            targets.add(named)
        targets.discard(active.host)
    return (active.host if active else ""), tuple(sorted(targets))


def convert_port(view: PortView, options: Options) -> Converted:
    """The documents of a port: endpoint where it is, then for each target the LiveMigration before the endpoint."""
    port = view.port
    host, targets = endpoint_hosts(port)
    if not host and not targets:
        return Converted()
    if view.network.id != port.network_id:
        raise InvalidInput(f"{view.network.id} is not the network of port {port.id}", field="network.id")
    spec, extra, problems = _spec(view, options)
    labels, annotations = _labels(view), _annotations(view)
    annotations |= convert_forwards(view, host, problems)
    resources: list[tuple[ResourceKey, Resource, dict[str, Any]]] = []
    try:
        for at in (host, *targets):
            if not at:
                continue
            key = naming.endpoint_key(options.region, at, port.device_id, port.id)
            if host and at != host:
                resources.append((*_migration(port, host, at, options), {}))
            metadata = metadata_of(key, port.revision_number, labels, annotations)
            fields = {**spec, "node": at}
            resources.append((key, WorkloadEndpoint(metadata=metadata, spec=WorkloadEndpointSpec(**fields)), extra))
    except InvalidInput as error:
        text = f"port {port.id}: {error.field} {error.message}"
        problems.append(Problem(code="endpoint-unnamed", kind="port", id=port.id, text=text))
    return finished(resources, problems, revision=port.revision_number, subject=("port", port.id))


def _migration(port: Port, source: str, target: str, options: Options) -> tuple[ResourceKey, LiveMigration]:
    def at(host: str) -> WorkloadEndpointIdentifier:
        return WorkloadEndpointIdentifier(
            hostname=host,
            orchestrator_id=naming.ORCHESTRATOR,
            workload_id=f"{naming.namespace(options.region)}/{port.device_id}",
            endpoint_id=port.id,
        )

    key = naming.migration_key(options.region, target, port.device_id, port.id)
    spec = LiveMigrationSpec(
        source=LiveMigrationSource(workload_endpoint=at(source)),
        target=LiveMigrationTarget(workload_endpoint=at(target)),
    )
    return key, LiveMigration(metadata=metadata_of(key, port.revision_number, {}, {}), spec=spec)


def _spec(view: PortView, options: Options) -> tuple[dict[str, Any], dict[str, Any], list[Problem]]:
    """Members of the endpoint's spec, those beyond our schema, and problems."""
    port = view.port
    problems: list[Problem] = []
    fixed = _addresses(port, problems)
    paired, prefixes = _pairs(view, problems, options)
    spec: dict[str, Any] = {
        "orchestrator": naming.ORCHESTRATOR,
        "workload": port.device_id,
        "endpoint": port.id,
        "interface_name": naming.tap_name(port.id),
        "mac": port.mac_address.lower(),
        "ip_networks": tuple(_host_net(address) for address in dict.fromkeys((*fixed, *paired))),
        **_gateways(view),
        "ip_nats": _nats(view, fixed, problems),
        "profiles": () if port.port_security_enabled else (ALLOW_ALL,),
        "allow_spoofed_source_prefixes": prefixes if port.port_security_enabled else _EVERYWHERE,
    }
    spec["qos_controls"], told = convert_qos(view.qos, port.id, options)
    problems += told
    for floating in view.floating_ips:
        if floating.id in view.floating_qos:
            text = f"port {port.id}: QoS of floating address {floating.floating_ip_address} has no effect"
            problems.append(Problem(code="qos-unsupported", kind="port", id=port.id, text=text, severity="notice"))
    allowed = tuple(_host_net(address) for address in paired if address not in fixed)
    return spec, ({"allowedIps": list(allowed)} if allowed else {}), problems


def _addresses(port: Port, problems: list[Problem]) -> tuple[str, ...]:
    """Fixed addresses, IPv4 first, in one spelling."""
    found = []
    for fixed in port.fixed_ips:
        try:
            address = ipaddress.ip_address(fixed.ip_address)
        except ValueError:
            address = None
        if address is None or _means_something_else(address):
            text = f"port {port.id}: fixed address {fixed.ip_address!r} is none that an instance can have; left out"
            problems.append(Problem(code="address-invalid", kind="port", id=port.id, text=text))
        else:
            found.append(address)
    return tuple(str(address) for address in sorted(set(found), key=lambda address: (address.version, address)))


def _pairs(view: PortView, problems: list[Problem], options: Options) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Allowed address pairs: addresses that are routed to the port, and prefixes that it may send from besides.

    Only single addresses are routed and, unless the operator wants all, only those that the network's subnets hold:
    all networks share one address space, and a route to an address outside would take it from whoever has it.
    """
    port = view.port
    inside = _networks(view)
    singles: set[ipaddress.IPv4Network | ipaddress.IPv6Network] = set()
    prefixes: set[ipaddress.IPv4Network | ipaddress.IPv6Network] = set()
    for pair in port.allowed_address_pairs:
        try:
            net = ipaddress.ip_network(pair.ip_address, strict=False)
        except ValueError:
            text = f"port {port.id}: allowed address pair {pair.ip_address!r} is no prefix; left out"
            problems.append(Problem(code="address-invalid", kind="port", id=port.id, text=text))
            continue
        is_single = net.prefixlen == _BITS[net.version]
        is_near = options.route_all_pairs or any(net[0] in subnet for subnet in inside)
        if is_single and (not is_near or _means_something_else(net[0])):
            text = (
                f"port {port.id}: allowed address pair {net[0]} is no instance's address in a subnet of its network; "
                "the port may send from it, but it is not routed to the port"
            )
            problems.append(Problem(code="pair-not-routed", kind="port", id=port.id, text=text, severity="notice"))
            is_single = False
        (singles if is_single else prefixes).add(net)
    in_order = [sorted(nets, key=lambda net: (net.version, net)) for nets in (singles, prefixes)]
    return tuple(str(net.network_address) for net in in_order[0]), tuple(str(net) for net in in_order[1])


def _networks(view: PortView) -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    """The prefixes of the subnets; one that is none is told where the subnet is converted."""
    found = []
    for subnet in view.subnets:
        try:
            found.append(ipaddress.ip_network(subnet.cidr, strict=False))
        except ValueError:
            continue
    return found


def _gateways(view: PortView) -> dict[str, str]:
    """The gateways of the subnets of the fixed addresses: of each family the first that has one."""
    found: dict[str, str] = {}
    subnets = {subnet.id: subnet for subnet in view.subnets}
    for fixed in sorted(view.port.fixed_ips, key=lambda fixed: _order(fixed.ip_address)):
        subnet = subnets.get(fixed.subnet_id)
        if subnet is not None and subnet.gateway_ip:
            found.setdefault("ipv6_gateway" if ":" in subnet.gateway_ip else "ipv4_gateway", subnet.gateway_ip)
    return found


def _nats(view: PortView, fixed: tuple[str, ...], problems: list[Problem]) -> tuple[IPNAT, ...]:
    found = set()
    for floating in view.floating_ips:
        if floating.port_id != view.port.id or not floating.fixed_ip_address:
            continue
        try:
            own, external = (
                str(ipaddress.ip_address(text)) for text in (floating.fixed_ip_address, floating.floating_ip_address)
            )
        except ValueError:
            own = external = ""
        if own not in fixed:
            text = (
                f"port {view.port.id}: floating address {floating.floating_ip_address} leads to "
                f"{floating.fixed_ip_address}, which is none of its fixed addresses; left out"
            )
            problems.append(Problem(code="floating-ip-astray", kind="port", id=view.port.id, text=text))
            continue
        found.add((own, external))
    ordered = sorted(found, key=lambda nat: (_order(nat[0]), _order(nat[1])))
    return tuple(IPNAT(internal_ip=own, external_ip=external) for own, external in ordered)


def _labels(view: PortView) -> dict[str, str]:
    """Labels by which policies select: project, network and, with port security, security groups."""
    port, network = view.port, view.network
    told = {
        naming.PROJECT_ID_LABEL: naming.label_text(port.project_id),
        naming.NETWORK_NAME_LABEL: naming.label_text(network.name),
        naming.NETWORK_ID_LABEL: naming.label_text(network.id),
    }
    if view.project is not None:
        told[naming.PROJECT_NAME_LABEL] = naming.label_text(view.project.name)
        told[naming.PROJECT_PARENT_LABEL] = naming.label_text(view.project.parent_id)
    labels = {key: value for key, value in told.items() if value}
    if not port.port_security_enabled:
        return labels
    names = {group.id: group.name for group in view.groups}
    for group_id in sorted(port.security_groups, reverse=True):  # of two groups of one name the first id stays
        name = names.get(group_id, "")
        labels[naming.group_label(group_id)] = naming.group_name(name)
        if by_name := naming.group_name_label(name):
            labels[by_name] = naming.label_text(group_id)
    return labels


def _annotations(view: PortView) -> dict[str, str]:
    port = view.port
    fqdn = next((told.fqdn.rstrip(".") for told in port.dns_assignment if told.fqdn), "")
    domains = (port.dns_domain, view.network.dns_domain, fqdn.partition(".")[2])
    pairs = tuple(
        AddressPair(
            ip_address=pair.ip_address,
            mac_address="" if pair.mac_address.lower() == port.mac_address.lower() else pair.mac_address.lower(),
        )
        for pair in port.allowed_address_pairs
    )
    return records.endpoint_annotations(
        network_id=port.network_id,
        fixed_ips=tuple(sorted(port.fixed_ips, key=lambda fixed: _order(fixed.ip_address))),
        fqdn=fqdn,
        address_pairs=tuple(sorted(pairs, key=lambda pair: (pair.ip_address, pair.mac_address))),
        dhcp_options=tuple(
            sorted(port.extra_dhcp_opts, key=lambda told: (told.ip_version, told.opt_name, told.opt_value))
        ),
        dns_search=tuple(dict.fromkeys(domain.rstrip(".") for domain in domains if domain.rstrip("."))),
        mtu=view.network.mtu,
        project_id=port.project_id,
        port_security=port.port_security_enabled,
    )


def _means_something_else(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Whether the address means something on every host: routing it to an instance would take it from the host."""
    special = address.is_loopback or address.is_unspecified or address.is_multicast or address.is_link_local
    return special or address == ipaddress.IPv4Address("255.255.255.255")


def _host_net(address: str) -> str:
    return f"{address}/{128 if ':' in address else 32}"


def _order(address: str) -> tuple[int, bytes]:
    """IPv4 before IPv6, then by value; what is no address comes first."""
    try:
        packed = addr_bytes(address)
    except ValueError:
        return 0, address.encode()
    return len(packed), packed
