"""FelixConfiguration: settings of Felix for all hosts (``default``), one host (``node.<host>``) or some.

Values are kept as JSON has them: durations are Go duration text, ports a number, range or name, enumerations text in
any accepted case. What they mean, and the defaults of absent ones, belong to Felix's own configuration.
"""

from __future__ import annotations

from msgspec import field

from calico.model.meta import Model, Resource

__all__ = [
    "BPFConntrackTimeouts",
    "FelixConfiguration",
    "FelixConfigurationSpec",
    "HealthTimeoutOverride",
    "ProtoPort",
    "RouteTableRange",
]


class ProtoPort(Model, frozen=True, kw_only=True):
    """A protocol (TCP, UDP, SCTP) and port, optionally only from or to ``net``."""

    protocol: str = ""
    port: int = 0
    net: str = ""


class RouteTableRange(Model, frozen=True, kw_only=True):
    """Routing tables ``min`` to ``max``, both included."""

    min: int = 0
    max: int = 0


class HealthTimeoutOverride(Model, frozen=True, kw_only=True):
    """How long the named part of Felix may be silent before it counts as dead."""

    name: str = ""
    timeout: str = ""


class BPFConntrackTimeouts(Model, frozen=True, kw_only=True):
    """When tracked connections are forgotten: durations, or ``Auto`` to take the kernel's."""

    creation_grace_period: str | None = None
    tcp_syn_sent: str | None = None
    tcp_established: str | None = None
    tcp_fins_seen: str | None = None
    tcp_reset_seen: str | None = None
    udp_timeout: str | None = None
    generic_timeout: str | None = None
    icmp_timeout: str | None = None


class FelixConfigurationSpec(Model, frozen=True, kw_only=True):
    """Every field may be absent; Felix then uses the next lower source or its built-in default."""

    node_selector: str | None = None
    use_internal_dataplane_driver: bool | None = None
    dataplane_driver: str | None = None
    dataplane_watchdog_timeout: str | None = None
    ipv6_support: bool | None = None
    route_refresh_interval: str | None = None
    interface_refresh_interval: str | None = None
    iptables_refresh_interval: str | None = None
    iptables_post_write_check_interval: str | None = None
    iptables_lock_probe_interval: str | None = None
    feature_detect_override: str | None = None
    feature_gates: str | None = None
    ipsets_refresh_interval: str | None = None
    max_ipset_size: int | None = None
    iptables_backend: str | None = None
    xdp_refresh_interval: str | None = None
    netlink_timeout: str | None = None
    metadata_addr: str | None = None
    metadata_port: int | None = None
    openstack_region: str | None = None
    interface_prefix: str | None = None
    interface_exclude: str | None = None
    chain_insert_mode: str | None = None
    default_endpoint_to_host_action: str | None = None
    iptables_filter_allow_action: str | None = None
    iptables_mangle_allow_action: str | None = None
    iptables_filter_deny_action: str | None = None
    log_prefix: str | None = None
    log_action_rate_limit: str | None = None
    log_action_rate_limit_burst: int | None = None
    log_file_path: str | None = None
    log_severity_file: str | None = None
    log_severity_screen: str | None = None
    log_severity_sys: str | None = None
    log_debug_filename_regex: str | None = None
    ipip_enabled: bool | None = None
    ipip_mtu: int | None = field(default=None, name="ipipMTU")
    vxlan_enabled: bool | None = None
    vxlan_mtu: int | None = field(default=None, name="vxlanMTU")
    vxlan_mtu_v6: int | None = field(default=None, name="vxlanMTUV6")
    vxlan_port: int | None = None
    vxlan_vni: int | None = field(default=None, name="vxlanVNI")
    allow_vxlan_packets_from_workloads: bool | None = field(default=None, name="allowVXLANPacketsFromWorkloads")
    allow_ipip_packets_from_workloads: bool | None = field(default=None, name="allowIPIPPacketsFromWorkloads")
    reporting_interval: str | None = None
    reporting_ttl: str | None = field(default=None, name="reportingTTL")
    endpoint_reporting_enabled: bool | None = None
    endpoint_reporting_delay: str | None = None
    endpoint_status_path_prefix: str | None = None
    iptables_mark_mask: int | None = None
    disable_conntrack_invalid_check: bool | None = None
    health_enabled: bool | None = None
    health_host: str | None = None
    health_port: int | None = None
    health_timeout_overrides: tuple[HealthTimeoutOverride, ...] = ()
    prometheus_metrics_enabled: bool | None = None
    prometheus_metrics_host: str | None = None
    prometheus_metrics_port: int | None = None
    prometheus_go_metrics_enabled: bool | None = None
    prometheus_process_metrics_enabled: bool | None = None
    prometheus_wire_guard_metrics_enabled: bool | None = None
    prometheus_metrics_ca_file: str | None = field(default=None, name="prometheusMetricsCAFile")
    prometheus_metrics_cert_file: str | None = None
    prometheus_metrics_key_file: str | None = None
    prometheus_metrics_client_auth: str | None = None
    failsafe_inbound_host_ports: tuple[ProtoPort, ...] | None = None
    failsafe_outbound_host_ports: tuple[ProtoPort, ...] | None = None
    kube_node_port_ranges: tuple[int | str, ...] | None = None
    policy_sync_path_prefix: str | None = None
    usage_reporting_enabled: bool | None = None
    usage_reporting_initial_delay: str | None = None
    usage_reporting_interval: str | None = None
    nat_port_range: int | str | None = None
    nat_outgoing_address: str | None = None
    nat_outgoing_exclusions: str | None = None
    device_route_source_address: str | None = None
    device_route_source_address_ipv6: str | None = field(default=None, name="deviceRouteSourceAddressIPv6")
    device_route_protocol: int | None = None
    remove_external_routes: bool | None = None
    program_cluster_routes: str | None = None
    ip_forwarding: str | None = None
    external_nodes_list: tuple[str, ...] | None = None
    debug_memory_profile_path: str | None = None
    debug_disable_log_dropping: bool | None = None
    debug_simulate_calc_graph_hang_after: str | None = None
    debug_simulate_dataplane_hang_after: str | None = None
    debug_simulate_dataplane_apply_delay: str | None = None
    debug_host: str | None = None
    debug_port: int | None = None
    iptables_nat_outgoing_interface_filter: str | None = field(default=None, name="iptablesNATOutgoingInterfaceFilter")
    sidecar_acceleration_enabled: bool | None = None
    xdp_enabled: bool | None = None
    generic_xdp_enabled: bool | None = field(default=None, name="genericXDPEnabled")
    nftables_mode: str | None = None
    nftables_flow_table_offload: str | None = None
    nftables_flow_table_data_iface_pattern: str | None = None
    nftables_refresh_interval: str | None = None
    nftables_filter_allow_action: str | None = None
    nftables_mangle_allow_action: str | None = None
    nftables_filter_deny_action: str | None = None
    nftables_mark_mask: int | None = None
    bpf_enabled: bool | None = None
    bpf_overlay_host_source_ip: str | None = field(default=None, name="bpfOverlayHostSourceIP")
    bpf_disable_unprivileged: bool | None = None
    bpf_jit_hardening: str | None = field(default=None, name="bpfJITHardening")
    bpf_log_level: str | None = None
    bpf_conntrack_log_level: str | None = None
    bpf_conntrack_mode: str | None = None
    bpf_conntrack_timeouts: BPFConntrackTimeouts | None = None
    bpf_ip_frag_timeout: str | None = field(default=None, name="bpfIPFragTimeout")
    bpf_log_filters: dict[str, str] | None = None
    bpf_ctlb_log_filter: str | None = field(default=None, name="bpfCTLBLogFilter")
    bpf_data_iface_pattern: str | None = None
    bpf_l3_iface_pattern: str | None = None
    bpf_connect_time_load_balancing_enabled: bool | None = None
    bpf_connect_time_load_balancing: str | None = None
    bpf_host_networked_nat_without_ctlb: str | None = field(default=None, name="bpfHostNetworkedNATWithoutCTLB")
    bpf_external_service_mode: str | None = None
    bpf_dsr_optout_cidrs: tuple[str, ...] | None = field(default=None, name="bpfDSROptoutCIDRs")
    bpf_ext_to_service_connmark: int | None = None
    bpf_kube_proxy_iptables_cleanup_enabled: bool | None = None
    bpf_kube_proxy_min_sync_period: str | None = None
    bpf_kube_proxy_healthz_port: int | None = None
    bpf_psnat_ports: int | str | None = field(default=None, name="bpfPSNATPorts")
    bpf_map_size_nat_frontend: int | None = field(default=None, name="bpfMapSizeNATFrontend")
    bpf_map_size_nat_backend: int | None = field(default=None, name="bpfMapSizeNATBackend")
    bpf_map_size_nat_affinity: int | None = field(default=None, name="bpfMapSizeNATAffinity")
    bpf_map_size_route: int | None = None
    bpf_map_size_conntrack: int | None = None
    bpf_map_size_per_cpu_conntrack: int | None = None
    bpf_map_size_conntrack_scaling: str | None = None
    bpf_map_size_conntrack_cleanup_queue: int | None = None
    bpf_map_size_ip_sets: int | None = field(default=None, name="bpfMapSizeIPSets")
    bpf_map_size_if_state: int | None = None
    bpf_host_conntrack_bypass: bool | None = None
    bpf_ip_fragment_reassembly_enabled: bool | None = field(default=None, name="bpfIPFragmentReassemblyEnabled")
    bpf_enforce_rpf: str | None = field(default=None, name="bpfEnforceRPF")
    bpf_policy_debug_enabled: bool | None = None
    bpf_force_track_packets_from_ifaces: tuple[str, ...] | None = None
    bpf_disable_gro_for_ifaces: str | None = field(default=None, name="bpfDisableGROForIfaces")
    bpf_exclude_cidrs_from_nat: tuple[str, ...] | None = field(default=None, name="bpfExcludeCIDRsFromNAT")
    bpf_export_buffer_size_mb: int | None = field(default=None, name="bpfExportBufferSizeMB")
    istio_ambient_mode: str | None = None
    istio_dscp_mark: int | str | None = field(default=None, name="istioDSCPMark")
    cgroup_v2_path: str | None = None
    flow_logs_policy_evaluation_mode: str | None = None
    bpf_redirect_to_peer: str | None = None
    bpf_attach_type: str | None = None
    flow_logs_flush_interval: str | None = None
    flow_logs_collector_debug_trace: bool | None = None
    flow_logs_goldmane_server: str | None = None
    flow_logs_local_reporter: str | None = None
    bpf_profiling: str | None = None
    route_source: str | None = None
    route_table_ranges: tuple[RouteTableRange, ...] | None = None
    route_table_range: RouteTableRange | None = None
    route_sync_disabled: bool | None = None
    ipv4_normal_route_priority: int | None = None
    ipv4_elevated_route_priority: int | None = None
    ipv6_normal_route_priority: int | None = None
    ipv6_elevated_route_priority: int | None = None
    live_migration_route_convergence_time: str | None = None
    wireguard_enabled: bool | None = None
    wireguard_enabled_v6: bool | None = None
    wireguard_threading_enabled: bool | None = None
    wireguard_listening_port: int | None = None
    wireguard_listening_port_v6: int | None = None
    wireguard_routing_rule_priority: int | None = None
    wireguard_interface_name: str | None = None
    wireguard_interface_name_v6: str | None = None
    wireguard_mtu: int | None = field(default=None, name="wireguardMTU")
    wireguard_mtu_v6: int | None = field(default=None, name="wireguardMTUV6")
    wireguard_host_encryption_enabled: bool | None = None
    wireguard_keep_alive: str | None = None
    aws_src_dst_check: str | None = None
    service_loop_prevention: str | None = None
    workload_source_spoofing: str | None = None
    mtu_iface_pattern: str | None = None
    floating_ips: str | None = field(default=None, name="floatingIPs")
    local_subnet_l2_reachability: str | None = None
    local_subnet_l2_reachability_refresh_interval: str | None = None
    windows_manage_firewall_rules: str | None = None
    go_gc_threshold: int | None = field(default=None, name="goGCThreshold")
    go_memory_limit_mb: int | None = field(default=None, name="goMemoryLimitMB")
    go_max_procs: int | None = None
    require_mtu_file: bool | None = field(default=None, name="requireMTUFile")
    bpf_maglev_max_endpoints_per_service: int | None = None
    bpf_maglev_max_services: int | None = None


class FelixConfiguration(Resource, frozen=True, kw_only=True):
    """Settings of Felix kept in the datastore."""

    spec: FelixConfigurationSpec = FelixConfigurationSpec()
