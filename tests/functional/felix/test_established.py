"""Established flows when policy is tightened: exactly those that it forbids end, and nothing brings them back."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
from felix_world import World, resource, until

from calico.dataplane.flows import FlowTable
from calico.dataplane.netns import in_netns
from calico.lib.packed import addr_bytes
from calico.netlink.conntrack import Flow, decode_flow

SILENCE_S = 0.3
TCP, UDP, ICMP = socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_RAW


# ---- flows


class Talk:
    """A flow between two machines: ``ask`` and ``tell`` say whether what one end sends arrives at the other."""

    def __init__(self, client: socket.socket, server: socket.socket, peer: Any = None) -> None:
        self.client, self.server, self.peer = client, server, peer
        self._number = 0

    def ask(self) -> bool:
        return self._goes(self.client.send, self.server)

    def tell(self) -> bool:
        send = self.server.send if self.peer is None else lambda data: self.server.sendto(data, self.peer)
        return self._goes(send, self.client)

    def _goes(self, send: Callable[[bytes], int], receiver: socket.socket) -> bool:
        self._number += 1
        data = self._number.to_bytes(4, "big")
        receiver.settimeout(SILENCE_S)
        send(data)
        try:
            while True:
                found = receiver.recv(2000)
                if not found:
                    return False
                if found[-4:] == data:
                    return True
        except TimeoutError:
            return False


@contextmanager
def tcp(world: World, family: int, source: str, target: str, port: int = 0, via: str = "") -> Iterator[Talk]:
    with world.socket(target, family, TCP) as listener, world.socket(source, family, TCP) as client:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((world.address(target, family), port))
        listener.listen()
        client.bind((world.address(source, family), 0))
        client.connect((via or world.address(target, family), listener.getsockname()[1]))
        server, _ = listener.accept()
        with server:
            talk = Talk(client, server)
            assert talk.ask()
            assert talk.tell()
            yield talk


@contextmanager
def udp(world: World, family: int, source: str, target: str) -> Iterator[Talk]:
    with world.socket(target, family, UDP) as server, world.socket(source, family, UDP) as client:
        server.bind((world.address(target, family), 0))
        client.bind((world.address(source, family), 0))
        client.connect((world.address(target, family), server.getsockname()[1]))
        client.send(b"first")
        data, peer = server.recvfrom(100)
        assert data == b"first"
        talk = Talk(client, server, peer)
        assert talk.tell()
        yield talk


def tracked(world: World, source: str, target: str, family: int = 0) -> list[Flow]:
    """The host's flows from one machine to another, as packet filters saw them."""
    ends = [{addr_bytes(world.address(name, version)) for version in (4, 6)} for name in (source, target)]

    def read() -> list[Flow]:
        table = FlowTable()
        try:
            return [decode_flow(payload) for payload in table.read()]
        finally:
            table.close()

    flows = [f for f in in_netns(world.netns("h"), read) if f.orig.src in ends[0] and f.reply.src in ends[1]]
    return [f for f in flows if not family or len(f.orig.src) == (4 if family == 4 else 16)]


def figures(world: World) -> dict[str, Any]:
    """Felix's figures when it has looked at all that the last change concerns."""
    return until(lambda: (e := world.status.get("established")) and not e["pending"] and e, "flows were rechecked")


@contextmanager
def counted(world: World) -> Iterator[Callable[[str], int]]:
    """How much a figure has grown since the beginning."""
    before = figures(world)
    yield lambda name: figures(world)[name] - before[name]


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


# ---- nothing brings an ended flow back


DENY_A = {"action": "Deny", "source": {"selector": "app == 'a'"}}
SHUT = resource("GlobalNetworkPolicy", "p", {"selector": "app == 'b'", "types": ["Ingress"], "ingress": [
    DENY_A, {"action": "Allow"}]})  # fmt: skip


def test_a_responder_cannot_open_an_ended_connection_the_other_way_round(world: World, family: int) -> None:
    with tcp(world, family, "a", "b") as talk, tcp(world, family, "c", "b") as other:
        world.apply(SHUT)
        assert figures(world)["tombstones"] == 1
        for _ in range(3):
            assert not talk.tell()
            assert not talk.ask()
        assert tracked(world, "a", "b") == tracked(world, "b", "a") == []
        assert other.tell()
        world.expect(family, "b>a tcp:80", f"b>a tcp:{talk.server.getsockname()[1]}:{talk.client.getsockname()[1]}")


def test_a_connection_that_is_allowed_again_in_time_goes_on_whoever_speaks_first(world: World, family: int) -> None:
    with tcp(world, family, "a", "b") as talk, tcp(world, family, "a", "b") as other:
        world.apply(SHUT)
        assert figures(world)["tombstones"] == 2
        assert not talk.ask()
        world.delete("GlobalNetworkPolicy", "p")
        until(lambda: figures(world)["tombstones"] == 0, "the tombstones went")
        assert other.tell()
        assert other.ask()
        until(talk.ask, "the client's segments were sent again")


def test_a_datagram_of_a_responder_is_a_flow_of_its_own(world: World, family: int) -> None:
    with udp(world, family, "a", "b") as talk:
        world.apply(SHUT)
        assert figures(world)["cut"]
        assert not talk.ask()
        assert tracked(world, "a", "b") == []
        assert talk.tell()
        assert len(tracked(world, "b", "a")) == 1
        both = resource("GlobalNetworkPolicy", "q", {"selector": "app == 'a'", "types": ["Ingress"], "ingress": []})
        world.apply(both)
        figures(world)
        assert not talk.tell()
        assert not talk.ask()


def test_a_connection_stays_ended_when_felix_starts_anew(world: World, family: int) -> None:
    with tcp(world, family, "a", "b") as talk:
        world.apply(SHUT)
        assert figures(world)["tombstones"] == 1
        world.restart_felix()
        assert figures(world)["tombstones"] == 1
        assert not talk.tell()
        assert not talk.ask()
        assert tracked(world, "b", "a") == []
        world.delete("GlobalNetworkPolicy", "p")
        until(lambda: figures(world)["tombstones"] == 0, "the tombstone went")
        assert talk.tell()


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
            world.apply(SHUT, settle=False)
            before = world.status["established"]["cut"]
            while world.status["established"]["cut"] == before:
                talk.client.send(sent.to_bytes(4, "big"))
                sent += 1
            assert not ended.ask()
            world.delete("GlobalNetworkPolicy", "p")
        talk.server.settimeout(5)
        assert [int.from_bytes(talk.server.recv(100), "big") for _ in range(sent)] == list(range(sent))


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


# ---- to the host, translated, expected


def test_connections_to_the_host_end_too_and_the_host_does_not_revive_them(world: World, family: int) -> None:
    world.apply(resource("FelixConfiguration", "default", {"defaultEndpointToHostAction": "Accept"}), settle=False)
    until(lambda: "workload to host: accept" in world.ruleset(), "the setting was programmed")
    world.settle()
    try:
        with tcp(world, family, "a", "h") as talk, tcp(world, family, "c", "h") as other:
            spec = {"selector": "app == 'a'", "types": ["Egress"], "egress": [{"action": "Allow", "protocol": "UDP"}]}
            with counted(world) as grown:
                world.apply(resource("GlobalNetworkPolicy", "p", spec))
                assert grown("cut") == 1
            assert figures(world)["last_cut"][-1]["to"] == "host"
            assert not talk.tell()
            assert not talk.ask()
            assert tracked(world, "a", "h") == tracked(world, "h", "a") == []
            assert other.ask()
            assert other.tell()
    finally:
        world.delete("FelixConfiguration", "default", settle=False)
        until(lambda: "workload to host: drop" in world.ruleset(), "the default was programmed again")
        world.settle()


@pytest.fixture
def foreign(world: World) -> Iterator[Callable[[str], None]]:
    """Somebody else's table on the host."""

    def add(content: str) -> None:
        in_host = [*world.enter("h"), "nft", "-f", "-"]
        subprocess.run(in_host, input=f"table inet foreign {{ {content} }}", text=True, check=True)

    yield add
    world.nft("delete table inet foreign")


def test_a_translated_flow_is_judged_by_its_real_destination(
    world: World, family: int, foreign: Callable[[str], None]
) -> None:
    service = "192.0.2.200" if family == 4 else "2001:db8::200"
    version = "ip" if family == 4 else "ip6"
    foreign(f"chain nat {{ type nat hook prerouting priority -100; {version} daddr {service} dnat {version} to "
            f"{world.address('b', family)}; }}")  # fmt: skip
    with tcp(world, family, "a", "b", via=service) as talk, tcp(world, family, "c", "b", via=service) as other:
        with counted(world) as grown:
            world.apply(SHUT)
            assert grown("cut") == 1
        assert not talk.ask()
        assert not talk.tell()
        assert other.ask()
        assert other.tell()


@pytest.mark.parametrize("passive", [True, False])
def test_an_expected_flow_ends_with_its_master(
    world: World, family: int, foreign: Callable[[str], None], passive: bool
) -> None:
    foreign('ct helper ftp { type "ftp" protocol tcp; } chain pre { type filter hook prerouting priority -150; '
            'tcp dport 21 ct helper set "ftp"; }')  # fmt: skip
    control = [{"action": "Allow", "protocol": "TCP", "destination": {"ports": [21]}}]
    world.apply(
        resource("GlobalNetworkPolicy", "p", {"selector": "app == 'b'", "types": ["Ingress"], "ingress": control}),
        resource("GlobalNetworkPolicy", "q", {"selector": "app == 'a'", "types": ["Ingress"], "ingress": []}),
    )
    server, client = ("b", "a") if passive else ("a", "b")
    with tcp(world, family, "a", "b", port=21) as talk, world.socket(server, family, TCP) as listener:
        listener.bind((world.address(server, family), 0))
        listener.listen()
        port = listener.getsockname()[1]
        announcement = f"|||{port}|" if passive else f"|{1 if family == 4 else 2}|{world.address('a', family)}|{port}|"
        if passive:
            talk.client.send(b"EPSV\r\n")
            assert talk.server.recv(100).endswith(b"EPSV\r\n")
            talk.server.send(f"229 Entering Extended Passive Mode ({announcement})\r\n".encode())
            assert b"229" in talk.client.recv(100)
        else:
            talk.client.send(f"EPRT {announcement}\r\n".encode())
            assert b"EPRT" in talk.server.recv(100)
        with world.socket(client, family, TCP) as data:
            data.connect((world.address(server, family), port))
            accepted, _ = listener.accept()
            with accepted:
                transfer = Talk(data, accepted)
                assert transfer.ask()
                world.apply(resource("GlobalNetworkPolicy", "r", {"selector": "app == 'b'", "types": ["Ingress"],
                                     "order": 1, "ingress": [{"action": "Pass"}]}))  # fmt: skip
                assert figures(world)["pending"] is False
                assert transfer.ask()
                with counted(world) as grown:
                    world.apply(SHUT)
                    assert grown("cut") == 2
                assert not transfer.ask()
                assert not transfer.tell()
                assert not talk.ask()
