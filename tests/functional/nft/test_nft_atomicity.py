"""Packets see the old rules or the new ones, never a hole between."""

import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from calico.calc.messages import ActiveRule, IPSetDelta, IPSetUpdate, RuleSide
from calico.dataplane.links import Links
from calico.dataplane.netns import in_netns
from calico.dataplane.nft.table import NftDataplane
from calico.lib import packed
from calico.netlink.nftables.expr import Cmp, Lookup, Meta, Payload, Rule, Verdict
from calico.netlink.nftables.objects import Chain, Hook, SetDecl
from calico.rules.ipsets import IPSets
from calico.rules.match import match_rule
from calico.rules.names import ifname_key
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


FLOOD = """
import select, socket
receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
receiver.bind(("127.0.0.1", 0))
sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sender.connect(receiver.getsockname())
passed = dropped = 0
while not select.select([0], [], [], 0)[0]:
    for _ in range(1000):
        try:
            sender.send(b"x")
            passed += 1
        except PermissionError:
            dropped += 1
print(passed, dropped)
"""


@contextmanager
def flood(host) -> Iterator[Callable[[], tuple[int, int]]]:
    """Datagrams over loopback as fast as they go, by a process of its own. The call ends it: how many passed the
    packet filter, and how many were dropped."""
    words = ["nsenter", f"--net={host.path}", sys.executable, "-c", FLOOD]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:

        def counted() -> tuple[int, int]:
            passed, dropped = process.communicate("stop")[0].split()
            return int(passed), int(dropped)

        try:
            yield counted
        finally:
            process.kill()


def members(*nets: str) -> frozenset[bytes]:
    return frozenset(map(packed.net, nets))


class MovingSender:
    """A set that always has 127.0.0.1, as an address or within a network, and a rule that looks it up.

    ``stays``: another network is in the set all the time, so it always has both parts. ``negated``: accepts those who
    are not in the set, else drops those who are.
    """

    def __init__(self, host, *, stays: bool, negated: bool) -> None:
        self._state, self._negated, self._turn = TableState(), negated, 0
        self._sets = IPSets(self._state)
        first = members("127.0.0.1/32", "203.0.113.1/32", *(["198.51.100.0/24"] if stays else []))
        self._sets.replace(IPSetUpdate(id="sender", kind="nets", members=first))
        self._render()
        end = (Rule((Verdict("drop"),)),) if negated else ()
        self._state.want_chain(
            Chain("out", (Rule((Verdict("jump", "policy"),)), *end), Hook("output", 0, "accept")),
        )
        self._dataplane = host.dataplane(self._state)
        self._dataplane.apply()

    def move(self) -> None:
        """Once from one part to the other."""
        self._turn += 1
        address, net = members("127.0.0.1/32"), members("127.0.0.0/31")
        added, removed = (net, address) if self._turn % 2 else (address, net)
        if self._sets.change(IPSetDelta(id="sender", added=added, removed=removed)):
            self._render()
        assert self._dataplane.apply().failed == ()

    def _render(self) -> None:
        side = RuleSide(not_ip_sets=("sender",)) if self._negated else RuleSide(ip_sets=("sender",))
        match = match_rule(ActiveRule(action="deny", src=side, ip_version=4), self._sets)
        verdict = Verdict("accept" if self._negated else "drop")
        self._state.want_chain(Chain("policy", tuple(Rule((*exprs, verdict)) for exprs in match.alternatives)))


class Dispatched:
    """A map that leads packets to a chain which drops them; each ``exchange`` makes it another chain of the kind."""

    def __init__(self, host, kind: str, verdict: str) -> None:
        self._state, self._kind, self._verdict, self._turn = TableState(), kind, verdict, 0
        self._state.want_set(SetDecl("lists", ("ifname",), "verdict", size=64))
        self._put()
        lookup = Rule((Meta("oifname"), Lookup("lists", verdict=True)))
        end = (Rule((Verdict("drop"),)),) if verdict == "accept" else ()
        self._state.want_chain(Chain("out", (lookup, *end), Hook("output", 0, "accept")))
        self._dataplane = host.dataplane(self._state)
        self._dataplane.apply()

    def exchange(self) -> None:
        self._turn += 1
        self._put()
        self._state.unwant_chain(f"list-{self._turn - 1}")
        assert self._dataplane.apply().failed == ()

    def _put(self) -> None:
        name = f"list-{self._turn}"
        self._state.want_chain(Chain(name, (Rule((Verdict(self._verdict),)),)))
        self._state.want_element("lists", ifname_key("lo"), Verdict(self._kind, name))


@pytest.fixture
def in_one_transaction(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not done: nothing goes ahead and nothing stays for later."""
    monkeypatch.setattr(NftDataplane, "_may_prepare", lambda self: False)


@pytest.mark.usefixtures("loopback_up")
@pytest.mark.flaky(reruns=0)
@pytest.mark.parametrize("negated", [False, True], ids=["denied", "all-others-allowed"])
@pytest.mark.parametrize("stays", [True, False], ids=["both-parts", "parts-come-and-go"])
def test_an_address_that_moves_between_the_parts_of_a_set_is_always_found(host, stays: bool, negated: bool) -> None:
    sender = MovingSender(host, stays=stays, negated=negated)
    with flood(host) as counted:
        for _ in range(300):
            sender.move()
        passed, dropped = counted()
    assert dropped > 10_000
    assert passed == 0


@pytest.mark.usefixtures("loopback_up", "in_one_transaction")
@pytest.mark.parametrize("stays", [True, False], ids=["both-parts", "parts-come-and-go"])
def test_one_that_moved_in_one_transaction_would_be_missed(host, stays: bool) -> None:
    sender = MovingSender(host, stays=stays, negated=False)
    with flood(host) as counted:
        for _ in range(20_000):
            sender.move()
        passed, _ = counted()
    assert passed > 0


@pytest.mark.usefixtures("loopback_up")
@pytest.mark.flaky(reruns=0)
def test_no_packet_is_accepted_by_a_list_that_is_not_filled_yet(host) -> None:
    dispatched = Dispatched(host, "goto", "drop")
    with flood(host) as counted:
        for _ in range(300):
            dispatched.exchange()
        passed, dropped = counted()
    assert dropped > 10_000
    assert passed == 0


@pytest.mark.usefixtures("loopback_up")
def test_no_packet_is_lost_in_a_list_that_is_not_filled_yet(host) -> None:
    dispatched = Dispatched(host, "jump", "accept")
    with flood(host) as counted:
        for _ in range(20_000):
            dispatched.exchange()
        passed, dropped = counted()
    assert passed > 10_000
    assert dropped == 0


@pytest.mark.usefixtures("loopback_up", "in_one_transaction")
def test_a_list_that_came_together_with_what_leads_to_it_would_be_empty_for_some(host) -> None:
    dispatched = Dispatched(host, "goto", "drop")
    with flood(host) as counted:
        for _ in range(20_000):
            dispatched.exchange()
        passed, _ = counted()
    assert passed > 0
