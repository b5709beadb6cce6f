"""Packets see the old rules or the new ones, never a hole between."""

import socket
import threading
from collections.abc import Callable

import pytest

from calico.dataplane.links import Links
from calico.dataplane.netns import in_netns
from calico.netlink.nftables.expr import Cmp, Meta, Payload, Rule, Verdict
from calico.netlink.nftables.objects import Chain, Hook, SetDecl
from calico.rules.table import TableState

pytestmark = pytest.mark.root

LOOPBACK = bytes((127, 0, 0, 1))


def policy(version: int) -> Chain:
    """Accepts datagrams to loopback; the rest of it differs from version to version."""
    other = Rule((Meta("mark"), Cmp("eq", (version + 1).to_bytes(4, "little")), Verdict("return")))
    to_loopback = (Meta("nfproto"), Cmp("eq", b"\x02"), Payload("network", 16, 4), Cmp("eq", LOOPBACK))
    return Chain("policy", (other, Rule((*to_loopback, Verdict("accept")))))


def output_state() -> TableState:
    """A host whose output is dropped unless the policy accepts it: a drop is seen by the sender as EPERM."""
    state = TableState()
    state.want_set(SetDecl("unused", ("ipv4_addr",), size=16))
    state.want_chain(policy(0))
    state.want_chain(Chain("out", (Rule((Verdict("jump", "policy"),)),), Hook("output", 0, "drop")))
    return state


def dropped_while(netns: str, action: Callable[[], None]) -> tuple[int, int]:
    """Datagrams dropped and sent by a sender that does not stop while ``action`` runs."""
    counts = {"dropped": 0, "sent": 0}
    stop = threading.Event()

    def send() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
            receiver.bind(("127.0.0.1", 0))
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
                while not stop.is_set():
                    try:
                        sender.sendto(b"x", receiver.getsockname())
                        counts["sent"] += 1
                    except PermissionError:
                        counts["dropped"] += 1

    sender = threading.Thread(target=in_netns, args=(netns, send))
    sender.start()
    try:
        action()
    finally:
        stop.set()
        sender.join()
    return counts["dropped"], counts["sent"]


@pytest.fixture
def loopback_up(host) -> None:
    with Links(host.netns) as links:
        links.set_up("lo")


@pytest.mark.usefixtures("loopback_up")
def test_no_packet_is_lost_while_its_policy_is_rewritten(host) -> None:
    state = output_state()
    dataplane = host.dataplane(state)
    dataplane.apply()

    def rewrite() -> None:
        for version in range(1, 500):
            state.want_chain(policy(version))
            assert dataplane.apply().messages == 3

    dropped, sent = dropped_while(host.netns, rewrite)
    assert sent > 100
    assert dropped == 0


@pytest.mark.usefixtures("loopback_up")
def test_no_packet_is_lost_at_a_restart_with_another_policy(host) -> None:
    host.dataplane(output_state()).apply()
    host.close()

    def restart() -> None:
        for version in range(1, 20):
            state = output_state()
            state.want_chain(policy(version))
            dataplane = host.dataplane(state)
            assert dataplane.apply().failed == ()
            dataplane.close()

    dropped, sent = dropped_while(host.netns, restart)
    assert sent > 100
    assert dropped == 0


@pytest.mark.usefixtures("loopback_up")
def test_the_sender_does_notice_a_hole(host) -> None:
    state = output_state()
    dataplane = host.dataplane(state)
    dataplane.apply()

    def rewrite_in_two_steps() -> None:
        for version in range(1, 500):
            state.want_chain(Chain("policy"))
            dataplane.apply()
            state.want_chain(policy(version))
            dataplane.apply()

    dropped, _ = dropped_while(host.netns, rewrite_in_two_steps)
    assert dropped > 0
