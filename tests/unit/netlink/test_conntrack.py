"""The conntrack codec: flows are read whole, and bad bytes never do more than raise WireError."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calico.netlink import wire
from calico.netlink.conntrack import decode_flow, decode_way, delete_flow, dump_flows, get_flow, peek_ends


def tuple_attr(kind, src, dst, protocol=6, ports=(80, 81)):
    first = 1 if len(src) == 4 else 3
    ip = wire.nested(1, wire.attr(first, src), wire.attr(first + 1, dst))
    if protocol in (1, 58):
        names = (4, 5, 6) if protocol == 1 else (7, 8, 9)
        rest = wire.attr_be16(names[0], 9) + wire.attr_u8(names[1], ports[0]) + wire.attr_u8(names[2], ports[1] & 255)
    else:
        rest = wire.attr_be16(2, ports[0]) + wire.attr_be16(3, ports[1])
    return wire.nested(kind, ip, wire.nested(2, wire.attr_u8(1, protocol), rest))


def flow_payload(family, orig, reply, protocol=6, more=b"", ports=(80, 81)):
    header = bytes((family, 0, 0, 0))
    tuples = tuple_attr(1, *orig, protocol, ports) + tuple_attr(2, *reply, protocol, (ports[1], 4000))
    return header + tuples + wire.attr_be32(12, 77) + more


@pytest.mark.parametrize("size", [4, 16])
@given(st.data(), st.integers(0, 255))
def test_a_flow_has_the_addresses_of_both_tuples_and_is_deleted_by_its_id(size, data, protocol):
    a, b, c, d = (data.draw(st.binary(min_size=size, max_size=size)) for _ in range(4))
    flow = decode_flow(flow_payload(2 if size == 4 else 10, (a, b), (c, d), protocol))
    assert (flow.orig.src, flow.orig.dst, flow.reply.src, flow.reply.dst) == (a, b, c, d)
    assert flow.orig.protocol == flow.reply.protocol == protocol
    assert flow.addresses == {a, b, c, d}
    (message,) = wire.iter_messages(delete_flow(5, flow))
    attrs = wire.parse_attrs(message.payload[4:])
    assert (message.type, wire.be32(attrs[12])) == (0x102, 77)
    assert 2 not in attrs


PAIR = (b"\x0a\0\0\x01", b"\x0a\0\0\x02")
BACK = PAIR[::-1]
PAIR6 = (bytes(15) + b"\1", bytes(15) + b"\2")


def test_a_flow_has_the_ports_of_both_directions():
    flow = decode_flow(flow_payload(2, PAIR, BACK, 132, ports=(40000, 80)))
    assert (flow.orig.sport, flow.orig.dport, flow.reply.sport, flow.reply.dport) == (40000, 80, 80, 4000)
    assert flow.orig.icmp == (0, 0)


@pytest.mark.parametrize(("family", "pair", "protocol", "kind"), [(2, PAIR, 1, 8), (10, PAIR6, 58, 128)])
def test_a_flow_of_icmp_has_a_type_and_a_code_and_no_ports(family, pair, protocol, kind):
    way = decode_flow(flow_payload(family, pair, pair[::-1], protocol, ports=(kind, 3))).orig
    assert (way.icmp, way.sport, way.dport) == ((kind, 3), 0, 0)


def test_a_flow_knows_its_master_when_it_was_expected_only():
    master = tuple_attr(14, *PAIR, 6, (41000, 21))
    assert decode_flow(flow_payload(2, PAIR, BACK, more=master)).master == b""
    flow = decode_flow(flow_payload(2, PAIR, BACK, more=master + wire.attr_be32(3, 0xF)))
    way = decode_way(2, flow.master)
    assert (way.src, way.dst, way.sport, way.dport) == (*PAIR, 41000, 21)
    (message,) = wire.iter_messages(get_flow(3, 2, flow.master, b"\0\5"))
    attrs = wire.parse_attrs(message.payload[4:])
    assert (message.type, message.flags & wire.NLM_F_DUMP, attrs[1], attrs[18]) == (0x101, 0, flow.master, b"\0\5")


def test_a_flow_knows_whether_a_helper_looks_at_it_and_its_zone():
    flow = decode_flow(
        flow_payload(2, PAIR, BACK, more=wire.nested(5, wire.attr_str(1, "ftp")) + wire.attr(18, b"\0\7"))
    )
    assert (flow.helped, flow.zone) == (True, b"\0\7")
    (message,) = wire.iter_messages(delete_flow(5, flow))
    assert wire.parse_attrs(message.payload[4:])[18] == b"\0\7"
    assert not decode_flow(flow_payload(2, PAIR, BACK)).helped


@pytest.mark.parametrize(("flags", "picked_up"), [(b"\x0a\x0a", True), (b"\x03\x03", False), (b"", False)])
def test_a_flow_knows_whether_tracking_began_in_its_middle(flags, picked_up):
    info = wire.nested(4, wire.nested(1, wire.attr(4, flags)))
    assert decode_flow(flow_payload(2, PAIR, BACK, more=info)).picked_up == picked_up


@given(st.sampled_from([(2, 4), (10, 16)]), st.data(), st.sampled_from([1, 6, 17, 47, 58]), st.booleans())
def test_the_ends_that_are_peeked_at_are_those_that_are_decoded(family, data, protocol, is_usual):
    family, size = family
    a, b, c, d = (data.draw(st.binary(min_size=size, max_size=size)) for _ in range(4))
    payload = flow_payload(family, (a, b), (c, d), protocol)
    if not is_usual:
        payload = payload[:4] + wire.attr_be32(3, 8) + payload[4:]
    assert peek_ends(payload) == (a, c)


@given(st.binary(max_size=200), st.integers(0, 160))
def test_arbitrary_bytes_decode_or_raise_one_error(junk, length):
    for payload in (junk, flow_payload(2, PAIR, BACK)[:length] + junk):
        for decode in (decode_flow, peek_ends):
            try:
                decode(payload)
            except wire.WireError:
                pass


@pytest.mark.parametrize(
    ("place", "tuple_kind", "filter_kind", "flag"),
    [("orig-src", 1, 1, 1), ("orig-dst", 1, 1, 2), ("reply-src", 2, 2, 1), ("reply-dst", 2, 2, 2)],
)
def test_a_filtered_dump_asks_for_one_address_in_one_place(place, tuple_kind, filter_kind, flag):
    (message,) = wire.iter_messages(dump_flows(1, 2, b"\x0a\0\0\x01", place))
    attrs = wire.parse_attrs(message.payload[4:])
    assert set(attrs) == {tuple_kind, 25}
    assert {k: wire.u32(v) for k, v in wire.parse_attrs(attrs[25]).items()} == {filter_kind: flag}
    assert wire.parse_attrs(wire.parse_attrs(attrs[tuple_kind])[1]) == {flag: b"\x0a\0\0\x01"}
