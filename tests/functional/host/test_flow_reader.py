"""The reader of flow logs on a real kernel: what rules log arrives; what nobody read in time is counted."""

from __future__ import annotations

import select
import socket
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from calico.dataplane.flows.conntrack import Conntrack
from calico.dataplane.flows.log_reader import FlowReader
from calico.dataplane.links import Links
from calico.dataplane.netns import in_netns, temporary_netns
from calico.dataplane.nft.table import NftDataplane
from calico.errors import Transient
from calico.felix.flows.table import flow_key
from calico.lib.packed import addr_bytes
from calico.netlink.conntrack import decode_counts, decode_flow
from calico.netlink.nflog import LoggedPacket
from calico.netlink.nftables.expr import Cmp, Log, Meta, Rule
from calico.netlink.nftables.objects import Chain, Hook, Table
from calico.netlink.socket import NETLINK_NETFILTER, NetlinkSocket
from calico.rules.loads import ACCEPT, ESTABLISHED_OR_RELATED
from calico.rules.packets import UDP
from calico.rules.table import TableState

pytestmark = pytest.mark.root
GROUP, PREFIX = 81, "A i 0 pi-np/ns/a"
LOCALHOST = addr_bytes("127.0.0.1")


@pytest.fixture
def netns() -> Iterator[str]:
    """A namespace in which every datagram that is sent is logged."""
    with temporary_netns(f"flowreader-{uuid.uuid4().hex[:8]}") as name:
        with Links(name) as links:
            links.set_up("lo")
        state = TableState()
        udp = (Meta("l4proto"), Cmp("eq", bytes((UDP,))))
        state.want_chain(Chain("out", (Rule((*udp, Log(PREFIX, GROUP))),), Hook("output", 0)))
        dataplane = in_netns(name, lambda: NftDataplane(Table("calico"), state))
        assert dataplane.apply().failed == ()
        dataplane.resync()
        assert dataplane.apply().messages == 0, "what is in the kernel is what was meant"
        yield name
        dataplane.close()


def send(netns: str, count: int) -> tuple[int, int]:
    """Datagrams to oneself: how many arrived, and the port that they came from."""

    def go() -> tuple[int, int]:
        with (
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver,
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
        ):
            receiver.bind(("127.0.0.1", 7001))
            receiver.settimeout(5)
            arrived = 0
            for _ in range(count):
                sender.sendto(b"x", ("127.0.0.1", 7001))
                arrived += receiver.recv(10) == b"x"
            return arrived, sender.getsockname()[1]

    return in_netns(netns, go)


def read_all(reader: FlowReader) -> list[LoggedPacket]:
    """What is there, and what the kernel still gathers (at most a tenth of a second)."""
    found: list[LoggedPacket] = []
    ends: list[bytes] = []
    while select.select([reader.filenos()[0]], [], [], 0.5)[0]:
        reader.read(1.0, found.append, ends.append)
    return found


def test_a_packet_is_told_with_the_rules_prefix_and_the_headers_that_tell_its_flow(netns: str) -> None:
    reader = in_netns(netns, lambda: FlowReader(GROUP))
    try:
        assert in_netns(netns, lambda: Path("/proc/sys/net/netfilter/nf_conntrack_acct").read_text()) == "1\n"
        arrived, port = send(netns, 3)
        found = read_all(reader)
        assert arrived == len(found) == 3
        assert {packet.prefix for packet in found} == {PREFIX}
        assert {flow_key(packet.data) for packet in found} == {(LOCALHOST, LOCALHOST, UDP, port, 7001)}
        assert reader.lost == 0
    finally:
        reader.close()


def test_packets_that_nobody_reads_pass_as_fast_and_are_counted_as_lost(netns: str) -> None:
    reader = in_netns(netns, lambda: FlowReader(GROUP, buffer=64 << 10))
    try:
        sent = 3000
        assert send(netns, sent)[0] == sent, "no packet waits for the reader"
        before = len(read_all(reader))
        assert before < sent
        send(netns, 1)
        after = len(read_all(reader))
        assert before + after + reader.lost == sent + 1
        assert reader.lost > sent / 2
    finally:
        reader.close()


def test_a_group_has_one_reader_and_is_free_again_when_that_goes(netns: str) -> None:
    first = in_netns(netns, lambda: FlowReader(GROUP))
    with pytest.raises(Transient):
        in_netns(netns, lambda: FlowReader(GROUP))
    first.close()
    in_netns(netns, lambda: FlowReader(GROUP)).close()
    assert send(netns, 10)[0] == 10, "without a reader packets pass, too"


def test_the_end_of_a_connection_is_told_with_what_went_over_it(netns: str) -> None:
    ends: list[bytes] = []
    state = TableState()  # connections are tracked only where something asks for their state
    state.want_chain(Chain("known", (Rule((*ESTABLISHED_OR_RELATED, ACCEPT)),), Hook("input", 0)))
    tracking = in_netns(netns, lambda: NftDataplane(Table("track"), state))
    tracking.apply()
    reader = in_netns(netns, lambda: FlowReader(GROUP))
    try:
        _, port = send(netns, 4)
        with in_netns(netns, lambda: NetlinkSocket(NETLINK_NETFILTER)) as sock:
            assert Conntrack(sock).forget({LOCALHOST}) == 1
        reader.read(1.0, lambda packet: None, ends.append)
        (end,) = ends
        flow = decode_flow(end)
        assert (flow.orig.sport, flow.reply.sport) == (port, 7001)
        assert decode_counts(end) == ((4, 4 * 29), (0, 0))
    finally:
        reader.close()
        tracking.close()
