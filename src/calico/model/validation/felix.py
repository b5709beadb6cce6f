"""FelixConfiguration (spec §17): values by table, then what needs more than one field to judge."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import msgspec

from calico.errors import InvalidInput
from calico.model.durations import parse_duration
from calico.model.felixconfig import FelixConfigurationSpec, ProtoPort, RouteTableRange
from calico.model.numorstring import PortRange, parse_dscp, parse_port
from calico.model.validation import syntax
from calico.model.validation.felix_values import (
    BOUNDS,
    DURATIONS,
    ENUMERATIONS,
    ENUMERATIONS_ANY_CASE,
    REGULAR_EXPRESSIONS,
)
from calico.model.validation.report import Report

__all__ = ["check_felix", "check_felix_scope", "check_proto_port"]

MOST_NODE_PORT_RANGES = 7
MOST_TABLES = 65535
LONGEST_REGION = 46
PROTOCOLS = ("TCP", "UDP", "SCTP")

_duration_form = syntax.pattern(r"(?:[0-9]+(?:\.[0-9]+)?(?:ms|s|m|h))+", "a duration such as 30s, 1m30s or 500ms")
_flags = syntax.pattern(
    r"(?:[a-zA-Z0-9-_]+=(?:true|false|),)*(?:[a-zA-Z0-9-_]+=(?:true|false|))?", "a list of name=true or name=false"
)
_gates = syntax.pattern(r"(?:[a-zA-Z0-9-_]+=[^=]+,)*(?:[a-zA-Z0-9-_]+=[^=]+)?", "a list of name=value")
_log_prefix = syntax.pattern(r"[a-zA-Z0-9%: /_-]*", "letters, digits, spaces and any of % : / _ -")
_log_rate = syntax.pattern(r"[1-9][0-9]{0,3}/(?:second|minute|hour|day)", "a rate such as 10/minute")
_host = syntax.pattern(r"[a-zA-Z0-9:._+-]{1,64}", "a host name or address of at most 64 characters")
_override_name = syntax.pattern(r"[a-zA-Z0-9_ -]+", "letters, digits, spaces, '_' and '-'")
_conntrack_timeout = syntax.pattern(r"Auto|(?:[0-9]+(?:\.[0-9]+)?(?:us|ms|s|m|h))+", "Auto or a duration")


def _duration(text: str) -> None:
    _duration_form(text)
    parse_duration(text)


def _ipv4(text: str) -> None:
    syntax.address(text, 4)


def _ipv6(text: str) -> None:
    syntax.address(text, 6)


_TEXTS: dict[str, Callable[[str], object]] = {
    "nodeSelector": syntax.selector,
    "featureDetectOverride": _flags,
    "featureGates": _gates,
    "logPrefix": _log_prefix,
    "logActionRateLimit": _log_rate,
    "prometheusMetricsHost": _host,
    "natOutgoingAddress": _ipv4,
    "deviceRouteSourceAddress": _ipv4,
    "deviceRouteSourceAddressIPv6": _ipv6,
    "iptablesNATOutgoingInterfaceFilter": syntax.interface_filter,
    "wireguardInterfaceName": syntax.interface,
    "wireguardInterfaceNameV6": syntax.interface,
    **dict.fromkeys(REGULAR_EXPRESSIONS, syntax.regular_expression),
}
_LISTS: dict[str, Callable[[str], object]] = {
    "externalNodesList": syntax.cidr,
    "bpfDSROptoutCIDRs": syntax.cidr,
    "bpfExcludeCIDRsFromNAT": syntax.cidr,
    "bpfForceTrackPacketsFromIfaces": syntax.interface_filter,
}


@cache
def _attributes() -> dict[str, str]:
    return {field.encode_name: field.name for field in msgspec.structs.fields(FelixConfigurationSpec)}


def check_felix(report: Report, spec: FelixConfigurationSpec) -> None:
    """Check all fields of a configuration of any scope."""
    attributes = _attributes()

    def value(name: str) -> Any:
        return getattr(spec, attributes[name])

    for name, allowed in ENUMERATIONS.items():
        report.one_of(allowed, f"spec.{name}", value(name))
    for name, allowed in ENUMERATIONS_ANY_CASE.items():
        given = value(name)
        fine = not given or given.lower() in {word.lower() for word in allowed}
        report.check(fine, f"spec.{name}", given, f"must be one of {', '.join(allowed)}")
    for name in DURATIONS:
        report.means(_duration, f"spec.{name}", value(name))
    for name, bounds in BOUNDS.items():
        report.within(*bounds, f"spec.{name}", value(name))
    for name, parse in _TEXTS.items():
        report.parses(parse, f"spec.{name}", value(name))
    for name, parse in _LISTS.items():
        for index, text in enumerate(value(name) or ()):
            report.means(parse, f"spec.{name}[{index}]", text)
    _check_structures(report, spec)
    _check_tables(report, spec)


def check_felix_scope(report: Report, name: str, spec: FelixConfigurationSpec) -> None:
    """Check that only configurations with a free name choose their hosts by selector."""
    if name == "default" or name.startswith("node."):
        report.check(spec.node_selector is None, "spec.nodeSelector", spec.node_selector, f"is not allowed in {name!r}")


def check_proto_port(report: Report, where: str, port: ProtoPort) -> None:
    """Check a failsafe port."""
    known = port.protocol.upper() in PROTOCOLS
    report.check(known, f"{where}.protocol", port.protocol, f"must be one of {', '.join(PROTOCOLS)}")
    report.within(0, 65535, f"{where}.port", port.port)
    report.parses(syntax.cidr, f"{where}.net", port.net)


def _check_structures(report: Report, spec: FelixConfigurationSpec) -> None:
    for name, ports in (
        ("failsafeInboundHostPorts", spec.failsafe_inbound_host_ports),
        ("failsafeOutboundHostPorts", spec.failsafe_outbound_host_ports),
    ):
        for index, port in enumerate(ports or ()):
            check_proto_port(report, f"spec.{name}[{index}]", port)
    report.at_most(MOST_NODE_PORT_RANGES, spec.kube_node_port_ranges or (), "spec.kubeNodePortRanges")
    for index, raw in enumerate(spec.kube_node_port_ranges or ()):
        report.means(_numeric_ports, f"spec.kubeNodePortRanges[{index}]", raw)
    report.means(_numeric_ports, "spec.natPortRange", spec.nat_port_range)
    report.means(_numeric_ports, "spec.bpfPSNATPorts", spec.bpf_psnat_ports)
    report.means(parse_dscp, "spec.istioDSCPMark", spec.istio_dscp_mark)
    for index, override in enumerate(spec.health_timeout_overrides):
        where = f"spec.healthTimeoutOverrides[{index}]"
        report.means(_override_name, f"{where}.name", override.name)
        report.means(_duration, f"{where}.timeout", override.timeout)
    if (timeouts := spec.bpf_conntrack_timeouts) is not None:
        for field in msgspec.structs.fields(timeouts):
            where = f"spec.bpfConntrackTimeouts.{field.encode_name}"
            report.means(_conntrack_timeout, where, getattr(timeouts, field.name))
    if spec.openstack_region:
        report.means(syntax.dns_label, "spec.openstackRegion", spec.openstack_region)
        fits = len(spec.openstack_region) <= LONGEST_REGION
        report.check(
            fits, "spec.openstackRegion", spec.openstack_region, f"must have at most {LONGEST_REGION} characters"
        )


def _numeric_ports(raw: int | str) -> None:
    if not isinstance(parse_port(raw), PortRange):
        raise InvalidInput("must be a port number or range")


def _check_tables(report: Report, spec: FelixConfigurationSpec) -> None:
    one, many = spec.route_table_range, spec.route_table_ranges
    report.check(one is None or many is None, "spec.routeTableRange", None, "excludes routeTableRanges")
    if one is not None:
        _check_table_range(report, "spec.routeTableRange", one, 250)
    for index, tables in enumerate(many or ()):
        _check_table_range(report, f"spec.routeTableRanges[{index}]", tables, 2**32 - 1)
    total = sum(max(0, tables.max - tables.min + 1) for tables in many or ())
    report.check(total <= MOST_TABLES, "spec.routeTableRanges", total, f"must not exceed {MOST_TABLES} tables")


def _check_table_range(report: Report, where: str, tables: RouteTableRange, highest: int) -> None:
    fine = 1 <= tables.min <= tables.max <= highest
    report.check(fine, where, f"{tables.min}-{tables.max}", f"needs 1 ≤ min ≤ max ≤ {highest}")
