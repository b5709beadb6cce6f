"""A real API server beside the etcd that holds its data and Calico's, on loopback: for controllers, without packets."""

from __future__ import annotations

import socket
import ssl
import subprocess
import time
import urllib.request
from contextlib import suppress
from pathlib import Path

from calico.orchestrators.kubernetes.api.connection import APIConnection
from cluster.binaries import kubernetes_binaries

TOKEN = "admintoken"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class KubernetesServers:
    """The two servers; ``close`` ends them."""

    def __init__(self, directory: Path) -> None:
        self.directory, self.programs = directory, kubernetes_binaries()
        self.etcd_port, peer, self.port = _free_port(), _free_port(), _free_port()
        self.etcd_url = f"http://127.0.0.1:{self.etcd_port}"
        self._etcd_command = [
            "etcd", f"--data-dir={directory}/etcd", "--unsafe-no-fsync",
            f"--listen-client-urls={self.etcd_url}", f"--advertise-client-urls={self.etcd_url}",
            f"--listen-peer-urls=http://127.0.0.1:{peer}",
        ]  # fmt: skip
        (directory / "tokens.csv").write_text(f'{TOKEN},admin,uid,"system:masters"\n')
        for arguments in (["genrsa", "-out", "sa.key", "2048"], ["rsa", "-in", "sa.key", "-pubout", "-out", "sa.pub"]):
            subprocess.run(["openssl", *arguments], cwd=directory, check=True, capture_output=True)
        self._api_command = [
            str(self.programs / "kube-apiserver"), f"--etcd-servers={self.etcd_url}", f"--cert-dir={directory}/certs",
            "--bind-address=127.0.0.1", f"--secure-port={self.port}", "--endpoint-reconciler-type=none",
            "--service-cluster-ip-range=10.96.0.0/16", "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={directory}/sa.pub", f"--service-account-signing-key-file={directory}/sa.key",
            f"--token-auth-file={directory}/tokens.csv", "--authorization-mode=RBAC", "--allow-privileged=true",
        ]  # fmt: skip
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self.start("etcd")
        self.start("apiserver")

    @property
    def connection(self) -> APIConnection:
        return APIConnection(server=f"https://127.0.0.1:{self.port}", insecure=True, token=TOKEN)

    def start(self, name: str) -> None:
        """Start a server and wait until it answers."""
        command = self._etcd_command if name == "etcd" else self._api_command
        with (self.directory / f"{name}.log").open("ab") as log:
            self._processes[name] = subprocess.Popen(command, stdout=log, stderr=log)
        url = f"{self.etcd_url}/health" if name == "etcd" else f"https://127.0.0.1:{self.port}/readyz"
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        request = urllib.request.Request(url, headers={"Authorization": f"Bearer {TOKEN}"})
        for _ in range(600):
            assert self._processes[name].poll() is None, (self.directory / f"{name}.log").read_text()[-3000:]
            with (
                suppress(OSError),
                urllib.request.urlopen(request, timeout=5, context=context if url.startswith("https") else None),
            ):
                return
            time.sleep(0.2)
        raise AssertionError(f"{name} does not answer: {(self.directory / f'{name}.log').read_text()[-3000:]}")

    def kill(self, name: str) -> None:
        """End a server as a crash would."""
        process = self._processes.pop(name)
        process.kill()
        process.wait()

    def kubectl(self, *arguments: str, stdin: str = "") -> str:
        """What kubectl says; AssertionError with its words when it fails."""
        command = [
            str(self.programs / "kubectl"), f"--server=https://127.0.0.1:{self.port}", f"--token={TOKEN}",
            "--insecure-skip-tls-verify", f"--cache-dir={self.directory}/cache", *arguments,
        ]  # fmt: skip
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr + done.stdout
        return done.stdout

    def close(self) -> None:
        for name in list(self._processes):
            self.kill(name)
