"""etcd, kube-apiserver with real RBAC, kube-controller-manager and kube-scheduler in a network namespace.

    with ControlPlane(directory, netns, address) as plane:
        plane.api.create("/api/v1/namespaces", {"metadata": {"name": "shop"}})
        subprocess.run([..., "--kubeconfig", plane.kubeconfig("calico-controllers")])

The namespace is the caller's, and has the address on one of its interfaces. ``own_control_plane`` makes one by itself.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from calico.dataplane.netns import create_netns, delete_netns
from calico.errors import NotFound
from cluster.api import Api, Refused
from cluster.binaries import kubernetes_binaries
from cluster.keys import write_key_pair
from stack.guard import Guard
from stack.process import Process, until

__all__ = ["ADDRESS", "ADMIN", "PORT", "ControlPlane", "own_control_plane"]

ADMIN = "admin"
ADDRESS, PORT = "172.30.0.1", 6443
SERVICES = "10.96.0.0/16"
_ETCD, _ETCD_PEER = "http://127.0.0.1:32379", "http://127.0.0.1:32380"
_KNOWN = ("calico-controllers", "calico-cni", "nobody")  # users without any rights until a test binds roles to them
_serial = itertools.count()


class ControlPlane:
    """Entered: the API server answers, and namespaces get their default service account if there are controllers.

    ``users``: further users and their groups. ``controllers``: what kube-controller-manager runs; "" does without it.
    Every user's token is ``<user>-token``, and each has a kubeconfig.
    """

    def __init__(
        self,
        directory: Path,
        netns: str,
        address: str = ADDRESS,
        *,
        users: Mapping[str, Sequence[str]] = {},
        controllers: str = "*,-nodelifecycle",
        scheduler: bool = False,
        env: Mapping[str, str] = {},
    ) -> None:
        self.binaries = kubernetes_binaries()
        self.directory, self.netns, self.address = directory, netns, address
        self.users = {ADMIN: ("system:masters",), **dict.fromkeys(_KNOWN, ()), **users}
        self.env = env
        self.enter = ("nsenter", f"--net=/run/netns/{netns}")
        self.url = f"https://{address}:{PORT}"
        self.authority = directory / "certs" / "apiserver.crt"
        self.processes: dict[str, Process] = {}
        self._apis: list[Api] = []
        self._api: Api | None = None
        directory.mkdir(parents=True, exist_ok=True)
        self._guard = Guard(directory)
        self._prepare("etcd", self._etcd())
        self._prepare("kube-apiserver", self._apiserver())
        if controllers:
            self._prepare("kube-controller-manager", self._controller_manager(controllers))
        if scheduler:
            self._prepare("kube-scheduler", ["--kubeconfig", self.kubeconfig(ADMIN), "--leader-elect=false"])

    def __enter__(self) -> ControlPlane:
        try:
            self._start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    # ---- what callers use

    @property
    def api(self) -> Api:
        """Requests of a user who may do everything."""
        self._api = self._api or self.api_of(ADMIN)
        return self._api

    def api_of(self, user: str) -> Api:
        """Requests of one of the users."""
        return self.api_with(f"{user}-token")

    def api_with(self, token: str) -> Api:
        """Requests with any token, as of a service account."""
        made = Api(self.netns, self.address, PORT, self.authority, token)
        self._apis.append(made)
        return made

    def kubeconfig(self, user: str, *, token_file: Path | None = None) -> str:
        """The path of a kubeconfig of a user, or of whoever has the token in a file."""
        path = self.directory / f"{token_file.name if token_file else user}.kubeconfig"
        who = {"tokenFile": str(token_file)} if token_file else {"token": f"{user}-token"}
        cluster = {"server": self.url, "certificate-authority": str(self.authority)}
        document = {
            "apiVersion": "v1", "kind": "Config", "current-context": "test",
            "clusters": [{"name": "test", "cluster": cluster}],
            "users": [{"name": user, "user": who}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": user}}],
        }  # fmt: skip
        path.write_text(json.dumps(document))
        return str(path)

    def service_account_token(self, namespace: str, name: str, expires_s: int = 3600) -> str:
        """A token as pods have it; the API server gives none that lives less than ten minutes."""
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token"
        asked = {"kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1",
                 "spec": {"expirationSeconds": expires_s}}  # fmt: skip
        return str(self.api.create(path, asked)["status"]["token"])

    def kubectl(self, *arguments: str, user: str = ADMIN, stdin: str = "") -> str:
        """What kubectl prints."""
        command = [*self.enter, str(self.binaries / "kubectl"), "--kubeconfig", self.kubeconfig(user), *arguments]
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"kubectl {' '.join(arguments)}: {done.stderr}"
        return done.stdout

    def add_namespace(self, name: str, labels: Mapping[str, str] = {}) -> None:
        """A namespace, ready to take pods."""
        self.api.create("/api/v1/namespaces", {"metadata": {"name": name, "labels": dict(labels)}})
        self._await_account(name)

    def add_node(self, name: str, labels: Mapping[str, str] = {}) -> None:
        """A Node that nobody but the test keeps; ready."""
        self.api.put("/api/v1/nodes", {"metadata": {"name": name, "labels": dict(labels)}})
        ready = [{"type": "Ready", "status": "True", "reason": "Test"}]
        self.api.patch(f"/api/v1/nodes/{name}/status", {"status": {"conditions": ready}})

    def kill(self, name: str) -> None:
        """As a power cut would."""
        self.processes[name].kill()

    def start(self, name: str) -> None:
        """Again, after ``kill``."""
        self.processes[name].start()
        self._await_answer()

    def logs(self) -> str:
        return "\n".join(process.last_words() for process in self.processes.values())

    def close(self) -> None:
        """End everything."""
        for api in self._apis:
            api.close()
        for process in reversed(self.processes.values()):
            with suppress(Exception):
                process.stop()
        self._guard.dismiss()

    # ---- how it is made

    def _prepare(self, name: str, arguments: Sequence[str]) -> None:
        program = name if name == "etcd" else str(self.binaries / name)
        argv = [*self.enter, program, *arguments]
        self.processes[name] = Process(name, argv, self.directory / f"{name}.log", env=self.env)

    def _start(self) -> None:
        for name in ("etcd", "kube-apiserver"):
            self.processes[name].start()
        self._await_answer()
        for name in ("kube-controller-manager", "kube-scheduler"):  # they read the certificate that is there only now
            if name in self.processes:
                self.processes[name].start()
        if "kube-controller-manager" in self.processes:
            self._await_account("default")

    def _await_answer(self) -> None:
        def answers() -> bool:
            for name in ("etcd", "kube-apiserver"):
                assert self.processes[name].running, self.processes[name].last_words()
            with suppress(OSError, Refused):
                self.api.get("/readyz")
                return True
            return False

        until("the API server is ready", answers, dump=self.logs)

    def _await_account(self, namespace: str) -> None:
        def there() -> Any:
            with suppress(Refused):
                return self.api.get(f"/api/v1/namespaces/{namespace}/serviceaccounts/default").get("secrets")
            return None

        until(f"namespace {namespace} has its service account", there, dump=self.logs)

    def _etcd(self) -> list[str]:
        return [
            "--data-dir", str(self.directory / "etcd"), "--listen-client-urls", _ETCD, "--advertise-client-urls", _ETCD,
            "--listen-peer-urls", _ETCD_PEER, "--initial-advertise-peer-urls", _ETCD_PEER,
            "--initial-cluster", f"default={_ETCD_PEER}", "--unsafe-no-fsync", "--log-level", "error",
        ]  # fmt: skip

    def _apiserver(self) -> list[str]:
        write_key_pair(self.directory / "sa.key", self.directory / "sa.pub")
        tokens = self.directory / "tokens.csv"
        lines = [f'{user}-token,{user},{user},"{",".join(groups)}"' for user, groups in self.users.items()]
        tokens.write_text("".join(f"{line}\n" for line in lines))
        return [
            f"--etcd-servers={_ETCD}", f"--cert-dir={self.directory}/certs", f"--secure-port={PORT}",
            f"--advertise-address={self.address}", f"--service-cluster-ip-range={SERVICES}",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={self.directory}/sa.pub",
            f"--service-account-signing-key-file={self.directory}/sa.key", f"--token-auth-file={tokens}",
            "--authorization-mode=Node,RBAC", "--allow-privileged=true",
            "--kubelet-preferred-address-types=InternalIP",
        ]  # fmt: skip

    def _controller_manager(self, controllers: str) -> list[str]:
        return [
            "--kubeconfig", self.kubeconfig(ADMIN), f"--service-account-private-key-file={self.directory}/sa.key",
            f"--controllers={controllers}", f"--root-ca-file={self.authority}", "--leader-elect=false",
            "--bind-address=127.0.0.1",
        ]  # fmt: skip


@contextmanager
def own_control_plane(**options: Any) -> Iterator[ControlPlane]:
    """A control plane in a network namespace of its own."""
    kubernetes_binaries()
    name = f"ckp{os.getpid() % 100000}-{next(_serial)}"
    with tempfile.TemporaryDirectory(prefix="ckp", ignore_cleanup_errors=True) as directory:
        Path(directory, "namespaces").write_text(f"{name}\n")  # for the guard
        create_netns(name)
        try:
            for command in ("link set lo up", f"addr add {ADDRESS}/32 dev lo"):
                subprocess.run(["ip", "-n", name, *command.split()], check=True)
            with ControlPlane(Path(directory), name, **options) as plane:
                yield plane
        finally:
            with suppress(NotFound):
                delete_netns(name)
