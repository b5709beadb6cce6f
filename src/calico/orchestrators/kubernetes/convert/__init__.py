"""Kubernetes objects (parsed JSON) to Calico resources. Pure; what cannot be converted is dropped and reported."""

from calico.model.kubernetes.networkpolicy import Converted, network_policy_to_calico
from calico.orchestrators.kubernetes.convert.namespace import namespace_to_profile, service_account_to_profile
from calico.orchestrators.kubernetes.convert.pod import pod_labels, pod_ports, pod_profiles, pod_qos

__all__ = [
    "Converted",
    "namespace_to_profile",
    "network_policy_to_calico",
    "pod_labels",
    "pod_ports",
    "pod_profiles",
    "pod_qos",
    "service_account_to_profile",
]
