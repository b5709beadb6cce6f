"""Felix's parameters, each declared once: name, how its value is read, what a change costs, what it is for. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import msgspec

from calico.felix.config.failsafe import failsafe_ports, failsafe_text
from calico.felix.config.parsing import (
    address_or_name,
    boolean,
    choice,
    device_name,
    enabled,
    integer,
    interface_filter,
    ipv4,
    ipv6,
    log_prefix,
    log_rate_limit,
    mark_mask,
    maybe,
    metadata_server,
    mtu,
    names_openstack,
    nat_ports,
    prefixes,
    region,
    regular_expression,
    seconds,
    timeouts,
)

__all__ = ["PARAMETERS", "Parameter"]


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

    @property
    def names(self) -> tuple[str, ...]:
        """All names under which a value may be given."""
        return tuple(filter(None, dict.fromkeys((self.key, self.json_name, self.alias))))

    def shown(self, value: object) -> str:
        """A value as a person would write it; empty for none."""
        if self.attribute.endswith("_s"):
            return f"{value:g}s"
        if self.attribute.endswith("_mask"):
            return f"0x{value:08x}"
        if isinstance(value, bool):
            return ("Enabled" if value else "Disabled") if self.parse is enabled else str(value).lower()
        if self.parse is failsafe_ports:
            return failsafe_text(value)  # type: ignore[arg-type]
        return (
            (":" if self.parse is nat_ports else ",").join(map(str, value)) if isinstance(value, tuple) else str(value)
        )


PARAMETERS: tuple[Parameter, ...] = (
    Parameter("InterfacePrefix", "interface_prefixes", prefixes, "restart", "Prefixes of workload interfaces."),
    Parameter(
        "DefaultEndpointToHostAction",
        "endpoint_to_host",
        choice("drop", "accept", "return"),
        "restart",
        "Workload to its own host, after egress policy.",
    ),
    Parameter(
        "NftablesFilterDenyAction",
        "deny_action",
        choice("drop", "reject"),
        "restart",
        "How packets are denied. Where it is not set, `IptablesFilterDenyAction` counts.",
        alias="IptablesFilterDenyAction",
    ),
    Parameter(
        "LogPrefix",
        "log_prefix",
        log_prefix,
        "restart",
        "Prefix of logged packets; %t is the tier, %k the kind, %n the name, %p namespace and name of the policy.",
    ),
    Parameter(
        "LogActionRateLimit",
        "log_rate_limit",
        log_rate_limit,
        "restart",
        "How often each Log rule logs, such as 100/second (or minute, hour, day); empty is without limit.",
    ),
    Parameter(
        "LogActionRateLimitBurst",
        "log_rate_limit_burst",
        integer(0, 9999),
        "restart",
        "How many packets are logged at once before the limit holds; 0 counts as 1.",
    ),
    Parameter(
        "AllowVXLANPacketsFromWorkloads",
        "allow_vxlan_from_workloads",
        boolean,
        "restart",
        "Let workloads send VXLAN.",
    ),
    Parameter(
        "AllowIPIPPacketsFromWorkloads", "allow_ipip_from_workloads", boolean, "restart", "Let workloads send IPIP."
    ),
    Parameter(
        "VXLANEnabled",
        "vxlan_enabled",
        maybe,
        "restart",
        "Whether this host has VXLAN; empty: when an IP pool asks for it. With false such pools are unreachable.",
        "vxlanEnabled",
    ),
    Parameter("VXLANPort", "vxlan_port", integer(1, 65535), "restart", "UDP port of VXLAN.", "vxlanPort"),
    Parameter("VXLANVNI", "vxlan_vni", integer(1, 0xFFFFFF), "restart", "Network number of VXLAN.", "vxlanVNI"),
    Parameter(
        "VXLANMTU",
        "vxlan_mtu_v4",
        mtu,
        "restart",
        "MTU of the VXLAN device of IPv4; 0: that of the host less 50.",
        "vxlanMTU",
    ),
    Parameter(
        "VXLANMTUV6", "vxlan_mtu_v6", mtu, "restart", "The same for IPv6; 0: that of the host less 70.", "vxlanMTUV6"
    ),
    Parameter(
        "IpInIpEnabled",
        "ipip_enabled",
        maybe,
        "restart",
        "Whether this host has IP in IP when an IP pool asks for it. With false such pools are unreachable.",
        "ipipEnabled",
    ),
    Parameter("IpInIpMtu", "ipip_mtu", mtu, "restart", "MTU of tunl0; 0: that of the host less 20.", "ipipMTU"),
    Parameter(
        "WireguardEnabled",
        "wireguard_v4",
        boolean,
        "restart",
        "Encrypt what is sent by IPv4 to hosts that have a key, and publish a key of this host.",
    ),
    Parameter("WireguardEnabledV6", "wireguard_v6", boolean, "restart", "The same for IPv6."),
    Parameter(
        "WireguardHostEncryptionEnabled",
        "wireguard_hosts",
        boolean,
        "restart",
        "Encrypt also what is sent to the hosts themselves. etcd must then not run on them.",
    ),
    Parameter(
        "WireguardInterfaceName", "wireguard_name_v4", device_name, "restart", "Name of the WireGuard device of IPv4."
    ),
    Parameter("WireguardInterfaceNameV6", "wireguard_name_v6", device_name, "restart", "The same for IPv6."),
    Parameter(
        "WireguardListeningPort", "wireguard_port_v4", integer(1, 65535), "restart", "UDP port of WireGuard by IPv4."
    ),
    Parameter("WireguardListeningPortV6", "wireguard_port_v6", integer(1, 65535), "restart", "The same for IPv6."),
    Parameter(
        "WireguardMTU",
        "wireguard_mtu_v4",
        mtu,
        "restart",
        "MTU of the WireGuard device of IPv4; 0: that of the host less 60.",
        "wireguardMTU",
    ),
    Parameter(
        "WireguardMTUV6",
        "wireguard_mtu_v6",
        mtu,
        "restart",
        "The same for IPv6; 0: that of the host less 80.",
        "wireguardMTUV6",
    ),
    Parameter(
        "WireguardPersistentKeepAlive",
        "wireguard_keepalive_s",
        seconds,
        "restart",
        "How often a silent peer is sent something, so that middleboxes remember the way; 0: never.",
        "wireguardKeepAlive",
    ),
    Parameter(
        "WireguardRoutingRulePriority",
        "wireguard_rule_priority",
        integer(1, 32765),
        "restart",
        "Priority of the rule by which the table of encrypted routes is asked; it must be before that of the main one.",
    ),
    Parameter(
        "MTUIfacePattern",
        "mtu_pattern",
        regular_expression,
        "restart",
        "The host's MTU is the least of the interfaces whose names match.",
        "mtuIfacePattern",
    ),
    Parameter(
        "DisableConntrackInvalidCheck",
        "disable_conntrack_invalid_check",
        boolean,
        "restart",
        "Do not drop packets that conntrack calls invalid.",
    ),
    Parameter("NftablesMarkMask", "mark_mask", mark_mask, "restart", "Bits of the packet mark that Felix may use."),
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
        integer(4, 255),
        "restart",
        "Protocol number that marks Felix's routes.",
    ),
    Parameter(
        "ReportingIntervalSecs",
        "reporting_interval_s",
        seconds,
        "live",
        "How often the host reports that it is alive; 0 is never.",
        "reportingInterval",
    ),
    Parameter("ReportingTTLSecs", "reporting_ttl_s", seconds, "live", "How long such a report holds.", "reportingTTL"),
    Parameter(
        "EndpointReportingEnabled", "endpoint_reporting", boolean, "live", "Write endpoint status to the datastore."
    ),
    Parameter(
        "EndpointReportingDelaySecs",
        "endpoint_reporting_delay_s",
        seconds,
        "live",
        "Least time between two writes of endpoint status.",
        "endpointReportingDelay",
    ),
    Parameter("OpenstackRegion", "openstack_region", region, "restart", "Region part of status keys."),
    Parameter(
        "NftablesRefreshInterval",
        "nftables_refresh_s",
        seconds,
        "live",
        "How often it is looked whether others changed our table: every 2 s at least; 0: never.",
    ),
    Parameter("RouteRefreshInterval", "route_refresh_s", seconds, "live", "How often routes are read back."),
    Parameter(
        "NATPortRange",
        "nat_port_range",
        nat_ports,
        "restart",
        "Source ports of masqueraded TCP, UDP and SCTP, `n` or `n:m`; empty: the kernel chooses.",
        "natPortRange",
    ),
    Parameter(
        "NATOutgoingAddress",
        "nat_outgoing_address",
        ipv4,
        "restart",
        "IPv4 address that outgoing connections get instead of that of the interface they leave by.",
        "natOutgoingAddress",
    ),
    Parameter(
        "NATOutgoingExclusions",
        "nat_outgoing_exclusions",
        choice("ippoolsonly", "ippoolsandhostips"),
        "restart",
        "Destinations whose connections are not translated: in IP pools, or also those of all hosts.",
        "natOutgoingExclusions",
    ),
    Parameter(
        "IptablesNATOutgoingInterfaceFilter",
        "nat_outgoing_interface",
        interface_filter,
        "restart",
        "Masquerade only what leaves by this interface, or by those whose names begin so (`eth+`).",
        "iptablesNATOutgoingInterfaceFilter",
    ),
    Parameter(
        "FloatingIPs",
        "floating_ips",
        choice("disabled", "enabled"),
        "restart",
        "Translate the `ipNATs` of endpoints; always done in OpenStack clusters.",
        "floatingIPs",
    ),
    Parameter(
        "WorkloadSourceSpoofing",
        "source_spoofing",
        choice("disabled", "any"),
        "restart",
        "Any: endpoints may also send from their `allowSpoofedSourcePrefixes`; Disabled: one that has any is refused.",
    ),
    Parameter(
        "MetadataAddr",
        "metadata_addr",
        metadata_server,
        "restart",
        "OpenStack: IPv4 address of the metadata server that 169.254.169.254 stands for, or `none`.",
    ),
    Parameter("MetadataPort", "metadata_port", integer(1, 65535), "restart", "OpenStack: its port."),
    Parameter(
        "ClusterType",
        "openstack_cluster",
        names_openstack,
        "restart",
        "Kind of cluster, from ClusterInformation; OpenStack's when it names `openstack`.",
    ),
    Parameter(
        "EstablishedFlows",
        "established_flows",
        choice("recheck", "keep"),
        "live",
        "Recheck: established flows that a changed policy forbids are ended; Keep: it governs new ones only. An "
        "annotation `config.projectcalico.org/EstablishedFlows`, no field.",
    ),
    Parameter(
        "LogSeverityScreen",
        "log_level",
        choice("trace", "debug", "info", "warning", "error", "fatal"),
        "live",
        "Least severity that Felix logs; `--log-level` wins.",
    ),
    Parameter(
        "IPForwarding",
        "ip_forwarding",
        enabled,
        "restart",
        "Enabled: Felix turns on forwarding for the whole host; Disabled: it leaves that as it is.",
        "ipForwarding",
    ),
    Parameter(
        "IPv4NormalRoutePriority",
        "normal_priority_v4",
        integer(1, 2147483646),
        "restart",
        "Metric of IPv4 routes to workloads that live migrate away; that of BGPConfiguration must be the same.",
        "ipv4NormalRoutePriority",
    ),
    Parameter(
        "IPv4ElevatedRoutePriority",
        "elevated_priority_v4",
        integer(1, 2147483646),
        "restart",
        "Metric of IPv4 routes to workloads that have live migrated here; lower than the normal one.",
        "ipv4ElevatedRoutePriority",
    ),
    Parameter(
        "IPv6NormalRoutePriority",
        "normal_priority_v6",
        integer(1, 2147483646),
        "restart",
        "Metric of IPv6 routes to workloads that live migrate away; that of BGPConfiguration must be the same.",
        "ipv6NormalRoutePriority",
    ),
    Parameter(
        "IPv6ElevatedRoutePriority",
        "elevated_priority_v6",
        integer(1, 2147483646),
        "restart",
        "Metric of IPv6 routes to workloads that have live migrated here; lower than the normal one.",
        "ipv6ElevatedRoutePriority",
    ),
    Parameter(
        "LiveMigrationRouteConvergenceTime",
        "migration_hold_s",
        seconds,
        "live",
        "How long routes to a workload stay elevated after its migration.",
        "liveMigrationRouteConvergenceTime",
    ),
    Parameter(
        "DeviceRouteSourceAddress",
        "route_source_v4",
        ipv4,
        "restart",
        "IPv4 address of the host that it speaks to its workloads from; empty: the kernel chooses.",
    ),
    Parameter(
        "DeviceRouteSourceAddressIPv6",
        "route_source_v6",
        ipv6,
        "restart",
        "The same for IPv6.",
        "deviceRouteSourceAddressIPv6",
    ),
    Parameter("HealthEnabled", "health_enabled", boolean, "live", "Answer `/liveness` and `/readiness` over HTTP."),
    Parameter("HealthHost", "health_host", address_or_name, "live", "Where that is listened."),
    Parameter("HealthPort", "health_port", integer(1, 65535), "live", "The port of that."),
    Parameter(
        "HealthTimeoutOverrides",
        "health_timeouts",
        timeouts,
        "live",
        "How long a part may be silent before Felix counts as dead: `event-loop=30s,apply=90s`. Of the parts of "
        "Calico's Felix, `InternalDataplaneMainLoop` is `apply`, and the others are passed over.",
    ),
    Parameter(
        "DataplaneWatchdogTimeout",
        "watchdog_s",
        seconds,
        "live",
        "How long programming the host may take before Felix counts as dead; 0: for ever.",
    ),
    Parameter("PrometheusMetricsEnabled", "metrics_enabled", boolean, "live", "Offer metrics to Prometheus."),
    Parameter("PrometheusMetricsHost", "metrics_host", address_or_name, "live", "Where; empty: everywhere."),
    Parameter("PrometheusMetricsPort", "metrics_port", integer(1, 65535), "live", "The port of that."),
    Parameter(
        "PrometheusProcessMetricsEnabled",
        "metrics_process",
        boolean,
        "live",
        "Also offer CPU, memory and descriptors of the process.",
    ),
    Parameter("PrometheusMetricsCertFile", "metrics_cert", str, "live", "Certificate of the metrics' server, PEM."),
    Parameter("PrometheusMetricsKeyFile", "metrics_key", str, "live", "Its private key, PEM."),
    Parameter("PrometheusMetricsCAFile", "metrics_ca", str, "live", "CA of the clients' certificates, PEM."),
    Parameter(
        "PrometheusMetricsClientAuth",
        "metrics_client_auth",
        choice("noclientcert", "requireandverifyclientcert"),
        "live",
        "NoClientCert, or RequireAndVerifyClientCert: only clients with a certificate of the CA may read.",
    ),
    Parameter(
        "FlowLogsLocalReporter",
        "flow_logs",
        enabled,
        "restart",
        "Enabled: log which flows policy allows and denies, to a local socket and to files.",
    ),
    Parameter(
        "FlowLogsFlushInterval",
        "flow_logs_flush_s",
        seconds,
        "live",
        "How often further attempts of denied flows are told.",
    ),
    Parameter(
        "FlowLogsFileDirectory",
        "flow_logs_directory",
        str,
        "restart",
        "Where flow logs are kept; `none`: nowhere. An annotation, no field.",
    ),
    Parameter(
        "FlowLogsFileMaxFileSizeMB",
        "flow_logs_file_mb",
        integer(1, 100000),
        "restart",
        "How large a file of flow logs grows. An annotation, no field.",
    ),
    Parameter(
        "FlowLogsFileMaxFiles",
        "flow_logs_files",
        integer(1, 1000),
        "restart",
        "How many files of flow logs are kept. An annotation, no field.",
    ),
    Parameter(
        "EndpointStatusPathPrefix",
        "endpoint_status_path",
        str,
        "restart",
        "Below it, in `endpoint-status`, a file for each local endpoint that is up, for CNI plugins that wait for it. "
        "Empty: `--run-dir`; `none`: no files.",
    ),
)
# Felix's own default for DeviceRouteProtocol is 3 (boot); 80 tells our routes from the administrator's, so that
# stale ones of an earlier run can be removed without touching anybody else's.
