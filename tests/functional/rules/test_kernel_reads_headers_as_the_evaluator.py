"""The kernel finds the headers of IPv6 packets, whole and cut short, where the evaluator does."""

from __future__ import annotations

import time
from itertools import pairwise
from typing import Any

import pytest

from calico.lib.packed import addr_bytes
from calico.netlink.nftables.expr import Cmp, Counter, Expr, Exthdr, Meta, Payload, Rule
from calico.netlink.nftables.objects import Chain, Hook
from calico.rules.evaluator.evaluate import Packet, evaluate

pytestmark = pytest.mark.root

HOP_BY_HOP, TCP, ROUTING, FRAGMENT, AUTH, NONE, DESTINATION = 0, 6, 43, 44, 51, 59, 60
DEADLINE_S = 10.0
SOURCE, TARGET = addr_bytes("fd00:99::9"), addr_bytes("fd00:65::1")
OURS = (Meta("nfproto"), Cmp("eq", b"\x0a"), Payload("network", 8, 16), Cmp("eq", SOURCE))
ASKED: dict[str, tuple[Expr, ...]] = {
    "any": (),
    "transport": (Payload("transport", 0, 2),),
    "transport begins with 2, 2": (Payload("transport", 0, 2), Cmp("eq", b"\2\2")),
    **{f"protocol {n}": (Meta("l4proto"), Cmp("eq", bytes((n,)))) for n in (TCP, ROUTING, FRAGMENT, AUTH, NONE)},
    **{f"header {n}": (Exthdr(n), Cmp("eq", b"\1")) for n in (ROUTING, FRAGMENT, AUTH, DESTINATION)},
}


def extension(kind: int, following: int, fragment: int = 0) -> bytes:
    if kind == FRAGMENT:
        return bytes((following, 0)) + fragment.to_bytes(2, "big") + bytes(4)
    if kind == HOP_BY_HOP:
        return bytes((following, 0)) + bytes(6)
    return bytes((following, 1)) + bytes(10 if kind == AUTH else 14)


def chained(*kinds: int, fragment: int = 0) -> tuple[int, bytes]:
    """The first of the kinds, and the bytes from there on; the last one is no extension header."""
    pairs = pairwise(kinds)
    return kinds[0], b"".join(extension(kind, after, fragment) for kind, after in pairs) + b"\2" * 20


def packets() -> list[bytes]:
    found: list[tuple[int, bytes]] = []
    for kind in (DESTINATION, ROUTING, FRAGMENT, AUTH):
        first, whole = chained(kind, TCP)
        found += [(first, whole[:length]) for length in range(len(whole))]
        found += [chained(kind, other, TCP) for other in (DESTINATION, ROUTING, FRAGMENT, AUTH)]
        found += [(AUTH, chained(AUTH, kind, TCP)[1][:length]) for length in range(12, 18)]
        found.append(chained(HOP_BY_HOP, kind, NONE))
    found += [chained(FRAGMENT, TCP, fragment=flag) for flag in (1, 2, 4)]
    return [made(kind, rest) for kind, rest in found]


def made(kind: int, rest: bytes) -> bytes:
    return b"\x60\0\0\0" + len(rest).to_bytes(2, "big") + bytes((kind, 64)) + SOURCE + TARGET + rest


def later_fragments() -> list[bytes]:
    """Packets of which rules only ask for the protocol: others are put together before rules meet them."""
    ends = ((TCP,), (NONE,), (DESTINATION, TCP), (AUTH, TCP), (FRAGMENT, TCP))
    return [made(*chained(FRAGMENT, *end, fragment=1 << bit)) for end in ends for bit in range(3, 16)]


def test_each_packet_matches_in_the_kernel_what_it_matches_in_the_evaluator(host: Any) -> None:
    rules = tuple(Rule((*OURS, *exprs, Counter()), name) for name, exprs in ASKED.items())
    host.state.want_chain(Chain("asked", rules, Hook("prerouting", -450)))
    host.apply()
    sender = host.workloads[1]
    ethernet = bytes.fromhex("eeeeeeeeeeee") + sender.mac + b"\x86\xdd"
    with sender.wire() as wire:
        for data in (*packets(), *later_fragments()):
            before = counts(host)
            wire.send(ethernet + data)
            deadline = time.monotonic() + DEADLINE_S
            while (after := counts(host))["any"] == before["any"]:
                assert time.monotonic() < deadline, data.hex()
            seen = {name for name in ASKED if after[name] != before[name]}
            outcome = evaluate(host.state, Packet(data=data, iifname="cali2"), "prerouting")
            expected = {name for chain, name in outcome.trace if chain == "asked"}
            if data in later_fragments():
                seen = {name for name in seen if not name.startswith("transport")}
            assert seen == expected, data.hex()


def counts(host: Any) -> dict[str, int]:
    return dict(zip(ASKED, host.dataplane.counts("asked"), strict=True))
