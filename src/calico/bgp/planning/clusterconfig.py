"""BGPConfiguration ``default`` and ``node.<name>`` resolved to the settings one host and the mesh run with. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Literal

import msgspec

from calico.bgp.planning import peerannotations
from calico.bgp.planning.birdplan import AdvertisedPrefix, BfdPlan, Family
from calico.bgp.planning.host import check_as_number, check_own_address
from calico.bgp.planning.networks import parse_network
from calico.bgp.problem import Problem
from calico.bgp.secret import PasswordRef
from calico.errors import InvalidInput
from calico.model.bgp import BGPConfiguration, BGPConfigurationSpec
from calico.model.communities import parse_community
from calico.model.durations import parse_duration

__all__ = ["MAX_RESTART_TIME_S", "ClusterConfig", "resolve_config", "restart_time", "whole_seconds"]

DEFAULT_AS = 64512
DEFAULT_PRIORITY = 1024
MAX_RESTART_TIME_S = 4095  # RFC 4724: twelve bits
_INTERFACE_PATTERN = re.compile(r"[A-Za-z0-9_.:@+*?=-]{1,64}", re.ASCII)
_ONLY_IN_DEFAULT = (
    "node_to_node_mesh_enabled",
    "as_number",
    "service_load_balancer_ips",
    "service_external_ips",
    "service_cluster_ips",
    "local_workload_peering_ipv4",
    "local_workload_peering_ipv6",
    "node_mesh_password",
    "node_mesh_max_restart_time",
    "program_cluster_routes",
    "ipv4_normal_route_priority",
    "ipv6_normal_route_priority",
)
Report = Callable[[Problem], None]


class ClusterConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What the BGPConfigurations amount to. ``mesh`` is false also when the mesh had to be stopped."""

    as_number: int = DEFAULT_AS
    mesh: bool = True
    mesh_restart_time_s: int | None = None
    mesh_password: PasswordRef | None = None
    mesh_bfd: BfdPlan | None = None
    mesh_ipv4_over_ipv6: bool = False
    workload_side: Mapping[Family, str] = {}
    listen_port: int | None = None
    node_listen_ports: Mapping[str, int] = {}
    debug: Literal["none", "states", "all"] = "states"
    ignored_interfaces: tuple[str, ...] = ()
    strict_bind: bool = False
    program_plain_pools: bool = True
    program_encap_pools_wanted: bool = False
    normal_priority_v4: int = DEFAULT_PRIORITY
    normal_priority_v6: int = DEFAULT_PRIORITY
    advertised: tuple[AdvertisedPrefix, ...] = ()
    withheld: tuple[str, ...] = ()
    own_routes_only: bool = False

    def port_of(self, node: str) -> int | None:
        """The port a node listens on; None for BGP's own."""
        return self.node_listen_ports.get(node, self.listen_port)


def resolve_config(configs: Mapping[str, BGPConfiguration], node: str, report: Report) -> ClusterConfig:
    """The settings for ``node``. InvalidInput when the cluster's AS number is unusable: no session could be right."""
    main, own = _spec(configs, "default"), _spec(configs, f"node.{node}")
    _report_misplaced(own, f"BGPConfiguration node.{node}", report)
    subject = "BGPConfiguration default"
    level = (own.log_severity_screen or main.log_severity_screen).lower()
    as_number = DEFAULT_AS if main.as_number is None else check_as_number(main.as_number, "spec.asNumber")
    program = main.program_cluster_routes or "EnabledNoEncapOnly"
    mesh, mesh_password = _mesh(main, subject, report)
    bfd, over = _mesh_annotations(configs, subject, report)
    advertised, withheld = _advertised(main, own, subject, report)
    return ClusterConfig(
        as_number=as_number,
        mesh=mesh,
        mesh_restart_time_s=_mesh_restart_time(main, subject, report),
        mesh_password=mesh_password,
        mesh_bfd=bfd,
        mesh_ipv4_over_ipv6=over,
        workload_side=_workload_side(main, subject, report),
        listen_port=_port(main, subject, report),
        node_listen_ports=_node_ports(configs, report),
        debug={"debug": "all", "trace": "all", "none": "none"}.get(level, "states"),  # type: ignore[arg-type]
        ignored_interfaces=_interfaces(own.ignored_interfaces or main.ignored_interfaces, subject, report),
        strict_bind=(own.bind_mode or main.bind_mode) == "NodeIP",
        program_plain_pools=program in ("EnabledNoEncapOnly", "Enabled"),
        program_encap_pools_wanted=program in ("EnabledIPIPOnly", "Enabled"),
        normal_priority_v4=_priority(main.ipv4_normal_route_priority, "ipv4NormalRoutePriority", subject, report),
        normal_priority_v6=_priority(main.ipv6_normal_route_priority, "ipv6NormalRoutePriority", subject, report),
        advertised=advertised,
        withheld=withheld,
        own_routes_only=_own_routes_only(configs, subject, report),
    )


def restart_time(text: str, where: str, subject: str, report: Report) -> int:
    """A graceful restart time in seconds, limited to what the capability can carry; InvalidInput if no duration."""
    seconds = whole_seconds(text, where)
    if seconds > MAX_RESTART_TIME_S:
        report(Problem("bgp-value-adjusted", subject, f"{where}: {seconds} s is limited to {MAX_RESTART_TIME_S} s"))
    return min(seconds, MAX_RESTART_TIME_S)


def whole_seconds(text: str, where: str) -> int:
    """A duration as BIRD's timers take it, rounded half up; InvalidInput for what is none or negative."""
    try:
        seconds = parse_duration(text)
    except InvalidInput as error:
        raise InvalidInput(error.message, field=where) from None
    if seconds < 0:
        raise InvalidInput(f"{text!r} is negative", field=where)
    return int(seconds + 0.5)


def _spec(configs: Mapping[str, BGPConfiguration], name: str) -> BGPConfigurationSpec:
    config = configs.get(name)
    return config.spec if config is not None else BGPConfigurationSpec()


def _report_misplaced(own: BGPConfigurationSpec, subject: str, report: Report) -> None:
    for attribute in _ONLY_IN_DEFAULT:
        if getattr(own, attribute) not in (None, (), ""):
            report(Problem("bgp-field-ignored", subject, f"spec.{_json_name(attribute)} counts only in default"))


def _json_name(attribute: str) -> str:
    return next(f.encode_name for f in msgspec.structs.fields(BGPConfigurationSpec) if f.name == attribute)


def _mesh(main: BGPConfigurationSpec, subject: str, report: Report) -> tuple[bool, PasswordRef | None]:
    """Whether there is a mesh, and its password; one that cannot be named stops it."""
    if main.node_to_node_mesh_enabled is False or main.node_mesh_password is None:
        return main.node_to_node_mesh_enabled is not False, None
    try:
        return True, PasswordRef.of_spec(main.node_mesh_password, "spec.nodeMeshPassword")
    except InvalidInput as error:
        report(Problem("bgp-resource-invalid", subject, f"{error}; the node-to-node mesh is stopped"))
        return False, None


def _mesh_annotations(
    configs: Mapping[str, BGPConfiguration], subject: str, report: Report
) -> tuple[BfdPlan | None, bool]:
    given = configs["default"].metadata.annotations if "default" in configs else {}
    bfd, over = None, False
    try:
        over = peerannotations.ipv4_over_ipv6(given)
        bfd = peerannotations.bfd(given)
    except InvalidInput as error:
        report(Problem("bgp-resource-invalid", subject, f"{error}; the node-to-node mesh goes without"))
    return bfd, over


def _own_routes_only(configs: Mapping[str, BGPConfiguration], subject: str, report: Report) -> bool:
    """Whoever wrote something that cannot be read wanted protection."""
    given = configs["default"].metadata.annotations if "default" in configs else {}
    try:
        return peerannotations.own_routes_only(given)
    except InvalidInput as error:
        report(Problem("bgp-resource-invalid", subject, f"{error}; clients may tell their own routes only"))
        return True


def _workload_side(main: BGPConfigurationSpec, subject: str, report: Report) -> dict[Family, str]:
    """The addresses at which workloads find this host's BIRD."""
    fields: tuple[tuple[Family, str, str], ...] = (
        (4, main.local_workload_peering_ipv4, "spec.localWorkloadPeeringIPV4"),
        (6, main.local_workload_peering_ipv6, "spec.localWorkloadPeeringIPV6"),
    )
    found: dict[Family, str] = {}
    for family, text, where in fields:
        if text:
            try:
                found[family] = check_own_address(text, where, family)
            except InvalidInput as error:
                report(Problem("bgp-resource-invalid", subject, f"{error}; it is not used"))
    return found


def _mesh_restart_time(main: BGPConfigurationSpec, subject: str, report: Report) -> int | None:
    if not main.node_mesh_max_restart_time:
        return None
    try:
        return restart_time(main.node_mesh_max_restart_time, "spec.nodeMeshMaxRestartTime", subject, report)
    except InvalidInput as error:
        report(Problem("bgp-resource-invalid", subject, f"{error}; the default is used"))
        return None


def _port(spec: BGPConfigurationSpec, subject: str, report: Report) -> int | None:
    if not spec.listen_port:
        return None
    if 1 <= spec.listen_port <= 65535:
        return spec.listen_port
    report(Problem("bgp-resource-invalid", subject, f"spec.listenPort {spec.listen_port} is no port; 179 is used"))
    return None


def _node_ports(configs: Mapping[str, BGPConfiguration], report: Report) -> dict[str, int]:
    ports = {}
    for name, config in configs.items():
        if name.startswith("node."):
            port = _port(config.spec, f"BGPConfiguration {name}", report)
            if port is not None:
                ports[name.removeprefix("node.")] = port
    return ports


def _interfaces(patterns: tuple[str, ...], subject: str, report: Report) -> tuple[str, ...]:
    good = []
    for pattern in patterns:
        if _INTERFACE_PATTERN.fullmatch(pattern):
            good.append(pattern)
        else:
            message = f"spec.ignoredInterfaces: {pattern[:60]!r} cannot be an interface pattern; it is left out"
            report(Problem("bgp-resource-invalid", subject, message))
    return tuple(good)


def _priority(value: int | None, field: str, subject: str, report: Report) -> int:
    if value is None:
        return DEFAULT_PRIORITY
    if 1 <= value <= 2147483646:
        return value
    report(Problem("bgp-resource-invalid", subject, f"spec.{field} {value} is no priority; {DEFAULT_PRIORITY} is used"))
    return DEFAULT_PRIORITY


def _advertised(
    main: BGPConfigurationSpec, own: BGPConfigurationSpec, subject: str, report: Report
) -> tuple[tuple[AdvertisedPrefix, ...], tuple[str, ...]]:
    """Prefixes with the communities of their routes (the node's own list replaces the cluster's, design 1.4), and those
    that must not be advertised because a community of theirs is not known: it may be one that keeps them inside."""
    names = {item.name: item.value for item in (*main.communities, *own.communities)}
    advertised: dict[str, AdvertisedPrefix] = {}
    withheld = set()
    for item in own.prefix_advertisements or main.prefix_advertisements:
        try:
            network = parse_network(item.cidr)
        except InvalidInput as error:
            message = f"spec.prefixAdvertisements: {error.message}; the entry has no effect"
            report(Problem("bgp-resource-invalid", subject, message))
            continue
        try:
            communities = tuple(parse_community(names.get(name, name)) for name in item.communities)
        except InvalidInput as error:
            withheld.add(str(network))
            message = f"spec.prefixAdvertisements {network}: {error.message}; the prefix is not advertised"
            report(Problem("bgp-resource-invalid", subject, message))
            continue
        before = advertised.get(str(network))
        merged = dict.fromkeys((*(before.communities if before else ()), *communities))
        if merged:
            advertised[str(network)] = AdvertisedPrefix(6 if network.version == 6 else 4, str(network), tuple(merged))
    return tuple(sorted(advertised.values())), tuple(sorted(withheld))
