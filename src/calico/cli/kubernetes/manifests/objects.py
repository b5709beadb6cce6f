"""All objects of the manifest, in the order in which they are to be created."""

from __future__ import annotations

import ipaddress
import json
from typing import Any

import yaml

from calico.cli.kubernetes.manifests.node import daemon_set
from calico.cli.kubernetes.manifests.pods import ask_for_health, container, pod_spec, security
from calico.cli.kubernetes.manifests.roles import roles
from calico.cli.kubernetes.manifests.settings import (
    CONFIG_MAP,
    CONTROLLERS,
    KUBECONFIG,
    ManifestSettings,
    check,
    labels,
)
from calico.orchestrators.cni.serving.install import conflist

__all__ = ["objects"]

_POOLS = "calico-pools"
_FILE = "resources.yaml"
_HEALTH = 9097


def objects(settings: ManifestSettings) -> list[dict[str, Any]]:
    """The objects; InvalidInput names an option that cannot be used."""
    check(settings)
    found: list[dict[str, Any]] = [*roles(settings.namespace), _config_map(settings)]
    if settings.etcd_files is not None:
        found.append(_secret(settings))
    if settings.pools:
        found.append(_pools_job(settings))
    return [*found, daemon_set(settings), _deployment(settings)]


def _metadata(settings: ManifestSettings, name: str) -> dict[str, Any]:
    return {"name": name, "namespace": settings.namespace, "labels": labels(name)}


def _config_map(settings: ManifestSettings) -> dict[str, Any]:
    families = {ipaddress.ip_network(pool).version for pool in settings.pools} or {4}
    ipam = {"type": "calico-ipam", "assign_ipv4": str(4 in families).lower(), "assign_ipv6": str(6 in families).lower()}
    plugin: dict[str, Any] = {"ipam": ipam, "policy": {"type": "k8s"}, "kubernetes": {"kubeconfig": KUBECONFIG}}
    if settings.mtu:
        plugin["mtu"] = settings.mtu
    network = conflist("k8s-pod-network", settings.cni_version, plugin, settings.chain)
    data = {
        "etcd_endpoints": ",".join(settings.etcd_endpoints),
        "cni_network": json.dumps(network, indent=2) + "\n",
        _FILE: yaml.safe_dump_all(_resources(settings), sort_keys=False),
    }
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": _metadata(settings, CONFIG_MAP), "data": data}


def _resources(settings: ManifestSettings) -> list[dict[str, Any]]:
    """What the datastore is told at first, and what an operator may change later: nobody writes it again."""
    vxlan = {"None": "Never", "VXLAN": "Always", "VXLANCrossSubnet": "CrossSubnet"}[settings.encapsulation]
    found = []
    for pool in settings.pools:
        version = ipaddress.ip_network(pool).version
        spec = {"cidr": pool, "vxlanMode": vxlan, "ipipMode": "Never", "natOutgoing": settings.nat_outgoing}
        metadata = {"name": f"default-ipv{version}-ippool"}
        found.append({"apiVersion": "projectcalico.org/v3", "kind": "IPPool", "metadata": metadata, "spec": spec})
    return found


def _secret(settings: ManifestSettings) -> dict[str, Any]:
    assert settings.etcd_files is not None
    files = settings.etcd_files
    data = {"ca.crt": files.ca, "tls.crt": files.cert, "tls.key": files.key}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": _metadata(settings, settings.etcd_secret),
        "type": "Opaque",
        "stringData": {name: text for name, text in data.items() if text},
    }


def _pools_job(settings: ManifestSettings) -> dict[str, Any]:
    volumes = [{"name": "resources", "configMap": {"name": CONFIG_MAP}}]
    spec = pod_spec(settings, CONTROLLERS, volumes) | {"restartPolicy": "OnFailure"}
    command = ["create", "--skip-exists", "-f", f"/etc/calico/resources/{_FILE}"]
    mounts = {"resources": "/etc/calico/resources"}
    spec["containers"] = [container(settings, "pools", command, rights=security(), mounts=mounts)]
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": _metadata(settings, _POOLS),
        "spec": {"backoffLimit": 100, "template": {"metadata": {"labels": labels(_POOLS)}, "spec": spec}},
    }


def _deployment(settings: ManifestSettings) -> dict[str, Any]:
    spec = pod_spec(settings, CONTROLLERS, [])
    spec["priorityClassName"] = "system-cluster-critical"
    health = ["--health-host", "127.0.0.1", "--health-port", str(_HEALTH)]
    command = ["kubernetes", "controllers", "--lease-namespace", settings.namespace, *health]
    probes = ask_for_health(_HEALTH)
    spec["containers"] = [container(settings, "controllers", command, rights=security(), mounts={}, **probes)]
    # two on one host would want the same port, and be of no use when the host is gone
    term = {"labelSelector": {"matchLabels": {"k8s-app": CONTROLLERS}}, "topologyKey": "kubernetes.io/hostname"}
    spec["affinity"] = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": _metadata(settings, CONTROLLERS),
        "spec": {
            "replicas": settings.replicas,
            "selector": {"matchLabels": {"k8s-app": CONTROLLERS}},
            "template": {"metadata": {"labels": labels(CONTROLLERS)}, "spec": spec},
        },
    }
