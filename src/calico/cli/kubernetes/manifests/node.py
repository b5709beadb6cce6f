"""The DaemonSet: on each node Felix, the BGP agent with its BIRD, and the daemon that attaches pods."""

from __future__ import annotations

from typing import Any

from calico.cli.kubernetes.manifests.pods import PRIVILEGED, ask_for_health, container, host_path, pod_spec, security
from calico.cli.kubernetes.manifests.settings import CONFIG_MAP, KUBECONFIG, NODE, ManifestSettings, labels

__all__ = ["daemon_set"]

_FELIX_HEALTH, _BGP_HEALTH = 9099, 9098
_RUN = {"run": "/run/calico"}
_STATE = {"state": "/var/lib/calico"}


def daemon_set(settings: ManifestSettings) -> dict[str, Any]:
    """One pod a node; a node is renewed at a time. What the daemons made stays in the kernel meanwhile."""
    spec = pod_spec(settings, NODE, _volumes(settings))
    spec |= {
        "priorityClassName": "system-node-critical",
        "terminationGracePeriodSeconds": 10,
        "initContainers": _first(settings),
        "containers": [_felix(settings), *([_bgp(settings)] if settings.bgp else []), _cni(settings)],
    }
    metadata = {"name": NODE, "namespace": settings.namespace, "labels": labels(NODE)}
    return {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": metadata,
        "spec": {
            "selector": {"matchLabels": {"k8s-app": NODE}},
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1}},
            "template": {"metadata": {"labels": labels(NODE)}, "spec": spec},
        },
    }


def _volumes(settings: ManifestSettings) -> list[dict[str, Any]]:
    return [
        host_path("run", "/run/calico"),
        host_path("state", "/var/lib/calico"),
        host_path("bgp-secrets", "/etc/calico/bgp-secrets"),
        host_path("namespaces", "/run/netns"),
        host_path("cni-bin", settings.cni_bin_dir),
        host_path("cni-conf", settings.cni_conf_dir),
        {"name": "network", "configMap": {"name": CONFIG_MAP}},
    ]


def _first(settings: ManifestSettings) -> list[dict[str, Any]]:
    """In order: workloads are closed, the host has its Node, and last of all the kubelet finds a network."""
    address = ["node", "address", "--write", "--ip-autodetection-method", settings.autodetection]
    if any(":" in pool for pool in settings.pools):
        address += ["--ip6", "autodetect"]
    files = {"cni-bin": "/host/cni-bin", "cni-conf": "/host/cni-conf", "network": "/etc/calico/network"}
    kubeconfig = ["kubernetes", "kubeconfig", "--write", KUBECONFIG]
    folders = ["--bin-dir", "/host/cni-bin", "--conf-dir", "/host/cni-conf"]
    install = ["cni", "install", *folders, "--network", "/etc/calico/network/cni_network", "--force"]
    return [
        container(settings, "guard", ["felix", "guard"], rights=security("NET_ADMIN"), mounts=_RUN),
        container(settings, "node", address, rights=security(), mounts={}),
        container(settings, "kubeconfig", kubeconfig, rights=security(), mounts=_RUN),
        container(settings, "install", install, rights=security(), mounts=files),
    ]


def _felix(settings: ManifestSettings) -> dict[str, Any]:
    environment = {
        "FELIX_HEALTHENABLED": "true",
        "FELIX_HEALTHPORT": str(_FELIX_HEALTH),
        "FELIX_ENDPOINTREPORTINGENABLED": "true",  # what is wrong with a pod's network becomes an Event of the pod
    }
    return container(
        settings,
        "felix",
        ["felix", "--mtu-file", "/var/lib/calico/mtu"],
        rights=PRIVILEGED,
        mounts=_RUN | _STATE,
        environment=environment,
        **ask_for_health(_FELIX_HEALTH),
    )


def _bgp(settings: ManifestSettings) -> dict[str, Any]:
    command = ["bgp", "--bird", "/usr/sbin/bird", "--health-port", str(_BGP_HEALTH), "--health-host", "127.0.0.1"]
    return container(
        settings,
        "bgp",
        command,
        rights=security("NET_ADMIN", "NET_BIND_SERVICE", "NET_RAW"),
        mounts=_RUN | {"bgp-secrets": "/etc/calico/bgp-secrets"},
        **ask_for_health(_BGP_HEALTH),
    )


def _cni(settings: ManifestSettings) -> dict[str, Any]:
    made = container(settings, "cni", ["cni-daemon"], rights=PRIVILEGED, mounts=_RUN | _STATE)
    # namespaces that the runtime makes later are seen here too: what is attached is looked for at their paths
    namespaces = {"name": "namespaces", "mountPath": "/run/netns", "mountPropagation": "HostToContainer"}
    made["volumeMounts"].append(namespaces)
    return made
