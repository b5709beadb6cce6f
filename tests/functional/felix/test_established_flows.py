"""Established flows when policy is tightened: exactly those end that it forbids."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from click.testing import CliRunner
from felix_flows import SHUT, counted, figures, forget_all, tcp, tracked, udp
from felix_world import World, resource, until

from calico.cli.main import cli
from calico.dataplane.netns import in_netns


@pytest.fixture(autouse=True)
def nothing_is_tracked(world: World) -> None:
    """No flow of an earlier test."""
    figures(world)
    forget_all(world)


# ---- ways to forbid a>b and nothing else


def allow_from(source: str, target: str = "app == 'b'") -> dict[str, Any]:
    rules = [{"action": "Allow", "source": {"selector": source}}]
    return resource("GlobalNetworkPolicy", "p", {"selector": target, "types": ["Ingress"], "ingress": rules})


def nets_of(world: World, *names: str) -> dict[str, Any]:
    nets = [world.net(name, family) for name in names for family in (4, 6)]
    return resource("GlobalNetworkSet", "friends", {"nets": nets}, role="friend")


def profile(world: World, *names: str) -> dict[str, Any]:
    nets = [world.net(name, family) for name in names for family in (4, 6)]
    rules = [{"action": "Allow", "source": {"nets": [n for n in nets if (":" in n) == v6]}} for v6 in (False, True)]
    return resource("Profile", "mine", {"ingress": rules, "egress": [{"action": "Allow"}]})


def by_editing_a_policy(world: World) -> Iterator[None]:
    world.apply(allow_from("app in {'a', 'c'}"))
    yield
    world.apply(allow_from("app == 'c'"))


def by_a_member_that_leaves_a_set(world: World) -> Iterator[None]:
    world.apply(nets_of(world, "a", "c"), allow_from("role == 'friend'"))
    yield
    world.apply(nets_of(world, "c"))


def by_a_default_action_of_a_tier(world: World) -> Iterator[None]:
    gate = resource("Tier", "gate", {"order": 10, "defaultAction": "Pass"})
    rule = [{"action": "Allow", "source": {"selector": "app == 'c'"}}]
    spec = {"tier": "gate", "selector": "app == 'b'", "types": ["Ingress"], "ingress": rule}
    world.apply(gate, resource("GlobalNetworkPolicy", "gate.p", spec))
    yield
    world.apply(resource("Tier", "gate", {"order": 10, "defaultAction": "Deny"}))


def by_editing_a_profile(world: World) -> Iterator[None]:
    world.apply(profile(world, "a", "c"), world.endpoint("b", profiles=["mine"]))
    yield
    world.apply(profile(world, "c"))


def by_a_label_of_the_peer(world: World) -> Iterator[None]:
    client = {"role": "client"}
    world.apply(world.endpoint("a", labels=client), world.endpoint("c", labels=client), allow_from("role == 'client'"))
    yield
    world.apply(world.endpoint("a"))


def by_a_label_of_the_endpoint(world: World) -> Iterator[None]:
    world.apply(allow_from("app == 'c'", "role == 'guarded'"))
    yield
    world.apply(world.endpoint("b", labels={"role": "guarded"}))


def by_a_new_policy_for_the_source(world: World) -> Iterator[None]:
    yield
    egress = [{"action": "Deny", "destination": {"selector": "app == 'b'"}}, {"action": "Allow"}]
    world.apply(resource("GlobalNetworkPolicy", "p", {"selector": "app == 'a'", "types": ["Egress"], "egress": egress}))


def by_a_member_that_enters_a_denied_set(world: World) -> Iterator[None]:
    ingress = [{"action": "Deny", "source": {"selector": "role == 'friend'"}}, {"action": "Allow"}]
    spec = {"selector": "app == 'b'", "types": ["Ingress"], "ingress": ingress}
    world.apply(nets_of(world, "d"), resource("GlobalNetworkPolicy", "p", spec))
    yield
    world.apply(nets_of(world, "d", "a"))


WAYS = [
    by_editing_a_policy,
    by_a_member_that_leaves_a_set,
    by_a_default_action_of_a_tier,
    by_editing_a_profile,
    by_a_label_of_the_peer,
    by_a_label_of_the_endpoint,
    by_a_new_policy_for_the_source,
    by_a_member_that_enters_a_denied_set,
]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_exactly_the_flows_end_that_are_forbidden(
    world: World, family: int, way: Callable[[World], Iterator[None]]
) -> None:
    steps = way(world)
    next(steps)
    protocols = ["icmp", "sctp:9", "gre", "udplite:7"]
    singles = [f"{source}>b {protocol}" for source in "ac" for protocol in protocols]
    world.expect(family, *singles, "c>d udp:5", "x>d icmp")
    with ExitStack() as stack, counted(world) as grown:
        talks = {s: [stack.enter_context(kind(world, family, s, "b")) for kind in (tcp, udp)] for s in "ac"}
        kept = {name: len(tracked(world, *name, family)) for name in ("cb", "cd", "xd")}
        ended = len(tracked(world, "a", "b", family))
        assert ended == len(protocols) + 2
        next(steps, None)
        assert grown("cut") == ended
        assert tracked(world, "a", "b") == []
        assert {name: len(tracked(world, *name, family)) for name in kept} == kept
        assert grown("examined") in (ended, ended + kept["cb"])  # never one of d
        assert [talk.ask() for talk in talks["a"]] == [False, False]
        assert [talk.ask() and talk.tell() for talk in talks["c"]] == [True, True]
        assert tracked(world, "a", "b") == []
    cut = figures(world)["last_cut"][-1]
    assert (cut["from"], cut["to"]) == ("default/h1-cni-a-eth0", "default/h1-cni-b-eth0")
    assert cut["source"].strip("[").startswith(world.address("a", family))
    assert cut["reason"]


# ---- what is looked at, and when


def test_a_policy_that_changed_while_felix_was_away_ends_flows_when_it_is_back(world: World, family: int) -> None:
    with tcp(world, family, "a", "b") as talk, tcp(world, family, "c", "b") as other:
        world.kill_felix()
        world.apply(SHUT, settle=False)
        assert talk.ask()
        world.start_felix()
        world.settle()
        assert figures(world)["cut"] == 1
        assert not talk.ask()
        assert other.ask()


def test_flows_that_a_change_does_not_concern_are_not_examined(world: World) -> None:
    world.apply(nets_of(world, "a", "c"), allow_from("role == 'friend'"))
    for family in (4, 6):
        world.expect(family, "a>b udp:1", "c>b udp:1", "d>a udp:1", "x>a udp:1", "b>d udp:1")
    with counted(world) as grown:
        for change in (
            nets_of(world, "a", "c", "d"),  # one more is allowed
            resource("GlobalNetworkPolicy", "q", {"selector": "app == 'nobody'", "types": ["Ingress"]}),
            world.endpoint("a", labels={"color": "blue"}),
            {**allow_from("role == 'friend'"), "metadata": {"name": "p", "annotations": {"why": "because"}}},
        ):
            world.apply(change)
        assert (grown("passes"), grown("examined"), grown("cut")) == (0, 0, 0)
        world.apply(nets_of(world, "a", "c"))  # d, which has no flow to b, is not allowed any more
        assert (grown("passes"), grown("examined"), grown("cut")) == (1, 0, 0)
        world.apply(nets_of(world, "a"))
        assert (grown("passes"), grown("examined"), grown("cut")) == (2, 2, 2)


def test_a_burst_of_changes_leads_to_few_passes_and_is_not_held_up_by_them(world: World) -> None:
    for number in range(40):
        world.expect(4, f"a>b udp:{1000 + number}")
    with counted(world) as grown:
        for number in range(20):
            rule = {"action": "Allow", "protocol": "UDP", "destination": {"ports": [f"{1000 + 2 * number + 1}:2000"]}}
            spec = {"selector": "app == 'b'", "types": ["Ingress"], "ingress": [rule]}
            world.apply(resource("GlobalNetworkPolicy", "p", spec), settle=number == 19)
        assert grown("cut") == 39
        assert 1 <= grown("passes") < 20
        assert len(tracked(world, "a", "b")) == 1
        assert len(figures(world)["last_cut"]) == 20


def test_of_thousands_of_flows_exactly_the_forbidden_end(world: World) -> None:
    source, target = world.address("a", 4), world.address("b", 4)
    sock = in_netns(world.netns("a"), lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    try:
        allow = [{"action": "Allow", "protocol": "UDP"}]
        world.apply(
            resource("GlobalNetworkPolicy", "p", {"selector": "app == 'b'", "types": ["Ingress"], "ingress": allow})
        )
        for number in range(5000):
            sock.sendto(b"x", (target, 10000 + number))
        until(lambda: len(tracked(world, "a", "b")) >= 5000, "the flows were tracked")
        some = [{**allow[0], "destination": {"ports": ["10000:12344"]}}]
        with counted(world) as grown:
            world.apply(
                resource("GlobalNetworkPolicy", "p", {"selector": "app == 'b'", "types": ["Ingress"], "ingress": some})
            )
            world.expect(4, "c>d tcp:80")
            assert grown("cut") == 5000 - 2345
            left = tracked(world, "a", "b")
            assert sorted(flow.orig.dport for flow in left) == list(range(10000, 12345)), source
    finally:
        sock.close()


def test_allowed_flows_lose_no_packet_while_others_are_ended(world: World, family: int) -> None:
    with udp(world, family, "c", "b") as talk, ExitStack() as stack:
        talk.server.setsockopt(socket.SOL_SOCKET, 33, 1 << 24)
        sent = 0
        for _ in range(10):
            ended = stack.enter_context(udp(world, family, "a", "b"))
            before = world.status["established"]["cut"]
            world.apply(SHUT, settle=False)
            while world.status["established"]["cut"] == before:
                talk.client.send(sent.to_bytes(4, "big"))
                sent += 1
            assert not ended.ask()
            world.delete("GlobalNetworkPolicy", "p")
        talk.server.settimeout(5)
        assert [int.from_bytes(talk.server.recv(100), "big") for _ in range(sent)] == list(range(sent))


def test_the_figures_are_shown_with_the_status_of_the_node(world: World) -> None:
    with tcp(world, 4, "a", "b"):
        world.apply(SHUT)
        figures(world)
    shown = CliRunner().invoke(cli, ["node", "status", "--run-dir", str(world.run_dir), "-o", "json"])
    found = json.loads(shown.stdout)["felix"]["established"]
    assert found["passes"] >= 1
    assert found["last_took_ms"] > 0
    assert found["last_cut"][-1].keys() == {
        "time",
        "protocol",
        "source",
        "destination",
        "from",
        "to",
        "chain",
        "reason",
    }
    assert found["last_cut"][-1]["reason"].startswith("GlobalNetworkPolicy p ingress rule 0")


# ---- the switch


def switched(mode: str) -> dict[str, Any]:
    document = resource("FelixConfiguration", "default", {})
    document["metadata"]["annotations"] = {"config.projectcalico.org/EstablishedFlows": mode}
    return document


def test_nothing_ends_when_flows_are_kept_and_what_is_forbidden_when_they_are_not_any_more(
    world: World, family: int
) -> None:
    world.apply(switched("Keep"))
    with tcp(world, family, "a", "b") as talk, udp(world, family, "c", "b") as other, counted(world) as grown:
        world.apply(SHUT)
        assert figures(world)["mode"] == "keep"
        assert (grown("passes"), grown("cut")) == (0, 0)
        assert talk.ask()
        assert talk.tell()
        world.expect(family, "!a>b tcp:7100")
        world.apply(switched("Recheck"))
        assert grown("cut") == 1
        assert not talk.ask()
        assert other.ask()
