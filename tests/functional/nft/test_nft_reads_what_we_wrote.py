"""Each expression and set kind goes through the real kernel: nft reads it as intended, and so do we."""

import sys
from collections.abc import Callable
from typing import Any

import pytest

from calico.dataplane.nft.table import NftDataplane
from calico.lib import packed
from calico.netlink.nftables.expr import (
    Bitwise,
    Byteorder,
    Cmp,
    ConnLimit,
    Counter,
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
    Rule,
    Verdict,
)
from calico.netlink.nftables.objects import Chain, Hook, KeyField, SetDecl
from calico.rules.table import TableState

pytestmark = pytest.mark.root

ACCEPT, DROP, RETURN = Verdict("accept"), Verdict("drop"), Verdict("return")
V4 = (Meta("nfproto"), Cmp("eq", b"\x02"))
V6 = (Meta("nfproto"), Cmp("eq", b"\x0a"))
TCP = (Meta("l4proto"), Cmp("eq", b"\x06"))
ICMP6 = (Meta("l4proto"), Cmp("eq", b"\x3a"))
ZERO = bytes(4)


def host32(value: int) -> bytes:
    return value.to_bytes(4, sys.byteorder)


def ifname(name: str) -> bytes:
    return name.encode().ljust(16, b"\0")


RULES: list[tuple[str, tuple[Expr, ...], str]] = [
    ("accept", (ACCEPT,), "accept"),
    ("drop", (DROP,), "drop"),
    ("return", (Verdict("return"),), "return"),
    ("continue", (Verdict("continue"),), "continue"),
    ("jump", (Verdict("jump", "other"),), "jump other"),
    ("goto", (Verdict("goto", "other"),), "goto other"),
    ("iifname", (Meta("iifname"), Cmp("eq", ifname("eth0")), ACCEPT), 'iifname "eth0" accept'),
    ("iifname prefix", (Meta("iifname"), Cmp("eq", b"cali"), DROP), 'iifname "cali*" drop'),
    ("oifname not", (Meta("oifname"), Cmp("neq", b"cali"), DROP), 'oifname != "cali*" drop'),
    ("iif", (Meta("iif"), Cmp("eq", host32(1)), ACCEPT), 'iif "lo" accept'),
    ("oif", (Meta("oif"), Cmp("eq", host32(1)), ACCEPT), 'oif "lo" accept'),
    ("l4proto", (Meta("l4proto"), Cmp("neq", b"\x11"), DROP), "meta l4proto != udp drop"),
    ("nfproto", (*V6, DROP), "meta nfproto ipv6 drop"),
    ("protocol", (Meta("protocol"), Cmp("eq", b"\x08\x00"), DROP), "meta protocol ip drop"),
    ("mark", (Meta("mark"), Cmp("eq", host32(0x20)), ACCEPT), "meta mark 0x00000020 accept"),
    (
        "mark bits",
        (Meta("mark"), Bitwise(host32(0x20), ZERO), Cmp("eq", host32(0x20)), ACCEPT),
        "meta mark & 0x00000020 == 0x00000020 accept",
    ),
    (
        "set mark bit",
        (Meta("mark"), Bitwise(host32(0xFFFFFFDF), host32(0x20)), MetaSet("mark")),
        "meta mark set meta mark | 0x00000020",
    ),
    (
        "clear mark bit",
        (Meta("mark"), Bitwise(host32(0xFFFFFFDF), ZERO), MetaSet("mark")),
        "meta mark set meta mark & 0xffffffdf",
    ),
    ("saddr", (*V4, Payload("network", 12, 4), Cmp("eq", bytes((10, 1, 2, 3))), DROP), "ip saddr 10.1.2.3 drop"),
    (
        "daddr in a net",
        (*V4, Payload("network", 16, 4), Bitwise(b"\xff\xff\xf0\0", ZERO), Cmp("eq", bytes((10, 1, 16, 0))), ACCEPT),
        "ip daddr 10.1.16.0/20 accept",
    ),
    ("daddr in a byte net", (*V4, Payload("network", 16, 1), Cmp("eq", b"\x0a"), DROP), "ip daddr 10.0.0.0/8 drop"),
    (
        "v6 daddr",
        (*V6, Payload("network", 24, 16), Cmp("eq", packed.addr_bytes("fe80::1")), DROP),
        "ip6 daddr fe80::1 drop",
    ),
    ("dport", (*TCP, Payload("transport", 2, 2), Cmp("eq", b"\0\x50"), ACCEPT), "tcp dport 80 accept"),
    (
        "dport range",
        (*TCP, Payload("transport", 2, 2), Range("eq", b"\0\x50", b"\0\x5a"), ACCEPT),
        "tcp dport 80-90 accept",
    ),
    (
        "dport outside",
        (*TCP, Payload("transport", 2, 2), Range("neq", b"\0\x50", b"\0\x5a"), DROP),
        "tcp dport != 80-90 drop",
    ),
    ("sport above", (*TCP, Payload("transport", 0, 2), Cmp("gt", b"\x03\xff"), ACCEPT), "tcp sport > 1023 accept"),
    ("sport up to", (*TCP, Payload("transport", 0, 2), Cmp("lte", b"\x03\xff"), DROP), "tcp sport <= 1023 drop"),
    ("sport below", (*TCP, Payload("transport", 0, 2), Cmp("lt", b"\x03\xff"), DROP), "tcp sport < 1023 drop"),
    ("sport from", (*TCP, Payload("transport", 0, 2), Cmp("gte", b"\x03\xff"), DROP), "tcp sport >= 1023 drop"),
    ("ND", (*ICMP6, Payload("transport", 0, 1), Cmp("eq", b"\x87"), ACCEPT), "icmpv6 type nd-neighbor-solicit accept"),
    (
        "ct state",
        (Ct("state"), Bitwise(host32(6), ZERO), Cmp("neq", ZERO), ACCEPT),
        "ct state established,related accept",
    ),
    ("ct invalid", (Ct("state"), Bitwise(host32(1), ZERO), Cmp("neq", ZERO), DROP), "ct state invalid drop"),
    ("ct status", (Ct("status"), Bitwise(host32(32), ZERO), Cmp("neq", ZERO), ACCEPT), "ct status dnat accept"),
    ("ct mark", (Ct("mark"), Cmp("eq", host32(1)), ACCEPT), "ct mark 0x00000001 accept"),
    ("ct direction", (Ct("direction"), Cmp("eq", b"\0"), ACCEPT), "ct direction original accept"),
    ("fib oif", (Fib("oif", ("saddr", "iif")), Cmp("eq", ZERO), DROP), "fib saddr . iif oif 0 drop"),
    ("fib type", (Fib("type", ("daddr",)), Cmp("eq", host32(2)), ACCEPT), "fib daddr type local accept"),
    ("fib source type", (Fib("type", ("saddr",)), Cmp("eq", host32(2)), DROP), "fib saddr type local drop"),
    (
        "fib type not",
        (*V4, Fib("type", ("daddr",)), Cmp("neq", host32(2)), RETURN),
        "meta nfproto ipv4 fib daddr type != local return",
    ),
    ("v6 fragment", (*V6, Exthdr(44), Cmp("eq", b"\x01"), DROP), "exthdr frag exists drop"),
    ("log", (Log("calico-drop "), DROP), 'log prefix "calico-drop " drop'),
    ("log level", (Log("x", level=6),), 'log prefix "x" level info'),
    ("log group", (Log("x", group=3),), 'log prefix "x" group 3'),
    ("limit", (Limit(5, 1, 7), ACCEPT), "limit rate 5/second burst 7 packets accept"),
    ("limit per minute", (Limit(10, 60), ACCEPT), "limit rate 10/minute accept"),
    ("limit of few", (Limit(3, 1, 1), ACCEPT), "limit rate 3/second burst 1 packets accept"),
    (
        "packets over",
        (Limit(100, 1, 20, over=True), DROP),
        "limit rate over 100/second burst 20 packets drop",
    ),
    (
        "bytes over",
        (Limit(125_000, 1, 250_000, "bytes", over=True), DROP),
        "limit rate over 125000 bytes/second burst 250000 bytes drop",
    ),
    ("bytes", (Limit(1, 1, 0, "bytes"), ACCEPT), "limit rate 1 bytes/second accept"),
    ("connections over", (ConnLimit(20, over=True), DROP), "ct count over 20 drop"),
    ("connections", (ConnLimit(20), ACCEPT), "ct count 20 accept"),
    (
        "new connections over",
        (Ct("state"), Bitwise(host32(8), ZERO), Cmp("neq", ZERO), ConnLimit(2, over=True), Reject("tcp-reset")),
        "ct state new ct count over 2 reject with tcp reset",
    ),
    ("notrack", (*V4, Notrack(), ACCEPT), "meta nfproto ipv4 notrack accept"),
    ("ct untracked", (Ct("state"), Bitwise(host32(64), ZERO), Cmp("neq", ZERO), ACCEPT), "ct state untracked accept"),
    (
        "dscp",
        (*V4, Payload("network", 0, 2), Bitwise(b"\xff\x03", b"\0\xb8"), PayloadSet(0, 2, 10)),
        "ip dscp set ef",
    ),
    (
        "v6 dscp",
        (*V6, Payload("network", 0, 2), Bitwise(b"\xf0\x3f", b"\x0b\x80"), PayloadSet(0, 2)),
        "ip6 dscp set ef",
    ),
    ("counter", (Counter(), DROP), "counter packets 0 bytes 0 drop"),
    ("reject", (Reject("icmpx-port-unreachable"),), "reject"),
    ("reject admin", (Reject("icmpx-admin-prohibited"),), "reject with icmpx admin-prohibited"),
    ("reject tcp", (*TCP, Reject("tcp-reset")), "meta l4proto tcp reject with tcp reset"),
    ("in a set", (*V4, Payload("network", 12, 4), Lookup("h4"), DROP), "ip saddr @h4 drop"),
    ("not in a set", (*V4, Payload("network", 12, 4), Lookup("h4", inverted=True), DROP), "ip saddr != @h4 drop"),
    (
        "in a concatenation",
        (*V4, Meta("iifname"), Payload("network", 12, 4, 4), Lookup("src4"), ACCEPT),
        "iifname . ip saddr @src4 accept",
    ),
    ("verdict map", (Meta("iifname"), Lookup("from", verdict=True)), "iifname vmap @from"),
]


PREROUTING, POSTROUTING = Hook("prerouting", -100, type="nat"), Hook("postrouting", 100, type="nat")
PORTS = (Immediate(b"\x03\xe8", 4), Immediate(b"\x07\xd0", 8))
TRANSLATIONS: list[tuple[str, Hook, tuple[Expr, ...], str]] = [
    (
        "dnat by a map",
        PREROUTING,
        (*V4, Payload("network", 16, 4), Lookup("d4", dst=0), Nat("dnat", 4, 0)),
        "dnat ip to ip daddr map @d4",
    ),
    (
        "v6 dnat by a map",
        PREROUTING,
        (*V6, Payload("network", 24, 16), Lookup("d6", dst=0), Nat("dnat", 6, 0)),
        "dnat ip6 to ip6 daddr map @d6",
    ),
    (
        "snat by a map",
        POSTROUTING,
        (*V4, Payload("network", 12, 4), Lookup("d4", dst=0), Nat("snat", 4, 0)),
        "snat ip to ip saddr map @d4",
    ),
    (
        "v6 snat by a map",
        POSTROUTING,
        (*V6, Payload("network", 8, 16), Lookup("d6", dst=0), Nat("snat", 6, 0)),
        "snat ip6 to ip6 saddr map @d6",
    ),
    (
        "dnat to a constant",
        Hook("output", -100, type="nat"),
        (*V4, Immediate(bytes((10, 0, 0, 1))), Nat("dnat", 4, 0)),
        "meta nfproto ipv4 dnat ip to 10.0.0.1",
    ),
    (
        "snat to a port range",
        POSTROUTING,
        (*V4, *TCP, Immediate(bytes((10, 0, 0, 1))), *PORTS, Nat("snat", 4, 0, 4, 8, random_fully=True)),
        "meta nfproto ipv4 meta l4proto tcp snat ip to 10.0.0.1:1000-2000 fully-random",
    ),
    ("masquerade", POSTROUTING, (*V4, Masquerade()), "meta nfproto ipv4 masquerade"),
    ("masquerade at random", POSTROUTING, (Masquerade(random_fully=True),), "masquerade fully-random"),
    (
        "masquerade to ports",
        POSTROUTING,
        (*TCP, Immediate(b"\x03\xe8"), Immediate(b"\x07\xd0", 4), Masquerade(0, 4)),
        "meta l4proto tcp masquerade to :1000-2000",
    ),
    (
        "masquerade to ports at random",
        POSTROUTING,
        (*TCP, Immediate(b"\x03\xe8"), Immediate(b"\x07\xd0", 1), Masquerade(0, 1, random_fully=True)),
        "meta l4proto tcp masquerade to :1000-2000 fully-random",
    ),
    (
        "masquerade to a port",
        POSTROUTING,
        (*TCP, Immediate(b"\x03\xe8"), Masquerade(0)),
        "meta l4proto tcp masquerade to :1000",
    ),
]


@pytest.mark.parametrize(
    ("hook", "exprs", "text"), [case[1:] for case in TRANSLATIONS], ids=[case[0] for case in TRANSLATIONS]
)
def test_a_translation_reads_in_nft_as_intended_and_back_as_written(host, hook, exprs, text: str) -> None:
    state = base_state()
    state.want_chain(Chain("c", (Rule(exprs, "why"),), hook))
    dataplane = host.dataplane(state)
    assert dataplane.apply().failed == ()
    assert host.rules("c") == [f'{text} comment "why"']
    dataplane.resync()
    again = dataplane.apply()
    assert (again.changed, again.messages, again.failed) == (False, 0, ())


@pytest.mark.parametrize(("exprs", "text"), [case[1:] for case in RULES], ids=[case[0] for case in RULES])
def test_a_rule_reads_in_nft_as_intended_and_back_as_written(host, exprs: tuple[Expr, ...], text: str) -> None:
    state = base_state()
    state.want_chain(Chain("c", (Rule(exprs, "why"),)))
    dataplane = host.dataplane(state)
    assert dataplane.apply().failed == ()
    assert host.rules("c") == [f'{text} comment "why"']
    dataplane.resync()
    again = dataplane.apply()
    assert (again.changed, again.messages, again.failed) == (False, 0, ())


def base_state() -> TableState:
    state = TableState()
    state.want_chain(Chain("other"))
    state.want_set(SetDecl("h4", ("ipv4_addr",), size=64))
    state.want_set(SetDecl("src4", ("ifname", "ipv4_addr"), size=64))
    state.want_set(SetDecl("from", ("ifname",), "verdict", size=64))
    state.want_set(SetDecl("d4", ("ipv4_addr",), "ipv4_addr", size=64))
    state.want_set(SetDecl("d6", ("ipv6_addr",), "ipv6_addr", size=64))
    return state


def test_a_byte_order_conversion_is_kept(host) -> None:
    exprs = (Fib("oif", ("daddr",)), Byteorder("hton", 4, 4), Cmp("gt", ZERO), ACCEPT)
    state = TableState()
    state.want_chain(Chain("c", (Rule(exprs),)))
    dataplane = host.dataplane(state)
    assert dataplane.apply().failed == ()
    dataplane.resync()
    assert not dataplane.apply().changed


SETS: list[tuple[tuple[KeyField, ...], bool, bytes, Any]] = [
    (("ipv4_addr",), False, bytes((1, 2, 3, 4)), "1.2.3.4"),
    (("ipv6_addr",), False, packed.addr_bytes("fd00::1"), "fd00::1"),
    (("ifname",), False, ifname("cali12345678901"), "cali12345678901"),
    (("inet_proto",), False, b"\x06\0\0\0", "tcp"),
    (("inet_service",), False, b"\0\x50\0\0", 80),
    (("icmp_type",), False, b"\x08\0\0\0", "echo-request"),
    (("icmpv6_type",), False, b"\x80\0\0\0", "echo-request"),
    (("mark",), False, host32(0x20), 0x20),
    (("ether_addr",), False, b"\xee\xee\xee\xee\xee\xee\0\0", "ee:ee:ee:ee:ee:ee"),
    (("ifname", "ipv4_addr"), False, ifname("cali1") + bytes((1, 2, 3, 4)), {"concat": ["cali1", "1.2.3.4"]}),
    (("ifname", "ipv6_addr"), False, ifname("cali1") + packed.addr_bytes("::9"), {"concat": ["cali1", "::9"]}),
    (
        ("ipv4_addr", "inet_proto", "inet_service"),
        False,
        bytes((1, 2, 3, 4)) + b"\x11\0\0\0" + b"\0\x35\0\0",
        {"concat": ["1.2.3.4", "udp", 53]},
    ),
    (("inet_proto", "inet_service"), False, b"\x06\0\0\0\0\x16\0\0", {"concat": ["tcp", 22]}),
    (("ipv4_addr",), True, packed.net("10.0.0.0/8"), {"prefix": {"addr": "10.0.0.0", "len": 8}}),
    (("ipv4_addr",), True, packed.net("240.0.0.0/4"), {"prefix": {"addr": "240.0.0.0", "len": 4}}),
    (("ipv4_addr",), True, packed.net("10.1.2.3/32"), "10.1.2.3"),
    (("ipv6_addr",), True, packed.net("fd00::/8"), {"prefix": {"addr": "fd00::", "len": 8}}),
    (("ipv6_addr",), True, packed.net("ff00::/8"), {"prefix": {"addr": "ff00::", "len": 8}}),
]


@pytest.mark.parametrize(("key", "interval", "element", "shown"), SETS)
def test_a_set_reads_in_nft_as_intended_and_back_as_written(host, key, interval, element, shown) -> None:
    state = TableState()
    state.want_set(SetDecl("s", key, interval=interval))
    state.want_element("s", element)
    dataplane = host.dataplane(state)
    assert dataplane.apply().failed == ()
    assert host.elements("s") == [shown]
    dataplane.resync()
    assert not dataplane.apply().changed
    state.unwant_element("s", element)
    assert dataplane.apply().failed == ()
    assert host.elements("s") == []


@pytest.mark.parametrize("text", ["0.0.0.0/0", "::/0"])
def test_a_net_of_all_addresses_is_kept(host, text: str) -> None:
    state = TableState()
    state.want_set(SetDecl("s", ("ipv6_addr",) if ":" in text else ("ipv4_addr",), interval=True))
    state.want_element("s", packed.net(text))
    dataplane = host.dataplane(state)
    assert dataplane.apply().failed == ()
    dataplane.resync()
    assert not dataplane.apply().changed
    assert len(host.elements("s")) == 1


@pytest.mark.parametrize(
    ("verdict", "shown"),
    [
        (Verdict("goto", "g"), {"goto": {"target": "g"}}),
        (Verdict("jump", "g"), {"jump": {"target": "g"}}),
        (Verdict("drop"), {"drop": None}),
        (Verdict("accept"), {"accept": None}),
        (Verdict("return"), {"return": None}),
    ],
)
def test_a_verdict_map_reads_in_nft_as_intended_and_back_as_written(host, verdict: Verdict, shown) -> None:
    state = TableState()
    state.want_chain(Chain("g"))
    state.want_set(SetDecl("m", ("ifname",), "verdict", size=8))
    state.want_element("m", ifname("cali1"), verdict)
    dataplane = host.dataplane(state)
    assert dataplane.apply().failed == ()
    assert host.elements("m", "map") == [["cali1", shown]]
    dataplane.resync()
    assert not dataplane.apply().changed


MAPS: list[tuple[KeyField, bytes, Any]] = [
    ("ipv4_addr", bytes((10, 0, 0, 1)), "10.0.0.1"),
    ("ipv6_addr", packed.addr_bytes("fd00::1"), "fd00::1"),
    ("ifname", ifname("cali1"), "cali1"),
    ("mark", host32(0x20), 0x20),
    ("inet_service", b"\0\x50\0\0", 80),
    ("inet_proto", b"\x06\0\0\0", "tcp"),
    ("icmp_type", b"\x08\0\0\0", "echo-request"),
    ("icmpv6_type", b"\x80\0\0\0", "echo-request"),
    ("ether_addr", b"\xee\xee\xee\xee\xee\xee\0\0", "ee:ee:ee:ee:ee:ee"),
]


@pytest.mark.parametrize("key", [("ipv4_addr",), ("inet_service",), ("ipv4_addr", "inet_service")])
@pytest.mark.parametrize(("value", "data", "shown"), MAPS)
def test_a_map_of_data_reads_in_nft_as_intended_and_back_as_written(host, key, value, data, shown) -> None:
    fields = {"ipv4_addr": (bytes((1, 2, 3, 4)), "1.2.3.4"), "inet_service": (b"\0\x16\0\0", 22)}
    element = b"".join(fields[field][0] for field in key)
    names = [fields[field][1] for field in key]
    state = TableState()
    state.want_set(SetDecl("m", key, value, size=8))
    state.want_element("m", element, data)
    dataplane = host.dataplane(state)
    assert dataplane.apply().failed == ()
    assert host.elements("m", "map") == [[names[0] if len(names) == 1 else {"concat": names}, shown]]
    dataplane.resync()
    assert not dataplane.apply().changed
    state.unwant_element("m", element)
    assert dataplane.apply().failed == ()
    assert host.elements("m", "map") == []


def test_a_declared_size_is_kept(programmed: Callable[[TableState], NftDataplane], host) -> None:
    state = TableState()
    state.want_set(SetDecl("s", ("ipv4_addr",), size=4096))
    programmed(state)
    (listed,) = host.objects("set")
    assert listed["size"] == 4096


@pytest.mark.parametrize("policy", ["accept", "drop"])
@pytest.mark.parametrize(("hook", "priority"), [("forward", 0), ("forward", 1), ("prerouting", -300), ("input", 0)])
def test_a_base_chain_sits_where_it_should(programmed, host, hook, priority, policy) -> None:
    state = TableState()
    state.want_chain(Chain("b", hook=Hook(hook, priority, policy)))
    programmed(state)
    (listed,) = host.objects("chain")
    assert (listed["hook"], listed["prio"], listed["policy"], listed["type"]) == (hook, priority, policy, "filter")


@pytest.mark.parametrize(
    "hook",
    [
        Hook("prerouting", -100, type="nat"),
        Hook("output", -100, type="nat"),
        Hook("postrouting", 100, type="nat"),
        Hook("input", 100, type="nat"),
        Hook("output", -150, type="route"),
        Hook("postrouting", -140),
    ],
)
def test_a_base_chain_is_of_the_type_it_should_be(programmed, host, hook: Hook) -> None:
    state = TableState()
    state.want_chain(Chain("b", hook=hook))
    dataplane = programmed(state)
    (listed,) = host.objects("chain")
    assert (listed["hook"], listed["prio"], listed["type"]) == (hook.hook, hook.priority, hook.type)
    dataplane.resync()
    assert not dataplane.apply().changed


def test_ten_thousand_elements_of_a_set_are_all_there(host) -> None:
    state = TableState()
    state.want_set(SetDecl("h4", ("ipv4_addr",), size=32768))
    for number in range(10_000):
        state.want_element("h4", (0x0A000000 + number * 3).to_bytes(4, "big"))
    dataplane = host.dataplane(state)
    assert dataplane.apply().failed == ()
    assert len(host.elements("h4")) == 10_000
    dataplane.resync()
    assert not dataplane.apply().changed


def test_ten_thousand_elements_of_a_map_of_data_are_all_there(host) -> None:
    state = TableState()
    state.want_set(SetDecl("m", ("ipv4_addr",), "ipv4_addr", size=32768))
    for number in range(10_000):
        state.want_element("m", (0x0A000000 + number).to_bytes(4, "big"), (0x0B000000 + number).to_bytes(4, "big"))
    dataplane = host.dataplane(state)
    assert dataplane.apply().failed == ()
    assert len(host.elements("m", "map")) == 10_000
    dataplane.resync()
    assert not dataplane.apply().changed


def test_ten_thousand_elements_of_a_map_are_all_there(host) -> None:
    state = TableState()
    state.want_set(SetDecl("m", ("ifname",), "verdict", size=32768))
    for number in range(50):
        state.want_chain(Chain(f"gi-{number}", (Rule((DROP,)),)))
    for number in range(10_000):
        state.want_element("m", ifname(f"cali{number}"), Verdict("goto", f"gi-{number % 50}"))
    dataplane = host.dataplane(state)
    assert dataplane.apply().failed == ()
    assert len(host.elements("m", "map")) == 10_000
    dataplane.resync()
    assert not dataplane.apply().changed


def test_a_thousand_scattered_nets_are_accepted_in_any_order(host) -> None:
    nets = [
        packed.net(f"{10 + n % 100}.{n * 37 % 256}.{n * 91 % 256 & 0xF0}.0/{(24, 28, 22)[n % 3]}") for n in range(3000)
    ]
    chosen: list[bytes] = []
    seen: list[tuple[int, int]] = []
    for net in nets:
        low = int.from_bytes(net[:4], "big")
        high = low + (1 << 32 - net[4])
        if all(high <= a or b <= low for a, b in seen):
            seen.append((low, high))
            chosen.append(net)
        if len(chosen) == 1000:
            break
    state = TableState()
    state.want_set(SetDecl("n4", ("ipv4_addr",), interval=True))
    for net in chosen:
        state.want_element("n4", net)
    dataplane = host.dataplane(state)
    assert dataplane.apply().failed == ()
    dataplane.resync()
    assert not dataplane.apply().changed
    for net in chosen[::2]:
        state.unwant_element("n4", net)
    assert dataplane.apply().failed == ()
    dataplane.resync()
    assert not dataplane.apply().changed


def test_a_net_is_replaced_by_its_halves_in_one_transaction(host) -> None:
    state = TableState()
    state.want_set(SetDecl("n4", ("ipv4_addr",), interval=True))
    state.want_element("n4", packed.net("10.0.0.0/8"))
    dataplane = host.dataplane(state)
    dataplane.apply()
    state.unwant_element("n4", packed.net("10.0.0.0/8"))
    state.want_element("n4", packed.net("10.0.0.0/9"))
    state.want_element("n4", packed.net("10.128.0.0/9"))
    assert dataplane.apply().failed == ()
    dataplane.resync()
    assert not dataplane.apply().changed
