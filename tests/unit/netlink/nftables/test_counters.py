"""Reading what rules have counted."""

import pytest

from calico.netlink import wire
from calico.netlink.nftables import uapi
from calico.netlink.nftables.counters import Counted, decode_counter, packets_counted
from calico.netlink.nftables.expr import Cmp, Meta, Verdict
from calico.netlink.nftables.expr_codec import encode_expr
from calico.netlink.wire import WireError

COUNTER = wire.nested(
    uapi.LIST_ELEM,
    wire.attr_str(uapi.EXPR_NAME, "counter"),
    wire.nested(uapi.EXPR_DATA, wire.attr_be64(1, 4200), wire.attr_be64(2, 70_000_000_000)),
)


def test_packets_are_read_from_the_counter_among_other_expressions() -> None:
    exprs = encode_expr(Meta("nfproto")) + encode_expr(Cmp("eq", b"\2")) + COUNTER + encode_expr(Verdict("return"))
    assert packets_counted(exprs) == 70_000_000_000


@pytest.mark.parametrize("exprs", [b"", encode_expr(Verdict("drop"))])
def test_a_rule_without_a_counter_is_an_error_and_not_zero(exprs: bytes) -> None:
    with pytest.raises(WireError):
        packets_counted(exprs)


def test_a_named_counter_tells_its_name_packets_and_bytes() -> None:
    data = wire.nested(4, wire.attr_be64(1, 4200), wire.attr_be64(2, 70))
    told = wire.attr_str(1, "t") + wire.attr_str(2, "c") + wire.attr_be32(3, 1)
    assert decode_counter(wire.parse_attrs(told + data)) == ("c", Counted(packets=70, bytes=4200))


def test_another_kind_of_named_object_is_no_counter() -> None:
    assert decode_counter(wire.parse_attrs(wire.attr_str(2, "q") + wire.attr_be32(3, 2))) is None
