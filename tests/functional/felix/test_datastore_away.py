"""What the host does while the datastore is away, empty, replaced or full of rubbish."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable

from felix_world import HOST_MAC, RESOURCES, World, resource, until

AWAY_S = float(os.environ.get("CALICO_TEST_ETCD_AWAY_S", "20"))


def only(protocol: str) -> dict[str, object]:
    rule = {"action": "Allow", "protocol": protocol}
    return resource("GlobalNetworkPolicy", "p", {"selector": "app == 'b'", "types": ["Ingress"], "ingress": [rule]})


def test_policy_stays_while_the_datastore_is_away_and_later_changes_are_applied(world: World) -> None:
    world.apply(only("TCP"))
    world.stop_etcd()
    end = time.monotonic() + AWAY_S
    while time.monotonic() < end:
        for family in (4, 6):
            world.expect(family, "a>b tcp:80", "!a>b udp:80", "a>c udp:80")
        time.sleep(min(1.0, AWAY_S / 10))
    if AWAY_S > 8:
        assert world.conditions("datastore-unreachable")
    world.start_etcd()
    world.apply(only("UDP"))
    until(lambda: not world.conditions("datastore-unreachable"), "the condition ended")
    for family in (4, 6):
        world.expect(family, "!a>b tcp:80", "a>b udp:80", "a>c udp:80")


def test_a_felix_started_while_the_datastore_is_away_keeps_what_its_predecessor_programmed(world: World) -> None:
    world.apply(only("TCP"))
    world.kill_felix()
    world.stop_etcd()
    world.start_felix()
    until(lambda: world.status["datastore"].get("status"), "Felix answers")
    time.sleep(1.0)
    for family in (4, 6):
        world.expect(family, "a>b tcp:80", "!a>b udp:80", "a>c udp:80")
    world.start_etcd()
    world.apply(only("UDP"))
    world.expect(4, "!a>b tcp:80", "a>b udp:80")


def test_an_emptied_or_replaced_datastore_deletes_no_programming(new_world: Callable[..., World]) -> None:
    world = new_world("a", "b")
    world.start_etcd()
    world.cluster()
    world.start_felix()
    world.apply(only("TCP"))
    world.put_raw(dict.fromkeys(world.list(RESOURCES + "/")), settle=False)
    until(lambda: world.conditions("datastore-held"), "the emptied store was held back")
    for family in (4, 6):
        world.expect(family, "a>b tcp:80", "!a>b udp:80", "x>a icmp")
    world.stop_etcd()
    world.start_etcd(fresh=True)
    world.ask(do="apply", documents=[resource("ClusterInformation", "default", {"clusterGUID": "0" * 32,
                                                                                "datastoreReady": True})])  # fmt: skip
    until(lambda: "clusterGUID" in "".join(world.conditions("datastore-held").values()), "the other store was refused")
    for family in (4, 6):
        world.expect(family, "a>b tcp:80", "!a>b udp:80", "x>a icmp")
    assert world.felix is not None
    assert world.felix.poll() is None


def test_each_bad_object_is_named_and_all_good_ones_work(world: World, family: int) -> None:
    good = resource("GlobalNetworkPolicy", "good", {"selector": "app == 'b'", "types": ["Ingress"], "order": 1,
                                                    "ingress": [{"action": "Allow", "protocol": "TCP"}]})  # fmt: skip
    bad_rule = {"selector": "app == 'c'", "types": ["Ingress"], "ingress": [{"action": "Perhaps"}]}
    bad_net = {"selector": "app == 'nobody'", "ingress": [{"action": "Allow", "source": {"nets": ["10.0.0.0/99"]}}]}
    rubbish: dict[str, str | None] = {
        "globalnetworkpolicies/default.not-json": "{",
        "globalnetworkpolicies/default.empty": "",
        "globalnetworkpolicies/default.list": "[1,2]",
        "globalnetworkpolicies/default.bytes": "\u0000\ufffd\u001b[31m",
        "globalnetworkpolicies/default.bad-rule": json.dumps({"spec": bad_rule}),
        "globalnetworkpolicies/default.bad-net": json.dumps({"spec": bad_net}),
        "globalnetworkpolicies/default.bad-selector": json.dumps({"spec": {"selector": "app =="}}),
        "globalnetworkpolicies/default.spec-is-text": json.dumps({"spec": "everything"}),
        "globalnetworkpolicies/default.deep": '{"spec":' + "[" * 5000 + "]" * 5000 + "}",
        "networkpolicies/default/default.not-json": "nonsense",
        "globalnetworksets/bad-nets": json.dumps({"spec": {"nets": ["10.0.0.0/8", "not a net", 5]}}),
        "networksets/other/not-json": "<xml/>",
        "profiles/not-json": "}{",
        "tiers/bad": json.dumps({"spec": {"order": "soon"}}),
        "workloadendpoints/default/h1-cni-zz-eth0": "{{",
        "workloadendpoints/default/h1-cni-yy-eth0": json.dumps(
            {"spec": {"node": "h1", "orchestrator": "cni", "containerID": "yy", "endpoint": "eth0",
                      "ipNetworks": ["999.1.1.1/32"], "interfaceName": "caliyy"}}
        ),
        "felixconfigurations/default": "no configuration",
        "nosuchkind/x": "{}",
    }  # fmt: skip
    world.apply(good)
    try:
        world.put_raw(rubbish)
        named = world.conditions("resource-invalid")
        text, log = " ".join(named), world.log()
        for key in rubbish:
            name = key.rpartition("/")[2].removeprefix("default.")
            assert name in text, f"{key} is not named: {sorted(named)}"
            assert name in log, f"{key} is not in the log"
        world.expect(family, "a>b tcp:80", "!a>b udp:80", "!a>c tcp:80", "c>a tcp:80", "b>a udp:1", "a>x icmp")
        world.apply(resource("GlobalNetworkPolicy", "good", {**good["spec"], "ingress": [{"action": "Allow"}]}))
        world.expect(family, "a>b tcp:80", "a>b udp:80")
    finally:
        world.put_raw(dict.fromkeys(rubbish))
    until(lambda: not world.conditions("resource-invalid"), "no object was wrong any more")
    world.expect(family, "a>c tcp:80", "a>b udp:80")


def test_nothing_is_open_before_the_datastore_is_in_sync(new_world: Callable[..., World]) -> None:
    world = new_world("a", "b")
    for path in ("ipv4/ip_forward", "ipv6/conf/all/forwarding"):
        world.sysctl("h", path, "1")
    for name in "ab":
        world.ip(name, f"neigh replace 169.254.1.1 lladdr {HOST_MAC} dev eth0")
        world.ip(
            "h", f"route add {world.net(name, 4)} dev cali{name}", f"route add {world.net(name, 6)} dev cali{name}"
        )
    for family in (4, 6):  # so far nobody guards: the test sees what passes
        world.expect(family, "a>b tcp:80", "x>a udp:80", "b>h udp:80")
    world.start_felix()
    until(lambda: world.status["datastore"].get("status") == "wait-for-datastore", "Felix waits")
    until(lambda: "raw-prerouting" in world.ruleset(), "the guard was programmed")
    for family in (4, 6):
        world.expect(family, "!a>b tcp:80", "!b>a udp:80", "!x>a udp:80", "!a>x icmp", "!b>h udp:80", "x>h udp:80")
    world.start_etcd()
    world.cluster()
    world.settle()
    for family in (4, 6):
        world.expect(family, "a>b tcp:80", "b>a udp:80", "x>a udp:80", "a>x icmp")


def test_from_boot_to_the_first_sync_no_packet_goes_to_or_comes_from_workloads_that_are_plugged_in(
    new_world: Callable[..., World],
) -> None:
    world = new_world("a", "b")
    for path in ("ipv4/ip_forward", "ipv6/conf/all/forwarding"):
        world.sysctl("h", path, "1")
    for name in "ab":
        world.ip(name, f"neigh replace 169.254.1.1 lladdr {HOST_MAC} dev eth0")
        world.ip(
            "h", f"route add {world.net(name, 4)} dev cali{name}", f"route add {world.net(name, 6)} dev cali{name}"
        )
    for family in (4, 6):
        world.expect(family, "a>b tcp:80", "x>a udp:80", "b>h udp:80")
    closed = ("!a>b tcp:80", "!b>a udp:80", "!x>a udp:80", "!a>x icmp", "!b>h udp:80", "!h>b udp:80", "x>h udp:80")
    guard = [*world.enter("h"), sys.executable, "-m", "calico", "felix", "guard"]
    said = subprocess.run(guard, capture_output=True, text=True, check=True).stdout
    assert said == "closed until Felix is in sync: cali*\n"
    for family in (4, 6):
        world.expect(family, *closed)
    said = subprocess.run(guard, capture_output=True, text=True, check=True).stdout
    assert said == "a ruleset is in force already: it stays\n"
    world.start_felix()
    until(lambda: world.status["datastore"].get("status") == "wait-for-datastore", "Felix waits")
    for family in (4, 6):
        world.expect(family, *closed)
    world.start_etcd()
    world.cluster()
    world.settle()
    for family in (4, 6):
        world.expect(family, "a>b tcp:80", "b>a udp:80", "x>a udp:80", "a>x icmp", "h>b udp:80")
    world.kill_felix()
    subprocess.run(guard, capture_output=True, text=True, check=True)
    for family in (4, 6):
        world.expect(family, "a>b tcp:80", "x>a udp:80")


def test_a_datastore_that_is_not_ready_is_not_followed(new_world: Callable[..., World]) -> None:
    world = new_world("a", "b")
    world.start_etcd()
    world.cluster()
    key = f"{RESOURCES}/clusterinformations/default"
    document = json.loads(world.list(key)[key])
    document["spec"]["datastoreReady"] = False
    world.put_raw({key: json.dumps(document)}, settle=False)
    world.start_felix()
    until(lambda: world.conditions("datastore-not-ready"), "Felix said why it waits")
    world.expect(4, "!a>b tcp:80", "!x>a tcp:80")
    document["spec"]["datastoreReady"] = True
    world.put_raw({key: json.dumps(document)})
    world.expect(4, "a>b tcp:80", "x>a tcp:80")
