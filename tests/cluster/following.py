"""A control plane whose objects `calico kubernetes controllers` brings to an etcd of Calico, by its real role."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cluster.api import Refused
from cluster.control_plane import ControlPlane, own_control_plane
from stack.process import Process, until

__all__ = ["Following", "following"]

PACKAGING = Path(__file__).resolve().parents[2] / "packaging" / "kubernetes"
ENDPOINT, _PEER = "http://127.0.0.1:42379", "http://127.0.0.1:42380"
RESOURCES = "/calico/resources/v3/projectcalico.org"
_ACCOUNT = ("kube-system", "calico-kube-controllers")


class Following:
    """``plane`` with our role and CRD loaded, ``etcd``, and controllers as they are started by tests."""

    def __init__(self, plane: ControlPlane) -> None:
        self.plane, directory = plane, plane.directory
        self.etcd = Process("calico-etcd", [*plane.enter, *_etcd(directory)], directory / "calico-etcd.log")
        self.token = directory / "controllers.token"
        self.daemons: dict[str, Process] = {}
        plane.processes["calico-etcd"] = self.etcd  # ends with the rest
        self.etcd.start()
        until("Calico's etcd answers", self._etcd_answers, dump=plane.logs)
        self.calico("datastore", "init")
        plane.kubectl("apply", "-f", str(PACKAGING / "rbac.yaml"))
        plane.kubectl("apply", "-f", str(PACKAGING / "clusternetworkpolicy-crd.yaml"))
        plane.kubectl("wait", "--for=condition=established", "crd", "--all")
        self.renew_token()
        self.kubeconfig = plane.kubeconfig("controllers", token_file=self.token)

    def renew_token(self) -> None:
        """A new token in the file, put there in one step as kubelet does."""
        fresh = self.token.with_suffix(".new")
        fresh.write_text(self.plane.service_account_token(*_ACCOUNT))
        fresh.rename(self.token)

    def start(self, name: str, *options: str) -> Process:
        """A candidate of this name."""
        argv = [
            *self.plane.enter, *_calico(), "kubernetes", "controllers", "--kubeconfig", self.kubeconfig,
            "--etcd-endpoints", ENDPOINT, "--lease-seconds", "3", "--log-level", "debug", *options,
        ]  # fmt: skip
        process = Process(name, argv, self.plane.directory / f"{name}.log")
        self.daemons[name] = self.plane.processes[name] = process
        process.start()
        return process

    def holder(self) -> str:
        """Who leads, as the Lease says; nobody while there is none."""
        path = f"/apis/coordination.k8s.io/v1/namespaces/{_ACCOUNT[0]}/leases/calico-kube-controllers"
        try:
            return str(self.plane.api.get(path)["spec"].get("holderIdentity") or "")
        except Refused as error:
            if error.status == 404:
                return ""
            raise

    def calico(self, *arguments: str, stdin: str = "") -> str:
        """What the command prints."""
        environment = {"ETCD_ENDPOINTS": ENDPOINT, "PATH": "/usr/bin:/bin"}
        command = [*self.plane.enter, *_calico(), *arguments]
        done = subprocess.run(command, env=environment, input=stdin, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"calico {' '.join(arguments)}: {done.stderr}"
        return done.stdout

    def stored(self, prefix: str = RESOURCES, endpoint: str = ENDPOINT) -> dict[str, tuple[Any, int]]:
        """Key → (value, revision), by etcd's own client."""
        found = json.loads(self.etcdctl("get", "--prefix", prefix, "-w", "json", endpoint=endpoint))
        return {
            base64.b64decode(kv["key"]).decode(): (_value(base64.b64decode(kv["value"])), kv["mod_revision"])
            for kv in found.get("kvs", ())
        }

    def put(self, key: str, value: Any) -> None:
        """Write what a stranger, or a CNI plugin, would."""
        self.etcdctl("put", key, json.dumps(value))

    def etcdctl(self, *arguments: str, endpoint: str = ENDPOINT) -> str:
        command = [*self.plane.enter, "etcdctl", "--endpoints", endpoint, *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, env={"ETCDCTL_API": "3"}).stdout

    def specs(self, kind: str) -> dict[str, Any]:
        """Name (with its namespace) → spec of all resources of a plural kind."""
        found = self.stored(f"{RESOURCES}/{kind}/")
        return {key.removeprefix(f"{RESOURCES}/{kind}/"): value["spec"] for key, (value, _) in found.items()}

    def until(self, what: str, holds: Callable[[], object], timeout_s: float = 120) -> object:
        """The first true answer; what the daemons logged is shown when there is none."""
        return until(what, holds, timeout_s, dump=lambda: "\n".join(d.last_words() for d in self.daemons.values()))

    def _etcd_answers(self) -> bool:
        command = [*self.plane.enter, "etcdctl", "--endpoints", ENDPOINT, "get", "x"]
        return subprocess.run(command, capture_output=True, check=False, env={"ETCDCTL_API": "3"}).returncode == 0


@contextmanager
def following(**options: Any) -> Iterator[Following]:
    """In a network namespace of its own."""
    with own_control_plane(**options) as plane:
        yield Following(plane)


def _calico() -> list[str]:
    return [str(Path(sys.executable).with_name("calico"))]


def _etcd(directory: Path) -> list[str]:
    return [
        "etcd", "--data-dir", str(directory / "calico-etcd"), "--listen-client-urls", ENDPOINT,
        "--advertise-client-urls", ENDPOINT, "--listen-peer-urls", _PEER, "--initial-advertise-peer-urls", _PEER,
        "--initial-cluster", f"default={_PEER}", "--unsafe-no-fsync", "--log-level", "error",
    ]  # fmt: skip


def _value(raw: bytes) -> Any:
    try:
        return json.loads(raw)
    except ValueError:
        return raw.decode(errors="replace")
