"""Staged policies on a running host: packets do not notice them, their counts say what they would do."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from felix_world import World, resource

ALLOW, DENY, PASS = ({"action": action} for action in ("Allow", "Deny", "Pass"))


def staged(name: str, *rules: dict[str, Any], **more: Any) -> dict[str, Any]:
    spec = {"selector": "app == 'b'", "types": ["Ingress"], "ingress": list(rules), **more}
    return resource("StagedGlobalNetworkPolicy", name, spec)


def counts(world: World) -> dict[str, dict[str, int]]:
    """By ``<policy> <direction>``, what was counted."""
    return {
        f"{item['policy']} {item['direction']}": {
            name: item[name] for name in ("allow", "deny", "pass", "undecided") if item[name]
        }
        for item in world.status["staged_policies"]
    }


def port(rule: dict[str, Any], *ports: Any) -> dict[str, Any]:
    return {**rule, "protocol": "TCP", "destination": {"ports": list(ports)}}


def test_a_staged_policy_counts_what_it_would_do_and_changes_no_verdict(world: World, family: int) -> None:
    world.apply(staged("p", port(ALLOW, 80), port(PASS, 81), port(DENY, 82, "90:91")))
    flows = ("tcp:80", "tcp:80", "tcp:81", "tcp:82", "tcp:91", "udp:80")
    world.expect(family, *(f"a>b {flow}" for flow in flows), "b>a udp:9")
    wanted = {"allow": 2, "pass": 1, "deny": 2, "undecided": 1}
    assert counts(world) == {"StagedGlobalNetworkPolicy p ingress": wanted}
    assert "tcp dport 80 counter packets 2" in world.ruleset(counts=True)
    world.delete("StagedGlobalNetworkPolicy", "p")
    assert counts(world) == {}
    assert "would allow" not in world.ruleset()


def test_a_staged_replacement_stands_after_the_policy_of_its_name_and_both_are_there(world: World, family: int) -> None:
    enforced = resource(
        "GlobalNetworkPolicy",
        "p",
        {"selector": "app == 'b'", "types": ["Ingress"], "order": 1, "ingress": [port(ALLOW, 80)]},
    )
    world.apply(enforced, staged("p", port(ALLOW, 80, 81), order=1))
    world.expect(family, "a>b tcp:80", "!a>b tcp:81", "!a>b tcp:82")
    found = counts(world)["StagedGlobalNetworkPolicy p ingress"]
    assert found == {"allow": 1, "undecided": 1}
    world.apply(staged("p", port(ALLOW, 80, 81), order=0.5))
    world.expect(family, "a>b tcp:80", "!a>b tcp:81")
    assert counts(world)["StagedGlobalNetworkPolicy p ingress"] == {"allow": 3, "undecided": 1}


def test_a_tier_of_staged_policies_only_is_skipped_whatever_its_default(world: World, family: int) -> None:
    world.apply(resource("Tier", "first", {"order": 1, "defaultAction": "Deny"}), staged("first.p", tier="first"))
    world.expect(family, "a>b tcp:80", "x>b icmp")
    spec = {"tier": "first", "selector": "app == 'b'", "types": ["Ingress"], "order": 5}
    world.apply(resource("GlobalNetworkPolicy", "first.q", spec))
    world.expect(family, "!a>b tcp:80", "!x>b icmp", "a>c tcp:80")


def test_staged_policies_of_one_namespace_count_its_workloads_only(world: World, family: int) -> None:
    spec = {"selector": "all()", "types": ["Egress"], "egress": [ALLOW]}
    world.apply(resource("StagedNetworkPolicy", "p", spec, "default"))
    world.expect(family, "a>b tcp:80", "c>b tcp:80", "d>b udp:5")
    assert counts(world)["StagedNetworkPolicy default/p egress"] == {"allow": 2}


def test_a_staged_kubernetes_policy_counts_as_kubernetes_would_decide(world: World, family: int) -> None:
    labels = {"projectcalico.org/orchestrator": "k8s"}
    spec = {
        "podSelector": {"matchLabels": {"app": "b"}},
        "ingress": [{"from": [{"podSelector": {"matchLabels": {"app": "a"}}}], "ports": [{"port": 80}]}],
        "policyTypes": ["Ingress"],
    }
    documents = [world.endpoint(name) for name in "ab"]
    for document in documents:
        # The typed store would write the orchestrator of the endpoint's own name.
        document["metadata"]["labels"] |= labels
    world.put_raw(
        {f"workloadendpoints/{d['metadata']['namespace']}/{d['metadata']['name']}": json.dumps(d) for d in documents}
    )
    world.apply(resource("StagedKubernetesNetworkPolicy", "p", spec, "default"))
    world.expect(family, "a>b tcp:80", "a>b tcp:81", "x>b tcp:80")
    name = "StagedKubernetesNetworkPolicy default/p ingress"
    assert counts(world)[name] == {"allow": 1, "undecided": 2}
    assert not world.conditions("resource-invalid")


def test_a_staged_removal_draft_or_nothing_is_not_programmed(world: World, family: int) -> None:
    world.apply(
        resource("StagedGlobalNetworkPolicy", "gone", {"stagedAction": "Delete"}),
        staged("draft", DENY, stagedAction="Learn"),
        staged("ignored", DENY, stagedAction="Ignore"),
    )
    world.expect(family, "a>b tcp:80")
    assert counts(world) == {}
    assert not world.conditions("resource-invalid")


def test_node_status_shows_the_counts_as_table_and_data(world: World) -> None:
    world.apply(staged("p", port(DENY, 80)))
    world.expect(4, "a>b tcp:80")

    def status(*options: str) -> str:
        words = [*world.enter("h"), sys.executable, "-m", "calico", "node", "status", "--run-dir", str(world.run_dir)]
        return subprocess.run([*words, *options], capture_output=True, text=True, check=False).stdout

    listed = json.loads(status("-o", "json"))["felix"]["staged_policies"]
    ingress = {"policy": "StagedGlobalNetworkPolicy p", "direction": "ingress"}
    assert {**ingress, "allow": 0, "deny": 1, "pass": 0, "undecided": 0} in listed
    rows = [line.split() for line in status().splitlines()]
    assert ["STAGED", "POLICY", "DIRECTION", "ALLOW", "DENY", "PASS", "UNDECIDED"] in rows
    assert ["StagedGlobalNetworkPolicy", "p", "ingress", "0", "1", "0", "0"] in rows
    world.delete("StagedGlobalNetworkPolicy", "p")
    assert "STAGED POLICY" not in status()


def test_counts_outlive_a_restart_of_felix(world: World) -> None:
    world.apply(staged("p", port(DENY, 80)))
    world.expect(4, "a>b tcp:80")
    world.restart_felix()
    assert counts(world)["StagedGlobalNetworkPolicy p ingress"] == {"deny": 1}
    world.expect(4, "a>b tcp:80")
    assert counts(world)["StagedGlobalNetworkPolicy p ingress"] == {"deny": 2}


def test_a_staged_policy_of_a_host_endpoint_counts_what_is_forwarded_and_what_is_for_the_host(
    world: World, family: int
) -> None:
    spec = {"node": "h1", "interfaceName": "ext0", "profiles": ["projectcalico-default-allow"]}
    world.apply(
        resource("HostEndpoint", "ext", spec, role="host"),
        staged("p", port(DENY, 80), selector="role == 'host'", applyOnForward=True),
    )
    world.expect(family, "x>a tcp:80", "x>a udp:80", "x>h tcp:80", "a>x tcp:80")
    assert counts(world)["StagedGlobalNetworkPolicy p ingress"] == {"deny": 2, "undecided": 1}
