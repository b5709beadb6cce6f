"""The host of tests/functional/cni with a real kube-apiserver on its etcd: pods are made through the API, and the
plugin asks the API about them."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import yaml

sys.path.insert(0, str(Path(__file__).parents[1] / "cni"))
from cni_world import NODE, NOTHING, RESOURCES, Container, World, until

from calico.dataplane.netns import in_netns
from calico.datastore.connection import Connection, open_backend
from calico.datastore.typed.store import Store
from calico.ipam.cascade import IPAMCascade
from calico.orchestrators.kubernetes.api.client import Client
from calico.orchestrators.kubernetes.api.connection import APIConnection

__all__ = ["NODE", "NOTHING", "ApiWorld", "Pod", "until"]

_T = TypeVar("_T")
_ROLES = Path(__file__).parents[3] / "packaging" / "kubernetes" / "rbac.yaml"
_PLURALS = {
    "ServiceAccount": "/api/v1/namespaces/{}/serviceaccounts",
    "ClusterRole": "/apis/rbac.authorization.k8s.io/v1/clusterroles",
    "ClusterRoleBinding": "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
    "Role": "/apis/rbac.authorization.k8s.io/v1/namespaces/{}/roles",
    "RoleBinding": "/apis/rbac.authorization.k8s.io/v1/namespaces/{}/rolebindings",
}
_READY_S = 180.0  # on a machine that does much else
_ACCOUNT = "system:serviceaccount:kube-system:calico"


class ApiWorld(World):
    """``folder`` holds the binaries of Kubernetes."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder
        self.kubeconfig = self.directory / "kubeconfig"

    def cluster(self) -> None:
        """Hosts report often, so that one that stopped is noticed soon."""
        super().cluster()
        self.put("FelixConfiguration", "felixconfigurations", "default",
                 {"reportingInterval": "1s", "reportingTTL": "3s", "endpointReportingEnabled": True})  # fmt: skip

    def clear_api(self) -> None:
        """No pods, nodes and Events; of the datastore no Nodes but the host's."""
        for path in ("pods", "events"):
            for one in self.api("GET", f"/api/v1/{path}")["items"]:
                where = f"/api/v1/namespaces/{one['metadata']['namespace']}/{path}/{one['metadata']['name']}"
                self.api("DELETE", where, {"gracePeriodSeconds": 0}, check=False)
        for one in self.api("GET", "/api/v1/nodes")["items"]:
            self.api("DELETE", f"/api/v1/nodes/{one['metadata']['name']}", check=False)
        for kind in ("nodes", "hostendpoints", "caliconodestatuses", "kubecontrollersconfigurations"):
            self.etcdctl("del", "--prefix", f"{RESOURCES}/{kind}/")

    def start_api(self) -> None:
        """The API server; returns when it is ready."""
        certs = self.directory / "certs"
        certs.mkdir(exist_ok=True)
        key, public = certs / "sa.key", certs / "sa.pub"
        if not key.exists():
            for command in (["genrsa", "-out", key, "2048"], ["rsa", "-in", key, "-pubout", "-out", public]):
                subprocess.run(["openssl", *map(str, command)], check=True, capture_output=True)
        tokens = self.directory / "tokens.csv"
        tokens.write_text(
            f'admin,admin,1,"system:masters"\nplugin,{_ACCOUNT}-node,2\ncontrollers,{_ACCOUNT}-kube-controllers,3\n'
        )
        self._start(
            "api", [
                str(self._folder / "kube-apiserver"), f"--etcd-servers={self.etcd_url}", f"--cert-dir={certs}",
                "--secure-port=6443", "--advertise-address=172.30.0.1", "--service-cluster-ip-range=10.96.0.0/16",
                "--service-account-issuer=https://kubernetes.default.svc", f"--service-account-key-file={public}",
                f"--service-account-signing-key-file={key}", f"--token-auth-file={tokens}",
                "--authorization-mode=Node,RBAC", "--allow-privileged=true",
            ],
        )  # fmt: skip
        end = time.monotonic() + _READY_S
        while not self._is_ready():
            assert time.monotonic() < end, "the API server does not become ready"
            time.sleep(0.1)
        self.write_kubeconfig()

    def prepare(self) -> None:
        """What plugin and controllers may do, and the service account of the namespace ``default``."""
        for document in yaml.safe_load_all(_ROLES.read_text()):
            path = _PLURALS[document["kind"]].format(document["metadata"].get("namespace"))
            until(lambda path=path, one=document: self.api("POST", path, one, check=False), f"{path} is made")
        until(lambda: self.api("GET", "/api/v1/namespaces/default", check=False), "there is a namespace default")
        self.account("default")

    def start_bgp(self) -> None:
        """The BGP agent with its BIRD."""
        command = [sys.executable, "-m", "calico", "bgp", "--node", NODE, "--run-dir", str(self.run_dir)]
        self._start("bgp", [*command, "--etcd-endpoints", self.etcd_url])

    def stop_bird(self) -> None:
        """BIRD outlives its agent."""
        with suppress(OSError, ValueError):
            os.kill(int((self.run_dir / "bird.pid").read_text()), signal.SIGKILL)

    def write_kubeconfig(self, token: str = "plugin") -> None:
        """The plugin's."""
        cluster = {"server": "https://127.0.0.1:6443", "insecure-skip-tls-verify": True}
        self.kubeconfig.write_text(
            json.dumps({
                "clusters": [{"name": "c", "cluster": cluster}], "users": [{"name": "u", "user": {"token": token}}],
                "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}], "current-context": "x",
            })
        )  # fmt: skip

    def _is_ready(self) -> bool:
        assert self.processes["api"].poll() is None, self.log("api")
        try:
            return self.call("GET", "/readyz")[0] == 200
        except OSError:
            return False

    def call(self, method: str, path: str, body: Any = None, kind: str = "application/json") -> tuple[int, Any]:
        """Status and answer of one request, as an administrator."""
        raw = in_netns(self.host, lambda: socket.create_connection(("127.0.0.1", 6443), timeout=20))
        context = ssl._create_unverified_context()
        connection = http.client.HTTPConnection("127.0.0.1", 6443)
        connection.sock = context.wrap_socket(raw)
        headers = {"Authorization": "Bearer admin", "Content-Type": kind}
        try:
            connection.request(method, path, json.dumps(body) if body is not None else None, headers)
            answer = connection.getresponse()
            text = answer.read().decode()
        finally:
            connection.close()
        return answer.status, json.loads(text) if text.startswith("{") else text

    def api(self, method: str, path: str, body: Any = None, *, merge: bool = False, check: bool = True) -> Any:
        """The object; None when it was refused and that is no failure."""
        kind = "application/merge-patch+json" if merge else "application/json"
        status, found = self.call(method, path, body, kind)
        assert not check or status < 300, (status, found)
        return found if status < 300 else None

    def account(self, name: str, namespace: str = "default") -> None:
        self.api("POST", f"/api/v1/namespaces/{namespace}/serviceaccounts", {"metadata": {"name": name}})

    def namespace(
        self, name: str, *, labels: dict[str, str] | None = None, annotations: dict[str, str] | None = None
    ) -> None:
        metadata = {"name": name, "labels": labels or {}, "annotations": annotations or {}}
        self.api("POST", "/api/v1/namespaces", {"metadata": metadata})
        self.account("default", name)

    def pod(self, name: str, *, namespace: str = "default", node: str = NODE, **spec: Any) -> Pod:
        """A pod that is bound to a node, and the namespace of its sandbox."""
        labels, annotations = spec.pop("labels", {}), spec.pop("annotations", {})
        ports = spec.pop("ports", [])
        self.api("POST", f"/api/v1/namespaces/{namespace}/pods", {
            "metadata": {"name": name, "labels": labels, "annotations": annotations},
            "spec": {"nodeName": node, "automountServiceAccountToken": False,
                     "containers": [{"name": "c", "image": "none", "ports": ports}], **spec},
        })  # fmt: skip
        return Pod(self, self.container(), name, namespace)

    def writes_of(self, pod: Pod) -> int:
        """How often the pod's endpoint was written."""
        (name,) = [name for name, one in self.endpoints.items() if one["spec"].get("pod") == pod.name]
        key = f"{RESOURCES}/workloadendpoints/{pod.namespace}/{name}"
        return int(json.loads(self.etcdctl("get", key, "-w", "json").stdout)["kvs"][0]["version"])

    def portmap(self, command: str, sandbox: Container, network: dict[str, Any]) -> subprocess.CompletedProcess[str]:
        """Debian's plugin, as it is called behind ours."""
        environment = {"PATH": os.environ["PATH"], "CNI_COMMAND": command, "CNI_CONTAINERID": sandbox.identity,
                       "CNI_NETNS": sandbox.path, "CNI_IFNAME": "eth0", "CNI_PATH": "/usr/lib/cni"}  # fmt: skip
        document = json.dumps({"cniVersion": "1.0.0", "name": "net", **network})
        return subprocess.run([*self.enter(), "/usr/lib/cni/portmap"], input=document, capture_output=True, text=True,
                              check=False, env=environment)  # fmt: skip

    def run(self, work: Callable[[Client, Store], Coroutine[Any, Any, _T]]) -> _T:
        """Something of ours in the host's namespace, with clients of the API and of etcd, as the controllers."""
        import asyncio

        async def inside() -> _T:
            backend = open_backend(Connection(endpoints=(self.etcd_url,)))
            where = APIConnection(server="https://127.0.0.1:6443", insecure=True, token="controllers")
            try:
                async with Client(where) as client:
                    return await work(client, Store(backend, ipam=IPAMCascade()))
            finally:
                await backend.close()

        return in_netns(self.host, lambda: asyncio.run(inside()))


class Pod:
    """A pod of the API with its sandbox; ``call`` is the runtime's."""

    def __init__(self, world: ApiWorld, sandbox: Container, name: str, namespace: str) -> None:
        self.world, self.sandbox, self.name, self.namespace = world, sandbox, name, namespace
        self.path = f"/api/v1/namespaces/{namespace}/pods/{name}"

    @property
    def annotations(self) -> dict[str, str]:
        """What we told of the pod, by the last part of the annotation."""
        found = self.world.api("GET", self.path)["metadata"].get("annotations", {})
        return {key.rpartition("/")[2]: value for key, value in found.items()}

    def call(self, command: str, sandbox: Container | None = None, *, uid: str = "", **config: Any) -> Any:
        where = sandbox or self.sandbox
        args = where.pod(self.name, self.namespace) + (f";K8S_POD_UID={uid}" if uid else "")
        kubernetes = {"kubeconfig": str(self.world.kubeconfig)}
        return where.call(command, args=args, **{"policy": {"type": "k8s"}, "kubernetes": kubernetes, **config})

    def add(self, sandbox: Container | None = None, **config: Any) -> Any:
        answer = self.call("ADD", sandbox, **config)
        assert answer.code == 0, answer.text + answer.err
        return answer

    def delete(self, sandbox: Container | None = None, **config: Any) -> None:
        answer = self.call("DEL", sandbox, **config)
        assert answer.code == 0, answer.text + answer.err

    def remove(self) -> None:
        """The pod goes from the API at once."""
        self.world.api("DELETE", self.path, {"gracePeriodSeconds": 0})

    @property
    def endpoint(self) -> Any:
        (found,) = [one for name, one in self.world.endpoints.items() if one["spec"].get("pod") == self.name]
        return found
