"""The manifest as a real API server takes it, and what its accounts may do there under real RBAC."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from calico.cli.main import cli
from calico.errors import CalicoError
from calico.orchestrators.kubernetes.api.client import Client
from calico.orchestrators.kubernetes.api.connection import APIConnection
from calico.orchestrators.kubernetes.controllers.services import slices_path
from cluster.loopback import KubernetesServers

pytestmark = [pytest.mark.etcd, pytest.mark.kubernetes, pytest.mark.timeout(180)]

PLAIN = ["--etcd-endpoints", "http://192.0.2.1:2379", "--image", "localhost/calico:1", "--pool", "10.65.0.0/16"]
ALL = [
    "--etcd-endpoints", "https://192.0.2.1:2379,https://192.0.2.2:2379", "--image", "localhost/calico:1",
    "--pool", "10.65.0.0/16", "--pool", "fd65::/48", "--encapsulation", "VXLANCrossSubnet", "--no-bgp",
    "--mtu", "1400", "--pull-policy", "Never", "--no-nat-outgoing", "--replicas", "1", "--namespace", "calico-system",
]  # fmt: skip


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KubernetesServers]:
    made = KubernetesServers(tmp_path_factory.mktemp("kube"))
    made.kubectl("create", "namespace", "calico-system")
    yield made
    made.close()


def _manifest(*options: str) -> str:
    done = CliRunner().invoke(cli, ["kubernetes", "manifest", *options])
    assert done.exit_code == 0, done.output
    return done.output


def test_the_api_server_takes_every_object_with_every_field_that_it_has(
    servers: KubernetesServers, tmp_path: Path
) -> None:
    for name in ("ca", "cert", "key"):
        (tmp_path / name).write_text(f"{name}\n")
    files = [part for name in ("ca", "cert", "key") for part in (f"--etcd-{name}-file", str(tmp_path / name))]
    for options in (PLAIN, [*ALL, *files]):
        text = _manifest(*options)
        said = servers.kubectl("apply", "--dry-run=server", "--validate=true", "-f", "-", stdin=text).splitlines()
        assert len(said) == text.count("\nkind: ") + text.startswith("kind: ")
        assert all(line.endswith("(server dry run)") for line in said)


def test_a_field_that_kubernetes_does_not_have_is_refused(servers: KubernetesServers) -> None:
    """The test above can fail."""
    text = _manifest(*PLAIN).replace("hostNetwork:", "hostNetwerk:")
    with pytest.raises(AssertionError, match="hostNetwerk"):
        servers.kubectl("apply", "--dry-run=server", "--validate=true", "-f", "-", stdin=text)


async def test_the_controllers_account_may_follow_what_they_follow_and_read_no_secret(
    servers: KubernetesServers,
) -> None:
    servers.kubectl("apply", "-f", "-", stdin=_manifest(*PLAIN))
    account = "/api/v1/namespaces/kube-system/serviceaccounts/calico-kube-controllers/token"
    async with Client(servers.connection) as admin:
        request = {"kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1", "spec": {}}
        token = (await admin.create(account, request))["status"]["token"]
    connection = APIConnection(server=servers.connection.server, insecure=True, token=token)
    async with Client(connection) as client:
        for path in ("/api/v1/services", await slices_path(client), "/api/v1/pods", "/api/v1/namespaces"):
            _, version = await client.list(path)
            assert version
        with pytest.raises(CalicoError, match="forbidden"):
            await client.list("/api/v1/secrets")
        with pytest.raises(CalicoError, match="forbidden"):
            await client.delete("/api/v1/namespaces/kube-system/services/none")


def test_status_says_what_is_missing_in_a_cluster_where_nothing_runs(servers: KubernetesServers) -> None:
    config = servers.directory / "admin.kubeconfig"
    document = {
        "apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{"name": "c", "cluster": {"server": servers.connection.server, "insecure-skip-tls-verify": True}}],
        "users": [{"name": "c", "user": {"token": servers.connection.token}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "c"}}],
    }  # fmt: skip
    config.write_text(json.dumps(document))
    servers.kubectl(
        "apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}})
    )
    command = [sys.executable, "-m", "calico", "kubernetes", "status", "--kubeconfig", str(config), "-o", "json"]
    environment = {**os.environ, "ETCD_ENDPOINTS": servers.etcd_url}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 1, done.stderr
    lines = {line["what"]: line for line in json.loads(done.stdout)["lines"]}
    assert lines["API server"]["said"] == "v1.20.2"
    assert [what for what, line in lines.items() if not line["good"]] == [
        "datastore", "controllers", "services", "node n1"
    ]  # fmt: skip
    assert "Calico has no Node" in lines["node n1"]["said"]
