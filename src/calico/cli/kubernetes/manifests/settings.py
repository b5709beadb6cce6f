"""What whoever installs decides, checked; and the names by which the objects of the manifest know each other."""

from __future__ import annotations

import ipaddress
from typing import Literal

import msgspec

from calico.errors import InvalidInput
from calico.orchestrators.cni.protocol.request import VERSIONS

__all__ = [
    "CERTIFICATES",
    "CONFIG_MAP",
    "CONTROLLERS",
    "KUBECONFIG",
    "NODE",
    "EtcdFiles",
    "ManifestSettings",
    "check",
    "labels",
]

CONFIG_MAP = "calico-config"
CERTIFICATES = "/etc/calico/etcd"
KUBECONFIG = "/run/calico/kubeconfig"
"""Where the daemon that attaches pods finds the API server; made anew at each start of its pod."""
NODE, CONTROLLERS = "calico-node", "calico-kube-controllers"
"""Names of the DaemonSet and the Deployment, and of the accounts that they use."""

Encapsulation = Literal["None", "VXLAN", "VXLANCrossSubnet"]


class EtcdFiles(msgspec.Struct, frozen=True):
    """PEM texts for a Secret of the manifest."""

    ca: str
    cert: str = ""
    key: str = ""


class ManifestSettings(msgspec.Struct, frozen=True, kw_only=True):
    """``etcd_secret`` names a Secret with ``ca.crt``, and ``tls.crt`` with ``tls.key`` where clients have certificates;
    ``etcd_files`` is its content where the manifest shall hold it. ``pools`` are CIDRs, at most one of each family."""

    etcd_endpoints: tuple[str, ...]
    image: str
    namespace: str = "kube-system"
    etcd_secret: str = ""
    etcd_client_cert: bool = False
    etcd_files: EtcdFiles | None = None
    pools: tuple[str, ...] = ()
    encapsulation: Encapsulation = "None"
    nat_outgoing: bool = True
    bgp: bool = True
    mtu: int = 0
    chain: tuple[str, ...] = ("portmap", "bandwidth")
    cni_version: str = "0.4.0"
    cni_bin_dir: str = "/opt/cni/bin"
    cni_conf_dir: str = "/etc/cni/net.d"
    autodetection: str = "first-found"
    pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"
    replicas: int = 2


def check(settings: ManifestSettings) -> None:
    """InvalidInput names the option whose value cannot be used."""
    if not settings.etcd_endpoints:
        raise InvalidInput("is required: where pods of the host's network reach etcd", field="--etcd-endpoints")
    for endpoint in settings.etcd_endpoints:
        if not endpoint.startswith(("http://", "https://")) or any(char.isspace() for char in endpoint):
            raise InvalidInput(f"{endpoint!r} is no URL of http or https", field="--etcd-endpoints")
    secure = [endpoint.startswith("https://") for endpoint in settings.etcd_endpoints]
    if any(secure) and not settings.etcd_secret:
        raise InvalidInput("https needs the CA of etcd: --etcd-secret or --etcd-ca-file", field="--etcd-endpoints")
    if not all(secure) and settings.etcd_secret:
        raise InvalidInput("certificates are for https; these are not all", field="--etcd-endpoints")
    if settings.etcd_files is not None and bool(settings.etcd_files.cert) != bool(settings.etcd_files.key):
        raise InvalidInput("a certificate and its key belong together", field="--etcd-cert-file")
    if settings.cni_version not in VERSIONS:
        raise InvalidInput(f"{settings.cni_version!r} is not one of {', '.join(VERSIONS)}", field="--cni-version")
    for field, path in (("--cni-bin-dir", settings.cni_bin_dir), ("--cni-conf-dir", settings.cni_conf_dir)):
        if not path.startswith("/"):
            raise InvalidInput(f"{path!r} is no absolute path", field=field)
    families = []
    for pool in settings.pools:
        try:
            families.append(ipaddress.ip_network(pool).version)
        except ValueError as error:
            raise InvalidInput(str(error), field="--pool") from error
    if len(families) != len(set(families)):
        raise InvalidInput("at most one of IPv4 and one of IPv6", field="--pool")
    if not settings.bgp and settings.encapsulation == "None" and settings.pools:
        raise InvalidInput("without BGP hosts reach one another by VXLAN only: give --encapsulation", field="--no-bgp")


def labels(component: str) -> dict[str, str]:
    """The labels of an object and of its pods."""
    return {"k8s-app": component, "app.kubernetes.io/part-of": "calico-network"}
