"""Whether Calico's datastore says what the API says: computed anew from all that both hold, as pure conversions.

This tells a test when to send its packets, not whether they pass.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

import msgspec

from calico.errors import InvalidInput
from calico.lab.registrar import to_resource
from calico.model.meta import Resource
from calico.orchestrators.kubernetes.convert import namespace_to_profile, pod_labels
from calico.orchestrators.kubernetes.convert.closed import network_policy_or_closed
from calico.orchestrators.kubernetes.convert.cluster_network_policy import cluster_network_policy_to_calico
from cluster.api import Api, Refused
from cluster.datastore import Datastore

__all__ = ["CLUSTER_POLICIES", "differences"]

CLUSTER_POLICIES = "/apis/policy.networking.k8s.io/v1alpha2/clusternetworkpolicies"
_PLURALS = {"Profile": "profiles", "NetworkPolicy": "networkpolicies", "GlobalNetworkPolicy": "globalnetworkpolicies"}
_OURS = {"Profile": "kns.", "NetworkPolicy": "knp.default.", "GlobalNetworkPolicy": "kcnp."}


def differences(api: Api, datastore: Datastore) -> list[str]:
    """Sentences about what is not mirrored yet."""
    wanted: dict[str, dict[str, Resource]] = {kind: {} for kind in _PLURALS}
    for resource in _converted(api):
        namespace = resource.metadata.namespace
        key = f"{namespace}/{resource.metadata.name}" if namespace else resource.metadata.name
        wanted[type(resource).__name__][key] = resource
    found: list[str] = []
    for kind, plural in _PLURALS.items():
        stored = datastore.resources(plural)
        ours = {key: value for key, value in stored.items() if key.rpartition("/")[2].startswith(_OURS[kind])}
        found += [f"{kind} {key} is one too many" for key in ours.keys() - wanted[kind].keys()]
        found += [f"{kind} {key} is {_state(ours.get(key))}" for key, resource in wanted[kind].items()
                  if key not in ours or to_resource(ours[key]).spec != resource.spec]  # fmt: skip
    return [*found, *_endpoints(api, datastore)]


def _state(stored: Mapping[str, Any] | None) -> str:
    return "missing" if stored is None else f"another: {msgspec.json.encode(stored).decode()}"


def _converted(api: Api) -> Iterator[Resource]:
    for namespace in api.list("/api/v1/namespaces"):
        yield namespace_to_profile(namespace["metadata"]["name"], namespace["metadata"].get("labels", {}))
    for policy in api.list("/apis/networking.k8s.io/v1/networkpolicies"):
        yield network_policy_or_closed(policy).policy
    try:
        for policy in api.list(CLUSTER_POLICIES):
            with suppress(InvalidInput):  # such a one becomes nothing
                converted = cluster_network_policy_to_calico(policy).policy
                if converted is not None:
                    yield converted
    except Refused as refusal:
        if refusal.status != 404:
            raise


def _endpoints(api: Api, datastore: Datastore) -> Iterator[str]:
    """Labels of attached pods."""
    pods = {(pod["metadata"]["namespace"], pod["metadata"]["name"]): pod for pod in api.list("/api/v1/pods")}
    for key, endpoint in datastore.resources("workloadendpoints").items():
        pod = pods.get((endpoint["metadata"]["namespace"], endpoint["spec"].get("pod", "")))
        if pod is not None:
            metadata, account = pod["metadata"], pod["spec"].get("serviceAccountName", "")
            labels = dict(pod_labels(metadata["namespace"], metadata.get("labels", {}), account))
            if labels != endpoint["metadata"].get("labels", {}):
                yield f"endpoint {key} has the labels {endpoint['metadata'].get('labels')}, not {labels}"
