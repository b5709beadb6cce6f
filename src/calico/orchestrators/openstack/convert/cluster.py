"""What the cluster's own resources must say for hosts to carry out what is converted."""

from __future__ import annotations

from msgspec.structs import replace

from calico.model.felixconfig import FelixConfigurationSpec
from calico.orchestrators.openstack.convert.documents import Problem

__all__ = ["CLUSTER_TYPE", "completed_felix"]

CLUSTER_TYPE = "openstack"
"""What ClusterInformation's ``clusterType`` must name; hosts then serve floating addresses, DHCP and metadata."""

_TAP = "tap"
_CALI = "cali"


def completed_felix(spec: FelixConfigurationSpec) -> tuple[FelixConfigurationSpec, tuple[Problem, ...]]:
    """The spec of FelixConfiguration ``default`` with what OpenStack needs; what an operator decided stays.

    Interfaces ``tap…`` are endpoints; endpoints report their status; and endpoints may ask to send from addresses that
    are not their own, without which hosts refuse ports without port security and pairs with prefixes altogether.
    """
    problems = []
    prefixes = [prefix.strip() for prefix in (spec.interface_prefix or _CALI).split(",") if prefix.strip()]
    if _TAP not in prefixes:
        prefixes.append(_TAP)
    completed = replace(
        spec,
        interface_prefix=",".join(prefixes),
        endpoint_reporting_enabled=True if spec.endpoint_reporting_enabled is None else spec.endpoint_reporting_enabled,
        workload_source_spoofing=spec.workload_source_spoofing or "Any",
    )
    for wrong, text in (
        (completed.endpoint_reporting_enabled is False, "endpointReportingEnabled is false: no port becomes ACTIVE"),
        (
            completed.workload_source_spoofing != "Any",
            "workloadSourceSpoofing is not Any: ports without port security or with prefixes as pairs are cut off",
        ),
    ):
        if wrong:
            problems.append(Problem(code="felix-configuration", kind="felix", id="default", text=text))
    return completed, tuple(problems)
