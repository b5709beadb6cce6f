"""The controllers on a real API server, with exactly the role that is shipped, into a real etcd."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from calico.dataplane.netns import in_netns
from calico.model.codec import encode
from calico.model.defaults import with_defaults
from calico.orchestrators.kubernetes.convert import namespace_to_profile, service_account_to_profile
from calico.orchestrators.kubernetes.convert.closed import network_policy_or_closed
from cluster.api import Refused
from cluster.following import RESOURCES, Following, following

pytestmark = [pytest.mark.root, pytest.mark.etcd, pytest.mark.kubernetes, pytest.mark.timeout(240)]

NETWORKING = "/apis/networking.k8s.io/v1"
CNP = "/apis/policy.networking.k8s.io/v1alpha2/clusternetworkpolicies"
HEALTH = 9098
KUBE_ETCD = "http://127.0.0.1:32379"


@pytest.fixture(scope="module")
def world() -> Iterator[Following]:
    with following() as made:
        yield made


@pytest.fixture
def led(world: Following) -> Following:
    """With one leader."""
    if not (world.daemons.get("one") and world.daemons["one"].running):
        world.start("one", "--health-port", str(HEALTH))
        world.until("one leads", lambda: str(world.daemons["one"].pid) in world.holder())
    return world


def make_namespace(world: Following, name: str, **labels: str) -> None:
    world.plane.api.create("/api/v1/namespaces", {"metadata": {"name": name, "labels": labels}})


def make_policy(world: Following, namespace: str, name: str, spec: dict[str, Any]) -> None:
    body = {"metadata": {"name": name, "namespace": namespace}, "spec": spec}
    world.plane.api.create(f"{NETWORKING}/namespaces/{namespace}/networkpolicies", body)


def endpoint(namespace: str, pod: str, orchestrator: str = "k8s", **labels: str) -> tuple[str, dict[str, Any]]:
    """What a CNI plugin writes."""
    doubled = pod.replace("-", "--")
    name = f"n1-{orchestrator}-{doubled}-eth0"
    spec = {"orchestrator": orchestrator, "node": "n1", "pod": pod, "endpoint": "eth0", "interfaceName": "cali1",
            "ipNetworks": ["10.65.0.2/32"], "profiles": [f"kns.{namespace}"], "futureField": 7}  # fmt: skip
    metadata = {"name": name, "namespace": namespace, "labels": labels, "uid": "u",
                "creationTimestamp": "2024-01-01T00:00:00Z"}  # fmt: skip
    body = {"kind": "WorkloadEndpoint", "apiVersion": "projectcalico.org/v3", "metadata": metadata, "spec": spec}
    return f"{RESOURCES}/workloadendpoints/{namespace}/{name}", body


def recomputed(world: Following) -> dict[str, Any]:
    """What the datastore must hold of ours: the conversion of everything that the API holds now."""
    api, found = world.plane.api, {}
    for item in api.get("/api/v1/namespaces")["items"]:
        made: Any = namespace_to_profile(item["metadata"]["name"], item["metadata"].get("labels") or {})
        found[f"profiles/{made.metadata.name}"] = made
    for item in api.get("/api/v1/serviceaccounts")["items"]:
        metadata = item["metadata"]
        made = service_account_to_profile(metadata["namespace"], metadata["name"], metadata.get("labels") or {})
        found[f"profiles/{made.metadata.name}"] = made
    for item in api.get(f"{NETWORKING}/networkpolicies")["items"]:
        made = network_policy_or_closed(item).policy
        found[f"networkpolicies/{item['metadata']['namespace']}/{made.metadata.name}"] = made
    return {key: json.loads(encode(with_defaults(made))).get("spec", {}) for key, made in found.items()}


def actual(world: Following) -> dict[str, Any]:
    profiles = {f"profiles/{name}": spec for name, spec in world.specs("profiles").items()}
    policies = {f"networkpolicies/{name}": spec for name, spec in world.specs("networkpolicies").items()}
    ours = ("profiles/kns.", "profiles/ksa.")
    mine = {key: spec for key, spec in profiles.items() if key.startswith(ours)}
    return mine | {key: spec for key, spec in policies.items() if "/knp.default." in key}


def settles(world: Following) -> None:
    world.until("the datastore is what a recomputation gives", lambda: actual(world) == recomputed(world))


def health(world: Following, question: str) -> tuple[int, list[str]]:
    """Status and problems."""

    def ask() -> tuple[int, list[str]]:
        connection = http.client.HTTPConnection("localhost", HEALTH, timeout=10)
        connection.request("GET", f"/{question}")
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())["problems"]

    return in_netns(world.plane.netns, ask)


def test_namespaces_accounts_and_policies_become_resources_and_go_with_them(led: Following) -> None:
    make_namespace(led, "shop", team="red")
    account = {"metadata": {"name": "till", "namespace": "shop", "labels": {"tier": "gold"}}}
    led.plane.api.create("/api/v1/namespaces/shop/serviceaccounts", account)
    port = {"protocol": "TCP", "port": 80}
    make_policy(led, "shop", "web", {"podSelector": {"matchLabels": {"app": "web"}}, "ingress": [{"ports": [port]}]})
    settles(led)
    given = led.specs("profiles")["kns.shop"]["labelsToApply"]
    assert (given["pcns.team"], given["pcns.projectcalico.org/name"]) == ("red", "shop")
    assert led.specs("profiles")["ksa.shop.till"]["labelsToApply"]["pcsa.tier"] == "gold"
    spec = led.specs("networkpolicies")["shop/knp.default.web"]
    assert spec["selector"] == "projectcalico.org/orchestrator == 'k8s' && app == 'web'"
    assert spec["ingress"][0]["destination"]["ports"] == [80]

    led.plane.api.request("DELETE", f"{NETWORKING}/namespaces/shop/networkpolicies/web")
    led.plane.api.request("DELETE", "/api/v1/namespaces/shop/serviceaccounts/till")
    led.until("they went", lambda: "shop/knp.default.web" not in led.specs("networkpolicies")
              and "ksa.shop.till" not in led.specs("profiles"))  # fmt: skip
    settles(led)


def test_what_others_made_is_left_alone_and_what_they_do_to_ours_is_put_right(led: Following) -> None:
    foreign = """
{"apiVersion": "projectcalico.org/v3", "kind": "NetworkPolicy",
 "metadata": {"name": "mine", "namespace": "default"}, "spec": {"selector": "all()"}}
---
{"apiVersion": "projectcalico.org/v3", "kind": "Profile", "metadata": {"name": "openstack-sg-1"}}
"""
    led.calico("apply", "-f", "-", stdin=foreign)
    settles(led)
    before = led.stored(f"{RESOURCES}/profiles/openstack-sg-1"), led.stored(f"{RESOURCES}/networkpolicies/default/mine")
    key = f"{RESOURCES}/profiles/kns.default"
    value, revision = led.stored(key)[key]
    led.put(key, {**value, "spec": {**value["spec"], "ingress": []}})
    led.until("it is allowed again", lambda: led.stored(key)[key][0]["spec"] == value["spec"]
              and led.stored(key)[key][1] > revision + 1)  # fmt: skip
    led.etcdctl("del", key)
    led.until("it is there again", lambda: led.stored(key))
    led.put(f"{RESOURCES}/profiles/kns.ghost", {**value, "metadata": {**value["metadata"], "name": "kns.ghost"}})
    led.until("a profile of no namespace went", lambda: "kns.ghost" not in led.specs("profiles"))
    settles(led)
    after = led.stored(f"{RESOURCES}/profiles/openstack-sg-1"), led.stored(f"{RESOURCES}/networkpolicies/default/mine")
    assert before == after
    assert all(before)


def test_labels_and_account_of_a_pods_endpoint_follow_and_no_endpoint_is_made_or_deleted(led: Following) -> None:
    api = led.plane.api
    make_namespace(led, "pods")
    led.plane._await_account("pods")
    for name in ("web-1", "bare"):
        container = {"name": "c", "image": "none"}
        body = {"metadata": {"name": name, "labels": {"app": name}}, "spec": {"containers": [container]}}
        api.create("/api/v1/namespaces/pods/pods", body)
    ours, body = endpoint("pods", "web-1", app="old")
    other, other_body = endpoint("pods", "web-1", orchestrator="cni", app="old")
    ghost, ghost_body = endpoint("pods", "gone", app="old")
    for key, value in ((ours, body), (other, other_body), (ghost, ghost_body)):
        led.put(key, value)
    wanted = {"app": "web-1", "projectcalico.org/namespace": "pods", "projectcalico.org/orchestrator": "k8s",
              "projectcalico.org/serviceaccount": "default"}  # fmt: skip
    led.until("the labels are the pod's", lambda: led.stored(ours)[ours][0]["metadata"]["labels"] == wanted)
    spec = led.stored(ours)[ours][0]["spec"]
    assert (spec["serviceAccountName"], spec["profiles"]) == ("default", ["kns.pods", "ksa.pods.default"])
    assert (spec["futureField"], spec["ipNetworks"]) == (7, ["10.65.0.2/32"]), "the rest is whoever wrote it's"

    api.patch("/api/v1/namespaces/pods/pods/web-1", {"metadata": {"labels": {"app": "new"}}})
    led.until("it follows", lambda: led.stored(ours)[ours][0]["metadata"]["labels"]["app"] == "new")
    api.request("DELETE", "/api/v1/namespaces/pods/pods/web-1?gracePeriodSeconds=0")
    api.patch("/api/v1/namespaces/pods/pods/bare", {"metadata": {"labels": {"app": "done"}}})
    make_namespace(led, "later")
    settles(led)  # what came after it was seen
    kept = led.stored(f"{RESOURCES}/workloadendpoints/")
    assert set(kept) == {ours, other, ghost}
    assert kept[other][0] == other_body
    assert kept[ghost][0] == ghost_body
    for key in kept:
        led.etcdctl("del", key)


def test_a_policy_that_cannot_be_converted_allows_nothing_and_says_so_on_itself(led: Following) -> None:
    make_namespace(led, "odd")
    # more exceptions than a rule of Calico may have; they cannot be spread over several rules
    many = [f"10.{n // 256}.{n % 256}.0/24" for n in range(300)]
    spec = {
        "podSelector": {},
        "ingress": [
            {"from": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": many}}]},
            {"from": [{"podSelector": {"matchLabels": {"app": "good"}}}]},
        ],
    }
    make_policy(led, "odd", "strange", spec)
    stored = led.until("it is stored", lambda: led.specs("networkpolicies").get("odd/knp.default.strange"))
    assert [rule["source"].get("selector", "") for rule in stored["ingress"]] == [
        "projectcalico.org/orchestrator == 'k8s' && app == 'good'"
    ]

    def told() -> list[dict[str, Any]]:
        events = led.plane.api.get("/api/v1/namespaces/odd/events")["items"]
        return [e for e in events if e["involvedObject"].get("name") == "strange"]

    led.until("an Event says so", told)
    [event] = told()
    assert (event["reason"], event["type"]) == ("NotFullyConverted", "Warning")
    assert "spec.ingress" in event["message"]


def test_cluster_policies_become_tiers_and_what_is_not_supported_denies(led: Following) -> None:
    everyone = {"namespaces": {}}
    rules = [
        {
            "name": "ok",
            "action": "Accept",
            "from": [everyone],
            "protocols": [{"tcp": {"destinationPort": {"number": 80}}}, {"destinationNamedPort": "w"}],
        },
        {"action": "Pass", "from": [{"somebody": {}}]},
    ]
    egress = [{"action": "Accept", "to": [{"domainNames": ["*.example.org"]}]},
              {"action": "Deny", "to": [{"networks": ["10.9.0.0/16"]}]}]  # fmt: skip
    metadata = {"name": "fence"}
    spec = {"tier": "Admin", "priority": 7, "subject": everyone, "ingress": rules, "egress": egress}
    body = {"apiVersion": "policy.networking.k8s.io/v1alpha2", "kind": "ClusterNetworkPolicy"}
    led.plane.api.create(CNP, {**body, "metadata": metadata, "spec": spec})
    led.plane.api.create(CNP, {**body, "metadata": {"name": "base"}, "spec": {
        "tier": "Baseline", "priority": 1, "subject": {"pods": {"podSelector": {"matchLabels": {"a": "b"}}}},
        "ingress": [{"action": "Deny", "from": [everyone]}]}})  # fmt: skip
    led.until(
        "both are there", lambda: {"kcnp.admin.fence", "kcnp.baseline.base"} <= set(led.specs("globalnetworkpolicies"))
    )
    made = led.specs("globalnetworkpolicies")
    fence, base = made["kcnp.admin.fence"], made["kcnp.baseline.base"]
    assert (fence["tier"], fence["order"], fence["types"]) == ("kube-admin", 7, ["Ingress", "Egress"])
    assert [rule["action"] for rule in fence["ingress"]] == ["Allow", "Allow", "Allow", "Allow", "Deny"]
    assert not fence["ingress"][-1].get("source"), "everything is denied in its place"
    assert [rule["destination"]["nets"] for rule in fence["egress"]] == [["10.9.0.0/16"]]
    assert (base["tier"], base["types"]) == ("kube-baseline", ["Ingress"])

    def condition(name: str) -> str:
        conditions = led.plane.api.get(f"{CNP}/{name}").get("status", {}).get("conditions", ())
        return "".join(c["status"] + c["message"] for c in conditions if c["type"] == "projectcalico.org/Accepted")

    led.until("its condition says what was not converted", lambda: condition("fence").startswith("False"))
    assert "spec.ingress[1] denies everything" in condition("fence")
    assert "spec.egress[0] is left out" in condition("fence")
    led.until("the other is well", lambda: condition("base").startswith("True"))
    led.plane.api.patch(f"{CNP}/fence", {"spec": {"tier": "Baseline"}})
    led.until("it moved", lambda: {n for n in led.specs("globalnetworkpolicies") if n.endswith("fence")} ==
              {"kcnp.baseline.fence"})  # fmt: skip
    for name in ("fence", "base"):
        led.plane.api.request("DELETE", f"{CNP}/{name}")
    led.until("both went", lambda: not any(name.startswith("kcnp.") for name in led.specs("globalnetworkpolicies")))


def test_the_role_allows_what_is_needed_and_nothing_else(led: Following) -> None:
    """The tests above run with exactly this role; what is not in it is refused by the API server."""
    api = led.plane.api_with(led.token.read_text())
    assert api.get("/api/v1/namespaces")["items"]
    pod = "/api/v1/namespaces/default/pods/x"
    refused = [
        ("DELETE", "/api/v1/namespaces/default", None),
        ("POST", "/api/v1/namespaces/default/pods", {"metadata": {"name": "x"}}),
        ("PATCH", pod, {"metadata": {"labels": {"a": "b"}}}),
        ("GET", "/api/v1/secrets", None),
        ("GET", "/api/v1/namespaces/kube-system/secrets", None),
        ("DELETE", f"{NETWORKING}/namespaces/default/networkpolicies/x", None),
        ("PATCH", f"{CNP}/x", {"spec": {"priority": 1}}),
        ("GET", "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/another", None),
        ("DELETE", "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/calico-kube-controllers", None),
        ("DELETE", "/api/v1/nodes/n1", None),
        ("POST", "/apis/rbac.authorization.k8s.io/v1/clusterroles", {"metadata": {"name": "more"}, "rules": []}),
    ]
    for verb, path, body in refused:
        content = "application/merge-patch+json" if verb == "PATCH" else "application/json"
        with pytest.raises(Refused) as answer:
            api.request(verb, path, body, content)
        assert answer.value.status == 403, (verb, path)


def test_an_api_server_that_was_killed_is_followed_again(led: Following) -> None:
    make_namespace(led, "before")
    settles(led)
    led.until("it is ready", lambda: health(led, "readiness") == (200, []))
    before = actual(led)
    led.plane.kill("kube-apiserver")
    led.until("it is noticed", lambda: "kubernetes_not_followed" in led.daemons["one"].log.read_text())
    assert actual(led) == before, "what is there stays"
    assert health(led, "liveness") == (200, [])
    status, problems = health(led, "readiness")
    assert status == 503
    assert any("/api/v1/" in problem for problem in problems), "it says what it cannot follow"
    led.plane.start("kube-apiserver")
    make_namespace(led, "after")
    settles(led)
    assert "profiles/kns.after" in actual(led)


def test_after_a_compaction_everything_is_listed_again(led: Following) -> None:
    """The daemon is paused while the API server is restarted and etcd compacted: what it knew is too old (410)."""
    settles(led)
    make_namespace(led, "doomed")
    settles(led)
    process = led.daemons["one"]
    os.kill(process.pid, signal.SIGSTOP)
    try:
        led.plane.api.request("DELETE", "/api/v1/namespaces/doomed")
        led.until("it went", lambda: _refused(led, "/api/v1/namespaces/doomed"))
        make_namespace(led, "born")
        for _ in range(3):
            led.plane.api.patch("/api/v1/namespaces/born", {"metadata": {"labels": {"n": str(_)}}})
        led.plane.kill("kube-apiserver")
        _compact(led)
        led.plane.start("kube-apiserver")
    finally:
        os.kill(process.pid, signal.SIGCONT)
    led.until("it was told that it is too old", lambda: "kubernetes_list_again" in process.log.read_text())
    settles(led)
    assert "profiles/kns.doomed" not in actual(led)
    assert "profiles/kns.born" in actual(led)


def test_an_expired_token_is_replaced_without_a_restart(led: Following) -> None:
    token = led.token.read_text()
    led.token.write_text("not a token any more")
    led.plane.kill("kube-apiserver")  # so that open watches end, too
    led.plane.start("kube-apiserver")
    make_namespace(led, "while-expired")
    led.until("it is refused", lambda: "Unauthorized" in led.daemons["one"].log.read_text())
    led.token.write_text(token)
    settles(led)
    assert "profiles/kns.while-expired" in actual(led)


def test_a_paused_leader_writes_nothing_after_another_took_over(led: Following) -> None:
    settles(led)
    old, new = led.daemons["one"], led.start("two")
    os.kill(old.pid, signal.SIGSTOP)
    try:
        led.until("two leads", lambda: f"_{new.pid}_" in led.holder())
        make_namespace(led, "handover")
        settles(led)
        os.kill(new.pid, signal.SIGSTOP)  # nobody would put right what the old one breaks
        key = f"{RESOURCES}/profiles/kns.handover"
        led.etcdctl("del", key)
        before = led.stored()
    finally:
        os.kill(old.pid, signal.SIGCONT)
    try:
        led.until("the old one noticed", lambda: "kubernetes_leader_" in old.log.read_text().rpartition("elected")[2])
        assert led.stored() == before
    finally:
        os.kill(new.pid, signal.SIGCONT)
    settles(led)
    new.stop()
    assert "Traceback" not in new.log.read_text()
    led.until("somebody leads", lambda: f"_{old.pid}_" in led.holder())


def test_killed_at_any_moment_of_a_burst_the_end_is_as_if_computed_from_scratch(led: Following) -> None:
    make_namespace(led, "burst")
    documents = [
        {"metadata": {"name": f"p{n}", "namespace": "burst"},
         "spec": {"podSelector": {"matchLabels": {"n": str(n)}}, "ingress": [{"from": [{"podSelector": {}}]}]}}
        for n in range(120)
    ]  # fmt: skip
    path = f"{NETWORKING}/namespaces/burst/networkpolicies"
    for number, document in enumerate(documents):
        led.plane.api.create(path, document)
        if number % 40 == 20:
            led.daemons["one"].kill()  # in the middle of what it was doing
            led.start("one", "--health-port", str(HEALTH))
        if number % 3 == 2:
            led.plane.api.request("DELETE", f"{path}/p{number - 2}")
    settles(led)
    assert len([key for key in actual(led) if "/burst/" in key]) == 80
    process = led.daemons["one"]
    process.stop()
    assert led.holder() == "", "who ends gives the Lease back"
    assert "Traceback" not in process.log.read_text()


def _refused(world: Following, path: str) -> bool:
    try:
        world.plane.api.get(path)
    except Refused as error:
        return error.status == 404
    return False


def _compact(world: Following) -> None:
    status = json.loads(world.etcdctl("endpoint", "status", "-w", "json", endpoint=KUBE_ETCD))
    revision = status[0]["Status"]["header"]["revision"]
    command = ["etcdctl", "--endpoints", KUBE_ETCD, "compact", str(revision)]
    subprocess.run([*world.plane.enter, *command], check=True, capture_output=True, env={"ETCDCTL_API": "3"})
