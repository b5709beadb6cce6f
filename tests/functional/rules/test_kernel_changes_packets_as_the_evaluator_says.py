"""What the kernel does to a packet's bytes on its way is what the evaluator says: translation, tracking, header fields.

What a rule sees shows in the packet that arrives: it sets a DSCP of its own.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from calico.dataplane.links import Links
from calico.dataplane.netns import in_netns
from calico.dataplane.nft.table import NftDataplane
from calico.lib.packed import addr_bytes, addr_str
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
from calico.netlink.nftables.objects import Chain, Hook, SetDecl, Table
from calico.rules.evaluator.evaluate import Outcome, Packet, forward, from_host, to_host
from calico.rules.packets import UDP, Flow
from calico.rules.table import TableState

pytestmark = pytest.mark.root

RAW, MANGLE, FORWARD = Hook("prerouting", -300), Hook("prerouting", -150), Hook("forward", 0)
NAT_PRE, NAT_POST = Hook("prerouting", -100, type="nat"), Hook("postrouting", 100, type="nat")
V4, V6 = (Meta("nfproto"), Cmp("eq", b"\x02")), (Meta("nfproto"), Cmp("eq", b"\x0a"))
SOURCE4, SOURCE6 = addr_bytes("10.65.0.2"), addr_bytes("fd00:65::2")
TARGET4, TARGET6 = addr_bytes("10.65.0.1"), addr_bytes("fd00:65::1")
FLOATING4, FLOATING6 = addr_bytes("10.99.0.1"), addr_bytes("fd00:99::1")
OWN4, OWN6 = addr_bytes("10.65.255.1"), addr_bytes("fd00:65::ffff")
FENCE = Flow(src=SOURCE4, dst=TARGET4, protocol=UDP, sport=1, dport=1)
NOT_FENCE = (Meta("l4proto"), Cmp("eq", bytes((UDP,))), Payload("transport", 2, 2), Cmp("neq", b"\0\1"))
NONE, DROPPED = Cmp("eq", bytes(4)), (Verdict("drop"),)
DSCP = {
    4: (Payload("network", 0, 2), Bitwise(b"\xff\x03", b"\0\xb8"), PayloadSet(0, 2, 10)),
    6: (Payload("network", 0, 2), Bitwise(b"\xf0\x3f", b"\x0b\x80"), PayloadSet(0, 2)),
}


def host32(value: int) -> bytes:
    return value.to_bytes(4, sys.byteorder)


def ct_is(key: Any, bits: int) -> tuple[Expr, ...]:
    return (Ct(key), Bitwise(host32(bits), bytes(4)), Cmp("neq", bytes(4)))


def base(name: str, hook: Hook, *rules: tuple[Expr, ...]) -> Chain:
    return Chain(name, tuple(Rule(exprs) for exprs in rules), hook)


def shown(name: str, hook: Hook, *exprs: Expr) -> Chain:
    """Packets that match get a DSCP."""
    return base(name, hook, (*V4, *NOT_FENCE, *exprs, *DSCP[4]), (*V6, *NOT_FENCE, *exprs, *DSCP[6]))


def translated(name: str, hook: Hook, kind: Any) -> Chain:
    """Packets whose address is in a map are translated."""
    v4, v6 = (12, 8) if kind == "snat" else (16, 24)
    return base(
        name,
        hook,
        (*V4, *NOT_FENCE, Payload("network", v4, 4), Lookup("m4", dst=0), Nat(kind, 4, 0)),
        (*V6, *NOT_FENCE, Payload("network", v6, 16), Lookup("m6", dst=0), Nat(kind, 6, 0)),
    )


DNAT, SNAT = translated("dnat", NAT_PRE, "dnat"), translated("snat", NAT_POST, "snat")
PORTS = (Immediate(b"\x0f\xa0", 4), Immediate(b"\x0f\xa0", 8))
NOTRACK = base("raw", RAW, (*NOT_FENCE, Notrack()))

LOCAL_BEFORE = "destination is local before it is translated"
CASES: dict[str, tuple[Chain, ...]] = {
    "nothing": (),
    "destination by a map": (DNAT,),
    "source by a map": (SNAT,),
    "both": (DNAT, SNAT),
    "destination and port": (
        base("d", NAT_PRE, (*V4, *NOT_FENCE, Immediate(TARGET4), *PORTS, Nat("dnat", 4, 0, 4, 8))),
        base("d6", NAT_PRE, (*V6, *NOT_FENCE, Immediate(TARGET6), *PORTS, Nat("dnat", 6, 0, 4))),
    ),
    "another family's translation does nothing": (
        base("d", Hook("prerouting", -110, type="nat"), (*NOT_FENCE, Immediate(TARGET4), Nat("dnat", 4, 0), *DROPPED)),
        DNAT,
    ),
    "masquerade": (base("masq", NAT_POST, (*NOT_FENCE, Masquerade())),),
    "masquerade to a port": (base("masq", NAT_POST, (*NOT_FENCE, *PORTS, Masquerade(4, 8))),),
    "the first chain that translates is the last that is asked": (
        DNAT,
        base("later", Hook("prerouting", 50, type="nat"), (*NOT_FENCE, Verdict("drop"))),
    ),
    "a chain that translates is asked where the kernel translates, whatever its priority": (
        base("late", Hook("prerouting", 50, type="nat"), *(rule.exprs for rule in DNAT.rules)),
        shown("before", Hook("prerouting", -101), *ct_is("status", 32)),
        base("after", Hook("prerouting", -99), (*NOT_FENCE, *ct_is("status", 32)[:-1], NONE, Verdict("drop"))),
    ),
    "later hooks see the new destination": (
        DNAT,
        base("f", FORWARD, (*V4, *NOT_FENCE, Payload("network", 16, 4), Cmp("eq", TARGET4), *DSCP[4])),
        base("f6", FORWARD, (*V6, *NOT_FENCE, Payload("network", 24, 16), Cmp("eq", TARGET6), *DSCP[6])),
    ),
    "status after a translation": (DNAT, shown("f", FORWARD, *ct_is("status", 32))),
    "status of the source": (SNAT, shown("p", Hook("postrouting", 150), *ct_is("status", 16))),
    "status before a translation": (DNAT, shown("m", MANGLE, *ct_is("status", 32))),
    "status without a connection": (NOTRACK, shown("f", FORWARD, Ct("status"))),
    "status before there is a connection": (shown("raw", RAW, Ct("status")),),
    "untracked in forward": (NOTRACK, shown("f", FORWARD, *ct_is("state", 64))),
    "untracked in the same chain": (base("raw", RAW, (*NOT_FENCE, Notrack(), *V4, *ct_is("state", 64), *DSCP[4])),),
    "untracked in the next chain": (NOTRACK, shown("raw2", Hook("prerouting", -299), *ct_is("state", 64))),
    "untracked is not translated": (NOTRACK, DNAT, SNAT),
    "new in forward": (shown("f", FORWARD, *ct_is("state", 8)),),
    "new in mangle": (shown("m", MANGLE, *ct_is("state", 8)),),
    "before there is a connection all are invalid": (shown("raw", RAW, *ct_is("state", 1)),),
    "before there is a connection none is new": (shown("raw", RAW, *ct_is("state", 8)),),
    "too late to leave a packet out": (base("m", MANGLE, (Notrack(),)), shown("f", FORWARD, *ct_is("state", 64))),
    "source is not local": (shown("f", FORWARD, Fib("type", ("saddr",)), Cmp("eq", host32(1))),),
    "destination is not local": (shown("f", FORWARD, Fib("type", ("daddr",)), Cmp("neq", host32(2))),),
    LOCAL_BEFORE: (
        DNAT,
        shown("m", MANGLE, Fib("type", ("daddr",)), Cmp("eq", host32(2))),
    ),
    "incoming interface in postrouting": (shown("p", Hook("postrouting", 0), Meta("iifname"), Cmp("eq", b"cali2\0")),),
    "outgoing interface in prerouting": (shown("m", MANGLE, Meta("oifname"), Cmp("eq", b"\0")),),
    "dscp of packets leaving": (shown("p", Hook("postrouting", -140), Meta("oifname"), Cmp("eq", b"cali1\0")),),
    "a limit that is not reached": (shown("f", FORWARD, Limit(1000, 1, 1000)),),
    "a limit over which nothing is": (shown("f", FORWARD, Limit(1000, 1, 1000, over=True)),),
    "bytes over which nothing is": (shown("f", FORWARD, Limit(1000, 1, 100_000, "bytes", over=True)),),
    "few connections": (shown("f", FORWARD, ConnLimit(5)),),
    "connections over which nothing is": (shown("f", FORWARD, ConnLimit(5, over=True)),),
    "a verdict of continue": (
        shown("f", FORWARD, Verdict("continue")),
        base("f1", FORWARD, (Verdict("continue"), *NOT_FENCE, Verdict("drop"))),
    ),
}
EXCEEDED: dict[str, tuple[Any, tuple[Expr, ...]]] = {
    "packets": ("packets", (Limit(1, 3600, 1),)),
    "packets over": ("packets", (Limit(1, 3600, 1, over=True),)),
    "bytes": ("bytes", (Limit(1, 3600, 1, "bytes"),)),
    "bytes over": ("bytes", (Limit(1, 3600, 1, "bytes", over=True),)),
    "connections": ("connections", (ConnLimit(1),)),
    "connections over": ("connections", (ConnLimit(1, over=True),)),
}


def state_of(chains: tuple[Chain, ...]) -> TableState:
    state = TableState()
    for name, field, pairs in (
        ("m4", "ipv4_addr", {FLOATING4: TARGET4, OWN4: TARGET4, SOURCE4: FLOATING4}),
        ("m6", "ipv6_addr", {FLOATING6: TARGET6, OWN6: TARGET6, SOURCE6: FLOATING6}),
    ):
        kind: Any = field
        state.want_set(SetDecl(name, (kind,), kind, size=16))
        for key, value in pairs.items():
            state.want_element(name, key, value)
    for chain in chains:
        state.want_chain(chain)
    return state


def checksum(header: bytes) -> int:
    total = sum(int.from_bytes(header[at : at + 2], "big") for at in range(0, len(header), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


def with_checksum(data: bytes) -> bytes:
    if data[0] >> 4 == 6:
        return data
    return data[:10] + checksum(data[:10] + b"\0\0" + data[12:20]).to_bytes(2, "big") + data[12:]


def forwarded(data: bytes) -> bytes:
    """What routing adds to what the rules say: a hop less."""
    at = 8 if data[0] >> 4 == 4 else 7
    return with_checksum(data[:at] + bytes((data[at] - 1,)) + data[at + 1 :])


@pytest.fixture
def programmed(host: Any, write_sysctls: Any) -> Iterator[Callable[[TableState], None]]:
    """The host with a table of the test's own; no address answers for itself, and the floating ones lead nowhere."""
    write_sysctls(host.netns, {"netfilter/nf_conntrack_checksum": "0"})
    with Links(host.netns) as links:
        for address in (FLOATING4, FLOATING6):
            text = addr_str(address)
            links.add_route(f"{text}/{len(address) * 8}", dev="cali1")
            links.add_neighbour("cali1", text, host.workloads[0].mac)
    opened: list[NftDataplane] = []

    def program(state: TableState) -> None:
        opened.append(in_netns(host.netns, lambda: NftDataplane(Table("changes"), state)))
        assert opened[-1].apply().failed == ()

    yield program
    for dataplane in opened:
        dataplane.close()


def sent_through(host: Any, *packets: bytes) -> list[bytes]:
    """Send packets from the second workload; those that reach the first before the fence does."""
    one, two = host.workloads
    ethernet = bytes.fromhex("eeeeeeeeeeee") + two.mac
    arrived: list[bytes] = []
    with one.wire() as capture, two.wire() as wire:
        for data in (*packets, with_checksum(FENCE.data())):
            wire.send(ethernet + (b"\x86\xdd" if data[0] >> 4 == 6 else b"\x08\x00") + data)
        while True:
            found = udp_of(capture)
            if found is not None and found[-6:-4] == b"\0\1":
                return arrived
            if found is not None:
                arrived.append(found)


def udp_of(capture: socket.socket) -> bytes | None:
    data = capture.recv(2000)[14:]
    if data[:1] == b"\x45" and data[9] == UDP:
        return data[: int.from_bytes(data[2:4], "big")]
    if data[:1] and data[0] >> 4 == 6 and data[6] == UDP:
        return data[: 40 + int.from_bytes(data[4:6], "big")]
    return None


def packet_of(flow: Flow, **more: Any) -> Packet:
    own = OWN4 if flow.version == 4 else OWN6
    return Packet(
        data=with_checksum(flow.data()),
        iifname="cali2",
        oifname="cali1",
        local_addresses=frozenset((OWN4, OWN6)),
        out_address=own,
        **more,
    )


def flows(*, to_the_host: bool = False) -> list[Flow]:
    ways = [(SOURCE4, TARGET4), (SOURCE4, FLOATING4), (SOURCE6, TARGET6), (SOURCE6, FLOATING6)]
    if to_the_host:
        ways = [(SOURCE4, OWN4), (SOURCE6, OWN6)]
    return [Flow(src=s, dst=d, protocol=UDP, sport=40000 + n, dport=7777 + n) for n, (s, d) in enumerate(ways)]


def expected(outcome: Outcome) -> list[bytes]:
    return [forwarded(outcome.data)] if outcome.verdict == "accept" else []


@pytest.mark.parametrize("name", CASES)
def test_packets_arrive_as_the_evaluator_says(host: Any, programmed: Any, name: str) -> None:
    state = state_of(CASES[name])
    programmed(state)
    packets = [packet_of(flow) for flow in flows()]
    if "local" in name and "before" in name:
        packets = [
            packet_of(Flow(src=SOURCE4, dst=OWN4, protocol=UDP)),
            packet_of(Flow(src=SOURCE6, dst=OWN6, protocol=UDP)),
        ]
    outcomes = [forward(state, packet) for packet in packets]
    for outcome in outcomes:
        assert outcome.data == with_checksum(outcome.data)
    assert sent_through(host, *(packet.data for packet in packets)) == [e for o in outcomes for e in expected(o)]


@pytest.mark.parametrize("name", EXCEEDED)
def test_packets_beyond_a_limit_arrive_as_the_evaluator_says(host: Any, programmed: Any, name: str) -> None:
    unit, exprs = EXCEEDED[name]
    state = state_of((base("f", FORWARD, (*V4, *NOT_FENCE, *exprs, *DSCP[4])),))
    programmed(state)
    first, second = (Flow(src=SOURCE4, dst=TARGET4, protocol=UDP, dport=port) for port in (7777, 7778))
    before = forward(state, packet_of(first, exceeded=frozenset({unit}) if unit == "bytes" else frozenset()))
    after = forward(state, packet_of(second, exceeded=frozenset({unit})))
    arrived = sent_through(host, with_checksum(first.data()), with_checksum(second.data()))
    assert arrived == [*expected(before), *expected(after)]


def dscp_bit(bit: int, name: str, hook: Hook, *exprs: Expr) -> Chain:
    """Packets that match get one more bit of DSCP."""
    change = Bitwise(bytes((255, 255 ^ bit << 2)), bytes((0, bit << 2)))
    return base(name, hook, (*V4, *NOT_FENCE, *exprs, Payload("network", 0, 2), change, PayloadSet(0, 2, 10)))


def leaves_by(interface: str) -> tuple[Expr, ...]:
    return (Meta("oifname"), Cmp("eq", interface.encode() + b"\0"))


def test_a_packet_of_the_host_is_routed_anew_when_its_destination_is_translated(host: Any, programmed: Any) -> None:
    state = state_of(
        (
            base("nat", Hook("output", -100, type="nat"), (*NOT_FENCE, Immediate(SOURCE4), Nat("dnat", 4, 0))),
            dscp_bit(1, "o1", Hook("output", 0), *leaves_by("cali1")),
            dscp_bit(2, "o2", Hook("output", 0), *leaves_by("cali2")),
            dscp_bit(4, "p1", Hook("postrouting", 0), *leaves_by("cali1")),
            dscp_bit(8, "p2", Hook("postrouting", 0), *leaves_by("cali2")),
            dscp_bit(16, "p3", Hook("postrouting", 0), Meta("iifname"), Cmp("eq", b"\0")),
        )
    )
    programmed(state)
    flow = Flow(src=OWN4, dst=FLOATING4, protocol=UDP, dport=7777)
    outcome = from_host(state, Packet(data=with_checksum(flow.data()), oifname="cali1", rerouted_to="cali2"))
    sender = in_netns(host.netns, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    with sender, host.workloads[1].wire() as capture:
        sender.bind((addr_str(OWN4), flow.sport))
        sender.sendto(b"", (addr_str(FLOATING4), flow.dport))
        while True:
            found = udp_of(capture)
            if found is not None and found[-6:-4] == flow.dport.to_bytes(2, "big"):
                break
    assert (found[1], found[12:20]) == (outcome.data[1], outcome.data[12:20])
    assert outcome.data[1] >> 2 == 1 | 8 | 16


def test_a_packet_to_the_host_is_changed_as_the_evaluator_says(host: Any, programmed: Any) -> None:
    """Input sees the translated destination; what it lets through is what the socket gets."""
    wanted = (Payload("network", 16, 4), Cmp("eq", OWN4), *ct_is("status", 32), Fib("type", ("daddr",)))
    state = state_of(
        (
            base("nat", NAT_PRE, (*V4, *NOT_FENCE, Immediate(OWN4), *PORTS, Nat("dnat", 4, 0, 4))),
            base(
                "i", Hook("input", 0), (*V4, *wanted, Cmp("eq", host32(2)), Verdict("accept")), (*V4, Verdict("drop"))
            ),
        )
    )
    programmed(state)
    flow = Flow(src=SOURCE4, dst=FLOATING4, protocol=UDP, dport=7777)
    outcome = to_host(state, packet_of(flow))
    assert (outcome.verdict, outcome.data[16:20], outcome.data[22:24]) == ("accept", OWN4, b"\x0f\xa0")
    receiver = in_netns(host.netns, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    with receiver:
        receiver.settimeout(10)
        receiver.bind((addr_str(OWN4), 4000))
        assert sent_through(host, with_checksum(flow.data())) == []
        _, sender = receiver.recvfrom(100)
    assert sender == (addr_str(SOURCE4), flow.sport)
