"""The socket: dumps, refusals, overflow, large sends."""

import errno

import pytest

from calico.dataplane.netns import in_netns
from calico.errors import ResyncRequired
from calico.netlink import wire
from calico.netlink.nftables.codec import TableCodec, encode_batch, generation_request
from calico.netlink.nftables.objects import Table
from calico.netlink.socket import NETLINK_NETFILTER, NETLINK_ROUTE, NetlinkError, NetlinkSocket

pytestmark = pytest.mark.root

NFTABLES_GROUP = 7
GETLINK, DELLINK = 18, 17
CODEC = TableCodec(Table("t"))


def chains(count: int, sock: NetlinkSocket) -> None:
    requests = [CODEC.put_table(0), *(CODEC.put_chain(f"chain-{number}", None) for number in range(count))]
    first = sock.next_seq(len(requests) + 2)
    assert sock.exchange(encode_batch(requests, first, None), first, first + len(requests) + 1) == (True, [])


def link_dump(sock: NetlinkSocket) -> bytes:
    return wire.message(GETLINK, wire.NLM_F_REQUEST | wire.NLM_F_DUMP, sock.next_seq(), bytes(16))


def delete_link(sock: NetlinkSocket, index: int) -> bytes:
    body = bytes(4) + index.to_bytes(4, "little") + bytes(8)
    return wire.message(DELLINK, wire.NLM_F_REQUEST, sock.next_seq(), body)


@pytest.fixture
def route(host):
    with in_netns(host.netns, lambda: NetlinkSocket(NETLINK_ROUTE)) as sock:
        yield sock


def test_a_dump_yields_every_object(route) -> None:
    names = [wire.text(wire.parse_attrs(link.payload[16:])[3]) for link in route.dump(link_dump(route))]
    assert "lo" in names


def test_a_socket_has_one_dump_at_a_time(route) -> None:
    first = route.dump(link_dump(route))
    next(first)
    with pytest.raises(RuntimeError):
        next(route.dump(link_dump(route)))
    first.close()
    assert list(route.dump(link_dump(route)))


def test_every_refused_request_is_named_and_the_acknowledged_others_are_not(route) -> None:
    requests = [delete_link(route, 7000 + number) for number in range(3)]
    failures = route.transact(requests)
    assert [failure.errno for failure in failures] == [errno.ENODEV] * 3
    assert [failure.seq for failure in failures] == [int.from_bytes(each[8:12], "little") for each in requests]


def test_more_than_a_thousand_requests_are_sent_in_parts(route) -> None:
    requests = [delete_link(route, 7000) for _ in range(2500)]
    assert len(route.transact(requests)) == 2500


def test_a_refused_request_raises_its_errno(host) -> None:
    with host.socket() as sock, pytest.raises(NetlinkError) as caught:
        sock.request(CODEC.get_table(sock.next_seq()))
    assert caught.value.errno == errno.ENOENT


def test_an_overflow_demands_a_resync_and_leaves_nothing_stale(host) -> None:
    with (
        host.socket() as writer,
        in_netns(host.netns, lambda: NetlinkSocket(NETLINK_NETFILTER, groups=[NFTABLES_GROUP], rcvbuf=4096)) as events,
    ):
        for _ in range(20):
            chains(200, writer)
            first = writer.next_seq(3)
            writer.exchange(encode_batch([CODEC.delete_table()], first, None), first, first + 2)
        with pytest.raises(ResyncRequired):
            list(events.drain())
        assert list(events.drain()) == []


def test_events_are_drained_without_waiting(host) -> None:
    with (
        host.socket() as writer,
        in_netns(host.netns, lambda: NetlinkSocket(NETLINK_NETFILTER, groups=[NFTABLES_GROUP])) as events,
    ):
        assert list(events.drain()) == []
        chains(3, writer)
        assert len(list(events.drain())) >= 4
        assert list(events.drain()) == []


def test_a_send_beyond_the_buffer_enlarges_it(host) -> None:
    with in_netns(host.netns, lambda: NetlinkSocket(NETLINK_NETFILTER, sndbuf=4096)) as sock:
        chains(2000, sock)
        assert len(list(sock.dump(CODEC.dump(4, sock.next_seq())))) == 2000


def test_sequence_numbers_are_reserved_in_a_row_and_never_0(host) -> None:
    with host.socket() as sock:
        first = sock.next_seq(10)
        assert first > 0
        assert sock.next_seq() == first + 10
        sock._seq = 0xFFFFFFFE
        assert sock.next_seq(5) == 1
        assert sock.request(generation_request(sock.next_seq()))
