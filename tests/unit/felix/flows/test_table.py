"""Which records come of which packets and ends, whatever their order; the table is bounded."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from calico.felix.flows.table import FlowTable, Told, flow_key
from calico.rules.flowlogs import Decision
from calico.rules.packets import ICMP, ICMPV6, TCP, UDP, Flow

EGRESS, INGRESS = Decision("egress", "", "po-a", 0), Decision("ingress", "", "pi-b", 1)
DENIED = Decision("ingress", "policy-deny", "pi-c", 0)
COUNTS = ((5, 500), (4, 4000))


def key(number: int = 1) -> Any:
    return (b"aaaa", b"bbbb", TCP, number, 80)


def brief(told: list[Told]) -> list[tuple[str, int]]:
    return [(each.state, each.attempts) for each in told]


def test_what_the_rules_of_one_packet_decide_is_one_record_once_all_could_speak() -> None:
    table = FlowTable()
    table.on_packet(1.0, key(), b"p1", EGRESS)
    table.on_packet(1.01, key(), b"p1", INGRESS)
    assert table.take(1.02) == []
    assert table.is_waiting
    (told,) = table.take(1.1)
    assert (told.state, told.decisions, told.attempts, told.start) == ("new", (EGRESS, INGRESS), 1, 1.0)
    assert table.take(9.0) == []
    assert not table.is_waiting


def test_an_end_is_told_with_counts_after_the_beginning_even_if_both_come_at_once() -> None:
    table = FlowTable()
    table.on_packet(1.0, key(), b"p1", EGRESS)
    table.on_end(1.5, key(), COUNTS)
    told = table.take(1.5)
    assert [each.state for each in told] == ["new", "end"]
    assert (told[1].counts, told[1].duration_s) == (COUNTS, 0.5)
    assert len(table) == 0
    assert not table.is_followed((b"aaaa", b"bbbb"))


def test_where_the_kernel_does_not_count_no_counts_are_told() -> None:
    table = FlowTable()
    table.on_packet(1.0, key(), b"p1", EGRESS)
    table.on_end(2.0, key(), ((0, 0), (0, 0)))
    assert table.take(2.0)[-1].counts is None


def test_a_denied_flow_that_is_tried_again_is_told_once_an_interval_and_then_let_go() -> None:
    table = FlowTable()
    for number in range(3):
        table.on_packet(1.0 + number, key(), b"p%d" % number, DENIED)
    assert brief(table.take(4.0)) == [("new", 3)]
    table.on_packet(5.0, key(), b"p9", DENIED)
    table.on_packet(5.1, key(), b"p9", DENIED)
    assert table.take(6.0) == []
    table.tick(7.0, 10.0)
    assert brief(table.take(7.0)) == [("update", 5)]
    table.tick(16.0, 10.0)
    assert table.take(16.0) == []
    assert len(table) == 0


def test_a_flow_that_is_decided_otherwise_is_told_again() -> None:
    table = FlowTable()
    table.on_packet(1.0, key(), b"p1", DENIED)
    table.take(2.0)
    table.on_packet(3.0, key(), b"p2", EGRESS)
    (told,) = table.take(4.0)
    assert (told.state, told.decisions, told.attempts) == ("changed", (EGRESS,), 2)


def test_the_end_of_a_connection_that_was_denied_since_is_not_the_end_of_the_attempts() -> None:
    table = FlowTable()
    table.on_packet(1.0, key(), b"p1", DENIED)
    table.on_end(2.0, key(), COUNTS)
    assert brief(table.take(2.0)) == [("new", 1)]
    assert len(table) == 1


def test_the_oldest_makes_room_and_is_told_to_be_forgotten() -> None:
    table = FlowTable(limit=2)
    for number in (1, 2, 3):
        table.on_packet(float(number), key(number), b"p", EGRESS)
    told = table.take(9.0)
    assert [(each.state, each.key[3]) for each in told] == [("new", 1), ("forgotten", 1), ("new", 2), ("new", 3)]
    assert (len(table), table.forgotten) == (2, 1)


def test_who_only_tries_pushes_no_connection_out() -> None:
    table = FlowTable(limit=3)
    table.on_packet(0.5, key(1), b"p", EGRESS)
    table.on_packet(0.6, key(2), b"p", EGRESS)
    for number in range(3, 20):
        table.on_packet(float(number), key(number), b"p", DENIED)
    table.on_end(30.0, key(1), COUNTS)
    assert ("end", 1) in [(each.state, each.key[3]) for each in table.take(30.0)]
    assert table.forgotten == 0


@given(
    st.lists(
        st.tuples(st.sampled_from(["packet", "deny", "end", "tick", "take"]), st.integers(0, 5), st.integers(0, 2)),
        max_size=60,
    )
)
def test_any_history_stays_within_the_bound_and_tells_a_begin_before_an_end(history: list[Any]) -> None:
    table, begun, now = FlowTable(limit=3), set[int](), 0.0
    for what, number, data in history:
        now += 0.03
        if what in ("packet", "deny"):
            table.on_packet(now, key(number), b"%d" % data, DENIED if what == "deny" else EGRESS)
        elif what == "end":
            table.on_end(now, key(number), COUNTS)
        elif what == "tick":
            table.tick(now, 0.1)
        for told in table.take(now) if what == "take" else ():
            if told.state == "new":
                begun.add(told.key[3])
            assert told.key[3] in begun
            if told.state in ("end", "forgotten"):
                begun.discard(told.key[3])
        assert len(table) <= 3
        assert table.is_followed((b"aaaa", b"bbbb")) == bool(len(table))


def test_flows_are_told_apart_by_addresses_protocol_and_ports_or_by_the_kind_of_icmp() -> None:
    v4 = {"src": b"\x0a\0\0\1", "dst": b"\x0a\0\0\2"}
    v6 = {"src": b"\xfd" + bytes(15), "dst": b"\xfd" + bytes(14) + b"\1"}
    tcp = Flow(**v4, protocol=TCP, sport=1000, dport=80)
    assert flow_key(tcp.data()[:28]) == (v4["src"], v4["dst"], TCP, 1000, 80)
    assert flow_key(Flow(**v6, protocol=UDP, sport=5, dport=53).data()) == (v6["src"], v6["dst"], UDP, 5, 53)
    assert flow_key(Flow(**v4, protocol=ICMP, icmp=(8, 0)).data()) == (v4["src"], v4["dst"], ICMP, 0, 8)
    assert flow_key(Flow(**v6, protocol=ICMPV6, icmp=(128, 0)).data()) == (v6["src"], v6["dst"], ICMPV6, 0, 128)
    assert flow_key(b"") is flow_key(b"\x45") is flow_key(b"\x00" * 60) is None


@given(st.binary(max_size=80))
def test_any_bytes_are_a_flow_or_none(data: bytes) -> None:
    flow_key(data)
