"""The rtnetlink codec: what is encoded is what is decoded, and bad bytes never do more than raise WireError."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calico.netlink import wire
from calico.netlink.rtnetlink.address import Address, decode_address, new_address
from calico.netlink.rtnetlink.event import Event, decode_event
from calico.netlink.rtnetlink.link import Link, decode_link, get_link, new_bridge, new_plain, new_veth, set_link
from calico.netlink.rtnetlink.neighbour import Neighbour, decode_neighbour, delete_neighbour, new_neighbour
from calico.netlink.rtnetlink.netconf import ALL, NetConf, decode_netconf
from calico.netlink.rtnetlink.route import (
    KernelRoute,
    NextHop,
    decode_route,
    encode_route,
    new_route,
    on_link_scope,
    peek_route,
)
from calico.netlink.rtnetlink.rule import SourceRule, decode_rule, new_rule
from calico.netlink.wire import WireError

macs = st.binary(min_size=6, max_size=6)
indexes = st.integers(1, 2**31 - 1)
bytes8 = st.integers(0, 255)
addresses4, addresses6 = st.binary(min_size=4, max_size=4), st.binary(min_size=16, max_size=16)
addresses = addresses4 | addresses6


def payload(message: bytes) -> bytes:
    (one,) = wire.iter_messages(message)
    return one.payload


@st.composite
def routes(draw):
    address = draw(addresses)
    own = addresses4 if len(address) == 4 else addresses6
    gateways = st.just(b"") | own | (addresses6 if len(address) == 4 else own)
    hop = st.builds(NextHop, oif=indexes, gateway=gateways, weight=st.integers(1, 256))
    hops = draw(st.just(()) | st.tuples(hop.map(single)) | st.lists(hop, min_size=2, max_size=4).map(tuple))
    length = draw(st.integers(0, len(address) * 8))
    return KernelRoute(
        dst=(address if length else bytes(len(address))) + bytes((length,)),
        hops=hops,
        metric=draw(st.integers(0, 2**32 - 1)),
        protocol=draw(bytes8),
        scope=draw(bytes8),
        table=draw(st.integers(1, 2**32 - 1)),
        type=draw(bytes8),
        source=draw(st.just(b"") | own),
        tos=draw(bytes8),
    )


def single(hop: NextHop) -> NextHop:
    return NextHop(oif=hop.oif, gateway=hop.gateway)


@given(routes())
def test_a_route_comes_back_as_it_went(route):
    assert decode_route(encode_route(route)) == route


@given(routes())
def test_the_cheap_look_at_a_route_agrees_with_the_full_one(route):
    family, length, table, protocol = peek_route(payload(new_route(7, route)))
    assert (family, length) == (2 if len(route.dst) == 5 else 10, route.dst[-1])
    assert (table, protocol) == (route.table if route.table < 256 else 0, route.protocol)


@given(indexes, addresses, macs, st.booleans(), bytes8)
def test_a_neighbour_comes_back_as_it_went(index, address, mac, proxy, protocol):
    entry = Neighbour(index=index, address=address, mac=b"" if proxy else mac, proxy=proxy, protocol=protocol)
    back = decode_neighbour(payload(new_neighbour(1, entry)))
    assert back == (
        entry if not proxy else Neighbour(index=index, address=address, state=0, proxy=True, protocol=protocol)
    )
    assert decode_neighbour(payload(delete_neighbour(1, entry))).address == address


@given(addresses, st.integers(1, 2**32 - 1), st.integers(1, 2**32 - 1))
def test_a_rule_comes_back_as_it_went(source, table, priority):
    rule = SourceRule(source=source, table=table, priority=priority)
    assert decode_rule(payload(new_rule(1, rule))) == rule


@given(st.data(), indexes, addresses, bytes8, st.integers(0, 2**32 - 1), bytes8)
def test_an_address_comes_back_as_it_went(data, index, address, scope, flags, protocol):
    length = data.draw(st.integers(0, len(address) * 8))
    whole = Address(index=index, address=address, prefix_len=length, scope=scope, flags=flags, protocol=protocol)
    assert decode_address(payload(new_address(1, whole))) == whole


@given(indexes, macs, st.integers(68, 65535), st.integers(0, 2**31 - 1))
def test_what_is_set_on_a_link_reads_as_that_link(index, mac, mtu, master):
    got = decode_link(payload(set_link(1, index, mac=mac, mtu=mtu, master=master, up=True, rename="cali0")))
    assert got == Link(index=index, name="cali0", flags=1, mac=mac, mtu=mtu, master=master)


@given(
    st.binary(max_size=200), st.sampled_from([decode_link, decode_address, decode_route, decode_neighbour, decode_rule])
)
def test_arbitrary_bytes_decode_or_raise_one_error(junk, decode):
    try:
        decode(junk)
    except wire.WireError:
        pass


@given(routes(), st.integers(0, 400), bytes8)
def test_a_damaged_route_decodes_or_raises_one_error(route, position, value):
    good = bytearray(encode_route(route))
    good[position % len(good)] = value
    try:
        decode_route(bytes(good))
    except wire.WireError:
        pass


@given(st.integers(0, 65535), st.binary(max_size=120))
def test_events_of_any_type_decode_or_raise_one_error(kind, junk):
    try:
        event = decode_event(wire.Message(kind, 0, 0, 0, junk))
    except wire.WireError:
        return
    assert event is None or isinstance(event, Event)


def test_a_bridge_port_leaving_is_not_a_link_that_is_gone():
    port = bytes((7,)) + bytes(15)
    assert decode_event(wire.Message(17, 0, 0, 0, port)) is None
    gone = decode_event(wire.Message(17, 0, 0, 0, bytes(16)))
    assert gone is not None
    assert gone.gone


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a:b", "a b", "a\0b", "sixteen-letters!", "üüüüüüüü"])
def test_names_the_kernel_would_refuse_are_never_sent(name):
    for build in (
        get_link,
        new_bridge,
        lambda seq, bad: new_veth(seq, bad, "ok"),
        lambda seq, bad: new_veth(seq, "ok", bad),
    ):
        with pytest.raises(wire.WireError):
            build(1, name)


def test_a_link_is_renamed_by_its_index_only():
    with pytest.raises(wire.WireError):
        set_link(1, "cali0", rename="cali1")


@pytest.mark.parametrize(
    ("flags", "operstate", "up", "oper_up"),
    [
        (0, 2, False, False),
        (1, 2, True, False),
        (0x10001, 6, True, True),
        (0x10001, 0, True, True),
        (0x10001, 5, True, False),
    ],
)
def test_an_interface_carries_packets_when_up_with_carrier_and_operational(flags, operstate, up, oper_up):
    link = Link(index=1, name="x", flags=flags, operstate=operstate)
    assert (link.up, link.oper_up) == (up, oper_up)


def test_an_ipv6_route_cannot_have_an_ipv4_gateway():
    with pytest.raises(wire.WireError):
        encode_route(KernelRoute(dst=bytes(17), hops=(NextHop(oif=1, gateway=bytes(4)),)))


def test_an_ipv4_destination_without_gateway_is_on_the_link():
    assert on_link_scope(bytes(5), b"") == 253
    assert on_link_scope(bytes(5), bytes(4)) == 0
    assert on_link_scope(bytes(17), b"") == 0


def test_settings_of_an_interface_are_read_from_the_kernels_words() -> None:
    payload = bytes.fromhex("02000000080001000700000008000300010000000800020000000000")
    assert decode_netconf(payload) == NetConf(2, 7, {"rp_filter": 1, "forwarding": 0})
    assert decode_netconf(bytes.fromhex("0a00000008000100ffffffff")) == NetConf(10, ALL, {})


@pytest.mark.parametrize("payload", [b"", bytes.fromhex("020000000600010007000000"), b"\2"])
def test_broken_words_about_settings_are_refused(payload: bytes) -> None:
    with pytest.raises(WireError):
        decode_netconf(payload)


def test_a_device_of_ip_in_ip_is_asked_for_in_these_bytes() -> None:
    """Put together by hand from netlink.h and if_link.h, for hosts of little-endian order."""
    header = bytes.fromhex("3c000000 1000 0106 07000000 00000000")  # RTM_NEWLINK, REQUEST | EXCL | CREATE
    link = bytes.fromhex("00 00 0000 00000000 00000000 00000000")
    name = bytes.fromhex("0a00 0300 74756e6c3000 0000")  # IFLA_IFNAME "tunl0"
    info = bytes.fromhex("1000 1280 0900 0100 6970697000 000000")  # IFLA_LINKINFO (nested), IFLA_INFO_KIND "ipip"
    assert new_plain(7, "tunl0", "ipip") == header + link + name + info
