"""Counters, rates and counted connections change with traffic; the rules that hold them are the same rules."""

import socket

import pytest

from calico.dataplane.links import Links
from calico.dataplane.netns import in_netns
from calico.netlink.nftables.expr import Cmp, ConnLimit, Counter, Expr, Limit, Meta, Payload, Rule, Verdict
from calico.netlink.nftables.objects import Chain, Hook
from calico.rules.table import TableState

pytestmark = pytest.mark.root

DROP = Verdict("drop")
HOUR_S = 3600
LIMITS: dict[str, tuple[Expr, int]] = {
    "packets": (Limit(1, HOUR_S, 3, over=True), 3),
    "bytes": (Limit(1, HOUR_S, 90, "bytes", over=True), 3),
    "connections": (ConnLimit(3, over=True), 3),
}


def to_port(port: int) -> tuple[Expr, ...]:
    udp = (Meta("l4proto"), Cmp("eq", b"\x11"))
    return (*udp, Payload("transport", 2, 2), Cmp("eq", port.to_bytes(2, "big")))


def state_of(limit: Expr) -> TableState:
    state = TableState()
    rules = (Rule((Counter(),)), Rule((*to_port(7), limit, Counter(), DROP)))
    state.want_chain(Chain("out", rules, Hook("output", 0)))
    return state


def sent(netns: str, count: int) -> int:
    """How many of some datagrams, each of a connection of its own, are not dropped; they are 29 bytes each."""

    def send() -> int:
        passed = 0
        for _ in range(count):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
                try:
                    sender.sendto(b"x", ("127.0.0.1", 7))
                except PermissionError:
                    continue
                passed += 1
        return passed

    return in_netns(netns, send)


@pytest.fixture
def loopback_up(host) -> None:
    with Links(host.netns) as links:
        links.set_up("lo")


@pytest.mark.usefixtures("loopback_up")
@pytest.mark.parametrize("kind", LIMITS)
def test_a_rule_is_found_as_it_is_after_traffic_and_keeps_what_it_counted(host, kind: str) -> None:
    limit, allowed = LIMITS[kind]
    dataplane = host.dataplane(state_of(limit))
    assert dataplane.apply().failed == ()
    assert sent(host.netns, 10) == allowed
    assert "packets 0 bytes 0" not in " ".join(host.rules("out"))
    dataplane.resync()
    assert not dataplane.apply().changed
    dataplane.close()
    again = host.dataplane(state_of(limit))
    assert not again.apply().changed
    assert sent(host.netns, 10) == 0


@pytest.mark.usefixtures("loopback_up")
def test_another_limit_is_another_rule(host) -> None:
    dataplane = host.dataplane(state_of(Limit(1, HOUR_S, 3, over=True)))
    dataplane.apply()
    dataplane.close()
    for limit in (Limit(1, HOUR_S, 4, over=True), Limit(1, HOUR_S, 4), Limit(1, HOUR_S, 4, "bytes"), ConnLimit(1)):
        again = host.dataplane(state_of(limit))
        assert again.apply().changed
        again.close()
