"""Which API server a network's pods are asked of, and what is told there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from calico.orchestrators.cni.protocol.fault import PluginError
from calico.orchestrators.cni.protocol.netconf import NetConf, decode_config
from calico.orchestrators.cni.workload.api_pods import ApiPods, is_pod, told_attached, told_detached
from calico.orchestrators.cni.workload.pods import NoKubernetes, pod_facts
from calico.orchestrators.cni.workload.sources import PodSources


def network(**more: object) -> NetConf:
    return decode_config(json.dumps({"cniVersion": "1.0.0", "name": "net", "type": "calico", **more}).encode())


def kubeconfig(path: Path, token: str = "t") -> Path:
    path.write_text(json.dumps({
        "clusters": [{"name": "c", "cluster": {"server": "http://192.0.2.1"}}], "current-context": "x",
        "users": [{"name": "u", "user": {"token": token}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
    }))  # fmt: skip
    return path


def test_a_network_without_kubernetes_asks_nobody() -> None:
    assert isinstance(PodSources().of(network(policy={"type": "k8s"})), NoKubernetes)


async def test_a_source_is_kept_while_its_file_says_the_same(tmp_path: Path) -> None:
    sources, path = PodSources(), kubeconfig(tmp_path / "kubeconfig")
    config = network(kubernetes={"kubeconfig": str(path)})
    first = sources.of(config)
    assert isinstance(first, ApiPods)
    assert sources.of(config) is first
    kubeconfig(path, "renewed")
    assert sources.of(config) is not first
    await sources.close()


async def test_an_api_root_with_credentials_needs_no_file() -> None:
    sources = PodSources()
    config = network(policy={"type": "k8s", "k8s_api_root": "http://192.0.2.1", "k8s_auth_token": "t"})
    assert isinstance(sources.of(config), ApiPods)
    await sources.close()


def test_a_file_that_is_not_there_is_to_be_waited_for_and_a_wrong_one_is_named(tmp_path: Path) -> None:
    path = tmp_path / "kubeconfig"
    config = network(kubernetes={"kubeconfig": str(path)})
    with pytest.raises(PluginError, match=r"kubernetes\.kubeconfig") as missing:
        PodSources().of(config)
    path.write_text("current-context: nowhere\n")
    with pytest.raises(PluginError, match=r"kubernetes\.kubeconfig.*contexts") as wrong:
        PodSources().of(config)
    assert (missing.value.code, wrong.value.code) == (11, 7)


def test_a_root_that_is_no_url_is_refused() -> None:
    with pytest.raises(PluginError, match="k8s_api_root"):
        network(kubernetes={"k8s_api_root": "kubernetes.default"})


def test_facts_of_a_pod_without_anything() -> None:
    assert pod_facts({"metadata": {"labels": None}, "spec": None}, {}).labels == {}


def test_the_kubelets_own_pods_are_known_by_their_mirrors() -> None:
    mirror = {"metadata": {"uid": "1", "annotations": {"kubernetes.io/config.mirror": "2"}}}
    assert [is_pod(mirror, uid) for uid in ("1", "2", "3")] == [True, True, False]


def test_what_a_pod_is_told() -> None:
    told = told_attached(["10.0.0.1/32", "fd00::1/128"], "box")["metadata"]["annotations"]
    assert told == {
        "cni.projectcalico.org/podIP": "10.0.0.1/32",
        "cni.projectcalico.org/podIPs": "10.0.0.1/32,fd00::1/128",
        "cni.projectcalico.org/containerID": "box",
    }
    test, *writes = told_detached("box")
    path = "/metadata/annotations/cni.projectcalico.org~1"
    assert test == {"op": "test", "path": f"{path}containerID", "value": "box"}
    assert [(one["op"], one["path"], one["value"]) for one in writes] == [
        ("add", f"{path}podIP", ""),
        ("add", f"{path}podIPs", ""),
    ]
