"""What is done first, before connection tracking, to a packet from a workload: is it from who it says?

A packet is accepted only with a source that its interface owns; what has none yet or uses its link-local address
(DHCP, duplicate address detection, neighbour and listener discovery) only in exactly that form. Source routing is
refused, and so is speaking as a router: IPv6 router advertisements and ICMP redirects (requirements S6, S7). So is
an ICMP error about a packet that was not sent to the workload: connection tracking relates it to the connection that
it quotes, whoever has that, and what is related meets no policy.

An endpoint that may send from other networks too (a router, say) has the same checks with those networks allowed, in
a chain that it shares with all that may send from the same. What nobody may send from, and this host's own addresses,
are in none of them.
"""

from __future__ import annotations

from collections.abc import Iterable

from calico.lib.packed import is_v6, net, net_str, prefix_len
from calico.netlink.nftables.expr import Bitwise, Cmp, Expr, Exthdr, Lookup, Meta, Payload, Range, Rule, Verdict
from calico.netlink.nftables.objects import Chain, Hook
from calico.rules.config import RulesConfig
from calico.rules.guards import dhcp, metadata_v6
from calico.rules.loads import (
    ACCEPT,
    DROP,
    FROM_HERE,
    ICMP,
    ICMPV6,
    TCP,
    UDP,
    Exprs,
    address,
    family,
    header,
    in_set,
    interface,
    net_is,
    protocol,
)

__all__ = ["FOREIGN_SOURCES", "SOURCES_V4", "SOURCES_V6", "antispoof_chains", "foreign_sources_chain"]

SOURCES_V4, SOURCES_V6, FOREIGN_SOURCES = "wl-src4", "wl-src6", "wl-foreign-src"
"""Sets of what each interface may send from, and the map to the chain of one that may also send from networks."""

_ROUTING_HEADER = 43
_UNSPECIFIED_TYPES = (131, 133, 135, 143)
"""ICMPv6 types that may come from ``::``: MLD reports, router solicitation, duplicate address detection."""
_ON_LINK_TYPES = (133, 135, 136)
"""ICMPv6 types that are only valid with hop limit 255, i.e. not forwarded (RFC 4861 section 7.1)."""
_LISTENER_TYPES = (131, 132, 143)
_NO_SOURCES = tuple(map(net, ("0.0.0.0/8", "127.0.0.0/8", "224.0.0.0/3", "::/127", "fe80::/10", "ff00::/8")))
"""What no packet that is forwarded may come from, and link-local addresses, which have rules of their own."""
_ERRORS_V4 = ((3, 4), (11, 12))
_ERRORS_V6 = ((0, 127),)
"""Ranges of ICMP types that are errors: 8 bytes and then the packet that they are about."""


def antispoof_chains(config: RulesConfig, others: tuple[Rule, ...] = ()) -> list[Chain]:
    """The base chain on prerouting at raw priority, and the chain of all packets from workloads. ``others`` follow in
    the base chain for packets that are not from a workload."""
    rules = [
        Rule((*interface("iifname", prefix), Verdict("goto", "antispoof")), "from a workload")
        for prefix in config.interface_prefixes
    ]
    return [
        Chain("raw-prerouting", (*rules, *others), Hook("prerouting", -300)),
        Chain(
            "antispoof",
            (
                *_ordinary(),
                *(_metadata() if config.has_metadata else ()),
                Rule((Meta("iifname"), Lookup(FOREIGN_SOURCES, verdict=True)), "may also send from networks"),
                *_checks(()),
            ),
        ),
    ]


def foreign_sources_chain(name: str, nets: Iterable[bytes]) -> Chain:
    """The chain of the workloads that may also send from these networks."""
    return Chain(name, tuple(_checks(tuple(nets))))


def _checks(nets: tuple[bytes, ...]) -> Iterable[Rule]:
    yield _loopback()
    yield from _as_a_router()
    yield from _others_errors(nets)
    yield from _owned()
    yield from _addressless()
    yield from _link_local()
    if nets:
        yield from _foreign(nets)
    yield Rule((DROP,), "spoofed source")


def _ordinary() -> Iterable[Rule]:
    """Nearly every packet, by one rule of cheap comparisons: what all the rules below would accept.

    IPv4 without options, neither ICMP nor to 127/8; IPv6 whose first next header is
    from TCP (6) to UDP (17): no ICMP, no extension header. And the source is the workload's own.
    """
    without_options = (Payload("network", 0, 1), Cmp("eq", b"\x45"))
    no_loopback = net_is("dst", net("127.0.0.0/8"), "neq")
    no_icmp = (Payload("network", 9, 1), Cmp("neq", bytes((ICMP,))), Cmp("neq", bytes((ICMPV6,))))
    source = in_set(SOURCES_V4, Meta("iifname"), address("src", False, 4))
    yield Rule((*family(4), *without_options, *no_loopback, *no_icmp, *source, ACCEPT), "ordinary IPv4, own address")
    plain = (Payload("network", 6, 1), Range("eq", bytes((TCP,)), bytes((UDP,))))
    source = in_set(SOURCES_V6, Meta("iifname"), address("src", True, 4))
    yield Rule((*family(6), *plain, *source, ACCEPT), "ordinary IPv6, own address")


def _loopback() -> Rule:
    """Interfaces of workloads route 127/8 (for what the host translates to it), so nothing else keeps it the host's."""
    return Rule((*family(4), *net_is("dst", net("127.0.0.0/8")), DROP), "to the host's loopback")


def _as_a_router() -> Iterable[Rule]:
    yield Rule((*protocol(ICMP), *header(0, b"\x05"), DROP), "ICMP redirect")
    for kind, comment in ((134, "IPv6 router advertisement"), (137, "IPv6 redirect")):
        yield Rule((*protocol(ICMPV6), *header(0, bytes((kind,))), DROP), comment)


def _others_errors(nets: tuple[bytes, ...]) -> Iterable[Rule]:
    """The destination of the quoted packet is as the workload got it, so it is one of the workload's own addresses, or
    in a network that it sends from."""
    for version, number, name, errors, quoted in (
        (4, ICMP, SOURCES_V4, _ERRORS_V4, Payload("transport", 8 + 16, 4, 4)),
        (6, ICMPV6, SOURCES_V6, _ERRORS_V6, Payload("transport", 8 + 24, 16, 4)),
    ):
        for first, last in errors:
            kind = (Payload("transport", 0, 1), Range("eq", bytes((first,)), bytes((last,))))
            foreign = in_set(name, Meta("iifname"), quoted, inverted=True)
            elsewhere = _outside(quoted, (one for one in nets if is_v6(one) == (version == 6)))
            if elsewhere is not None:
                matches = (*protocol(number), *family(version), *kind, *foreign, *elsewhere)
                yield Rule((*matches, DROP), "ICMP error about others")


def _outside(load: Payload, nets: Iterable[bytes]) -> Exprs | None:
    """The address that is loaded is in none of the networks of its family; None: it is, whatever it is."""
    found: list[Expr] = []
    for one in nets:
        bits, length = load.length * 8, prefix_len(one)
        if not length:
            return None
        mask = ((1 << length) - 1 << bits - length).to_bytes(load.length, "big")
        found += [Payload(load.base, load.offset, load.length), Bitwise(mask, bytes(load.length)), Cmp("neq", one[:-1])]
    return tuple(found)


def _owned() -> Iterable[Rule]:
    """IPv4 with options (a first byte other than 0x45) and IPv6 with a routing header are not accepted here."""
    without_options = (Payload("network", 0, 1), Cmp("eq", b"\x45"))
    source = in_set(SOURCES_V4, Meta("iifname"), address("src", False, 4))
    yield Rule((*family(4), *without_options, *source, ACCEPT), "own IPv4 address")
    unrouted = (Exthdr(_ROUTING_HEADER), Cmp("eq", b"\0"))
    source = in_set(SOURCES_V6, Meta("iifname"), address("src", True, 4))
    yield Rule((*family(6), *unrouted, *source, ACCEPT), "own IPv6 address")


def _foreign(nets: tuple[bytes, ...]) -> Iterable[Rule]:
    """As ``_owned``, for networks; never what is no source, nor an address of this host."""
    for one in _NO_SOURCES:
        yield Rule((*family(6 if is_v6(one) else 4), *net_is("src", one), DROP), "no source of any workload")
    yield Rule((*FROM_HERE, DROP), "an address of this host")
    without_options = (Payload("network", 0, 1), Cmp("eq", b"\x45"))
    unrouted = (Exthdr(_ROUTING_HEADER), Cmp("eq", b"\0"))
    for one in nets:
        plain = (*family(6), *unrouted) if is_v6(one) else (*family(4), *without_options)
        within = net_is("src", one) if prefix_len(one) else ()
        yield Rule((*plain, *within, ACCEPT), f"may send from {net_str(one)}")


def _addressless() -> Iterable[Rule]:
    nowhere = (*net_is("src", net("0.0.0.0/32")), *net_is("dst", net("255.255.255.255/32")))
    yield Rule((*family(4), *nowhere, *dhcp(4), ACCEPT), "DHCP discovery")
    nowhere = (*net_is("src", net("::/128")), *net_is("dst", net("ff02::/16")))
    for kind in _UNSPECIFIED_TYPES:
        yield Rule((*family(6), *nowhere, *_icmpv6(kind), ACCEPT), "IPv6 address configuration")


def _link_local() -> Iterable[Rule]:
    ours = (*family(6), *net_is("src", net("fe80::/10")))
    on_link = (Payload("network", 7, 1), Cmp("eq", b"\xff"))
    for kind in _ON_LINK_TYPES:
        yield Rule((*ours, *on_link, *_icmpv6(kind), ACCEPT), "neighbour discovery")
    for kind in _LISTENER_TYPES:
        listeners = net_is("dst", net("ff02::/16"))
        yield Rule((*ours, *listeners, *_icmpv6(kind), ACCEPT), "multicast listener discovery")
    servers = net_is("dst", net("ff02::1:2/128"))
    yield Rule((*ours, *servers, *dhcp(6), ACCEPT), "DHCPv6 discovery")


def _metadata() -> Iterable[Rule]:
    """Instances ask OpenStack's metadata service by IPv6 from their link-local address, before they have another."""
    yield Rule((*metadata_v6(), *net_is("src", net("fe80::/10")), ACCEPT), "metadata service by IPv6")


def _icmpv6(kind: int) -> Exprs:
    return (*protocol(ICMPV6), *header(0, bytes((kind,))))
