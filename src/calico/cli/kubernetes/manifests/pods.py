"""What all pods of the manifest have: the way to etcd, the host's network, and rights by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from calico.cli.kubernetes.manifests.settings import CERTIFICATES, CONFIG_MAP, ManifestSettings

__all__ = ["PRIVILEGED", "ask_for_health", "container", "host_path", "pod_spec", "security"]

PRIVILEGED = {"privileged": True}
"""For who writes below /proc/sys: runtimes mount it read-only for everybody else, whatever capabilities he has."""

_ETCD = {"ETCD_ENDPOINTS": "etcd_endpoints"}


def security(*capabilities: str) -> dict[str, Any]:
    """Root without root's power, as the systemd units have it (docs/design/packaging.md)."""
    return {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"], "add": list(capabilities)},
    }


def container(
    settings: ManifestSettings,
    name: str,
    command: Sequence[str],
    *,
    rights: Mapping[str, Any],
    mounts: Mapping[str, str],
    environment: Mapping[str, str] | None = None,
    **more: Any,
) -> dict[str, Any]:
    """A container of our image. ``mounts``: path in the container by name of the volume."""
    variables: list[dict[str, Any]] = [
        *(
            {"name": variable, "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}
            for variable in ("NODENAME", "CALICO_K8S_NODE_REF")
        ),
        *(
            {"name": variable, "valueFrom": {"configMapKeyRef": {"name": CONFIG_MAP, "key": key}}}
            for variable, key in _ETCD.items()
        ),
        *({"name": variable, "value": value} for variable, value in _certificates(settings).items()),
        *({"name": variable, "value": value} for variable, value in (environment or {}).items()),
    ]
    volumes: list[dict[str, Any]] = [{"name": volume, "mountPath": path} for volume, path in mounts.items()]
    if settings.etcd_secret:
        volumes.append({"name": "etcd-certificates", "mountPath": CERTIFICATES, "readOnly": True})
    volumes.append({"name": "tmp", "mountPath": "/tmp"})
    return {
        "name": name,
        "image": settings.image,
        "imagePullPolicy": settings.pull_policy,
        "command": ["calico", *command],
        "env": variables,
        "securityContext": dict(rights),
        "volumeMounts": volumes,
        **more,
    }


def pod_spec(settings: ManifestSettings, account: str, volumes: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The part that says where a pod runs: on the host's network, whatever state the node is in."""
    given: list[dict[str, Any]] = [*map(dict, volumes), {"name": "tmp", "emptyDir": {}}]
    if settings.etcd_secret:
        secret = {"secretName": settings.etcd_secret, "defaultMode": 0o400}
        given.append({"name": "etcd-certificates", "secret": secret})
    return {
        "serviceAccountName": account,
        "hostNetwork": True,
        "dnsPolicy": "ClusterFirstWithHostNet",
        "nodeSelector": {"kubernetes.io/os": "linux"},
        "tolerations": [{"operator": "Exists"}],
        "volumes": given,
    }


def ask_for_health(port: int) -> dict[str, Any]:
    """Probes of a container that answers about its health on the host's loopback."""

    def ask(path: str) -> dict[str, Any]:
        return {"httpGet": {"host": "127.0.0.1", "port": port, "path": path}, "periodSeconds": 10, "timeoutSeconds": 5}

    alive = ask("/liveness") | {"initialDelaySeconds": 10, "failureThreshold": 6}
    return {"livenessProbe": alive, "readinessProbe": ask("/readiness")}


def host_path(name: str, path: str, kind: str = "DirectoryOrCreate") -> dict[str, Any]:
    """A folder of the host as a volume."""
    return {"name": name, "hostPath": {"path": path, "type": kind}}


def _certificates(settings: ManifestSettings) -> dict[str, str]:
    if not settings.etcd_secret:
        return {}
    found = {"ETCD_CA_CERT_FILE": f"{CERTIFICATES}/ca.crt"}
    if settings.etcd_client_cert:
        found |= {"ETCD_CERT_FILE": f"{CERTIFICATES}/tls.crt", "ETCD_KEY_FILE": f"{CERTIFICATES}/tls.key"}
    return found
