"""The evaluator does what nf_tables_core.c does."""

from __future__ import annotations

import operator as op
import sys
from typing import Any

import pytest

from calico.errors import InvalidInput
from calico.lib.packed import addr_bytes, net
from calico.netlink.nftables.expr import (
    Bitwise,
    Byteorder,
    Cmp,
    Counter,
    Expr,
    Fib,
    Limit,
    Log,
    Lookup,
    Meta,
    MetaSet,
    Payload,
    Range,
    Rule,
    Verdict,
)
from calico.netlink.nftables.objects import Chain, Hook, SetDecl
from calico.rules.evaluator.evaluate import Outcome, Packet, evaluate, forward
from calico.rules.packets import Flow
from calico.rules.table import TableState

ACCEPT, DROP = Verdict("accept"), Verdict("drop")
FLOW = Flow(src=addr_bytes("10.0.0.1"), dst=addr_bytes("10.0.0.2"), sport=1000, dport=80)


def base(
    name: str, *rules: tuple[Expr, ...], priority: int = 0, policy: Any = "accept", hook: Any = "forward"
) -> Chain:
    return Chain(name, tuple(Rule(exprs, str(n)) for n, exprs in enumerate(rules)), Hook(hook, priority, policy))


def run(*chains: Chain, flow: Flow = FLOW, **more: Any) -> Outcome:
    state = TableState()
    for chain in chains:
        state.want_chain(chain)
    return evaluate(state, Packet(data=flow.data(), **more), "forward")


def test_a_base_chains_policy_decides_when_no_rule_does() -> None:
    assert run(base("a")).verdict == "accept"
    assert run(base("a", policy="drop")).verdict == "drop"


def test_accept_ends_one_base_chain_and_drop_ends_all_in_order_of_priority() -> None:
    outcome = run(base("late", (DROP,), priority=1), base("early", (ACCEPT,), (DROP,), priority=0))
    assert outcome.verdict == "drop"
    assert outcome.trace == (("early", "0"), ("late", "0"))


def test_jump_returns_and_goto_does_not() -> None:
    leaf = Chain("leaf", (Rule((Verdict("return"),)), Rule((DROP,))))
    assert run(leaf, base("a", (Verdict("jump", "leaf"),), (DROP,))).verdict == "drop"
    assert run(leaf, base("a", (Verdict("goto", "leaf"),), (DROP,))).verdict == "accept"


def chain_of_jumps(kind: Any, number: int) -> list[Chain]:
    """A base chain from which the last chain, which drops, is so many jumps away."""
    onward = [Chain(f"c{n}", (Rule((Verdict(kind, f"c{n + 1}"),)),)) for n in range(1, number)]
    return [base("a", (Verdict(kind, "c1"),)), *onward, Chain(f"c{number}", (Rule((DROP,)),))]


@pytest.mark.parametrize("kind", ["jump", "goto"])
def test_jumps_deeper_than_the_kernel_allows_are_refused(kind: Any) -> None:
    assert run(*chain_of_jumps(kind, 15)).verdict == "drop"
    for number in (16, 17):
        with pytest.raises(InvalidInput, match="deeper"):
            run(*chain_of_jumps(kind, number))


def test_a_rule_goes_on_after_it_has_logged() -> None:
    outcome = run(base("a", (Log("seen"), Log("twice"), DROP)))
    assert (outcome.verdict, outcome.logs) == ("drop", ("seen", "twice"))


def test_a_rule_that_does_not_match_is_not_in_the_trace_and_the_next_is_asked() -> None:
    outcome = run(base("a", (Meta("iifname"), Cmp("eq", b"x"), DROP), (Counter(),), (Meta("mark"),), (ACCEPT,)))
    assert outcome.trace == (("a", "1"), ("a", "2"), ("a", "3"))


def matches(*exprs: Expr, flow: Flow = FLOW, **more: Any) -> bool:
    return run(base("a", (*exprs, DROP)), flow=flow, **more).verdict == "drop"


def test_payload_loads_network_and_transport_headers_and_fails_beyond_the_packet() -> None:
    assert matches(Payload("network", 12, 4), Cmp("eq", FLOW.src))
    assert matches(Payload("transport", 2, 2), Cmp("eq", (80).to_bytes(2, "big")))
    assert not matches(Payload("transport", 500, 2), Cmp("neq", b"xx"))
    assert not matches(Payload("link", 0, 2), Cmp("neq", b"xx"))


def test_a_later_fragment_has_a_protocol_but_no_transport_header() -> None:
    for source, destination in (("10.0.0.1", "10.0.0.2"), ("fd00::1", "fd00::2")):
        later = Flow(src=addr_bytes(source), dst=addr_bytes(destination), fragment=True)
        assert matches(Meta("l4proto"), Cmp("eq", b"\x06"), flow=later)
        assert not matches(Payload("transport", 0, 2), Cmp("neq", b"xx"), flow=later)


@pytest.mark.parametrize(
    ("op", "holds"),
    [("eq", op.eq), ("neq", op.ne), ("lt", op.lt), ("lte", op.le), ("gt", op.gt), ("gte", op.ge)],
)
@pytest.mark.parametrize("port", [79, 80, 81, 0x5000])
def test_comparisons_are_of_bytes_in_network_order(op: Any, holds: Any, port: int) -> None:
    assert matches(Payload("transport", 2, 2), Cmp(op, port.to_bytes(2, "big"))) == holds(FLOW.dport, port)


def test_ranges_include_both_ends() -> None:
    load = Payload("transport", 2, 2)
    for low, high, inside in ((80, 90, True), (70, 80, True), (81, 90, False)):
        ends = low.to_bytes(2, "big"), high.to_bytes(2, "big")
        assert matches(load, Range("eq", *ends)) == inside
        assert matches(load, Range("neq", *ends)) != inside


def test_marks_are_read_changed_and_carried_to_the_next_hook() -> None:
    bit = (8).to_bytes(4, sys.byteorder)
    setting = (Meta("mark"), Bitwise((0xFFFFFFF7).to_bytes(4, sys.byteorder), bit), MetaSet("mark"))
    state = TableState()
    state.want_chain(base("first", setting, hook="prerouting"))
    state.want_chain(base("second", (Meta("mark"), Cmp("eq", (9).to_bytes(4, sys.byteorder)), DROP)))
    assert forward(state, Packet(data=FLOW.data(), mark=1)).verdict == "drop"
    assert forward(state, Packet(data=FLOW.data(), mark=2)).verdict == "accept"


def test_byteorder_swaps_each_element() -> None:
    swapped = b"\x50\x00" if sys.byteorder == "little" else b"\x00\x50"
    assert matches(Payload("transport", 2, 2), Byteorder("ntoh", 2, 2), Cmp("eq", swapped))


def test_counters_and_limits_do_not_stop_a_rule() -> None:
    assert matches(Counter(), Limit(1, 1))


@pytest.mark.parametrize("inverted", [False, True])
def test_an_interval_set_contains_what_its_networks_contain(inverted: bool) -> None:
    state = TableState()
    state.want_set(SetDecl("s", ("ipv4_addr",), interval=True))
    state.want_element("s", net("10.0.0.0/31"))
    state.want_chain(base("a", (Payload("network", 12, 4), Lookup("s", inverted=inverted), DROP)))
    for source, inside in (("10.0.0.1", True), ("10.0.0.2", False)):
        packet = Packet(data=Flow(src=addr_bytes(source), dst=FLOW.dst).data())
        assert (evaluate(state, packet, "forward").verdict == "drop") == (inside != inverted)


def test_a_verdict_map_without_the_key_goes_on_with_the_next_rule() -> None:
    state = TableState()
    state.want_set(SetDecl("m", ("ifname",), "verdict"))
    state.want_element("m", b"cali1".ljust(16, b"\0"), ACCEPT)
    state.want_chain(base("a", (Meta("iifname"), Lookup("m", verdict=True)), (DROP,)))
    assert evaluate(state, Packet(data=FLOW.data(), iifname="cali1"), "forward").verdict == "accept"
    missed = evaluate(state, Packet(data=FLOW.data(), iifname="cali2"), "forward")
    assert (missed.verdict, missed.trace) == ("drop", (("a", "1"),))


def test_what_depends_on_routes_cannot_be_evaluated() -> None:
    with pytest.raises(InvalidInput, match="cannot evaluate"):
        run(base("a", (Fib("oif", ("saddr",)), DROP)))


@pytest.mark.parametrize("data", [b"", b"\x45", b"\x60" + bytes(39), b"\x60" + bytes(5) + b"\x00\x40" + bytes(32)])
def test_packets_cut_short_match_nothing_of_their_transport(data: bytes) -> None:
    state = TableState()
    state.want_chain(base("a", (Payload("transport", 0, 2), DROP)))
    assert evaluate(state, Packet(data=data), "forward").verdict == "accept"
