"""A reflector takes from its clients only what IPAM says is theirs, if it is asked to.

One client is a rogue's BIRD, which cannot send its routes again, and then stands still: what it may tell no longer must
go without its help.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
from datetime import UTC, datetime
from typing import Any

import pytest

from calico.ipam.stored.affinity import CONFIRMED, encode_affinity
from calico.ipam.stored.block import Attribute, assign_ordinal, new_block
from calico.ipam.stored.block_codec import encode_block
from calico.ipam.stored.keys import affinity_key, block_key

pytestmark = [pytest.mark.root, pytest.mark.bird, pytest.mark.etcd]

ONLY = {"bgp.calico-network/own-routes-only": "true"}
OWN, THEIRS = {"10.65.3.0/26", "fd65::300/122"}, {"10.65.2.0/26", "fd65::200/122"}
BORROWED, OTHER = {"10.65.2.9/32", "fd65::209/128"}, {"10.65.2.7/32", "fd65::207/128", "10.65.0.0/16", "192.0.2.0/24"}
ROGUE = """
{log}
router id 10.99.0.3;
protocol device { }
protocol direct { ipv4; ipv6; interface "eth0"; }
protocol static four { ipv4;
  route 10.65.3.0/26 blackhole; route 10.65.2.0/26 blackhole; route 10.65.2.9/32 blackhole;
  route 10.65.2.7/32 blackhole; route 10.65.0.0/16 blackhole; route 192.0.2.0/24 blackhole;
}
protocol static six { ipv6;
  route fd65::300/122 blackhole; route fd65::200/122 blackhole; route fd65::209/128 blackhole;
  route fd65::207/128 blackhole;
}
filter tell { if source = RTS_STATIC then { bgp_local_pref = 2147483600; accept; } reject; }
protocol bgp r4 { local 10.99.0.3 as 64512; neighbor 10.99.0.1 as 64512; direct; connect delay time 1;
  enable route refresh off; connect retry time 1; ipv4 { import all; export filter tell; next hop self; }; }
protocol bgp r6 { local fd99::3 as 64512; neighbor fd99::1 as 64512; direct; connect delay time 1;
  enable route refresh off; connect retry time 1; ipv6 { import all; export filter tell; next hop self; }; }
"""


def claim(fabric: Any, host: str, cidr: str, **lent: int) -> None:
    """A block of a host as IPAM stores it; ``lent``: other hosts, each with the ordinal of its address."""
    block = new_block(cidr, f"host:{host}", datetime.now(UTC), 1)
    for node, ordinal in lent.items():
        given = assign_ordinal(block, ordinal, Attribute(handle=node, secondary={"node": node}))
        assert given is not None
        block = given
    fabric.put_raw(block_key(cidr), encode_block(block).decode())
    fabric.put_raw(affinity_key(f"host:{host}", cidr), encode_affinity(CONFIRMED).decode())


def told_by_rogue(reflector: Any) -> set[str]:
    """What is in the reflector's tables from the rogue's sessions."""
    lines = []
    for name in ("Node_10_99_0_3", "Node_fd99__3"):
        lines += reflector.ask_bird(f"show route protocol {name}").splitlines()
    return {word for line in lines for word in line.removeprefix("1007-").split()[:1] if "/" in word}


def test_a_rogue_client_moves_no_route_of_others_and_what_it_borrows_is_followed_live(fabric: Any) -> None:
    fabric.put("ippools", "v4", "IPPool", {"cidr": "10.65.0.0/16"})
    fabric.put("ippools", "v6", "IPPool", {"cidr": "fd65::/48"})
    fabric.config(nodeToNodeMeshEnabled=False)
    fabric.peer("clients", nodeSelector="!has(rr)", peerSelector="has(rr)")
    for cidr in THEIRS:
        claim(fabric, "node2", cidr)
    for cidr in OWN:
        claim(fabric, "node3", cidr)
    reflector = fabric.add_host(1, node={"routeReflectorClusterID": "224.0.0.1"}, labels={"rr": "yes"})
    honest, rogue = fabric.add_host(2), fabric.bare_host(3)
    fabric.put("nodes", "node3", "Node", {"bgp": {"ipv4Address": "10.99.0.3/24", "ipv6Address": "fd99::3/64"}})
    rogue.start_bird(ROGUE)
    for host, sessions in ((reflector, 4), (honest, 2)):
        fabric.until(lambda host=host, sessions=sessions: host.is_settled(sessions=sessions), f"{host.name} is up")
    every = OWN | THEIRS | BORROWED | OTHER
    fabric.until(lambda: told_by_rogue(reflector) == every, "without the option the reflector believes all")
    fabric.until(lambda: honest.has_route("10.65.2.7", via=rogue.ipv4), "and the rogue has another's address")

    fabric.config(ONLY, nodeToNodeMeshEnabled=False)
    fabric.until(lambda: told_by_rogue(reflector) == OWN, "only its own blocks are taken")
    fabric.until(lambda: not honest.has_route("10.65.2.7"), "others forget it")
    fabric.until(lambda: reflector.has_route("10.65.2.0/26", via=honest.ipv4), "the owner's route is the one")
    assert honest.has_route("10.65.3.0/26", via=rogue.ipv4)
    asked = reflector.calico("bgp", "why", "10.65.2.7", "--output", "json")
    assert "by IPAM it is not this client's" in asked.stdout, asked.stdout + asked.stderr

    fabric.until(lambda: reflector.is_settled(sessions=4), "the restart is over")
    before = reflector.since()
    claim(fabric, "node2", "10.65.2.0/26", node3=9)
    claim(fabric, "node2", "fd65::200/122", node3=9)
    fabric.until(lambda: told_by_rogue(reflector) == OWN | BORROWED, "what it borrows is taken")
    fabric.until(lambda: honest.has_route("10.65.2.9", via=rogue.ipv4), "and reflected")
    os.kill(rogue.bird_pid, signal.SIGSTOP)  # it answers no route refresh
    claim(fabric, "node3", "10.65.3.64/26")
    claim(fabric, "node2", "10.65.2.0/26")
    fabric.put_raw(affinity_key("host:node3", "fd65::300/122"), json.dumps({"state": "pendingDeletion"}))
    left = {"10.65.3.0/26", "fd65::209/128"}
    fabric.until(lambda: told_by_rogue(reflector) == left, "what is given back, or being given up, is not")
    assert reflector.since() == before, "no session was reset"
    os.kill(rogue.bird_pid, signal.SIGCONT)

    fabric.config(nodeToNodeMeshEnabled=False)
    fabric.until(lambda: told_by_rogue(reflector) == every, "switched off, all is as before")


def test_a_client_whose_bird_comes_back_keeps_its_routes_and_loses_what_it_has_no_longer(fabric: Any) -> None:
    fabric.put("ippools", "v4", "IPPool", {"cidr": "10.65.0.0/16"})
    fabric.config(ONLY, nodeToNodeMeshEnabled=False)
    fabric.peer("clients", nodeSelector="!has(rr)", peerSelector="has(rr)")
    claim(fabric, "node2", "10.65.2.0/26")
    claim(fabric, "node9", "10.65.9.0/26", node2=9)
    reflector = fabric.add_host(1, node={"routeReflectorClusterID": "224.0.0.1"}, labels={"rr": "yes"})
    client = fabric.add_host(2)
    for host in (reflector, client):
        fabric.until(lambda host=host: host.is_settled(sessions=2), f"{host.name} is up")
    client.workload(1, "10.65.9.9")
    for destination in ("10.65.2.0/26", "10.65.9.9"):
        fabric.until(lambda destination=destination: reflector.has_route(destination), f"{destination} arrives")
    watch = subprocess.Popen(
        ["ip", "-n", reflector.netns, "monitor", "route"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    client.kill_agent()
    bird = client.bird_pid
    os.kill(bird, signal.SIGKILL)
    client.ip("route", "del", "10.65.9.9/32", "dev", "cali1")
    client.start_agent()
    fabric.until(lambda: client.bird_pid != bird and client.is_settled(sessions=2), "BIRD is back")
    fabric.until(lambda: not reflector.has_route("10.65.9.9"), "what is gone is forgotten")
    fabric.until(lambda: reflector.is_settled(sessions=2), "the reflector has all")
    watch.terminate()
    said, _ = watch.communicate(timeout=10)
    assert reflector.has_route("10.65.2.0/26", via=client.ipv4)
    assert "Deleted 10.65.9.9" in said
    assert "Deleted 10.65.2.0/26" not in said, said
