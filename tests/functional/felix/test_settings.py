"""Settings in the datastore that change what Felix programs; it starts over in place and packets never notice."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from felix_world import World, resource, until


def test_workloads_reach_their_host_when_the_setting_says_so_and_their_egress_policy_allows(
    world: World, family: int
) -> None:
    assert world.felix is not None
    pid = world.felix.pid
    world.apply(resource("FelixConfiguration", "default", {"defaultEndpointToHostAction": "Accept"}), settle=False)
    until(lambda: "workload to host: accept" in world.ruleset(), "the setting was programmed")
    world.settle()
    world.expect(family, "a>h tcp:22", "a>h udp:53", "a>b tcp:80")
    spec = {"selector": "app == 'a'", "types": ["Egress"], "egress": [{"action": "Allow", "protocol": "TCP"}]}
    world.apply(resource("GlobalNetworkPolicy", "p", spec))
    world.expect(family, "a>h tcp:22", "!a>h udp:53", "b>h udp:53")
    world.delete("FelixConfiguration", "default", settle=False)
    until(lambda: "workload to host: drop" in world.ruleset(), "the default was programmed again")
    world.settle()
    world.expect(family, "!a>h tcp:22", "!b>h udp:53", "a>b tcp:80")
    assert world.felix.pid == pid
    assert world.felix.poll() is None
    assert world.status["pid"] == pid


def test_a_setting_that_cannot_be_read_is_named_and_the_others_hold(world: World, family: int) -> None:
    document = '{"spec":{"defaultEndpointToHostAction":"Perhaps","allowVXLANPacketsFromWorkloads":true}}'
    world.put_raw({"felixconfigurations/default": document}, settle=False)
    until(lambda: "VXLAN from a workload" not in world.ruleset(), "the good setting was programmed")
    world.settle()
    assert world.conditions("config-invalid") or world.conditions("resource-invalid")
    world.expect(family, "a>b udp:4789", "!a>h tcp:22", "a>b tcp:80")
    world.put_raw({"felixconfigurations/default": None}, settle=False)
    until(lambda: "VXLAN from a workload" in world.ruleset(), "the default was programmed again")
    world.settle()
    world.expect(family, "!a>b udp:4789")


def test_log_prefix_rate_and_the_answer_to_denied_packets_are_settings(world: World, family: int) -> None:
    spec = {
        "logPrefix": "fw %t/%n",
        "logActionRateLimit": "5/minute",
        "logActionRateLimitBurst": 7,
        "iptablesFilterDenyAction": "Reject",
    }
    world.apply(
        resource("FelixConfiguration", "default", spec),
        resource(
            "GlobalNetworkPolicy",
            "p",
            {"selector": "app == 'b'", "types": ["Ingress"], "ingress": [{"action": "Log"}]},
        ),
        settle=False,
    )
    limited = 'limit rate 5/minute burst 7 packets log prefix "fw default/p: "'
    until(lambda: limited in world.ruleset(), "the settings were programmed")
    world.settle()
    world.expect(family, "!a>b tcp:80", "a>c tcp:80")
    with world.socket("a", family, socket.SOCK_STREAM) as client, pytest.raises(ConnectionRefusedError):
        client.connect((world.address("b", family), 80))
    world.apply(resource("FelixConfiguration", "default", {**spec, "nftablesFilterDenyAction": "Drop"}), settle=False)
    until(lambda: "reject" not in world.ruleset(), "our own parameter won over that of the other dataplane")
    world.settle()
    world.delete("FelixConfiguration", "default", settle=False)
    until(lambda: 'log prefix "calico-packet: "' in world.ruleset(), "the defaults were programmed again")
    world.settle()


def config_of(world: World, *arguments: str) -> Any:
    """What ``calico felix config`` says."""
    command = [sys.executable, "-m", "calico", "felix", "--run-dir", str(world.run_dir), "config", *arguments]
    done = subprocess.run([*world.enter("h"), *command], capture_output=True, text=True, check=True)
    return json.loads(done.stdout) if "json" in arguments else done.stdout


def test_felix_says_which_values_it_goes_by_and_where_each_came_from(new_world: Callable[..., World]) -> None:
    world = new_world("a", "b")
    world.start_etcd()
    world.cluster()
    file = world.directory / "felix.cfg"
    file.write_text("[global]\nLogPrefix = from-file\nReportingTTLSecs = 77\nBPFEnabled = true\n")
    spec = {"logPrefix": "from-object", "vxlanPort": 4790, "ipForwarding": "Enabled", "logSeverityScreen": "Error"}
    world.apply(resource("FelixConfiguration", "default", spec), settle=False)
    world.start_felix(
        CALICO_FELIX_CONFIG_FILE=str(file), FELIX_REPORTINGTTLSECS="78", FELIX_VXLANPORTT="1", FELIX_VXLANPORT="none"
    )
    world.settle()
    found = config_of(world, "--given", "-o", "json")
    values = {row["parameter"]: (row["value"], row["source"]) for row in found["parameters"]}
    assert values == {
        "LogPrefix": ("from-file", str(file)),
        "ReportingTTLSecs": ("78s", "environment"),
        "VXLANPort": ("4790", "FelixConfiguration default"),
        "IPForwarding": ("Enabled", "FelixConfiguration default"),
        "LogSeverityScreen": ("error", "FelixConfiguration default"),
        "FloatingIPs": ("disabled", "FelixConfiguration default"),  # the default that every write adds
    }
    problems = {one["object"]: one["code"] for one in found["conditions"]}
    assert problems == {
        "environment: VXLANPORTT": "config-invalid",
        "environment: VXLANPort": "config-invalid",
        f"{file}: BPFEnabled": "config-without-effect",
    }
    shown = config_of(world, "vxlanport")
    assert "VXLANPort: 4790 (FelixConfiguration default)" in shown
    assert "environment, VXLANPort: none (refused" in shown
    before = len(world.log().splitlines())
    world.apply(resource("GlobalNetworkPolicy", "p", {"selector": "app == 'b'", "types": ["Ingress"]}))
    assert len(world.log().splitlines()) == before, "nothing below the level is logged"
    world.apply(resource("FelixConfiguration", "default", {**spec, "logSeverityScreen": "Debug"}), settle=False)
    until(lambda: config_of(world, "LogSeverityScreen", "-o", "json")["parameters"][0]["value"] == "debug", "the level")
    world.delete("GlobalNetworkPolicy", "p")
    until(lambda: len(world.log().splitlines()) > before, "what is logged now")


def test_the_host_speaks_to_workloads_from_the_address_of_the_setting(world: World, family: int) -> None:
    own = world.address("h", family)
    name = "deviceRouteSourceAddress" if family == 4 else "deviceRouteSourceAddressIPv6"
    flag = "-4" if family == 4 else "-6"
    world.apply(resource("FelixConfiguration", "default", {name: own}), settle=False)
    until(lambda: f"src {own}" in world.show("h", f"{flag} route show proto 80"), "the address is on the routes")
    world.settle()
    world.expect(family, "a>b tcp:80", "h>a tcp:80")
    world.delete("FelixConfiguration", "default", settle=False)
    until(lambda: " src " not in world.show("h", f"{flag} route show proto 80"), "the kernel chooses again")
    world.settle()


def test_felix_leaves_forwarding_of_the_host_alone_when_told_to(new_world: Callable[..., World]) -> None:
    world = new_world("a", "b")
    world.sysctl("h", "ipv4/ip_forward", "0")
    world.start_etcd()
    world.cluster()
    world.start_felix(FELIX_IPFORWARDING="Disabled")
    world.settle()
    assert world.sysctl("h", "ipv4/ip_forward") == "0"
    world.restart_felix(FELIX_IPFORWARDING="Enabled")
    assert world.sysctl("h", "ipv4/ip_forward") == "1"
