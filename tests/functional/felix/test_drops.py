"""What the host dropped, and why, as ``calico node drops`` and the metrics tell it."""

from __future__ import annotations

import json
import select
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from felix_world import World, resource, until

REASONS = ("policy-deny", "policy-damaged", "policy-missing", "tier-default", "no-profile-allows", "spoofed-source")


def drops(world: World, *options: str) -> dict[str, int]:
    """Packets by reason, as the command on the host says."""
    command = [*world.enter("h"), sys.executable, "-m", "calico", "node", "drops", "-o", "json", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return {item["reason"]: item["packets"] for item in json.loads(done.stdout)["drops"]}


def more(before: dict[str, int], after: dict[str, int]) -> dict[str, int]:
    """What was dropped between two looks, for the reasons that these tests give."""
    return {
        reason: after[reason] - before.get(reason, 0)
        for reason in REASONS
        if after.get(reason, 0) != before.get(reason, 0)
    }


def allow(port: int) -> dict[str, Any]:
    return {"action": "Allow", "protocol": "TCP", "destination": {"ports": [port]}}


def test_each_drop_is_counted_by_its_reason_and_no_change_nor_restart_forgets_one(
    new_world: Callable[..., World],
) -> None:
    world = new_world("a", "b")  # where nothing else sends, not even the ends of what other tests began
    world.start_etcd()
    world.cluster()
    world.start_felix()
    world.settle()
    before = drops(world)
    spec = {"selector": "app == 'b'", "types": ["Ingress"], "ingress": [allow(80), {"action": "Deny"}]}
    world.apply(resource("GlobalNetworkPolicy", "p", spec))
    world.expect(4, "a>b tcp:80", "!a>b tcp:81", "!a>b tcp:82")
    assert more(before, drops(world)) == {"policy-deny": 2}
    world.apply(resource("GlobalNetworkPolicy", "p", {**spec, "ingress": [allow(81)]}))
    world.expect(6, "a>b tcp:81", "!a>b tcp:80")
    assert more(before, drops(world)) == {"policy-deny": 2, "tier-default": 1}
    world.kill_felix()
    world.start_felix()
    world.settle()
    world.put_raw({"globalnetworkpolicies/p": '{"spec":{"selector":"app == \'b\'","ingress":[{"action":"Maybe"}]}}'})
    world.expect(4, "!a>b tcp:81")
    wanted = {"policy-deny": 2, "tier-default": 1, "policy-damaged": 1}
    assert more(before, drops(world)) == wanted
    forged = world.packet("a>b tcp:81", 4)._replace(source="192.0.2.77")
    assert world.passed(("a", "b", forged)) == [False]
    assert more(before, drops(world)) == {**wanted, "spoofed-source": 1}


def test_the_command_explains_and_follows(world: World) -> None:
    command = [*world.enter("h"), sys.executable, "-m", "calico", "node", "drops"]
    done = subprocess.run([*command, "--all"], capture_output=True, text=True, check=True)
    assert "WHAT TO DO" in done.stdout
    assert "unknown-interface" in done.stdout
    follow = [*command, "--follow", "--interval", "0.1", "-o", "json"]
    with subprocess.Popen(follow, stdout=subprocess.PIPE, text=True) as following:
        try:
            world.apply(resource("GlobalNetworkPolicy", "p", {"selector": "app == 'b'", "types": ["Ingress"]}))
            out = following.stdout
            assert out is not None

            def told() -> bool:
                world.expect(4, "!a>b tcp:81")
                return bool(select.select([out], [], [], 0)[0])

            until(told, "a drop was told")
            document = json.loads(out.readline())
        finally:
            following.terminate()
    assert document["reason"] == "tier-default"
    assert document["packets_per_s"] > 0


def test_where_no_ruleset_is_the_command_says_so(new_world: Callable[..., World]) -> None:
    world = new_world("a")
    command = [*world.enter("h"), sys.executable, "-m", "calico", "node", "drops"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "Felix has not run here" in done.stderr
