"""BGPConfiguration and BGPPeer (spec §16.13, §16.14)."""

from __future__ import annotations

import re

from calico.errors import InvalidInput
from calico.model.bgp import BGPConfigurationSpec, BGPPassword, BGPPeerSpec
from calico.model.communities import parse_community
from calico.model.durations import parse_duration
from calico.model.numorstring import parse_as_number
from calico.model.validation import syntax
from calico.model.validation.report import Report

__all__ = ["check_bgp_configuration", "check_node_bgp_configuration", "check_peer"]

HIGHEST_PRIORITY = 2147483646
LOG_LEVELS = ("trace", "debug", "info", "warning", "error", "fatal")
CLUSTER_ROUTES = ("Enabled", "Disabled", "EnabledIPIPOnly", "EnabledNoEncapOnly")
_ignored_interface = syntax.pattern(r"(?!\*\Z)[a-zA-Z0-9_.*-]{1,15}", "an interface name, '*' as a part allowed")
_ENDPOINT = re.compile(r"(?:([0-9.]+)|\[([0-9a-fA-F:.]+)\]):([0-9]{1,5})")


def check_bgp_configuration(report: Report, spec: BGPConfigurationSpec) -> None:
    """Check the settings, whatever the scope."""
    level = spec.log_severity_screen
    report.check(not level or level.lower() in LOG_LEVELS, "spec.logSeverityScreen", level, "is no log level")
    report.means(parse_as_number, "spec.asNumber", spec.as_number)
    report.within(1, 65535, "spec.listenPort", spec.listen_port or None)
    blocks = {
        "serviceLoadBalancerIPs": spec.service_load_balancer_ips,
        "serviceExternalIPs": spec.service_external_ips,
        "serviceClusterIPs": spec.service_cluster_ips,
    }
    for name, values in blocks.items():
        for index, block in enumerate(values):
            report.means(syntax.net, f"spec.{name}[{index}].cidr", block.cidr)
    report.one_of(
        ("Enabled", "Disabled"), "spec.serviceLoadBalancerAggregation", spec.service_load_balancer_aggregation
    )
    report.one_of(("None", "NodeIP"), "spec.bindMode", spec.bind_mode)
    report.one_of(CLUSTER_ROUTES, "spec.programClusterRoutes", spec.program_cluster_routes)
    report.distinct(spec.ignored_interfaces, "spec.ignoredInterfaces")
    for index, interface in enumerate(spec.ignored_interfaces):
        report.means(_ignored_interface, f"spec.ignoredInterfaces[{index}]", interface)
    report.parses(
        lambda text: syntax.address(text, 4), "spec.localWorkloadPeeringIPV4", spec.local_workload_peering_ipv4
    )
    report.parses(
        lambda text: syntax.address(text, 6), "spec.localWorkloadPeeringIPV6", spec.local_workload_peering_ipv6
    )
    report.within(1, HIGHEST_PRIORITY, "spec.ipv4NormalRoutePriority", spec.ipv4_normal_route_priority)
    report.within(1, HIGHEST_PRIORITY, "spec.ipv6NormalRoutePriority", spec.ipv6_normal_route_priority)
    report.parses(parse_duration, "spec.nodeMeshMaxRestartTime", spec.node_mesh_max_restart_time)
    _check_password(report, "spec.nodeMeshPassword", spec.node_mesh_password)
    if spec.node_to_node_mesh_enabled is False:
        for name, value in (
            ("nodeMeshPassword", spec.node_mesh_password),
            ("nodeMeshMaxRestartTime", spec.node_mesh_max_restart_time),
        ):
            report.check(value is None, f"spec.{name}", None, "is not allowed while the mesh is disabled")
    _check_communities(report, spec)


def check_node_bgp_configuration(report: Report, spec: BGPConfigurationSpec) -> None:
    """Check that a ``node.<name>`` configuration leaves alone what only the whole cluster can decide."""
    cluster_wide = {
        "nodeToNodeMeshEnabled": spec.node_to_node_mesh_enabled is not None,
        "asNumber": spec.as_number is not None,
        "serviceLoadBalancerIPs": spec.service_load_balancer_ips,
        "serviceExternalIPs": spec.service_external_ips,
        "serviceClusterIPs": spec.service_cluster_ips,
        "nodeMeshPassword": spec.node_mesh_password is not None,
        "nodeMeshMaxRestartTime": spec.node_mesh_max_restart_time is not None,
    }
    for name, given in cluster_wide.items():
        report.check(not given, f"spec.{name}", None, "can be set only in the configuration 'default'")


def _check_communities(report: Report, spec: BGPConfigurationSpec) -> None:
    if spec.communities and not spec.prefix_advertisements:
        report.error("spec.communities", None, "are defined but no prefixAdvertisements use them")
    for index, community in enumerate(spec.communities):
        report.means(syntax.name, f"spec.communities[{index}].name", community.name)
        report.means(_community, f"spec.communities[{index}].value", community.value)
    defined = {community.name for community in spec.communities}
    for index, advertisement in enumerate(spec.prefix_advertisements):
        where = f"spec.prefixAdvertisements[{index}]"
        report.means(syntax.net, f"{where}.cidr", advertisement.cidr)
        report.check(advertisement.communities, f"{where}.communities", None, "are required")
        report.at_most(50, advertisement.communities, f"{where}.communities")
        for position, community_name in enumerate(advertisement.communities):
            if community_name not in defined:
                report.means(_community, f"{where}.communities[{position}]", community_name)


def _community(text: str) -> None:
    try:
        parse_community(text)
    except InvalidInput as error:
        raise InvalidInput(f"{error.message}, or a name in communities") from None


def check_peer(report: Report, spec: BGPPeerSpec) -> None:
    """Check which fields of a peering go together, and their values."""
    report.parses(syntax.name, "spec.node", spec.node)
    for name, text in (
        ("nodeSelector", spec.node_selector),
        ("peerSelector", spec.peer_selector),
        ("localWorkloadSelector", spec.local_workload_selector),
    ):
        report.parses(syntax.selector, f"spec.{name}", text)
    report.means(parse_as_number, "spec.asNumber", spec.as_number)
    report.means(parse_as_number, "spec.localASNumber", spec.local_as_number)
    report.check(not (spec.node and spec.node_selector), "spec.nodeSelector", None, "excludes node")
    report.check(not (spec.peer_ip and spec.peer_selector), "spec.peerSelector", None, "excludes peerIP")
    has_as_number = spec.as_number not in (0, "", "0")
    report.check(not (spec.peer_selector and has_as_number), "spec.asNumber", None, "must be empty with peerSelector")
    if spec.local_workload_selector:
        report.check(not spec.peer_ip, "spec.peerIP", None, "must be empty with localWorkloadSelector")
        report.check(not spec.peer_selector, "spec.peerSelector", None, "must be empty with localWorkloadSelector")
        report.check(has_as_number, "spec.asNumber", None, "is required with localWorkloadSelector")
    _check_addresses(report, spec)
    report.one_of(("Auto", "Self", "Keep"), "spec.nextHopMode", spec.next_hop_mode)
    if spec.keep_original_next_hop:
        report.check(spec.next_hop_mode is None, "spec.nextHopMode", None, "excludes keepOriginalNextHop")
    report.one_of(("UseNodeIP", "None"), "spec.sourceAddress", spec.source_address)
    report.one_of(("Auto", "Manual"), "spec.reversePeering", spec.reverse_peering)
    report.parses(parse_duration, "spec.maxRestartTime", spec.max_restart_time)
    report.parses(parse_duration, "spec.keepaliveTime", spec.keepalive_time)
    report.within(0, 255, "spec.ttlSecurity", spec.ttl_security)
    report.within(0, 2**31 - 1, "spec.numAllowedLocalASNumbers", spec.num_allowed_local_as_numbers)
    for index, name in enumerate(spec.filters):
        report.means(syntax.name, f"spec.filters[{index}]", name)
    _check_password(report, "spec.password", spec.password)


def _check_addresses(report: Report, spec: BGPPeerSpec) -> None:
    report.parses(_peer_address, "spec.peerIP", spec.peer_ip)
    report.parses(syntax.address, "spec.reachableBy", spec.reachable_by)
    if spec.reachable_by:
        report.check(spec.peer_ip, "spec.reachableBy", spec.reachable_by, "needs peerIP")
        same = (spec.peer_ip.count(":") > 1) == (":" in spec.reachable_by)
        report.check(same or not spec.peer_ip, "spec.reachableBy", spec.reachable_by, "must be of peerIP's family")


def _peer_address(text: str) -> None:
    """``IP``, ``IPv4:port`` or ``[IPv6]:port``."""
    found = _ENDPOINT.fullmatch(text)
    if found is None:
        syntax.address(text)
        return
    syntax.address(found[1] or found[2], 4 if found[1] else 6)
    if not 1 <= int(found[3]) <= 65535:
        raise InvalidInput("the port must be within 1-65535")


def _check_password(report: Report, where: str, password: BGPPassword | None) -> None:
    if password is not None and password.secret_key_ref is not None:
        report.check(password.secret_key_ref.key, f"{where}.secretKeyRef.key", None, "is required")
