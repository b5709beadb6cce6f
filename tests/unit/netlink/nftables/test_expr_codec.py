"""Every expression survives encoding and decoding; bytes that are no expression of ours are refused."""

import contextlib
import typing
from typing import get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calico.netlink import wire
from calico.netlink.nftables.data_codec import register
from calico.netlink.nftables.expr import (
    Bitwise,
    Byteorder,
    Cmp,
    ConnLimit,
    Counter,
    CountIn,
    Ct,
    Expr,
    Exthdr,
    Fib,
    Immediate,
    Limit,
    Log,
    Lookup,
    Masquerade,
    Meta,
    MetaSet,
    Nat,
    Notrack,
    Payload,
    PayloadSet,
    Range,
    Reject,
    Verdict,
)
from calico.netlink.nftables.expr_codec import decode_exprs, encode_expr, encode_exprs
from calico.netlink.wire import WireError

regs = st.integers(0, 15)
names = st.text("abcdefghijklmnop-0123456789", min_size=1, max_size=30)
values = st.binary(min_size=1, max_size=16)
u32s = st.integers(0, 0xFFFFFFFF)
u64s = st.integers(0, 0xFFFFFFFFFFFFFFFF)


def literal(struct: type, field: str) -> st.SearchStrategy:
    """One of the values of a field's Literal."""
    return st.sampled_from(get_args(typing.get_type_hints(struct)[field]))


fib_flags = st.sets(st.sampled_from(["saddr", "daddr", "mark", "iif", "oif"]), min_size=1).map(
    lambda chosen: tuple(flag for flag in ("saddr", "daddr", "mark", "iif", "oif") if flag in chosen)
)
masks = values.flatmap(lambda mask: st.tuples(st.just(mask), st.binary(min_size=len(mask), max_size=len(mask))))
levels = st.none() | st.sampled_from([0, 1, 2, 3, 5, 6, 7])
port_registers = st.one_of(
    st.just((None, None)),
    st.tuples(regs, st.none()),
    st.tuples(regs, regs).filter(lambda pair: pair[0] != pair[1]),
)

expressions = st.one_of(
    st.builds(Verdict, st.sampled_from(["accept", "drop", "return", "continue"])),
    st.builds(Verdict, st.sampled_from(["jump", "goto"]), names),
    st.builds(Meta, literal(Meta, "key"), regs),
    st.builds(MetaSet, literal(MetaSet, "key"), regs),
    st.builds(Payload, literal(Payload, "base"), u32s, u32s, regs),
    st.builds(PayloadSet, u32s, u32s, st.none() | u32s, regs),
    st.builds(Exthdr, st.integers(0, 255), regs),
    st.builds(Ct, literal(Ct, "key"), regs),
    st.builds(Fib, literal(Fib, "result"), fib_flags, regs),
    st.builds(Cmp, literal(Cmp, "op"), values, regs),
    st.builds(Range, literal(Range, "op"), values, values, regs),
    st.builds(lambda pair, src, dst: Bitwise(pair[0], pair[1], src, dst), masks, regs, regs),
    st.builds(Byteorder, literal(Byteorder, "op"), u32s, u32s, regs, regs),
    st.builds(Lookup, names, regs, st.booleans(), st.booleans()),
    st.builds(Lookup, names, regs, dst=regs),
    st.builds(Log, names, st.none(), levels),
    st.builds(Log, names, st.integers(0, 0xFFFF), st.none()),
    st.builds(Limit, u64s, u64s, st.integers(1, 0xFFFFFFFF), st.just("packets"), st.booleans()),
    st.builds(Limit, u64s, u64s, u32s, st.just("bytes"), st.booleans()),
    st.builds(ConnLimit, u32s, st.booleans()),
    st.just(Notrack()),
    st.builds(
        lambda kind, version, address, ports, fully: Nat(kind, version, address, *ports, random_fully=fully),
        literal(Nat, "kind"),
        literal(Nat, "version"),
        st.none() | regs,
        port_registers,
        st.booleans(),
    ),
    st.builds(lambda ports, fully: Masquerade(*ports, random_fully=fully), port_registers, st.booleans()),
    st.builds(Immediate, values, regs),
    st.just(Counter()),
    st.builds(CountIn, names),
    st.builds(Reject, literal(Reject, "kind")),
)


def payload_of(encoded: bytes) -> bytes:
    ((_, payload),) = wire.iter_attrs(encoded)
    return payload


@given(st.lists(expressions, max_size=6))
def test_expressions_are_read_as_they_were_written(exprs: list[Expr]) -> None:
    assert decode_exprs(payload_of(encode_exprs(exprs))) == tuple(exprs)


@given(st.binary(max_size=120))
def test_arbitrary_bytes_raise_nothing_but_a_wire_error(data: bytes) -> None:
    with contextlib.suppress(WireError):
        decode_exprs(data)


@given(expressions, st.data())
def test_damaged_expressions_raise_nothing_but_a_wire_error(expr: Expr, data: st.DataObject) -> None:
    damaged = bytearray(encode_expr(expr))
    for _ in range(data.draw(st.integers(1, 3))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(WireError):
        decode_exprs(bytes(damaged))


def test_an_expression_that_is_not_ours_is_refused() -> None:
    foreign = wire.nested(1, wire.attr_str(1, "dynset"), wire.nested(2))
    with pytest.raises(WireError, match="dynset"):
        decode_exprs(foreign)


def test_the_kernels_default_log_level_reads_as_none_given() -> None:
    assert decode_exprs(payload_of(encode_exprs([Log("x", level=4)]))) == (Log("x"),)


def test_the_kernels_default_burst_is_what_a_burst_of_no_packets_reads_as() -> None:
    (read,) = decode_exprs(payload_of(encode_exprs([Limit(10, 1, 0)])))
    assert read == Limit(10, 1, 5)


@pytest.mark.parametrize("expr", [Nat("snat", 4, 0, 4), Masquerade(4)])
def test_a_port_that_the_kernel_tells_as_a_range_of_itself_reads_as_one_port(expr: Nat | Masquerade) -> None:
    told = msgspec.structs.replace(expr, port_max=expr.port_min)
    assert decode_exprs(payload_of(encode_exprs([told]))) == (expr,)


def test_an_address_that_the_kernel_tells_as_a_range_of_itself_reads_as_one_address() -> None:
    def told(last: int) -> bytes:
        kind, family = wire.attr_be32(1, 1), wire.attr_be32(2, 2)
        return wire.nested(1, wire.attr_str(1, "nat"), wire.nested(2, kind, family, register(3, 4), register(4, last)))

    assert decode_exprs(told(4)) == (Nat("dnat", 4, 4),)
    with pytest.raises(WireError, match="range of addresses"):
        decode_exprs(told(5))


@pytest.mark.parametrize(
    ("name", "kind"), [("limit", 5), ("connlimit", 2), ("nat", 7), ("masq", 1), ("payload", 8), ("lookup", 5)]
)
def test_a_flag_that_is_not_ours_makes_another_expression(name: str, kind: int) -> None:
    examples = {
        "limit": Limit(1, 1),
        "connlimit": ConnLimit(1),
        "nat": Nat("dnat", 4, 0),
        "masq": Masquerade(),
        "payload": PayloadSet(0, 2, 10),
        "lookup": Lookup("s"),
    }
    element = wire.parse_attrs(payload_of(encode_exprs([examples[name]])))[1]
    data = wire.parse_attrs(wire.parse_attrs(element)[2])
    flagged = b"".join(wire.attr(number, value) for number, value in {**data, kind: b"\0\0\x01\0"}.items())
    with pytest.raises(WireError, match="flags"):
        decode_exprs(wire.nested(1, wire.attr_str(1, name), wire.attr(2, flagged)))


@pytest.mark.parametrize(
    "expr",
    [
        Cmp("eq", b"\1", 16),
        Bitwise(b"\1\2", b"\1"),
        Log("x", group=1 << 16),
        Immediate(b"\1", 16),
        Lookup("s", dst=16),
        Limit(1 << 64, 1),
        ConnLimit(1 << 32),
        Nat("snat", 4, 16),
        Nat("snat", 4, 0, port_max=1),
        Masquerade(port_max=1),
    ],
)
def test_a_value_that_does_not_fit_is_refused(expr: Expr) -> None:
    with pytest.raises(WireError):
        encode_expr(expr)


def test_all_expressions_are_tried_here() -> None:
    tried = {Verdict, Meta, MetaSet, Payload, PayloadSet, Exthdr, Ct, Fib, Cmp, Range, Bitwise, Byteorder, Lookup, Log}
    acting = {Limit, ConnLimit, Notrack, Nat, Masquerade, Counter, CountIn, Reject, Immediate}
    assert set(get_args(Expr)) == tried | acting
