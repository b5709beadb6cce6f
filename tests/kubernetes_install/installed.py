"""What a person looks at after ``kubectl apply``: pods, the node, an address, packets; and after ``kubectl delete``."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from calico.dataplane.netns import create_netns
from cluster.binaries import kubernetes_binaries
from cluster.control_plane import ControlPlane
from cluster.node import BareHost, Node, node_users
from cluster.whole import AGNHOST
from functional.runtimes.containerd_runtime import Containerd
from functional.runtimes.images import docker_archive
from stack.process import Process, until

__all__ = ["NETNS", "check_installation"]

NETNS, NODE = "kinstall", "node1"
_PLANE, _HERE = "172.30.0.1", "172.30.0.2"
_ETCD = f"http://{_PLANE}:2379"
_PODS = "/api/v1/namespaces/shop/pods"
_READY_S = 180


class _Plain(Containerd):
    """As a distribution's: pods' network namespaces are in /run/netns; no network until one is installed."""

    waits_for_network = False
    config = Containerd.config.replace("netns_mounts_under_state_dir = true\n", "")


def check_installation(image: Path, folder: Path) -> None:
    """AssertionError, with logs, for the first thing that is not as the how-to says."""
    kubernetes_binaries()
    with _cluster(folder) as (plane, node):
        reference = _import(node, image)
        _say("the kubelet takes the node, without a network")
        manifest = _manifest(node, reference)
        try:
            _installed(plane, manifest)
            _attached(plane)
            _enforced(plane)
            _renewed(plane)
            _deleted(plane, node, manifest)
            _applied_again(plane, manifest)
        except BaseException:
            print(_all_words(plane, node), flush=True)
            raise
    print("the manifest works", flush=True)


# ---- the cluster


@contextmanager
def _cluster(folder: Path) -> Iterator[tuple[ControlPlane, Node]]:
    """A control plane with an etcd for Calico, and one node joined by a cable; the node has no network plugin."""
    for name in ("plane", NETNS):
        create_netns(name)
        _ip("-n", name, "link", "set", "lo", "up")
    _ip("-n", "plane", "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", NETNS)
    for name, address in (("plane", _PLANE), (NETNS, _HERE)):
        _ip("-n", name, "addr", "add", f"{address}/24", "dev", "eth0")
        _ip("-n", name, "link", "set", "eth0", "up")
    _ip("-n", NETNS, "route", "add", "default", "via", _PLANE)
    datastore = ["--listen-client-urls", _ETCD, "--advertise-client-urls", _ETCD, "--unsafe-no-fsync"]
    datastore += ["--data-dir", str(folder / "etcd"), "--log-level", "error"]
    datastore += ["--auto-compaction-mode=periodic", "--auto-compaction-retention=1h"]
    etcd = Process("etcd", [*_enter("plane"), "etcd", *datastore], folder / "etcd.log")
    etcd.start()
    users = node_users(NODE)
    try:
        with ControlPlane(folder / "plane", "plane", _PLANE, users=users, controllers="*", scheduler=True) as plane:
            archive = folder / "images.tar"
            docker_archive(archive, {AGNHOST: kubernetes_binaries() / "agnhost"})
            node = Node(BareHost(plane, folder / "host", NETNS, NODE), archive, _HERE, {}, _Plain)
            try:
                node.start()
                until("the node is known", lambda: plane.api.list("/api/v1/nodes"), 60, dump=node.kubelet.last_words)
                yield plane, node
            finally:
                node.close()
    finally:
        etcd.stop()


def _import(node: Node, image: Path) -> str:
    """The name of our image in the node's containerd."""
    node.containerd.ctr("-n", "k8s.io", "images", "import", str(image), timeout=300)
    names = node.containerd.ctr("-n", "k8s.io", "images", "ls", "-q").split()
    return next(name for name in names if "calico-network" in name)


def _manifest(node: Node, image: str) -> str:
    command = ["kubernetes", "manifest", "--image", image, "--pull-policy", "Never", "--etcd-endpoints", _ETCD]
    command += ["--pool", "10.65.0.0/16", "--replicas", "1"]
    command += ["--cni-bin-dir", str(node.site.bin_dir), "--cni-conf-dir", str(node.site.conf_dir)]
    return _calico(*command)


# ---- what is looked at


def _installed(plane: ControlPlane, manifest: str) -> None:
    ready = _conditions(plane)
    assert ready["Ready"]["status"] == "False", ready["Ready"]
    plane.kubectl("apply", "-f", "-", stdin=manifest)
    for what in ("daemonset/calico-node", "deployment/calico-kube-controllers"):
        plane.kubectl("-n", "kube-system", "rollout", "status", what, f"--timeout={_READY_S}s")
    plane.kubectl("-n", "kube-system", "wait", "--for=condition=complete", "job/calico-pools", "--timeout=60s")
    until("the node is ready", lambda: _conditions(plane)["Ready"]["status"] == "True", 60)
    print(plane.kubectl("-n", "kube-system", "get", "pods", "-o", "wide"), flush=True)
    _say("pods of the manifest run, the node is ready")

    def well() -> bool:
        done = _status(plane)
        return done.returncode == 0

    until("calico kubernetes status is content", well, 60, dump=lambda: _status(plane).stdout)
    print(_status(plane).stdout, flush=True)


def _conditions(plane: ControlPlane) -> Mapping[str, Any]:
    found = plane.api.get(f"/api/v1/nodes/{NODE}")["status"].get("conditions", [])
    return {"Ready": {"status": "False"}, **{one["type"]: one for one in found}}


def _attached(plane: ControlPlane) -> None:
    plane.add_namespace("shop")
    plane.api.create(_PODS, _pod("server", ["/agnhost", "netexec", "--http-port=80"]))
    for name in ("friend", "other"):
        plane.api.create(_PODS, _pod(name, ["/bin/sleep", "100000"]))
    plane.kubectl("-n", "shop", "wait", "--for=condition=ready", "pod", "--all", "--timeout=90s")
    address = _address(plane)
    assert address.startswith("10.65."), address
    until("both clients reach the server", lambda: _reaching(plane) == {"friend", "other"}, 30)
    _say(f"pods have addresses ({address}) and reach one another")


def _enforced(plane: ControlPlane) -> None:
    friends = [{"podSelector": {"matchLabels": {"role": "friend"}}}]
    spec = {"podSelector": {"matchLabels": {"role": "server"}}, "ingress": [{"from": friends}]}
    policies = "/apis/networking.k8s.io/v1/namespaces/shop/networkpolicies"
    plane.api.create(policies, {"metadata": {"name": "friends"}, "spec": spec})
    until("only the friend reaches the server", lambda: _reaching(plane) == {"friend"}, 30)
    _say("a NetworkPolicy holds")


def _renewed(plane: ControlPlane) -> None:
    """As after an upgrade; the policy holds while nobody of ours runs on the node."""
    restart = ["-n", "kube-system", "rollout"]
    before = _agent(plane)
    plane.kubectl(*restart, "restart", "daemonset/calico-node")
    until("the pod of the node ends", lambda: _agent(plane) != before, 60)
    assert _reaching(plane) == {"friend"}, "filters do not stay while the node's pod is renewed"
    plane.kubectl(*restart, "status", "daemonset/calico-node", f"--timeout={_READY_S}s")
    assert _reaching(plane) == {"friend"}, "the renewed pod opens what was closed"
    print(plane.kubectl("-n", "kube-system", "exec", _agent(plane), "-c", "felix", "--", "calico", "node", "status"))
    _say("the DaemonSet's pod is renewed, and the policy held")


def _agent(plane: ControlPlane) -> str:
    """The name of the DaemonSet's pod; empty while there is none."""
    pods = plane.api.list("/api/v1/namespaces/kube-system/pods")
    names = (pod["metadata"]["name"] for pod in pods if pod["metadata"]["labels"]["k8s-app"] == "calico-node")
    return next(names, "")


def _deleted(plane: ControlPlane, node: Node, manifest: str) -> None:
    plane.kubectl("delete", "-f", "-", "--timeout=120s", stdin=manifest)
    until("its pods are gone", lambda: not plane.api.list("/api/v1/namespaces/kube-system/pods"), 90)
    left = [
        line for line in node.site.run("ps", "-eo", "args").splitlines() if "bird" in line or "calico felix" in line
    ]
    assert not left, left
    assert _reaching(plane) == {"friend"}, "filters do not stay as they were"
    plane.api.create(_PODS, _pod("late", ["/bin/sleep", "100000"]))
    until("the runtime is refused a network", lambda: "FailedCreatePodSandBox" in _reasons(plane, "late"), 90)
    _say("the manifest is deleted: the policy still holds, and a new pod gets no network")


def _applied_again(plane: ControlPlane, manifest: str) -> None:
    plane.kubectl("apply", "-f", "-", stdin=manifest)
    plane.kubectl("-n", "kube-system", "rollout", "status", "daemonset/calico-node", f"--timeout={_READY_S}s")
    plane.kubectl("-n", "shop", "wait", "--for=condition=ready", "pod/late", "--timeout=120s")
    assert _reaching(plane, "friend", "other", "late") == {"friend"}
    plane.api.set_labels(f"{_PODS}/late", {"role": "friend"})
    until("the late one is a friend", lambda: _reaching(plane, "friend", "other", "late") == {"friend", "late"}, 60)
    _say("applied again: the pod that waited is attached, and policy follows its labels")


def _reasons(plane: ControlPlane, pod: str) -> set[str]:
    """Of the events about a pod."""
    events = plane.api.list("/api/v1/namespaces/shop/events")
    return {event.get("reason", "") for event in events if event["involvedObject"].get("name") == pod}


def _pod(name: str, command: list[str]) -> dict[str, Any]:
    main = {"name": "main", "image": AGNHOST, "imagePullPolicy": "Never", "command": command}
    spec = {"containers": [main], "terminationGracePeriodSeconds": 0}
    return {"metadata": {"name": name, "labels": {"role": name}}, "spec": spec}


def _address(plane: ControlPlane) -> str:
    return str(plane.api.get(f"{_PODS}/server")["status"]["podIP"])


def _reaching(plane: ControlPlane, *clients: str) -> set[str]:
    """The clients whose TCP connection to the server is made within two seconds."""
    kubectl = [*plane.enter, str(plane.binaries / "kubectl"), "-n", "shop", "--kubeconfig", plane.kubeconfig("admin")]
    ask = ["--", "/agnhost", "connect", f"{_address(plane)}:80", "--timeout=2s"]
    found = set()
    for name in clients or ("friend", "other"):
        done = subprocess.run([*kubectl, "exec", name, *ask], capture_output=True, text=True, check=False)
        assert done.returncode == 0 or "TIMEOUT" in done.stderr, f"{name}: {done.stdout}{done.stderr}"
        if done.returncode == 0:
            found.add(name)
    return found


# ---- by hand


def _status(plane: ControlPlane) -> subprocess.CompletedProcess[str]:
    command = [*plane.enter, sys.executable, "-m", "calico", "kubernetes", "status"]
    command += ["--kubeconfig", plane.kubeconfig("admin")]
    return subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
        env={**os.environ, "ETCD_ENDPOINTS": _ETCD},
    )  # fmt: skip


def _calico(*arguments: str) -> str:
    return subprocess.run(
        [sys.executable, "-m", "calico", *arguments], capture_output=True, text=True, check=True
    ).stdout


def _enter(netns: str) -> list[str]:
    return ["nsenter", f"--net=/run/netns/{netns}"]


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)


def _say(what: str) -> None:
    print(what, flush=True)


def _all_words(plane: ControlPlane, node: Node) -> str:
    """What each container of ours and each pod's events said."""
    words = [node.kubelet.last_words()]
    for pod in plane.api.list("/api/v1/namespaces/kube-system/pods"):
        states = json.dumps([pod["status"].get("initContainerStatuses"), pod["status"].get("containerStatuses")])
        words.append(f"---- {pod['metadata']['name']}: {states}")
    for log in sorted(Path("/var/log/pods").rglob("*.log")):
        words.append(f"---- {log}\n" + "\n".join(log.read_text(errors="replace").splitlines()[-15:]))
    for event in plane.api.list("/api/v1/events"):
        words.append(f"{event['involvedObject'].get('name')}: {event.get('reason')}: {event.get('message')}")
    return "\n".join(words)
