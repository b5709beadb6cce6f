"""``calico bgp status|peers|routes|why`` beside real BIRDs: what they say is what is so."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import Any

import pytest

pytestmark = [pytest.mark.root, pytest.mark.bird]

LOCAL = {4: "10.65.1.1", 6: "fd65::101"}
REFUSED_ON_EXPORT = {4: "10.65.7.1", 6: "fd65::701"}
REFUSED_ON_IMPORT = {4: "10.65.8.1", 6: "fd65::801"}


def say(host: Any, *arguments: str) -> subprocess.CompletedProcess[str]:
    """What ``calico bgp`` says on a host; the environment names the sockets, as the lab's does."""
    command = ["nsenter", f"--net=/run/netns/{host.netns}", sys.executable, "-m", "calico", "bgp", *arguments]
    environment = {**os.environ, "CALICO_RUN_DIR": str(host.run_dir)}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


def told(host: Any, *arguments: str) -> Any:
    done = say(host, *arguments, "-o", "json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def why(host: Any, prefix: str) -> dict[str, list[tuple[bool | None, str]]]:
    """The steps by stage."""
    stages: dict[str, list[tuple[bool | None, str]]] = {}
    for step in told(host, "why", prefix)["steps"]:
        stages.setdefault(step["stage"], []).append((step["holds"], step["text"]))
    return stages


def planned(host: Any, what: str) -> list[str]:
    """The pools or blocks that the agent has planned with, and that BIRD runs with by now."""
    items = host.status.get("prefixes", {}).get(what, [])
    return [item if isinstance(item, str) else item["cidr"] for item in items]


def mesh(address: str) -> str:
    return f"Mesh_{address.replace('.', '_').replace(':', '_')}"


@pytest.fixture
def hosts(fabric: Any) -> tuple[Any, Any]:
    """Two hosts of a mesh, with pools of both families."""
    fabric.put("ippools", "v4", "IPPool", {"cidr": "10.65.0.0/16"})
    fabric.put("ippools", "v6", "IPPool", {"cidr": "fd65::/48"})
    first, second = fabric.add_host(1), fabric.add_host(2)
    for host in (first, second):
        fabric.until(lambda host=host: host.is_settled(sessions=2), "the sessions are up")
    return first, second


def test_a_route_that_is_there_is_followed_from_the_workload_to_the_far_kernel(fabric: Any, hosts: Any) -> None:
    first, second = hosts
    first.workload(1, *LOCAL.values())
    for family, address in LOCAL.items():
        fabric.until(lambda address=address: second.has_route(address), "the route arrives")
        near, far = (first.ipv4, second.ipv4) if family == 4 else (first.ipv6, second.ipv6)
        here = why(first, address)
        assert here["here"] == [(True, "a workload of this host: dev cali1")]
        assert here["told"] == [(True, f"{mesh(far)} ({far}, AS 64512): is told")]
        assert here["kernel"] == [(True, "by somebody else than BIRD: dev cali1, protocol felix")]
        there = why(second, address)
        assert there["learned"] == [(True, f"from {mesh(near)} ({near}, AS 64512), next hop {near}")]
        assert [holds for holds, _ in there["preferred"]] == [True]
        assert there["told"] == [(False, f"{mesh(near)} ({near}, AS 64512): is where it comes from")]
        assert there["kernel"] == [(True, f"BIRD has put it there: via {near} on eth0, protocol bird")]


def test_a_route_that_a_filter_rejects_names_the_filter_at_both_ends(fabric: Any) -> None:
    fabric.put("ippools", "v4", "IPPool", {"cidr": "10.65.0.0/16"})
    fabric.put("ippools", "v6", "IPPool", {"cidr": "fd65::/48"})
    elsewhere = {"action": "Reject", "cidr": "10.99.0.0/16", "matchOperator": "In"}
    fabric.put("bgpfilters", "open", "BGPFilter", {"exportV4": [elsewhere]})
    rules = {
        f"{direction}V{family}": [{"action": "Reject", "cidr": f"{address}/{length}", "matchOperator": "Equal"}]
        for direction, addresses in (("export", REFUSED_ON_EXPORT), ("import", REFUSED_ON_IMPORT))
        for (family, address), length in zip(addresses.items(), (32, 128), strict=True)
    }
    fabric.put("bgpfilters", "strict", "BGPFilter", rules)
    fabric.config(nodeToNodeMeshEnabled=False)
    fabric.peer("all", nodeSelector="all()", peerSelector="all()", filters=["open", "strict"])
    first, second = fabric.add_host(1), fabric.add_host(2)
    for host in (first, second):
        fabric.until(lambda host=host: host.is_settled(sessions=2), "the sessions are up")
    first.workload(1, *LOCAL.values(), *REFUSED_ON_EXPORT.values(), *REFUSED_ON_IMPORT.values())
    for family in (4, 6):
        fabric.until(lambda family=family: second.has_route(LOCAL[family]), "the route that may arrives")
        kept = REFUSED_ON_IMPORT[family]
        fabric.until(lambda kept=kept: why(second, kept)["learned"][0][1].startswith("from"), "the other is told")
        ((holds, text),) = why(first, REFUSED_ON_EXPORT[family])["told"]
        assert (holds, text.endswith("BGPFilter strict rejects it")) == (False, True)
        there = why(second, kept)
        ((holds, text),) = there["learned"]
        assert (holds, text.endswith("but BGPFilter strict rejects it")) == (False, True)
        assert there["kernel"] == [(False, "BIRD has no route that it could put there")]
        assert "told" not in there
    assert sorted(row["filtered"] for row in told(second, "peers")) == [1, 1]


def test_a_route_that_is_missing_names_the_session_that_is_down(fabric: Any, hosts: Any) -> None:
    first, _ = hosts
    fabric.put("nodes", "absent", "Node", {"bgp": {"ipv4Address": "10.99.0.77/24", "ipv6Address": "fd99::77/64"}})
    fabric.until(lambda: len(first.since()) == 4, "there are sessions with the node that is absent")
    first.workload(1, *LOCAL.values())
    for address, missing, absent in (
        (LOCAL[4], "10.65.77.1", "10.99.0.77"),
        (LOCAL[6], "fd65::7701", "fd99::77"),
    ):
        name = mesh(absent)
        steps = why(first, missing)
        assert steps["here"] == [(False, "neither a workload, a block nor a kernel route of this host")]
        assert steps["learned"][0] == (False, "no session that is up tells it")
        ((holds, text),) = steps["learned"][1:]
        assert not holds
        assert text.startswith(f"{name} ({absent}, AS 64512) might tell it, but is down: ")
        outcome = {text.split(" ")[0]: (holds, text) for holds, text in why(first, address)["told"]}
        assert (outcome[name][0], "is down" in outcome[name][1]) == (False, True)


def test_a_route_outside_every_pool_and_one_inside_a_block_say_why_they_are_kept(fabric: Any, hosts: Any) -> None:
    first, _ = hosts
    first.workload(1, "10.65.1.1", "10.70.0.1")
    affinity = f"/calico/ipam/v2/host/{first.name}/ipv4/block/10.65.1.0-26"
    fabric.put_raw(affinity, json.dumps({"state": "confirmed"}))
    fabric.until(lambda: planned(first, "blocks") == ["10.65.1.0/26"], "the block is there")
    ((_, outside),) = why(first, "10.70.0.1")["told"]
    assert outside.endswith("the export filter rejects it: no enabled IPPool contains it")
    ((_, inside),) = why(first, "10.65.1.1")["told"]
    assert inside.endswith("the export filter rejects it: 10.65.1.0/26, this host's block, is told instead")
    assert why(first, "10.65.1.9")["here"] == [
        (False, "it is in block 10.65.1.0/26 of this host, but no workload here has it")
    ]


def test_routes_show_next_hop_sessions_and_kernel(fabric: Any, hosts: Any) -> None:
    first, second = hosts
    first.ip("addr", "add", "169.254.1.1/32", "dev", "lo")
    first.workload(1, "10.65.1.1")
    fabric.until(lambda: second.has_route("10.65.1.1"), "the route arrives")
    (here,) = told(first, "routes", "10.65.0.0/16")
    assert here == {
        "prefix": "10.65.1.1/32",
        "next_hop": "dev cali1",
        "from": "kernel4",
        "preferred": True,
        "exported_to": ["Mesh_10_99_0_2"],
        "in_kernel": True,
    }
    (there,) = told(second, "routes", "10.65.1.1")
    assert (there["from"], there["next_hop"]) == ("Mesh_10_99_0_1", "via 10.99.0.1 on eth0")
    assert (there["exported_to"], there["in_kernel"]) == ([], True)
    everything = [row["prefix"] for row in told(first, "routes")]
    assert everything == ["10.65.1.1/32", "10.99.0.0/24", "169.254.1.1/32", "fd99::/64"]
    assert all(row["in_kernel"] for row in told(first, "routes"))


def test_a_route_that_needs_a_tunnel_is_told_but_not_in_the_kernel(fabric: Any, hosts: Any) -> None:
    first, second = hosts
    fabric.put("ippools", "tunnel", "IPPool", {"cidr": "10.67.0.0/16", "vxlanMode": "Always"})
    for host in hosts:
        fabric.until(lambda host=host: "10.67.0.0/16" in planned(host, "pools"), "the pool is known")
    first.workload(1, "10.67.1.1")
    fabric.until(lambda: told(second, "routes", "10.67.1.1"), "the route arrives")
    (row,) = told(second, "routes", "10.67.1.1")
    assert (row["preferred"], row["in_kernel"]) == (True, False)
    assert why(second, "10.67.1.1")["kernel"] == [
        (False, "routes of IPPool 10.67.0.0/16 need a tunnel, which BIRD does not program")
    ]


def test_status_and_peers_tell_how_birds_sessions_are(hosts: Any, fabric: Any) -> None:
    first, _ = hosts
    fabric.until(lambda: say(first, "status").returncode == 0, "the agent has seen that the sessions are up")
    document = told(first, "status")
    assert document["bird"]["router_id"] == first.ipv4
    assert (document["sessions"], document["agent"]) == ({"up": 2, "total": 2}, "running")
    rows = {row["name"]: row for row in told(first, "peers")}
    assert {name: (row["peer_ip"], row["as"], row["families"], row["state"]) for name, row in rows.items()} == {
        "Mesh_10_99_0_2": ("10.99.0.2", 64512, [4], "Established"),
        "Mesh_fd99__2": ("fd99::2", 64512, [6], "Established"),
    }
    assert "Sessions     2 of 2 up" in say(first, "status").stdout
    assert "Mesh_fd99__2" in say(first, "peers").stdout


def test_without_the_agent_bird_is_asked_all_the_same_and_without_bird_the_fix_is_named(hosts: Any) -> None:
    first, _ = hosts
    first.kill_agent()
    done = say(first, "status", "-o", "json")
    document = json.loads(done.stdout)
    assert (done.returncode, document["agent"], document["ready"]) == (1, "does not answer", False)
    os.kill(first.bird_pid, signal.SIGKILL)
    for arguments in (["status"], ["peers"], ["routes"], ["why", "10.65.1.1"]):
        done = say(first, *arguments)
        assert done.returncode == 1
        assert f"BIRD does not answer at {first.run_dir / 'bird.ctl'}" in done.stderr
        assert "calico bgp" in done.stderr
