"""The harness itself: a real API server with real authentication and authorization."""

from collections.abc import Iterator

import pytest

from cluster.api import Refused
from cluster.control_plane import ControlPlane, own_control_plane

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
