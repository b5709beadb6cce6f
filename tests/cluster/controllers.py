"""`calico kubernetes controllers` with the rights that packaging/kubernetes/rbac.yaml gives to its account."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from cluster.control_plane import ControlPlane
from stack.process import Process

__all__ = ["MANIFESTS", "Controllers"]

MANIFESTS = Path(__file__).resolve().parents[2] / "packaging" / "kubernetes"


class Controllers:
    """The daemon in a namespace that reaches both the API server and Calico's etcd; ``enable`` as of the command."""

    def __init__(
        self, plane: ControlPlane, netns: str, etcd: str, *, enable: str = "", env: Mapping[str, str] = {}
    ) -> None:
        self.plane, self._netns = plane, netns
        for manifest in ("rbac.yaml", "clusternetworkpolicy-crd.yaml"):
            plane.kubectl("apply", "-f", str(MANIFESTS / manifest))
        self.token = plane.directory / "controllers.token"
        self.token.write_text(plane.service_account_token("kube-system", "calico-kube-controllers"))
        kubeconfig = plane.kubeconfig("calico-kube-controllers", token_file=self.token)
        argv = ["nsenter", f"--net=/run/netns/{netns}", sys.executable, "-m", "calico", "kubernetes", "controllers"]
        argv += ["--kubeconfig", kubeconfig, "--etcd-endpoints", etcd, "--lease-seconds", "5"]
        argv += ["--enable", enable] if enable else []
        self.process = Process("controllers", argv, plane.directory / "controllers.log", env=env)

    def start(self) -> None:
        self.process.start()

    def kill(self) -> None:
        self.process.kill()

    def close(self) -> None:
        self.process.stop()
