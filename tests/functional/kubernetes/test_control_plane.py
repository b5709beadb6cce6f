"""The harness itself: a real API server with real authentication and authorization."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from calico.dataplane.netns import list_netns
from cluster.api import Refused
from cluster.control_plane import ControlPlane, own_control_plane
from stack.process import until

pytestmark = [pytest.mark.root, pytest.mark.etcd, pytest.mark.kubernetes, pytest.mark.timeout(180)]

_RULES = {"rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}]}


@pytest.fixture(scope="module")
def plane() -> Iterator[ControlPlane]:
    with own_control_plane() as made:
        yield made


def test_a_user_may_do_what_roles_allow_and_nothing_else(plane: ControlPlane) -> None:
    user = plane.api_of("nobody")
    with pytest.raises(Refused, match="403 Forbidden"):
        user.list("/api/v1/pods")
    group = "/apis/rbac.authorization.k8s.io/v1"
    plane.api.create(f"{group}/clusterroles", {"metadata": {"name": "lists-pods"}, **_RULES})
    binding = {"roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "lists-pods"},
               "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "nobody"}]}  # fmt: skip
    plane.api.create(f"{group}/clusterrolebindings", {"metadata": {"name": "lists-pods"}, **binding})
    assert user.list("/api/v1/pods") == []
    with pytest.raises(Refused, match="403 Forbidden"):
        user.list("/api/v1/secrets")


def test_tokens_are_checked_and_those_of_service_accounts_name_them(plane: ControlPlane) -> None:
    with pytest.raises(Refused, match="401 Unauthorized"):
        plane.api_with("made-up").get("/api/v1/pods")
    token = plane.service_account_token("default", "default")
    with pytest.raises(Refused, match="system:serviceaccount:default:default"):
        plane.api_with(token).get("/api/v1/pods")


def test_the_api_server_keeps_its_objects_over_a_kill(plane: ControlPlane) -> None:
    plane.add_namespace("kept", {"team": "blue"})
    plane.kill("kube-apiserver")
    with pytest.raises(OSError):
        plane.api.get("/api/v1/namespaces/kept")
    plane.start("kube-apiserver")
    assert plane.api.get("/api/v1/namespaces/kept")["metadata"]["labels"]["team"] == "blue"
    assert "kept" in plane.kubectl("get", "namespaces")


_DIES = """
import os, signal
from cluster.control_plane import own_control_plane
with own_control_plane(controllers="") as plane:
    print(plane.netns, plane.processes["kube-apiserver"].pid, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_run_that_is_killed_leaves_nothing() -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    done = subprocess.run([sys.executable, "-c", _DIES], capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == -signal.SIGKILL, done.stderr
    netns, pid = done.stdout.split()
    until("the namespace is gone", lambda: netns not in list_netns())
    until("the API server has ended", lambda: not Path("/proc", pid).exists())
