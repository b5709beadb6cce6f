"""Ended flows stay ended; flows to the host, translated flows and flows that belong to others."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from felix_flows import SHUT, Talk, counted, figures, forget_all, tcp, tracked, udp
from felix_world import World, resource, until


@pytest.fixture(autouse=True)
def nothing_is_tracked(world: World) -> None:
    """No flow of an earlier test."""
    figures(world)
    forget_all(world)


# ---- nothing brings an ended flow back


def test_a_responder_cannot_open_an_ended_connection_the_other_way_round(world: World, family: int) -> None:
    with counted(world) as grown, tcp(world, family, "a", "b") as talk, tcp(world, family, "c", "b") as other:
        world.apply(SHUT)
        assert grown("tombstones") == 1
        for _ in range(3):
            assert not talk.tell()
            assert not talk.ask()
        assert tracked(world, "a", "b") == tracked(world, "b", "a") == []
        assert other.tell()
        world.expect(family, "b>a tcp:80", f"b>a tcp:{talk.server.getsockname()[1]}:{talk.client.getsockname()[1]}")


def test_a_connection_that_is_allowed_again_in_time_goes_on_whoever_speaks_first(world: World, family: int) -> None:
    with counted(world) as grown, tcp(world, family, "a", "b") as talk, tcp(world, family, "a", "b") as other:
        world.apply(SHUT)
        assert grown("tombstones") == 2
        assert not talk.ask()
        world.delete("GlobalNetworkPolicy", "p")
        assert grown("tombstones") == 0
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
    with counted(world) as grown, tcp(world, family, "a", "b") as talk:
        world.apply(SHUT)
        assert grown("tombstones") == 1
        world.restart_felix()
        assert grown("tombstones") == 1
        assert not talk.tell()
        assert not talk.ask()
        assert tracked(world, "b", "a") == []
        world.delete("GlobalNetworkPolicy", "p")
        assert grown("tombstones") == 0
        until(talk.tell, "the responder's segments were sent again")


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
        subprocess.run(in_host, input=f"table inet foreign {{\n{content}\n}}\n", text=True, check=True)

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


def ports_of_b(*ports: int) -> dict[str, Any]:
    rules = [{"action": "Allow", "protocol": "TCP", "destination": {"ports": list(ports)}}]
    return resource("GlobalNetworkPolicy", "p", {"selector": "app == 'b'", "types": ["Ingress"], "ingress": rules})


@pytest.mark.parametrize("passive", [True, False], ids=["passive", "active"])
def test_an_expected_flow_ends_with_its_master(
    world: World, family: int, foreign: Callable[[str], None], passive: bool
) -> None:
    foreign('ct helper ftp { type "ftp" protocol tcp; }; chain pre { type filter hook prerouting priority -150; '
            'tcp dport 21 ct helper set "ftp"; }')  # fmt: skip
    nobody = resource("GlobalNetworkPolicy", "q", {"selector": "app == 'a'", "types": ["Ingress"], "ingress": []})
    world.apply(ports_of_b(21), nobody)
    server, client = ("b", "a") if passive else ("a", "b")
    with tcp(world, family, "a", "b", port=21) as talk, world.socket(server, family, socket.SOCK_STREAM) as listener:
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
        with world.socket(client, family, socket.SOCK_STREAM) as data:
            data.connect((world.address(server, family), port))
            accepted, _ = listener.accept()
            with accepted:
                transfer = Talk(data, accepted)
                assert transfer.ask()
                world.apply(ports_of_b(20, 21))
                assert figures(world)["pending"] is False
                assert transfer.ask()
                with counted(world) as grown:
                    world.apply(SHUT)
                    assert grown("cut") == 2
                assert not transfer.ask()
                assert not transfer.tell()
                assert not talk.ask()
