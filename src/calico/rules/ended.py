"""Tombstones of flows that were ended: so that a packet from the middle of one cannot open it the other way round.

Connection tracking takes a segment of a TCP connection that it does not know for a new flow in the direction of that
segment. What the responder of an ended connection sends is therefore remembered here, as elements of two sets, and
dropped. What may begin a connection (a SYN, an INIT) is never looked up: it is judged by policy alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, Literal

import msgspec

from calico.netlink.nftables.expr import Bitwise, Cmp, Lookup, Meta, Payload, Rule
from calico.netlink.nftables.objects import Chain, KeyField, SetDecl
from calico.rules.drops import drop
from calico.rules.loads import ESTABLISHED_OR_RELATED, RETURN, TCP, Exprs, address, family, header, port, protocol
from calico.rules.packets import SCTP
from calico.rules.room import MIN_SIZE, make_room
from calico.rules.table import TableState

__all__ = ["ENDED_FLOWS", "ENDED_SETS", "EndedFlow", "EndedFlows", "ended_chain", "ended_sets"]

ENDED_FLOWS: Final = "ended-flows"
ENDED_SETS: Final = ("ended-flows4", "ended-flows6")
_SYN_OR_ACK, _SYN = b"\x12", b"\x02"
_INIT = b"\x01"


class EndedFlow(msgspec.Struct, frozen=True, gc=False):
    """An ended connection of TCP or SCTP as its initiator sent it: packed addresses and ports."""

    src: bytes
    dst: bytes
    protocol: int
    sport: int
    dport: int


def ended_sets() -> Iterable[SetDecl]:
    """The two sets, keyed by what the responder sends: source and its port, destination and its port, protocol."""
    fields: tuple[Literal["ipv4_addr", "ipv6_addr"], ...] = ("ipv4_addr", "ipv6_addr")
    for name, host in zip(ENDED_SETS, fields, strict=True):
        key: tuple[KeyField, ...] = (host, "inet_service", host, "inet_service", "inet_proto")
        yield SetDecl(name, key, size=MIN_SIZE)


def ended_chain() -> Chain:
    """Drops what cannot begin a connection and belongs to an ended one; returns otherwise."""
    rules = [Rule((*ESTABLISHED_OR_RELATED, RETURN), "known connection")]
    for name, number, middle in (
        ("TCP", TCP, (Payload("transport", 13, 1), Bitwise(_SYN_OR_ACK, b"\0"), Cmp("neq", _SYN))),
        ("SCTP", SCTP, header(12, _INIT, "neq")),
    ):
        for version in (4, 6):
            exprs = (*protocol(number), *family(version), *middle, *_is_ended(version))
            rules.append(Rule((*exprs, *drop("ended-connection")), f"{name} of a flow that was ended"))
    return Chain(ENDED_FLOWS, tuple(rules))


class EndedFlows:
    """The tombstones in a ``TableState``."""

    def __init__(self, state: TableState) -> None:
        self._state = state

    def add(self, flow: EndedFlow) -> None:
        """Keep a flow ended."""
        name, key = _element(flow)
        self._state.want_element(name, key)
        make_room(self._state, name)

    def remove(self, flow: EndedFlow) -> None:
        """Its responder may speak again."""
        self._state.unwant_element(*_element(flow))

    def __iter__(self) -> Iterator[EndedFlow]:
        for name, size in zip(ENDED_SETS, (4, 16), strict=True):
            for key in self._state.elements(name):
                yield _flow(key, size)


def _is_ended(version: int) -> Exprs:
    v6 = version == 6
    words = 4 if v6 else 1
    loads = (
        address("src", v6),
        port("src", words),
        address("dst", v6, words + 1),
        port("dst", 2 * words + 1),
        Meta("l4proto", 2 * words + 2),
    )
    return (*loads, Lookup(ENDED_SETS[v6]))


def _element(flow: EndedFlow) -> tuple[str, bytes]:
    ends = flow.dst + _padded(flow.dport) + flow.src + _padded(flow.sport)
    return ENDED_SETS[len(flow.src) == 16], ends + bytes((flow.protocol, 0, 0, 0))


def _flow(key: bytes, size: int) -> EndedFlow:
    dst, dport = key[:size], int.from_bytes(key[size : size + 2], "big")
    rest = key[size + 4 :]
    return EndedFlow(rest[:size], dst, rest[size + 4], int.from_bytes(rest[size : size + 2], "big"), dport)


def _padded(number: int) -> bytes:
    return number.to_bytes(2, "big") + b"\0\0"
