"""KubeControllersConfiguration: which controllers copy Kubernetes' objects, and how (spec §16.18)."""

from __future__ import annotations

from msgspec import field

from calico.model.meta import Model, Resource

__all__ = [
    "AutoHostEndpointConfig",
    "ControllersConfig",
    "KubeControllersConfiguration",
    "KubeControllersConfigurationSpec",
    "KubeControllersConfigurationStatus",
    "LoadBalancerControllerConfig",
    "MigrationControllerConfig",
    "NodeControllerConfig",
    "ReconcilerConfig",
    "Template",
]


class Template(Model, frozen=True, kw_only=True):
    """A host endpoint to make for each chosen node: which interfaces or addresses of it, and with which labels."""

    generate_name: str = ""
    interface_cidrs: tuple[str, ...] = field(default=(), name="interfaceCIDRs")
    interface_pattern: str = ""
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    node_selector: str = ""


class AutoHostEndpointConfig(Model, frozen=True, kw_only=True):
    """Whether every node gets a host endpoint ``*``, and which others by template."""

    auto_create: str = ""
    create_default_host_endpoint: str = ""
    templates: tuple[Template, ...] = ()


class NodeControllerConfig(Model, frozen=True, kw_only=True):
    """Nodes that left are removed; addresses without a workload are freed after ``leak_grace_period``."""

    reconciler_period: str | None = None
    sync_labels: str = ""
    host_endpoint: AutoHostEndpointConfig | None = None
    leak_grace_period: str | None = None


class ReconcilerConfig(Model, frozen=True, kw_only=True):
    """A controller with nothing to say but how often it looks at everything (policy, workloadEndpoint, …)."""

    reconciler_period: str | None = None


class LoadBalancerControllerConfig(Model, frozen=True, kw_only=True):
    """Which services get an address: AllServices or RequestedServicesOnly."""

    assign_ips: str = field(default="", name="assignIPs")


class MigrationControllerConfig(Model, frozen=True, kw_only=True):
    """Whether policies stored under names of older releases are renamed."""

    policy_name_migrator: str = ""


class ControllersConfig(Model, frozen=True, kw_only=True):
    """The controllers that run; an absent one does not."""

    node: NodeControllerConfig | None = None
    policy: ReconcilerConfig | None = None
    workload_endpoint: ReconcilerConfig | None = None
    service_account: ReconcilerConfig | None = None
    namespace: ReconcilerConfig | None = None
    load_balancer: LoadBalancerControllerConfig | None = None
    migration: MigrationControllerConfig | None = None


class KubeControllersConfigurationSpec(Model, frozen=True, kw_only=True):
    """Settings of the process, and of each controller. Periods are Go durations."""

    log_severity_screen: str = ""
    health_checks: str = ""
    etcd_v3_compaction_period: str | None = None
    prometheus_metrics_port: int | None = None
    controllers: ControllersConfig = ControllersConfig()
    debug_profile_port: int | None = None


class KubeControllersConfigurationStatus(Model, frozen=True, kw_only=True):
    """What the controllers really run with, and the environment variables that overrode the settings."""

    running_config: KubeControllersConfigurationSpec | None = None
    environment_vars: dict[str, str] = {}


class KubeControllersConfiguration(Resource, frozen=True, kw_only=True):
    """The singleton ``default``."""

    spec: KubeControllersConfigurationSpec = KubeControllersConfigurationSpec()
    status: KubeControllersConfigurationStatus | None = None
