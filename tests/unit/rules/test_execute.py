"""One expression at a time: what it puts into registers, and when it ends a rule (net/netfilter/nft_*.c)."""

from __future__ import annotations

import socket
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calico.errors import InvalidInput
from calico.lib.packed import addr_bytes
from calico.netlink.nftables.expr import (
    Bitwise,
    Byteorder,
    Cmp,
    Counter,
    Expr,
    Exthdr,
    Fib,
    Immediate,
    Log,
    Lookup,
    Meta,
    MetaSet,
    Nat,
    Payload,
    PayloadSet,
    Rule,
    Verdict,
)
from calico.netlink.nftables.objects import Chain, Hook, SetDecl
from calico.rules.evaluator.evaluate import Outcome, Packet, evaluate
from calico.rules.packets import Flow
from calico.rules.table import TableState

DROP = Verdict("drop")
FLOW = Flow(src=addr_bytes("10.0.0.1"), dst=addr_bytes("10.0.0.2"), sport=1000, dport=80)
FLOW6 = Flow(src=addr_bytes("fd00::1"), dst=addr_bytes("fd00::2"), sport=1000, dport=80)
FORWARD = Hook("forward", 0)
WORDS = st.binary(min_size=4, max_size=4)


def run(*exprs: Expr, data: bytes = FLOW.data(), place: Hook = FORWARD, decl: SetDecl | None = None) -> Outcome:
    state = TableState()
    if decl is not None:
        state.want_set(decl)
    state.want_chain(Chain("c", (Rule(exprs),), place))
    return evaluate(state, Packet(data=data, mark=0x01020304, iifname="cali1"), place.hook)


def holds(*exprs: Expr, data: bytes = FLOW.data()) -> bool:
    """Whether a rule gets to its end."""
    return run(*exprs, DROP, data=data).verdict == "drop"


@pytest.mark.parametrize(
    ("load", "registers"),
    [
        (Meta("mark", 1), 1),
        (Meta("l4proto", 1), 1),
        (Meta("iifname", 1), 4),
        (Payload("network", 12, 4, 1), 1),
        (Payload("network", 0, 5, 1), 2),
        (Payload("network", 0, 8, 1), 2),
        (Exthdr(43, 1), 1),
        (Immediate(b"abc", 1), 1),
        (Bitwise(b"\xff" * 4, bytes(4), 0, 1), 1),
        (Byteorder("ntoh", 4, 4, 0, 1), 1),
        (Fib("type", ("saddr",), 1), 1),
    ],
)
def test_a_value_takes_the_registers_that_it_needs_and_leaves_those_before_and_after(
    load: Expr, registers: int
) -> None:
    after = 1 + registers
    around = [(number, bytes((65 + number,)) * 4) for number in (0, after, after + 1, 15)]
    fill = [Immediate(value, number) for number, value in around]
    assert holds(*fill, load, *(Cmp("eq", value, number) for number, value in around))


def test_what_is_shorter_than_its_registers_is_padded_with_zeros() -> None:
    assert holds(Immediate(b"\xff" * 8), Immediate(b"ab"), Cmp("eq", b"ab\0\0\xff"))


@given(WORDS, WORDS, WORDS)
def test_bits_are_kept_by_the_mask_and_then_turned_over(value: bytes, mask: bytes, xor: bytes) -> None:
    found = bytes(v & m ^ x for v, m, x in zip(value, mask, xor, strict=True))
    number = int.from_bytes(value, "big") & int.from_bytes(mask, "big") ^ int.from_bytes(xor, "big")
    assert found == number.to_bytes(4, "big")
    assert holds(Immediate(value, 2), Bitwise(mask, xor, 2, 5), Cmp("eq", found, 5), Cmp("eq", value, 2))


@given(st.binary(min_size=8, max_size=8), st.sampled_from([2, 4, 8]))
def test_each_element_is_turned_from_network_to_host_order(value: bytes, size: int) -> None:
    kind = {2: "H", 4: "I", 8: "Q"}[size]
    turned = memoryview(bytearray(value)).cast(kind)  # type: ignore[call-overload]
    swap: Any = {2: socket.ntohs, 4: socket.ntohl}.get(
        size, lambda n: int.from_bytes(n.to_bytes(8, "big"), sys.byteorder)
    )
    for place, each in enumerate(turned):
        turned[place] = swap(each)
    assert holds(Immediate(value), Byteorder("ntoh", 8, size, 0, 4), Cmp("eq", turned.tobytes(), 4))


@pytest.mark.parametrize(
    ("flow", "protocol", "family"),
    [(FLOW, 0x0800, socket.AF_INET), (FLOW6, 0x86DD, socket.AF_INET6)],
)
def test_the_protocol_of_a_packet_is_its_ethertype_and_its_family_that_of_its_addresses(
    flow: Flow, protocol: int, family: int
) -> None:
    data = flow.data()
    assert holds(Meta("protocol"), Cmp("eq", protocol.to_bytes(2, "big") + bytes(2)), data=data)
    assert holds(Meta("nfproto"), Cmp("eq", bytes((family, 0, 0, 0))), data=data)


def test_what_is_no_packet_has_no_protocol_address_or_family() -> None:
    for data in (b"", b"\x45" + bytes(9), b"\x50" + bytes(60)):
        assert holds(Meta("nfproto"), Cmp("eq", bytes(4)), data=data)
        assert holds(Meta("protocol"), Cmp("eq", bytes(4)), data=data)
        assert not holds(Meta("l4proto"), data=data)
        assert not holds(Fib("type", ("saddr",)), data=data)


@pytest.mark.parametrize("key", ["iif", "oif"])
def test_numbers_of_interfaces_are_not_known(key: Any) -> None:
    with pytest.raises(InvalidInput, match="cannot evaluate"):
        holds(Meta(key))


@pytest.mark.parametrize(
    "expr",
    [Counter(), Log("x"), MetaSet("mark"), PayloadSet(0, 1), Nat("dnat", 6), Verdict("continue")],
)
def test_what_only_does_something_does_not_end_its_rule(expr: Expr) -> None:
    place = Hook("prerouting", -100, type="nat") if isinstance(expr, Nat) else FORWARD
    assert run(Immediate(b"\x45\0\0\0"), expr, DROP, place=place).verdict == "drop"


@pytest.mark.parametrize(
    ("decl", "length"),
    [
        (SetDecl("s", ("ipv4_addr", "inet_proto", "inet_service")), 12),
        (SetDecl("s", ("ifname", "ipv6_addr")), 32),
        (SetDecl("s", ("ether_addr", "ipv4_addr")), 12),
        (SetDecl("s", ("mark",)), 4),
    ],
)
def test_a_set_is_asked_for_as_many_bytes_of_registers_as_its_fields_take(decl: SetDecl, length: int) -> None:
    state, key = TableState(), bytes(range(1, length + 1))
    state.want_set(decl)
    state.want_element("s", key)
    state.want_chain(Chain("c", (Rule((Immediate(key + b"more"), Lookup("s"), DROP)),), FORWARD))
    assert evaluate(state, Packet(data=FLOW.data()), "forward").verdict == "drop"


def test_a_map_of_verdicts_without_the_key_ends_the_rule() -> None:
    assert run(Meta("iifname"), Lookup("m", verdict=True), DROP, decl=SetDecl("m", ("ifname",), "verdict")).trace == ()
