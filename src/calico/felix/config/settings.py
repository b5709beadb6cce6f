"""Felix's effective settings as one value: what the rest of Felix reads. Pure."""

from __future__ import annotations

from typing import Literal

import msgspec

from calico.rules.config import FAILSAFE_IN, FAILSAFE_OUT, FailsafePort

__all__ = ["FelixConfig", "LogLevel"]

LogLevel = Literal["trace", "debug", "info", "warning", "error", "fatal"]


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
    vxlan_enabled: Literal["true", "false", ""] = ""
    vxlan_port: int = 4789
    vxlan_vni: int = 4096
    vxlan_mtu_v4: int = 0
    vxlan_mtu_v6: int = 0
    ipip_enabled: Literal["true", "false", ""] = ""
    ipip_mtu: int = 0
    wireguard_v4: bool = False
    wireguard_v6: bool = False
    wireguard_hosts: bool = False
    wireguard_name_v4: str = "wireguard.cali"
    wireguard_name_v6: str = "wg-v6.cali"
    wireguard_port_v4: int = 51820
    wireguard_port_v6: int = 51821
    wireguard_mtu_v4: int = 0
    wireguard_mtu_v6: int = 0
    wireguard_keepalive_s: float = 0.0
    wireguard_rule_priority: int = 99
    mtu_pattern: str = "^((en|wl|ww|sl|ib)[Pcopsvx].*|(eth|wlan|wwan).*)"
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
    log_level: LogLevel = "info"
    ip_forwarding: bool = True
    normal_priority_v4: int = 1024
    normal_priority_v6: int = 1024
    elevated_priority_v4: int = 512
    elevated_priority_v6: int = 512
    migration_hold_s: float = 30.0
    route_source_v4: str = ""
    route_source_v6: str = ""
    health_enabled: bool = False
    health_host: str = "localhost"
    health_port: int = 9099
    health_timeouts: tuple[tuple[str, float], ...] = ()
    watchdog_s: float = 90.0
    metrics_enabled: bool = False
    metrics_host: str = ""
    metrics_port: int = 9091
    metrics_process: bool = True
    metrics_cert: str = ""
    metrics_key: str = ""
    metrics_ca: str = ""
    flow_logs: bool = False
    flow_logs_flush_s: float = 300.0
    flow_logs_directory: str = "/var/log/calico/flowlogs"
    flow_logs_file_mb: int = 100
    flow_logs_files: int = 5
    endpoint_status_path: str = ""
    metrics_client_auth: Literal["noclientcert", "requireandverifyclientcert"] = "noclientcert"

    @property
    def encryption_mark(self) -> int:
        """The bit of the packet mark that encrypted packets carry: the third that Felix may use."""
        rest = self.mark_mask
        for _ in range(2):
            rest &= rest - 1
        return rest & -rest

    @property
    def openstack(self) -> bool:
        """Whether workloads are OpenStack's (datamodel 15.5)."""
        metadata = (self.metadata_addr, self.metadata_port) != ("127.0.0.1", 8775)
        return self.openstack_cluster or metadata or "tap" in self.interface_prefixes
