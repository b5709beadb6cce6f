"""The conntrack codec: flows are read whole, and bad bytes never do more than raise WireError."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calico.netlink import wire
from calico.netlink.conntrack import decode_flow, delete_flow, dump_flows


def tuple_attr(kind, src, dst, protocol=6):
    first = 1 if len(src) == 4 else 3
    ip = wire.nested(1, wire.attr(first, src), wire.attr(first + 1, dst))
    return wire.nested(
        kind, ip, wire.nested(2, wire.attr_u8(1, protocol), wire.attr_be16(2, 80), wire.attr_be16(3, 81))
    )


def flow_payload(family, orig, reply, protocol=6):
    header = bytes((family, 0, 0, 0))
    return header + tuple_attr(1, *orig, protocol) + tuple_attr(2, *reply, protocol) + wire.attr_be32(12, 77)


@pytest.mark.parametrize("size", [4, 16])
@given(st.data(), st.integers(0, 255))
def test_a_flow_has_the_addresses_of_both_tuples_and_is_deleted_by_its_id(size, data, protocol):
    a, b, c, d = (data.draw(st.binary(min_size=size, max_size=size)) for _ in range(4))
    flow = decode_flow(flow_payload(2 if size == 4 else 10, (a, b), (c, d), protocol))
    assert (flow.orig_src, flow.orig_dst, flow.reply_src, flow.reply_dst, flow.protocol) == (a, b, c, d, protocol)
    assert flow.addresses == {a, b, c, d}
    (message,) = wire.iter_messages(delete_flow(5, flow))
    attrs = wire.parse_attrs(message.payload[4:])
    assert (message.type, wire.be32(attrs[12])) == (0x102, 77)
    assert 2 not in attrs


@given(st.binary(max_size=200))
def test_arbitrary_bytes_decode_or_raise_one_error(junk):
    try:
        decode_flow(junk)
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
