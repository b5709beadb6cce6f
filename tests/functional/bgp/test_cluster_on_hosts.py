"""``calico bgp`` about other hosts: what it says of a prefix's way from host to host is so, wherever that ends."""

from __future__ import annotations

import itertools
import json
import os
import signal
from typing import Any

import pytest

pytestmark = [pytest.mark.root, pytest.mark.bird, pytest.mark.etcd]

ADDRESS, SIX = "10.65.1.1", "fd65::101"
WALL = """
table inet wall {
  chain in { type filter hook input priority 0; tcp dport 179 drop; tcp sport 179 drop; }
}
"""


def told(host: Any, *arguments: str, code: int = 0) -> Any:
    patience = () if "--timeout" in arguments else ("--timeout", "25")
    done = host.calico("bgp", *arguments, *patience, "-o", "json")
    assert done.returncode == code, done.stdout + done.stderr
    return json.loads(done.stdout)


def way(host: Any, target: str, prefix: str = ADDRESS) -> dict[str, Any]:
    found: dict[str, Any] = told(host, "why", prefix, target)
    return found


def stages(found: dict[str, Any]) -> list[tuple[str, str, bool | None]]:
    return [(step["host"], step["stage"], step["holds"]) for step in found["steps"]]


def settled(fabric: Any, hosts: Any, sessions: int) -> None:
    for host in hosts:
        fabric.until(lambda host=host: host.is_settled(sessions=sessions), f"the sessions of {host.name} are up")
        fabric.until(lambda host=host: host.status.get("ready"), f"{host.name} is ready")


def reason(fabric: Any, host: Any, target: str, *words: str) -> dict[str, Any]:
    """The answer once it gives the reason."""
    found: dict[str, Any] = {}

    def given() -> bool:
        found.update(way(host, target))
        return not found["there"] and all(word in found["reason"] for word in words)

    fabric.until(given, f"the reason says {words}")
    return found


@pytest.fixture
def hosts(fabric: Any) -> tuple[Any, Any]:
    """Two hosts of a mesh; a workload on the first, with its endpoint, that the second can reach."""
    fabric.put("ippools", "v4", "IPPool", {"cidr": "10.65.0.0/16"})
    fabric.put("ippools", "v6", "IPPool", {"cidr": "fd65::/48"})
    first, second = fabric.add_host(1), fabric.add_host(2)
    settled(fabric, (first, second), 2)
    fabric.endpoint(first, "web", {}, f"{ADDRESS}/32", f"{SIX}/128")
    first.workload(1, ADDRESS, SIX)
    fabric.until(lambda: second.has_route(ADDRESS) and second.has_route(SIX), "the routes arrive")
    return first, second


def test_a_route_that_is_there_is_followed_from_its_endpoint_to_the_far_kernel_from_wherever_one_asks(
    hosts: Any,
) -> None:
    for asking, prefix in itertools.product(hosts, (ADDRESS, SIX)):
        found = way(asking, "node2", prefix)
        assert (found["there"], found["reason"]) == (True, "")
        assert stages(found) == [
            ("", "owner", True),
            ("node1", "here", True),
            ("node1", "learned", True),
            ("node1", "told", True),
            ("node2", "learned", True),
            ("node2", "preferred", True),
            ("node2", "kernel", True),
        ]
        assert "WorkloadEndpoint default/node1-lab-web-eth0 of node1 has it" in found["steps"][0]["text"]
    assert stages(way(hosts[1], "node1")) == [("", "owner", True), ("node1", "here", True), ("node1", "kernel", True)]
    table = hosts[0].calico("bgp", "why", ADDRESS, "node2").stdout
    assert f"{ADDRESS}/32 is on node2\n" in table


def test_an_endpoint_without_a_route_on_its_own_host_ends_the_way_there(fabric: Any, hosts: Any) -> None:
    first, second = hosts
    first.ip("route", "del", f"{ADDRESS}/32", "dev", "cali1")
    found = reason(fabric, second, "node2", "node1: neither a workload, a block nor a kernel route")
    assert ("node2", "kernel", False) in stages(found)


def test_the_filter_that_rejects_is_named_with_its_host_on_the_way_out_and_on_the_way_in(
    fabric: Any, hosts: Any
) -> None:
    first, second = hosts
    reject = [{"action": "Reject", "cidr": f"{ADDRESS}/32", "matchOperator": "Equal"}]
    fabric.config(nodeToNodeMeshEnabled=False)
    fabric.put("bgpfilters", "strict", "BGPFilter", {"exportV4": reject})
    fabric.peer("all", nodeSelector="all()", peerSelector="all()", filters=["strict"])
    reason(fabric, second, "node2", "node1: ", "BGPFilter strict rejects it")
    fabric.put("bgpfilters", "strict", "BGPFilter", {"importV4": reject})
    reason(fabric, first, "node2", "node2: from Node_10_99_0_1", "but BGPFilter strict rejects it")


def test_a_pool_that_is_not_advertised_ends_the_way_at_the_export(fabric: Any, hosts: Any) -> None:
    fabric.put("ippools", "v4", "IPPool", {"cidr": "10.65.0.0/16", "disableBGPExport": True})
    reason(fabric, hosts[1], "node2", "node1: ", "10.65.0.0/16 is not to be advertised")


def test_a_pool_that_needs_a_tunnel_ends_the_way_at_the_far_kernel(fabric: Any, hosts: Any) -> None:
    fabric.put("ippools", "v4", "IPPool", {"cidr": "10.65.0.0/16", "vxlanMode": "Always"})
    reason(fabric, hosts[0], "node2", "node2: routes of IPPool 10.65.0.0/16 need a tunnel")


def test_a_session_that_is_down_is_named_with_why(fabric: Any, hosts: Any) -> None:
    first, second = hosts
    wall = fabric.directory / "wall.nft"
    wall.write_text(WALL)
    second.run("nft", "-f", str(wall))
    os.kill(second.bird_pid, signal.SIGKILL)
    fabric.until(lambda: not first.is_settled(sessions=2), "the sessions are down")
    fabric.until(
        lambda: any(s["fault"] == "silent" for s in second.status["sessions"]),
        "the calling end knows that none answers",
    )
    found = way(first, "node2")
    (step,) = [step for step in found["steps"] if (step["host"], step["stage"]) == ("node1", "told")]
    assert not step["holds"]
    assert "Mesh_10_99_0_2 (10.99.0.2, AS 64512): is down: " in step["text"]
    assert step["text"].endswith(", this end waits for 10.99.0.2 to open it")
    (session,) = [step for step in found["steps"] if (step["host"], step["stage"]) == ("node2", "session")]
    assert session["text"].startswith("Mesh_10_99_0_1 (10.99.0.1, AS 64512) is down: ")
    assert "10.99.0.1 neither accepts nor refuses" in session["text"]


def test_a_block_and_what_nobody_has_are_told_apart(fabric: Any, hosts: Any) -> None:
    first, second = hosts
    fabric.put_raw(f"/calico/ipam/v2/host/{first.name}/ipv4/block/10.65.3.0-26", json.dumps({"state": "confirmed"}))
    fabric.until(lambda: second.has_route("10.65.3.0/26"), "the block arrives")
    found = way(second, "node2", "10.65.3.7")
    assert found["there"]
    assert found["steps"][0]["text"] == "no WorkloadEndpoint has it; 10.65.3.0/26 is a block of node1"
    for prefix, word in (("10.65.9.9", "it lies in IPPool v4"), ("192.0.2.1", "no WorkloadEndpoint, no block")):
        found = way(second, "node2", prefix)
        assert not found["there"]
        assert word in found["reason"]


def test_a_reflector_between_is_part_of_the_way(fabric: Any) -> None:
    fabric.put("ippools", "v4", "IPPool", {"cidr": "10.65.0.0/16"})
    fabric.config(nodeToNodeMeshEnabled=False)
    fabric.peer("reflect", nodeSelector="all()", peerSelector="has(rr)")
    first, second = fabric.add_host(1), fabric.add_host(2)
    third = fabric.add_host(3, node={"routeReflectorClusterID": "224.0.0.1"}, labels={"rr": ""})
    settled(fabric, (first, second), 2)
    fabric.endpoint(first, "web", {}, f"{ADDRESS}/32")
    first.workload(1, ADDRESS)
    fabric.until(lambda: second.has_route(ADDRESS), "the route arrives")
    found = way(second, "node2")
    assert found["there"]
    assert stages(found)[3:6] == [
        ("node1", "told", True),
        ("node3", "learned", True),
        ("node3", "told", True),
    ]
    assert way(third, "node3")["there"]
    third.kill_agent()
    os.kill(third.bird_pid, signal.SIGKILL)
    fabric.until(lambda: "Established" not in str(first.since()), "the reflector is gone")
    found = way(first, "node2")
    (step,) = [step for step in found["steps"] if (step["host"], step["stage"]) == ("node1", "told")]
    assert not step["holds"]
    assert "(10.99.0.3, AS 64512): is down: " in step["text"]
    assert found["there"], "graceful restart keeps the route for a while"


def test_hosts_are_shown_side_by_side_and_the_one_that_does_not_answer_is_named(fabric: Any, hosts: Any) -> None:
    first, second = hosts
    everywhere = told(first, "status", "--all")
    assert {name: (item["ready"], item["sessions"]) for name, item in everywhere.items()} == {
        "node1": (True, {"up": 2, "total": 2}),
        "node2": (True, {"up": 2, "total": 2}),
    }
    rows = told(second, "peers", "node1")
    assert [(row["host"], row["name"], row["state"]) for row in rows] == [
        ("node1", "Mesh_10_99_0_2", "Established"),
        ("node1", "Mesh_fd99__2", "Established"),
    ]
    assert told(first, "peers", "--all", "--down") == []
    (route,) = told(first, "routes", ADDRESS, "--host", "node2")
    assert (route["from"], route["in_kernel"]) == ("Mesh_10_99_0_1", True)
    second.kill_agent()
    everywhere = told(first, "status", "--all", "--timeout", "5", code=1)
    assert everywhere["node1"]["ready"]
    assert "did not answer within 5 s" in everywhere["node2"]["error"]
    table = first.calico("bgp", "status", "--all", "--timeout", "5").stdout
    assert "is `calico bgp` running there?" in table
    done = first.calico("bgp", "peers", "--all", "--timeout", "5")
    assert done.returncode == 1
    assert "error: node2: the BGP agent did not answer within 5 s" in done.stderr
    assert "Mesh_10_99_0_2" in done.stdout
    found = told(first, "why", ADDRESS, "node2", "--timeout", "5")
    assert (found["there"], found["reason"].startswith("node2: the BGP agent did not answer")) == (False, True)
    done = first.calico("bgp", "why", ADDRESS, "node9")
    assert (done.returncode, "there is no Node node9; there are node1, node2" in done.stderr) == (1, True)


def test_a_question_leaves_nothing_behind_and_one_that_cannot_be_read_disturbs_nobody(fabric: Any, hosts: Any) -> None:
    first, _ = hosts
    for name, value in (("a", "nonsense"), ("b", '{"what":"dance","lease":7}'), ("c", '{"what":"why","lease":7}')):
        fabric.put_raw(f"/calico/bgp/v1/questions/{first.name}/{name}", value)
    assert told(first, "status", "node1")["node1"]["ready"]
    assert fabric.keys("/calico/bgp/v1/answers/") == []
    assert fabric.keys("/calico/bgp/v1/questions/") == [f"/calico/bgp/v1/questions/node1/{name}" for name in "abc"]
