"""Settings in the datastore that change what Felix programs; it starts over in place and packets never notice."""

from __future__ import annotations

import socket

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
