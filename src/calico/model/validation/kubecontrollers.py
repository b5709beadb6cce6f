"""KubeControllersConfiguration (spec §16.18)."""

from __future__ import annotations

from calico.model.durations import parse_duration
from calico.model.kubecontrollers import (
    AutoHostEndpointConfig,
    KubeControllersConfiguration,
    KubeControllersConfigurationSpec,
    NodeControllerConfig,
    ReconcilerConfig,
    Template,
)
from calico.model.validation import syntax
from calico.model.validation.metadata import check_annotation_keys, check_labels
from calico.model.validation.report import Report

__all__ = [
    "check_kube_controllers",
    "check_kube_controllers_spec",
    "check_node_controller",
    "check_reconciler",
    "check_template",
]

LOG_LEVELS = ("None", "Debug", "Info", "Warning", "Error", "Fatal", "Panic")
SWITCH = ("Enabled", "Disabled")
LONGEST_NAME = 253


def check_kube_controllers(report: Report, resource: KubeControllersConfiguration) -> None:
    """Check settings and status; templates must lead to host endpoints of different names."""
    check_kube_controllers_spec(report, "spec", resource.spec)
    if resource.status is not None and resource.status.running_config is not None:
        check_kube_controllers_spec(report, "status.runningConfig", resource.status.running_config)
    node = resource.spec.controllers.node
    templates = node.host_endpoint.templates if node is not None and node.host_endpoint is not None else ()
    where = "spec.controllers.node.hostEndpoint.templates"
    names: set[str] = set()
    for index, template in enumerate(templates):
        name = template.generate_name
        report.check(name not in names, f"{where}[{index}].generateName", name, "is given twice")
        names.add(name)
        chosen = template.interface_cidrs or template.interface_pattern
        report.check(chosen, f"{where}[{index}].interfaceCIDRs", None, "or interfacePattern is required")


def check_kube_controllers_spec(report: Report, where: str, spec: KubeControllersConfigurationSpec) -> None:
    """Check the settings of the process and of each controller."""
    report.one_of(LOG_LEVELS, f"{where}.logSeverityScreen", spec.log_severity_screen)
    report.one_of(SWITCH, f"{where}.healthChecks", spec.health_checks)
    report.means(parse_duration, f"{where}.etcdV3CompactionPeriod", spec.etcd_v3_compaction_period)
    report.within(0, 65535, f"{where}.prometheusMetricsPort", spec.prometheus_metrics_port)
    report.within(0, 65535, f"{where}.debugProfilePort", spec.debug_profile_port)
    controllers = spec.controllers
    where = f"{where}.controllers"
    if controllers.node is not None:
        check_node_controller(report, f"{where}.node", controllers.node)
    for name, config in (
        ("policy", controllers.policy),
        ("workloadEndpoint", controllers.workload_endpoint),
        ("serviceAccount", controllers.service_account),
        ("namespace", controllers.namespace),
    ):
        if config is not None:
            check_reconciler(report, f"{where}.{name}", config)
    if controllers.load_balancer is not None:
        given = controllers.load_balancer.assign_ips
        report.one_of(("AllServices", "RequestedServicesOnly"), f"{where}.loadBalancer.assignIPs", given)
    if controllers.migration is not None:
        given = controllers.migration.policy_name_migrator
        report.one_of(SWITCH, f"{where}.migration.policyNameMigrator", given)


def check_node_controller(report: Report, where: str, config: NodeControllerConfig) -> None:
    """Check the controller of nodes and their host endpoints."""
    report.means(parse_duration, f"{where}.reconcilerPeriod", config.reconciler_period)
    report.means(parse_duration, f"{where}.leakGracePeriod", config.leak_grace_period)
    report.one_of(SWITCH, f"{where}.syncLabels", config.sync_labels)
    if config.host_endpoint is not None:
        _check_auto_host_endpoints(report, f"{where}.hostEndpoint", config.host_endpoint)


def check_reconciler(report: Report, where: str, config: ReconcilerConfig) -> None:
    """Check a controller that has nothing but a period."""
    report.means(parse_duration, f"{where}.reconcilerPeriod", config.reconciler_period)


def _check_auto_host_endpoints(report: Report, where: str, config: AutoHostEndpointConfig) -> None:
    report.one_of(SWITCH, f"{where}.autoCreate", config.auto_create)
    report.one_of(SWITCH, f"{where}.createDefaultHostEndpoint", config.create_default_host_endpoint)
    for index, template in enumerate(config.templates):
        check_template(report, f"{where}.templates[{index}]", template)


def check_template(report: Report, where: str, template: Template) -> None:
    """Check one template on its own."""
    report.parses(syntax.name, f"{where}.generateName", template.generate_name)
    report.distinct(template.interface_cidrs, f"{where}.interfaceCIDRs")
    for index, text in enumerate(template.interface_cidrs):
        report.means(syntax.cidr, f"{where}.interfaceCIDRs[{index}]", text)
    report.parses(syntax.regular_expression, f"{where}.interfacePattern", template.interface_pattern)
    check_labels(report, f"{where}.labels", template.labels)
    check_annotation_keys(report, f"{where}.annotations", template.annotations)
    report.parses(syntax.selector, f"{where}.nodeSelector", template.node_selector)
