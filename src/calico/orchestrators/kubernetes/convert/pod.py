"""What of a pod a workload endpoint carries: labels, profiles, ports and limits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace

from calico.model.qos import QOS_FIELDS, QoSControls, annotated_controls, control_faults
from calico.model.workload import EndpointPort

__all__ = ["pod_labels", "pod_ports", "pod_profiles", "pod_qos"]

_LABEL_VALUE_MAX = 63


def pod_labels(namespace: str, labels: Mapping[str, str], service_account: str = "") -> dict[str, str]:
    """Labels of the endpoint: the pod's, and those by which policy knows namespace, orchestrator and account."""
    given = dict(labels)
    given.pop("projectcalico.org/serviceaccount", None)  # nobody gives himself an account
    given["projectcalico.org/namespace"] = namespace
    given["projectcalico.org/orchestrator"] = "k8s"
    if service_account and len(service_account) < _LABEL_VALUE_MAX:
        given["projectcalico.org/serviceaccount"] = service_account
    return given


def pod_profiles(namespace: str, service_account: str = "") -> tuple[str, ...]:
    """Profiles of the endpoint, the namespace's first."""
    account = (f"ksa.{namespace}.{service_account}",) if service_account else ()
    return (f"kns.{namespace}", *account)


def pod_ports(spec: Mapping[str, Any]) -> tuple[EndpointPort, ...]:
    """Named or host-mapped ports of all containers, init containers last; the protocol defaults to TCP."""
    ports = []
    for container in [*(spec.get("containers") or ()), *(spec.get("initContainers") or ())]:
        for port in container.get("ports") or ():
            if not port.get("name") and not port.get("hostPort"):
                continue
            ports.append(
                EndpointPort(
                    name=port.get("name") or "",
                    protocol=port.get("protocol") or "TCP",
                    port=port.get("containerPort") or 0,
                    host_port=port.get("hostPort") or 0,
                    host_ip=port.get("hostIP") or "",
                )
            )
    return tuple(ports)


def pod_qos(annotations: Mapping[str, str]) -> tuple[QoSControls | None, tuple[str, ...]]:
    """The endpoint's ``qosControls``; None when no annotation limits anything. What is wrong is left out and told.

    ``qos.projectcalico.org/<field>`` holds a quantity (``10M``, ``1Gi``) or a DSCP; bandwidths may also come from
    ``kubernetes.io/ingress-bandwidth`` and ``egress-bandwidth``.
    """
    found, problems = annotated_controls(annotations)
    faults = dict(control_faults(found))
    problems += tuple(f"{QOS_FIELDS[name]}: {reason}; left out" for name, reason in faults.items())
    nothing = QoSControls()
    controls = replace(found, **{name: getattr(nothing, name) for name in faults})
    return (None if controls == nothing else controls), problems
