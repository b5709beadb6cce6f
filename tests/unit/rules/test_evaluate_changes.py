"""What rules do to a packet and its connection, and what later hooks see of that."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calico.errors import InvalidInput
from calico.lib.packed import addr_bytes
from calico.netlink.nftables.expr import (
    Bitwise,
    Cmp,
    ConnLimit,
    Ct,
    Expr,
    Fib,
    Immediate,
    Limit,
    Lookup,
    Masquerade,
    Meta,
    Nat,
    Notrack,
    Payload,
    PayloadSet,
    Rule,
    Verdict,
)
from calico.netlink.nftables.objects import Chain, Hook, SetDecl
from calico.rules.evaluator.evaluate import Outcome, Packet, evaluate, forward, from_host, to_host
from calico.rules.packets import ICMP, Flow
from calico.rules.table import TableState

ACCEPT, DROP = Verdict("accept"), Verdict("drop")
ONE, TWO, FLOATING = addr_bytes("10.0.0.1"), addr_bytes("10.0.0.2"), addr_bytes("10.9.0.2")
ONE6, TWO6, FLOATING6 = addr_bytes("fd00::1"), addr_bytes("fd00::2"), addr_bytes("fd00:9::2")
RAW, FORWARD = Hook("prerouting", -300), Hook("forward", 0)
NAT_PRE, NAT_OUT = Hook("prerouting", -100, type="nat"), Hook("output", -100, type="nat")
NAT_POST, NAT_IN = Hook("postrouting", 100, type="nat"), Hook("input", 100, type="nat")
FLOW = Flow(src=ONE, dst=FLOATING, sport=1000, dport=80)
FLOW6 = Flow(src=ONE6, dst=FLOATING6, sport=1000, dport=80)
TO_TWO = (Immediate(TWO), Nat("dnat", 4, 0))


def host32(value: int) -> bytes:
    return value.to_bytes(4, sys.byteorder)


def base(name: str, hook: Hook, *rules: tuple[Expr, ...]) -> Chain:
    return Chain(name, tuple(Rule(exprs, str(n)) for n, exprs in enumerate(rules)), hook)


def state_of(*chains: Chain) -> TableState:
    state = TableState()
    state.want_set(SetDecl("m4", ("ipv4_addr",), "ipv4_addr"))
    state.want_element("m4", FLOATING, TWO)
    state.want_set(SetDecl("m6", ("ipv6_addr",), "ipv6_addr"))
    state.want_element("m6", FLOATING6, TWO6)
    for chain in chains:
        state.want_chain(chain)
    return state


def sent(*chains: Chain, flow: Flow = FLOW, **more: Any) -> Outcome:
    return forward(state_of(*chains), Packet(data=flow.data(), **more))


def source(outcome: Outcome) -> bytes:
    return outcome.data[12:16] if outcome.data[0] >> 4 == 4 else outcome.data[8:24]


def destination(outcome: Outcome) -> bytes:
    return outcome.data[16:20] if outcome.data[0] >> 4 == 4 else outcome.data[24:40]


def ports(outcome: Outcome) -> tuple[int, int]:
    at = 20 if outcome.data[0] >> 4 == 4 else 40
    return int.from_bytes(outcome.data[at : at + 2], "big"), int.from_bytes(outcome.data[at + 2 : at + 4], "big")


def ct_is(key: Any, bits: int) -> tuple[Expr, ...]:
    return (Ct(key), Bitwise(host32(bits), bytes(4)), Cmp("neq", bytes(4)))


# -- nothing to do -----------------------------------------------------------------------------------------------------


def test_a_packet_that_nothing_changes_stays_as_it_is() -> None:
    outcome = sent(base("f", FORWARD, (ACCEPT,)))
    assert (outcome.data, outcome.ct_status, outcome.tracked) == (FLOW.data(), 0, True)


# -- translation -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("flow", "name", "target"), [(FLOW, "m4", TWO), (FLOW6, "m6", TWO6)])
def test_a_destination_is_translated_by_a_map_and_later_hooks_see_the_new_one(
    flow: Flow, name: str, target: bytes
) -> None:
    load = Payload("network", 16, 4) if flow.version == 4 else Payload("network", 24, 16)
    nat = base("nat", NAT_PRE, (load, Lookup(name, dst=0), Nat("dnat", 4 if flow.version == 4 else 6, 0), DROP))
    filtered = base("f", FORWARD, (load, Cmp("eq", target), ACCEPT), (DROP,))
    outcome = sent(nat, filtered, flow=flow)
    assert (outcome.verdict, destination(outcome)) == ("accept", target)
    assert (outcome.trace, outcome.ct_status) == ((("nat", "0"), ("f", "0")), 32)
    dropped = base("i", Hook("input", 0), (load, Cmp("eq", target), DROP))
    assert to_host(state_of(nat, dropped), Packet(data=flow.data())).verdict == "drop"


def test_a_map_without_the_address_ends_the_rule() -> None:
    nat = base("nat", NAT_PRE, (Payload("network", 16, 4), Lookup("m4", dst=0), Nat("dnat", 4, 0)), (DROP,))
    assert sent(nat, flow=Flow(src=ONE, dst=TWO)).verdict == "drop"


def test_translation_for_another_family_does_nothing_and_the_rule_goes_on() -> None:
    nat = base("nat", NAT_PRE, (*TO_TWO, DROP))
    assert sent(nat, flow=FLOW6).verdict == "drop"
    assert sent(nat).verdict == "accept"


def test_a_source_is_translated_after_routing() -> None:
    nat = base("nat", NAT_POST, (Immediate(FLOATING), Nat("snat", 4, 0)))
    seen = base("p", Hook("postrouting", 99), (Payload("network", 12, 4), Cmp("eq", FLOATING), DROP))
    late = base("q", Hook("postrouting", 101), (Payload("network", 12, 4), Cmp("eq", ONE), DROP))
    outcome = sent(nat, seen, late)
    assert (outcome.verdict, source(outcome), outcome.ct_status) == ("accept", FLOATING, 16)


@pytest.mark.parametrize(
    ("first", "last", "found"),
    [(8080, None, 8080), (8080, 8090, 8080), (70, 90, 80), (80, 80, 80), (70, 80, 80), (80, 90, 80), (70, 79, 70)],
)
def test_a_port_of_the_range_is_taken_the_packets_own_if_it_is_among_them(
    first: int, last: int | None, found: int
) -> None:
    load = (Immediate(TWO), Immediate(first.to_bytes(2, "big"), 4), Immediate((last or 0).to_bytes(2, "big"), 8))
    outcome = sent(base("nat", NAT_PRE, (*load, Nat("dnat", 4, 0, 4, None if last is None else 8))))
    assert ports(outcome) == (1000, found)


def test_ports_alone_are_translated_and_those_of_other_protocols_are_not() -> None:
    nat = base("nat", NAT_PRE, (Immediate(b"\x1f\x90"), Nat("dnat", 4, port_min=0)))
    outcome = sent(nat)
    assert (destination(outcome), ports(outcome)) == (FLOATING, (1000, 8080))
    ping = Flow(src=ONE, dst=TWO, protocol=ICMP)
    assert sent(nat, flow=ping).data == ping.data()
    later = Flow(src=ONE, dst=TWO, fragment=True)
    assert sent(nat, flow=later).data == later.data()


def test_only_the_first_packet_of_a_connection_is_translated_by_rules() -> None:
    nat = base("nat", NAT_PRE, (*TO_TWO,))
    for state in ("established", "related", "invalid", "untracked"):
        outcome = sent(nat, ct_state=state)
        assert (destination(outcome), outcome.trace) == (FLOATING, ())


def test_the_first_chain_that_translates_is_the_last_that_is_asked_at_its_hook() -> None:
    first, second = base("z", NAT_PRE, TO_TWO), base("a", Hook("prerouting", -90, type="nat"), (DROP,))
    assert sent(first, second).verdict == "accept"
    assert sent(second).verdict == "drop"
    assert sent(first, base("p", NAT_POST, (DROP,))).verdict == "drop"


def test_chains_that_translate_are_asked_where_the_kernel_does_whatever_their_priority() -> None:
    nat = base("nat", Hook("prerouting", 400, type="nat"), TO_TWO)
    untouched = (Payload("network", 16, 4), Cmp("eq", FLOATING), DROP)
    assert sent(nat, base("before", Hook("prerouting", -101), untouched)).verdict == "drop"
    assert sent(nat, base("after", Hook("prerouting", -99), untouched)).verdict == "accept"


def test_a_translation_without_effect_leaves_no_trace_in_the_status() -> None:
    nat = base("nat", NAT_PRE, (Immediate(FLOATING), Nat("dnat", 4, 0)))
    assert sent(nat).ct_status == 0


def test_a_chain_that_translates_may_drop_and_accept() -> None:
    assert sent(base("nat", NAT_PRE, (DROP,), TO_TWO)).verdict == "drop"
    assert sent(Chain("nat", (), Hook("prerouting", -100, "drop", "nat"))).verdict == "drop"
    assert destination(sent(base("nat", NAT_PRE, (ACCEPT,), TO_TWO))) == FLOATING


@pytest.mark.parametrize(
    ("hook", "exprs"),
    [
        (FORWARD, TO_TWO),
        (Hook("prerouting", -100), TO_TWO),
        (NAT_POST, TO_TWO),
        (NAT_PRE, (Immediate(TWO), Nat("snat", 4, 0))),
        (NAT_OUT, (Masquerade(),)),
        (NAT_IN, (Masquerade(),)),
        (Hook("postrouting", 0), (Masquerade(),)),
    ],
)
def test_a_translation_that_the_kernel_refuses_there_is_no_translation(hook: Hook, exprs: tuple[Expr, ...]) -> None:
    with pytest.raises(InvalidInput, match="the kernel refuses"):
        evaluate(state_of(base("c", hook, exprs)), Packet(data=FLOW.data()), hook.hook)


def test_masquerading_takes_the_address_that_the_packet_leaves_by_and_drops_without_one() -> None:
    nat = base("nat", NAT_POST, (Masquerade(),))
    outcome = sent(nat, out_address=TWO)
    assert (outcome.verdict, source(outcome), ports(outcome), outcome.ct_status) == ("accept", TWO, (1000, 80), 16)
    assert source(sent(nat, flow=FLOW6, out_address=TWO6)) == TWO6
    assert sent(nat).verdict == "drop"
    assert sent(nat, flow=FLOW6, out_address=TWO).verdict == "drop"


def test_masquerading_takes_ports_from_registers() -> None:
    load = (Immediate(b"\x0f\xa0"), Immediate(b"\x0f\xff", 1))
    assert ports(sent(base("nat", NAT_POST, (*load, Masquerade(0, 1))), out_address=TWO)) == (4000, 80)
    assert ports(sent(base("nat", NAT_POST, (*load, Masquerade(0))), out_address=TWO)) == (4000, 80)


def test_the_status_tells_of_translation_what_the_packet_brought_and_what_rules_did() -> None:
    seen = base("f", FORWARD, (*ct_is("status", 32), DROP))
    assert sent(seen).verdict == "accept"
    assert sent(seen, ct_status=32, ct_state="established").verdict == "drop"
    assert sent(seen, base("nat", NAT_PRE, TO_TWO)).verdict == "drop"


@pytest.mark.parametrize("state", ["invalid", "untracked"])
def test_without_a_connection_there_is_no_status(state: Any) -> None:
    assert sent(base("f", FORWARD, (Ct("status"), DROP)), ct_state=state).verdict == "accept"


def test_a_packet_of_the_host_meets_output_with_the_old_interface_and_postrouting_with_the_new() -> None:
    def by(interface: str) -> tuple[Expr, ...]:
        return (Meta("oifname"), Cmp("eq", interface.encode() + b"\0"))

    nat = base("nat", NAT_OUT, TO_TWO)
    output = base("o", Hook("output", 0), (*by("eth0"), ACCEPT), (DROP,))
    post = base("p", Hook("postrouting", 0), (*by("cali1"), ACCEPT), (DROP,))
    packet = Packet(data=FLOW.data(), oifname="eth0", rerouted_to="cali1")
    assert from_host(state_of(nat, output, post), packet).verdict == "accept"
    assert from_host(state_of(output, post), packet).verdict == "drop"


def test_postrouting_knows_both_interfaces_of_a_forwarded_packet() -> None:
    both = (Meta("iifname"), Cmp("eq", b"cali1\0"), Meta("oifname"), Cmp("eq", b"eth0\0"), DROP)
    assert sent(base("p", Hook("postrouting", 0), both), iifname="cali1", oifname="eth0").verdict == "drop"


# -- connection tracking -----------------------------------------------------------------------------------------------


def test_a_packet_left_out_of_tracking_is_untracked_from_there_on() -> None:
    raw = base("raw", RAW, (Notrack(), *ct_is("state", 64), ACCEPT), (DROP,))
    later = base("raw2", Hook("prerouting", -299), (*ct_is("state", 64), ACCEPT), (DROP,))
    there = base("f", FORWARD, (*ct_is("state", 64), ACCEPT), (DROP,))
    outcome = sent(raw, later, there, ct_state="established")
    assert (outcome.verdict, outcome.tracked) == ("accept", False)


def test_a_packet_left_out_of_tracking_is_not_translated() -> None:
    outcome = sent(base("raw", RAW, (Notrack(),)), base("nat", NAT_PRE, TO_TWO))
    assert destination(outcome) == FLOATING


def test_it_is_too_late_to_leave_a_packet_out_once_it_has_a_connection() -> None:
    outcome = sent(base("m", Hook("prerouting", -150), (Notrack(),)), base("f", FORWARD, (*ct_is("state", 8), ACCEPT)))
    assert (outcome.tracked, outcome.trace[-1]) == (True, ("f", "0"))
    assert not sent(base("m", Hook("prerouting", -150), (Notrack(),)), ct_state="invalid").tracked


@pytest.mark.parametrize("state", ["new", "established", "related", "invalid", "untracked"])
def test_before_connection_tracking_there_is_no_connection(state: Any) -> None:
    invalid = (*ct_is("state", 1), ACCEPT)
    for hook, way in ((RAW, forward), (Hook("output", -300), from_host)):
        chain = base("raw", hook, invalid, (DROP,))
        assert way(state_of(chain), Packet(data=FLOW.data(), ct_state=state)).verdict == "accept"
    mangle = base("m", Hook("prerouting", -150), invalid)
    assert bool(sent(mangle, ct_state=state).trace) == (state == "invalid")


# -- header fields -----------------------------------------------------------------------------------------------------


def checksum(header: bytes) -> int:
    total = sum(int.from_bytes(header[at : at + 2], "big") for at in range(0, len(header), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


def sound(flow: Flow) -> bytes:
    data = flow.data()
    return data[:10] + checksum(data[:20]).to_bytes(2, "big") + data[12:]


@given(st.integers(0, 63), st.binary(min_size=4, max_size=4), st.binary(min_size=4, max_size=4))
def test_a_dscp_is_set_and_the_checksum_follows(dscp: int, src: bytes, dst: bytes) -> None:
    change = Bitwise(b"\xff\x03", bytes((0, dscp << 2)))
    chain = base("p", Hook("postrouting", 0), (Payload("network", 0, 2), change, PayloadSet(0, 2, 10)))
    data = sound(Flow(src=src, dst=dst))
    changed = forward(state_of(chain), Packet(data=data)).data
    assert changed[:10] + changed[12:] == bytes((0x45, dscp << 2)) + data[2:10] + data[12:]
    assert checksum(changed[:20]) == 0


def test_a_dscp_of_ipv6_straddles_two_bytes_and_has_no_checksum() -> None:
    change = Bitwise(b"\xf0\x3f", (46 << 6).to_bytes(2, "big"))
    chain = base("p", Hook("postrouting", 0), (Payload("network", 0, 2), change, PayloadSet(0, 2)))
    outcome = sent(chain, flow=FLOW6)
    assert outcome.data == b"\x6b\x80" + FLOW6.data()[2:]


def test_a_changed_field_is_read_by_the_next_rule_and_the_next_hook() -> None:
    change = (Immediate(b"\x45\x28"), PayloadSet(0, 2, 10))
    seen = (Payload("network", 1, 1), Cmp("eq", b"\x28"))
    outcome = sent(base("m", Hook("prerouting", -150), change, seen), base("f", FORWARD, (*seen, ACCEPT)))
    assert outcome.trace == (("m", "0"), ("m", "1"), ("f", "0"))


def test_what_lies_beyond_the_packet_cannot_be_changed_and_ends_the_rule() -> None:
    for change in (PayloadSet(300, 2, 10), PayloadSet(0, 2, 300)):
        outcome = sent(base("f", FORWARD, (Immediate(b"\0\0"), change, DROP)))
        assert (outcome.verdict, outcome.data) == ("accept", FLOW.data())


@given(st.binary(min_size=4, max_size=4), st.binary(min_size=4, max_size=4))
def test_the_checksum_of_the_header_follows_a_translation(before: bytes, after: bytes) -> None:
    chain = base("nat", NAT_PRE, (Immediate(after), Nat("dnat", 4, 0)))
    outcome = forward(state_of(chain), Packet(data=sound(Flow(src=ONE, dst=before))))
    assert destination(outcome) == after
    assert checksum(outcome.data[:20]) == 0


# -- limits and addresses ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expr", "over", "unit"),
    [
        (Limit(10, 1), Limit(10, 1, over=True), "packets"),
        (Limit(10, 1, unit="bytes"), Limit(10, 1, unit="bytes", over=True), "bytes"),
        (ConnLimit(5), ConnLimit(5, over=True), "connections"),
    ],
)
def test_a_limit_matches_until_it_is_exceeded_and_one_over_matches_then(expr: Expr, over: Expr, unit: str) -> None:
    for exceeded in (frozenset[str](), frozenset({unit}), frozenset({"packets", "bytes", "connections"} - {unit})):
        assert (sent(base("f", FORWARD, (expr, DROP)), exceeded=exceeded).verdict == "drop") == (unit not in exceeded)
        assert (sent(base("f", FORWARD, (over, DROP)), exceeded=exceeded).verdict == "drop") == (unit in exceeded)


@pytest.mark.parametrize(
    ("address", "kind"),
    [
        ("10.0.0.1", 2),
        ("127.0.0.9", 2),
        ("10.0.0.3", 1),
        ("224.0.0.1", 5),
        ("239.1.1.1", 5),
        ("255.255.255.255", 3),
        ("0.0.0.0", 3),
        ("fd00::1", 2),
        ("::1", 2),
        ("fd00::3", 1),
        ("ff02::1", 5),
    ],
)
def test_an_address_is_of_the_type_that_the_kernel_finds(address: str, kind: int) -> None:
    packed = addr_bytes(address)
    other = TWO if len(packed) == 4 else TWO6
    for flag, flow in (("saddr", Flow(src=packed, dst=other)), ("daddr", Flow(src=other, dst=packed))):
        for number in (1, 2, 3, 5):
            fib: Any = Fib("type", (flag,))  # type: ignore[arg-type]
            chain = base("f", FORWARD, (fib, Cmp("eq", host32(number)), DROP))
            outcome = sent(chain, flow=flow, local_addresses=frozenset((ONE, ONE6)))
            assert (outcome.verdict == "drop") == (number == kind)


@pytest.mark.parametrize("fib", [Fib("type", ("daddr", "iif")), Fib("oif", ("saddr", "iif"))])
def test_what_depends_on_routes_of_interfaces_cannot_be_evaluated(fib: Fib) -> None:
    with pytest.raises(InvalidInput, match="cannot evaluate"):
        sent(base("f", FORWARD, (fib, DROP)))


def test_a_verdict_of_continue_goes_on_with_the_rule() -> None:
    assert sent(base("f", FORWARD, (Verdict("continue"), DROP))).verdict == "drop"


# -- what others translate ---------------------------------------------------------------------------------------------

OTHERS = Packet(data=Flow(src=ONE, dst=TWO, sport=1000, dport=8080).data(), ct_status=4)
UNTOUCHED = (Payload("network", 16, 4), Cmp("eq", FLOATING), DROP)


def met(*chains: Chain, way: Any = forward, **more: Any) -> Outcome:
    """A packet that others translate to ``OTHERS``."""
    return way(state_of(*chains), Packet(data=FLOW.data(), **more), OTHERS)


def test_a_packet_that_others_translate_has_the_bits_that_it_brought_and_that_of_translation() -> None:
    outcome = met(ct_status=2, ct_state="established")
    assert (outcome.data, outcome.ct_status) == (OTHERS.data, 2 | 4 | 32)


@pytest.mark.parametrize(("way", "hook"), [(forward, "prerouting"), (from_host, "output")])
def test_others_translate_where_the_kernel_does_and_after_our_own_chain(way: Any, hook: Any) -> None:
    for kind, priority, seen in (("filter", -101, False), ("nat", -300, False), ("nat", 300, False)):
        assert (met(base("c", Hook(hook, priority, type=kind), UNTOUCHED), way=way).verdict == "accept") == seen
    assert met(base("c", Hook(hook, -99), UNTOUCHED), way=way).verdict == "accept"
    assert met(base("c", Hook("postrouting", -300), UNTOUCHED), way=way).verdict == "accept"


def test_what_rules_change_after_others_have_translated_stays() -> None:
    change = (Immediate(b"\x45\x28"), PayloadSet(0, 2, 10))
    chains = [base(f"m{n}", Hook("prerouting", n), change) for n in (-50, -40)]
    assert met(*chains).data[:2] == b"\x45\x28"


def test_an_untracked_packet_is_not_translated_by_others_either() -> None:
    for outcome in (met(base("raw", RAW, (Notrack(),))), met(ct_state="untracked")):
        assert (outcome.data, outcome.ct_status) == (FLOW.data(), 0)


def test_others_translate_only_at_the_hooks_where_the_kernel_does() -> None:
    for hook, data in (("prerouting", OTHERS.data), ("output", OTHERS.data), ("forward", FLOW.data())):
        assert evaluate(state_of(), Packet(data=FLOW.data()), hook, OTHERS).data == data  # type: ignore[arg-type]


def test_a_packet_for_this_host_leaves_by_no_interface_whatever_translation_says() -> None:
    seen = (Meta("oifname"), Cmp("eq", b"eth1\0"), DROP)
    chains = (base("p", Hook("prerouting", 0), seen), base("i", Hook("input", 0), seen))
    to_eth1 = Packet(data=OTHERS.data, oifname="eth1")
    packet = Packet(data=FLOW.data(), oifname="eth1")
    assert to_host(state_of(*chains), packet, to_eth1).verdict == "accept"
    assert forward(state_of(*chains), packet, to_eth1).verdict == "accept"
    assert forward(state_of(base("f", FORWARD, seen)), packet, to_eth1).verdict == "drop"


# -- where chains are asked --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("way", "hook", "at", "kind"),
    [
        (forward, "prerouting", -100, "dnat"),
        (from_host, "output", -100, "dnat"),
        (forward, "postrouting", 100, "snat"),
        (to_host, "input", 100, "snat"),
    ],
)
@pytest.mark.parametrize("priority", [-400, 400])
def test_chains_that_translate_are_asked_at_the_kernels_place_of_each_hook(
    way: Any, hook: Any, at: int, kind: Any, priority: int
) -> None:
    nat = base("nat", Hook(hook, priority, type="nat"), (Immediate(TWO), Nat(kind, 4, 0)))
    place, own = (16, FLOATING) if kind == "dnat" else (12, ONE)
    untouched = (Payload("network", place, 4), Cmp("eq", own), DROP)
    assert way(state_of(nat, base("c", Hook(hook, at - 1), untouched)), Packet(data=FLOW.data())).verdict == "drop"
    assert way(state_of(nat, base("c", Hook(hook, at + 1), untouched)), Packet(data=FLOW.data())).verdict == "accept"


def test_a_chain_that_filters_between_two_that_translate_does_not_let_the_second_be_asked() -> None:
    first, second = base("n", Hook("prerouting", -110, type="nat"), TO_TWO), base("m", NAT_PRE, (DROP,))
    assert sent(first, base("f", Hook("prerouting", -100), (ACCEPT,)), second).verdict == "accept"


def test_connection_tracking_comes_after_the_chains_of_its_priority_in_the_first_hook_only() -> None:
    new = (*ct_is("state", 8), DROP)
    for hook, priority, known in (
        ("prerouting", -201, False),
        ("prerouting", -200, False),
        ("prerouting", -199, True),
        ("forward", -300, True),
        ("postrouting", -300, True),
    ):
        outcome = sent(base("c", Hook(hook, priority), new))  # type: ignore[arg-type]
        assert (outcome.verdict == "drop") == known, (hook, priority)


def test_a_packet_left_out_of_tracking_stays_so_in_every_chain_before_tracking() -> None:
    chains = [base(f"raw{n}", Hook("prerouting", -300 + n), (*ct_is("state", 64), ACCEPT), (DROP,)) for n in (1, 2, 3)]
    assert sent(base("raw", RAW, (Notrack(),), (Notrack(),)), *chains).verdict == "accept"


def test_the_host_owns_its_addresses_and_those_that_it_sends_from() -> None:
    def is_local(way: str) -> tuple[Expr, ...]:
        return (Fib("type", (way,)), Cmp("eq", host32(2)), DROP)  # type: ignore[arg-type]

    for own, other in ((ONE, TWO), (ONE6, TWO6)):
        data = Flow(src=own, dst=other).data()
        for local, way, dropped in (((), "saddr", True), ((), "daddr", False), ((other,), "daddr", True)):
            packet = Packet(data=data, local_addresses=frozenset(local))
            outcome = from_host(state_of(base("o", Hook("output", 0), is_local(way))), packet)
            assert (outcome.verdict == "drop") == dropped
    assert from_host(state_of(), Packet(data=b"")).verdict == "accept"


def test_whether_a_rule_looked_at_the_source_port_is_known_of_the_whole_way() -> None:
    source, target = Payload("transport", 0, 2), Payload("transport", 2, 2)
    looked = base("p", Hook("prerouting", 0), (source, Cmp("neq", b"xx"), target, Cmp("neq", b"xx")))
    assert sent(looked, base("f", FORWARD, (target, Cmp("neq", b"xx"), ACCEPT))).source_port
    assert sent(base("f", FORWARD, (Payload("transport", 1, 2),))).source_port
    assert not sent(base("f", FORWARD, (Payload("network", 0, 2), target, Cmp("neq", b"xx")))).source_port
