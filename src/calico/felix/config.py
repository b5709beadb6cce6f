"""Felix's parameters: what they are, where each value came from, and what happens when one changes.

Pure. Sources, later wins: built-in default, FelixConfiguration ``default``, those whose nodeSelector matches,
``node.<host>``, environment. A value that does not parse is refused with its name and the next lower source is used.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Literal

import msgspec

from calico.errors import InvalidInput
from calico.felix.failsafe import failsafe_ports
from calico.model.numorstring import PortRange, parse_duration, parse_port
from calico.rules.config import FAILSAFE_IN, FAILSAFE_OUT, FailsafePort

__all__ = ["PARAMETERS", "FelixConfig", "Parameter", "merge_config"]


class FelixConfig(msgspec.Struct, frozen=True, kw_only=True):
    """The effective settings. Durations are seconds; actions are lower case."""

    interface_prefixes: tuple[str, ...] = ("cali",)
    endpoint_to_host: Literal["drop", "accept", "return"] = "drop"
    deny_action: Literal["drop", "reject"] = "drop"
    log_prefix: str = "calico-packet"
    log_rate_limit: str = ""
    log_rate_limit_burst: int = 5
    allow_vxlan_from_workloads: bool = False
    allow_ipip_from_workloads: bool = False
    vxlan_port: int = 4789
    disable_conntrack_invalid_check: bool = False
    mark_mask: int = 0xFFFF0000
    failsafe_in: tuple[FailsafePort, ...] = FAILSAFE_IN
    failsafe_out: tuple[FailsafePort, ...] = FAILSAFE_OUT
    device_route_protocol: int = 80
    reporting_interval_s: float = 30.0
    reporting_ttl_s: float = 90.0
    endpoint_reporting: bool = False
    endpoint_reporting_delay_s: float = 1.0
    openstack_region: str = ""
    nftables_refresh_s: float = 180.0
    route_refresh_s: float = 90.0
    established_flows: Literal["recheck", "keep"] = "recheck"
    nat_port_range: tuple[int, ...] = ()
    nat_outgoing_address: str = ""
    nat_outgoing_exclusions: Literal["ippoolsonly", "ippoolsandhostips"] = "ippoolsonly"
    nat_outgoing_interface: str = ""
    floating_ips: Literal["disabled", "enabled"] = "disabled"
    source_spoofing: Literal["disabled", "any"] = "disabled"
    metadata_addr: str = "127.0.0.1"
    metadata_port: int = 8775
    openstack_cluster: bool = False

    @property
    def openstack(self) -> bool:
        """Whether workloads are OpenStack's (datamodel 15.5)."""
        metadata = (self.metadata_addr, self.metadata_port) != ("127.0.0.1", 8775)
        return self.openstack_cluster or metadata or "tap" in self.interface_prefixes


class Parameter(msgspec.Struct, frozen=True):
    """One parameter: its name in Calico (``key``; environment FELIX_<KEY>; camel case in the object), the attribute
    of ``FelixConfig`` it sets, how its value is read, and whether a change needs Felix to start over.

    ``alias``: a parameter of Calico that says the same for another dataplane; it counts where no source gives this one.
    """

    key: str
    attribute: str
    parse: Callable[[Any], object]
    effect: Literal["live", "restart"]
    doc: str
    object_field: str = ""
    alias: str = ""

    @property
    def json_name(self) -> str:
        """Name of the field in FelixConfiguration.spec."""
        return self.object_field or self.key[0].lower() + self.key[1:]


def _choice(*allowed: str) -> Callable[[Any], str]:
    def parse(value: Any) -> str:
        text = str(value).lower()
        if text not in allowed:
            raise ValueError(f"must be one of {', '.join(allowed)}")
        return text

    return parse


def _boolean(value: Any) -> bool:
    text = str(value).lower()
    if text in ("true", "1", "yes", "y", "t"):
        return True
    if text in ("false", "0", "no", "n", "f"):
        return False
    raise ValueError("must be true or false")


def _integer(low: int, high: int) -> Callable[[Any], int]:
    def parse(value: Any) -> int:
        number = int(str(value), 0)
        if not low <= number <= high:
            raise ValueError(f"must be between {low} and {high}")
        return number

    return parse


def _seconds(value: Any) -> float:
    """Plain seconds (environment) or a duration such as 1m30s (objects)."""
    try:
        seconds = float(value)
    except ValueError:
        seconds = parse_duration(str(value))
    if not 0 <= seconds < 1e9:
        raise ValueError("must be a duration of 0 s or more")
    return seconds


def _prefixes(value: Any) -> tuple[str, ...]:
    parts = tuple(str(value).split(","))
    if not all(re.fullmatch(r"[a-zA-Z0-9_-]{1,15}", part) for part in parts):
        raise ValueError("must be a comma-separated list of interface name prefixes")
    return parts


def _log_prefix(value: Any) -> str:
    if not re.fullmatch(r"[a-zA-Z0-9%: /_-]*", str(value)):
        raise ValueError("may hold letters, digits, blanks and % : / _ - only")
    return str(value)


def _log_rate_limit(value: Any) -> str:
    if not re.fullmatch(r"([1-9]\d{0,3}/(second|minute|hour|day))?", str(value), re.ASCII):
        raise ValueError("must be 1 to 9999, /, and second, minute, hour or day")
    return str(value)


def _mark_mask(value: Any) -> int:
    mask = _integer(0, 0xFFFFFFFF)(value)
    if mask.bit_count() < 2:
        raise ValueError("must have at least 2 bits set")
    return mask


def _region(value: Any) -> str:
    if not re.fullmatch(r"([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)?", str(value)):
        raise ValueError("must be a DNS label")
    return str(value)


def _nat_ports(value: Any) -> tuple[int, int]:
    ports = parse_port(value)
    if not isinstance(ports, PortRange) or not ports.first:
        raise ValueError("must be a port or a range such as 32768:60999, from 1 on")
    return ports.first, ports.last


def _ipv4(value: Any) -> str:
    try:
        return str(ipaddress.IPv4Address(str(value)))
    except ValueError:
        raise ValueError("must be an IPv4 address") from None


def _metadata_server(value: Any) -> str:
    return "none" if str(value).lower() == "none" else _ipv4(value)


def _interface_filter(value: Any) -> str:
    if not re.fullmatch(r"[a-zA-Z0-9:._+-]{1,15}", str(value)):
        raise ValueError("must be an interface name, or the beginning of names and a +")
    return str(value)


def _names_openstack(value: Any) -> bool:
    return "openstack" in str(value).lower()


PARAMETERS: tuple[Parameter, ...] = (
    Parameter("InterfacePrefix", "interface_prefixes", _prefixes, "restart", "Prefixes of workload interfaces."),
    Parameter(
        "DefaultEndpointToHostAction",
        "endpoint_to_host",
        _choice("drop", "accept", "return"),
        "restart",
        "Workload to its own host, after egress policy.",
    ),
    Parameter(
        "NftablesFilterDenyAction",
        "deny_action",
        _choice("drop", "reject"),
        "restart",
        "How packets are denied. Where it is not set, `IptablesFilterDenyAction` counts.",
        alias="IptablesFilterDenyAction",
    ),
    Parameter(
        "LogPrefix",
        "log_prefix",
        _log_prefix,
        "restart",
        "Prefix of logged packets; %t is the tier, %k the kind, %n the name, %p namespace and name of the policy.",
    ),
    Parameter(
        "LogActionRateLimit",
        "log_rate_limit",
        _log_rate_limit,
        "restart",
        "How often each Log rule logs, such as 100/second (or minute, hour, day); empty is without limit.",
    ),
    Parameter(
        "LogActionRateLimitBurst",
        "log_rate_limit_burst",
        _integer(0, 9999),
        "restart",
        "How many packets are logged at once before the limit holds; 0 counts as 1.",
    ),
    Parameter(
        "AllowVXLANPacketsFromWorkloads",
        "allow_vxlan_from_workloads",
        _boolean,
        "restart",
        "Let workloads send VXLAN.",
    ),
    Parameter(
        "AllowIPIPPacketsFromWorkloads", "allow_ipip_from_workloads", _boolean, "restart", "Let workloads send IPIP."
    ),
    Parameter("VXLANPort", "vxlan_port", _integer(1, 65535), "restart", "UDP port of VXLAN.", "vxlanPort"),
    Parameter(
        "DisableConntrackInvalidCheck",
        "disable_conntrack_invalid_check",
        _boolean,
        "restart",
        "Do not drop packets that conntrack calls invalid.",
    ),
    Parameter("NftablesMarkMask", "mark_mask", _mark_mask, "restart", "Bits of the packet mark that Felix may use."),
    Parameter(
        "FailsafeInboundHostPorts",
        "failsafe_in",
        failsafe_ports,
        "restart",
        "Ports of host endpoints that no policy closes: protocol:port or protocol:CIDR:port, none for no port.",
    ),
    Parameter(
        "FailsafeOutboundHostPorts",
        "failsafe_out",
        failsafe_ports,
        "restart",
        "The same for what the host sends, by the port that it is sent to.",
    ),
    Parameter(
        "DeviceRouteProtocol",
        "device_route_protocol",
        _integer(4, 255),
        "restart",
        "Protocol number that marks Felix's routes.",
    ),
    Parameter(
        "ReportingIntervalSecs",
        "reporting_interval_s",
        _seconds,
        "live",
        "How often the host reports that it is alive; 0 is never.",
        "reportingInterval",
    ),
    Parameter("ReportingTTLSecs", "reporting_ttl_s", _seconds, "live", "How long such a report holds.", "reportingTTL"),
    Parameter(
        "EndpointReportingEnabled", "endpoint_reporting", _boolean, "live", "Write endpoint status to the datastore."
    ),
    Parameter(
        "EndpointReportingDelaySecs",
        "endpoint_reporting_delay_s",
        _seconds,
        "live",
        "Least time between two writes of endpoint status.",
        "endpointReportingDelay",
    ),
    Parameter("OpenstackRegion", "openstack_region", _region, "restart", "Region part of status keys."),
    Parameter(
        "NftablesRefreshInterval", "nftables_refresh_s", _seconds, "live", "How often the table's owner is checked."
    ),
    Parameter("RouteRefreshInterval", "route_refresh_s", _seconds, "live", "How often routes are read back."),
    Parameter(
        "NATPortRange",
        "nat_port_range",
        _nat_ports,
        "restart",
        "Source ports of masqueraded TCP, UDP and SCTP, `n` or `n:m`; empty: the kernel chooses.",
        "natPortRange",
    ),
    Parameter(
        "NATOutgoingAddress",
        "nat_outgoing_address",
        _ipv4,
        "restart",
        "IPv4 address that outgoing connections get instead of that of the interface they leave by.",
        "natOutgoingAddress",
    ),
    Parameter(
        "NATOutgoingExclusions",
        "nat_outgoing_exclusions",
        _choice("ippoolsonly", "ippoolsandhostips"),
        "restart",
        "Destinations whose connections are not translated: in IP pools, or also those of all hosts.",
        "natOutgoingExclusions",
    ),
    Parameter(
        "IptablesNATOutgoingInterfaceFilter",
        "nat_outgoing_interface",
        _interface_filter,
        "restart",
        "Masquerade only what leaves by this interface, or by those whose names begin so (`eth+`).",
        "iptablesNATOutgoingInterfaceFilter",
    ),
    Parameter(
        "FloatingIPs",
        "floating_ips",
        _choice("disabled", "enabled"),
        "restart",
        "Translate the `ipNATs` of endpoints; always done in OpenStack clusters.",
        "floatingIPs",
    ),
    Parameter(
        "WorkloadSourceSpoofing",
        "source_spoofing",
        _choice("disabled", "any"),
        "restart",
        "Any: endpoints may also send from their `allowSpoofedSourcePrefixes`; Disabled: one that has any is refused.",
    ),
    Parameter(
        "MetadataAddr",
        "metadata_addr",
        _metadata_server,
        "restart",
        "OpenStack: IPv4 address of the metadata server that 169.254.169.254 stands for, or `none`.",
    ),
    Parameter("MetadataPort", "metadata_port", _integer(1, 65535), "restart", "OpenStack: its port."),
    Parameter(
        "ClusterType",
        "openstack_cluster",
        _names_openstack,
        "restart",
        "Kind of cluster, from ClusterInformation; OpenStack's when it names `openstack`.",
    ),
    Parameter(
        "EstablishedFlows",
        "established_flows",
        _choice("recheck", "keep"),
        "live",
        "Recheck: established flows that a changed policy forbids are ended; Keep: it governs new ones only. An "
        "annotation `config.projectcalico.org/EstablishedFlows`, no field.",
    ),
)
# Felix's own default for DeviceRouteProtocol is 3 (boot); 80 tells our routes from the administrator's, so that
# stale ones of an earlier run can be removed without touching anybody else's.


def merge_config(
    sources: Iterable[tuple[str, Mapping[str, object]]],
) -> tuple[FelixConfig, dict[str, str], dict[str, str]]:
    """Effective settings from sources given lowest first, each (name, {parameter key or json name: raw value}).

    Returns (settings, {attribute: source name}, {"source: parameter": what is wrong with it}).
    """
    values: dict[str, object] = {}
    origin: dict[str, str] = {}
    problems: dict[str, str] = {}
    lowered = [(source, {key.lower(): value for key, value in raw.items()}) for source, raw in sources]
    for parameter in PARAMETERS:
        for source, name, value in _given(parameter, lowered):
            try:
                values[parameter.attribute] = parameter.parse(value)
                origin[parameter.attribute] = source
            except (ValueError, InvalidInput) as error:
                problems[f"{source}: {name}"] = f"{value!r} is refused: {error}"
    return FelixConfig(**values), origin, problems  # type: ignore[arg-type]


def _given(parameter: Parameter, sources: list[tuple[str, dict[str, object]]]) -> Iterator[tuple[str, str, object]]:
    """(source, name, raw value) of each value given, lowest first: under the alias, then under its own names."""
    own = dict.fromkeys((parameter.key.lower(), parameter.json_name.lower()), parameter.key)
    for names in ({parameter.alias.lower(): parameter.alias} if parameter.alias else {}, own):
        for source, raw in sources:
            for name, shown in names.items():
                if raw.get(name) not in (None, ""):
                    yield source, shown, raw[name]


def needs_restart(old: FelixConfig, new: FelixConfig) -> list[str]:
    """Names of the parameters that changed and need Felix to start over."""
    return [
        parameter.key
        for parameter in PARAMETERS
        if parameter.effect == "restart" and getattr(old, parameter.attribute) != getattr(new, parameter.attribute)
    ]
