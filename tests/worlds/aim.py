"""Packets aimed at the rules of a world: at the edges of nets and ports, and just beside them.

A shot takes one rule, fulfils its fields, and then mostly changes one thing or none.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Iterator
from random import Random
from typing import Any

import msgspec

from calico.errors import InvalidInput
from calico.lib.packed import addr_bytes
from calico.model.numorstring import parse_port, protocol_number
from calico.model.policy import (
    EntityRule,
    GlobalNetworkPolicy,
    NetworkPolicy,
    Profile,
    Rule,
)
from calico.rules.packets import ICMP, ICMPV6, SCTP, TCP, UDP, Flow
from worlds.scene import HOST_ADDRESSES, OUTSIDE, POOLS, SLOTS, UPLINK, interface_to
from worlds.vocabulary import PORTS, PROTOCOLS
from worlds.world import Probe, World

__all__ = ["NUMBERS", "Aim", "Shot", "rules_of"]

_LOCAL = [addr_bytes(text) for pool in POOLS.values() for text in pool]
_FAR = [addr_bytes(text) for text in OUTSIDE]
_HOST = [addr_bytes(text) for text in HOST_ADDRESSES]
_STRANGERS = [addr_bytes(text) for text in ("10.65.1.9", "10.99.0.1", "127.0.0.1", "0.0.0.0", "fd00:65:1::9", "::")]
NUMBERS = sorted({protocol_number(name) for name in PROTOCOLS} | {TCP, UDP, SCTP, ICMP, ICMPV6, 50, 136})
_USUAL = (TCP, TCP, UDP, UDP, SCTP, ICMP, ICMPV6)
_PORTS = (1, 22, 52, 53, 54, 67, 68, 79, 80, 81, 82, 546, 547, 1023, 1024, 1025, 4789, 8080, 40000, 65534, 65535)
_ICMP_TYPES = {4: (8, 8, 8, 0, 3, 5, 13, 254), 6: (128, 128, 128, 129, 1, 134, 137, 254)}
_NOPS, _SOURCE_ROUTE = b"\1\1\1\0", b"\x83\x04\x04\0"
_EXTENSIONS = ((), ((0, bytes(7)),), ((60, bytes(7)),), ((0, bytes(7)), (60, bytes(7))), ((43, b"\0\0\1\0\0\0\0"),))


SideMatches = Callable[[EntityRule, str, Flow, bytes, int], bool]


class Shot(msgspec.Struct, frozen=True):
    """A rule and the direction in which it is tried."""

    rule: Rule
    ingress: bool


def rules_of(world: World) -> list[Shot]:
    """All rules of policies and profiles."""
    found: list[Shot] = []
    for resource in world.resources:
        if isinstance(resource, NetworkPolicy | GlobalNetworkPolicy | Profile):
            found += [Shot(rule, True) for rule in resource.spec.ingress]
            found += [Shot(rule, False) for rule in resource.spec.egress]
    return found


class Aim:
    """Draws packets for one world."""

    def __init__(self, random: Random, world: World) -> None:
        self._random = random
        self._rules = rules_of(world)

    def probes(self, count: int) -> list[Probe]:
        """So many packets."""
        return [self._probe() for _ in range(count)]

    def at(self, shot: Shot, count: int) -> list[Probe]:
        """So many packets aimed at one rule; none of them goes to or comes from the host itself."""
        return [self._on_its_way(self._shoot(shot)) for _ in range(count)]

    def hits(self, shot: Shot, matches: SideMatches, namespace: str, count: int) -> list[Probe]:
        """At most so many packets that a rule of a policy of ``namespace`` matches in its addresses and ports, as
        ``matches`` says of each side; none if the scene has none."""
        rule, found = shot.rule, list[Flow]()
        for version in (4, 6):
            icmp = self._random.choice(self._icmps(rule, version))
            plain = self._flow(version, self._fitting_protocol(rule, version), bytes(4), bytes(4))
            sources, destinations = (
                [
                    (address, port)
                    for address in self._universe(version, local=side_is_local)
                    for port in self._random.sample(self._edges(entity), min(4, len(self._edges(entity))))
                    if matches(entity, namespace, _turned(plain, address), address, port)
                ]
                for entity, side_is_local in ((rule.source, not shot.ingress), (rule.destination, shot.ingress))
            )
            for _ in range(count if sources and destinations else 0):
                (src, sport), (dst, dport) = self._random.choice(sources), self._random.choice(destinations)
                flow = msgspec.structs.replace(plain, src=src, dst=dst, sport=sport, dport=dport, icmp=icmp)
                found.append(flow)
        self._random.shuffle(found)
        return [Probe("forward", flow, interface_to(flow.src), interface_to(flow.dst)) for flow in found[:count]]

    def beside(self, probes: list[Probe]) -> list[Probe]:
        """For each packet one that differs in one thing."""
        return [self._on_its_way(self._beside(probe.flow)) for probe in probes]

    # -- packets -----------------------------------------------------------------------------------------------------

    def _probe(self) -> Probe:
        dice = self._random.random()
        if dice < 0.06:
            return self._special()
        flow = self._shoot(self._random.choice(self._rules)) if dice < 0.8 and self._rules else self._any()
        if dice > 0.94:
            return Probe("from-host", self._replaced(flow, src=_HOST), target=interface_to(flow.dst))
        if self._random.random() < 0.12:
            return Probe("to-host", self._replaced(flow, dst=_HOST), source=self._source(flow))
        return self._on_its_way(flow)

    def _on_its_way(self, flow: Flow) -> Probe:
        return Probe("forward", flow, source=self._source(flow), target=interface_to(flow.dst))

    def _source(self, flow: Flow) -> str:
        """Where the packet comes in: mostly where its source is, sometimes where it is not."""
        if self._random.random() < 0.06:
            return self._random.choice((*SLOTS, UPLINK))
        return interface_to(flow.src)

    def _any(self) -> Flow:
        """A packet aimed at nothing."""
        version = self._random.choice((4, 6))
        return self._odd(self._flow(version, self._protocol(version), self._address(version), self._address(version)))

    def _shoot(self, shot: Shot) -> Flow:
        rule, chance = shot.rule, self._random.random
        version = self._version(rule)
        protocol = self._fitting_protocol(rule, version)
        src = self._fitting_address(rule.source, version, local=not shot.ingress)
        dst = self._fitting_address(rule.destination, version, local=shot.ingress)
        flow = self._flow(version, protocol, src, dst)
        flow = self._replaced(
            flow,
            sport=self._edges(rule.source) if chance() < 0.9 else _PORTS,
            dport=self._edges(rule.destination) if chance() < 0.9 else _PORTS,
            icmp=self._icmps(rule, version) if chance() < 0.9 else [flow.icmp],
        )
        return self._odd(self._beside(flow) if chance() < 0.4 else flow)

    def _beside(self, flow: Flow) -> Flow:
        """One thing is different."""
        field = self._random.choice(("src", "dst", "protocol", "sport", "dport"))
        version = flow.version
        if field in ("src", "dst"):
            return self._replaced(flow, **{field: [self._address(version)]})
        if field == "protocol":
            return self._replaced(flow, protocol=[self._protocol(version)])
        return self._replaced(flow, **{field: _PORTS})

    def _odd(self, flow: Flow) -> Flow:
        """Now and then a later fragment, options, extension headers, or another hop limit."""
        dice = self._random.random()
        if dice < 0.05:
            return self._replaced(flow, fragment=[True])
        if dice < 0.09 and flow.version == 4:
            return self._replaced(flow, options=[_NOPS, _SOURCE_ROUTE])
        if dice < 0.13 and flow.version == 6:
            return self._replaced(flow, extensions=_EXTENSIONS)
        return self._replaced(flow, hop_limit=[255]) if dice > 0.95 else flow

    def _special(self) -> Probe:
        """What hosts and workloads say to each other whatever policy is; and what nobody should."""
        flow, source = self._random.choice(_SPECIAL), self._random.choice(SLOTS)
        if self._random.random() < 0.2:
            flow = self._beside(flow)
        if self._random.random() < 0.6:
            return Probe("to-host", flow, source=source)
        return Probe("forward", flow, source, interface_to(flow.dst))

    def _flow(self, version: int, protocol: int, src: bytes, dst: bytes) -> Flow:
        kind = self._random.choice(_ICMP_TYPES[version])
        port = self._random.choice
        icmp = (kind, self._random.choice((0, 0, 0, 1)))
        return Flow(src=src, dst=dst, protocol=protocol, sport=port(_PORTS), dport=port(_PORTS), icmp=icmp)

    def _replaced(self, flow: Flow, **choices: Iterable[Any]) -> Flow:
        """Each field one of its choices; an address must stay of the family."""
        fields = {}
        for name, values in choices.items():
            fitting = [v for v in values if name not in ("src", "dst") or len(v) == len(flow.src)]
            fields[name] = self._random.choice(fitting)
        return msgspec.structs.replace(flow, **fields)

    # -- what fits a rule --------------------------------------------------------------------------------------------

    def _version(self, rule: Rule) -> int:
        if rule.ip_version in (4, 6):
            return rule.ip_version if self._random.random() < 0.9 else 10 - rule.ip_version
        nets = rule.source.nets + rule.destination.nets
        if nets:
            return 6 if ":" in self._random.choice(nets) else 4
        if rule.protocol in ("ICMP", "ICMPv6"):
            return 4 if rule.protocol == "ICMP" else 6
        return self._random.choice((4, 6))

    def _fitting_protocol(self, rule: Rule, version: int) -> int:
        named = rule.protocol if rule.protocol is not None else rule.not_protocol
        if named is not None and (rule.protocol is not None or self._random.random() < 0.3):
            try:
                return protocol_number(named)
            except InvalidInput:
                pass
        if any(entity.ports or entity.not_ports for entity in (rule.source, rule.destination)):
            return self._random.choice((TCP, UDP, SCTP))
        return self._protocol(version)

    def _fitting_address(self, entity: EntityRule, version: int, *, local: bool) -> bytes:
        nets = list(_nets((*entity.nets, *entity.not_nets), version))
        choices = self._universe(version, local=local)
        if nets and self._random.random() < 0.8:
            inside = [a for a in choices if any(ipaddress.ip_address(a) in net for net in nets)]
            choices = inside or choices
        return self._random.choice(choices)

    def _universe(self, version: int, *, local: bool) -> list[bytes]:
        return [a for a in (_LOCAL if local else _LOCAL + _FAR * 4) if (len(a) == 16) == (version == 6)]

    def _edges(self, entity: EntityRule) -> list[int]:
        """First, last and the neighbours of every range; the numbers of named ports."""
        edges: set[int] = set()
        for entry in (*entity.ports, *entity.not_ports):
            try:
                port = parse_port(entry)
            except InvalidInput:
                continue
            if isinstance(port, str):
                edges.update(p.port for p in PORTS if p.name == port)
            else:
                edges.update((port.first - 1, port.first, port.last, port.last + 1))
        return sorted(edge for edge in edges if 0 <= edge <= 65535) or list(_PORTS)

    def _icmps(self, rule: Rule, version: int) -> list[tuple[int, int]]:
        """What the rule names, and the code next to it."""
        found: list[tuple[int, int]] = []
        for fields in (rule.icmp, rule.not_icmp):
            if fields is not None and fields.type is not None:
                code = min(fields.code or 0, 255)
                found += [(min(fields.type, 255), code), (min(fields.type, 255), (code + 1) % 256)]
        return found or [(self._random.choice(_ICMP_TYPES[version]), 0)]

    def _protocol(self, version: int) -> int:
        usual = tuple(number for number in _USUAL if number != (ICMPV6 if version == 4 else ICMP))
        return self._random.choice(usual if self._random.random() < 0.85 else NUMBERS)

    def _address(self, version: int) -> bytes:
        dice = self._random.random()
        choices = _STRANGERS if dice < 0.04 else _FAR if dice < 0.25 else _LOCAL
        return self._random.choice([a for a in choices if (len(a) == 16) == (version == 6)])


def _nets(texts: Iterable[str], version: int) -> Iterator[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    for text in texts:
        try:
            net = ipaddress.ip_network(text, strict=False)
        except ValueError:
            continue
        if net.version == version:
            yield net


def _turned(flow: Flow, address: bytes) -> Flow:
    """A packet of the family of an address."""
    return msgspec.structs.replace(flow, src=address, dst=address)


def _from(src: str, dst: str, **fields: Any) -> Flow:
    return Flow(src=addr_bytes(src), dst=addr_bytes(dst), **fields)


_SPECIAL = (
    _from("0.0.0.0", "255.255.255.255", protocol=UDP, sport=68, dport=67),
    _from("10.65.1.1", "10.65.0.1", protocol=UDP, sport=68, dport=67),
    _from("10.65.1.1", "10.65.2.1", protocol=UDP, sport=67, dport=68),
    _from("10.65.1.1", "10.66.0.1", protocol=UDP, sport=40000, dport=4789),
    _from("10.65.1.1", "10.66.0.1", protocol=4),
    _from("10.65.1.1", "127.0.0.1", protocol=TCP, dport=80),
    _from("10.65.1.1", "10.65.0.1", protocol=ICMP, icmp=(5, 0)),
    _from("fe80::1", "ff02::1:2", protocol=UDP, sport=546, dport=547),
    _from("fd00:65:1::1", "fd00:65:2::1", protocol=UDP, sport=547, dport=546),
    _from("fd00:65:1::1", "fd00:65::1", protocol=UDP, sport=40000, dport=53),
    _from("::", "ff02::1:ff00:1", protocol=ICMPV6, icmp=(135, 0), hop_limit=255),
    _from("::", "ff02::16", protocol=ICMPV6, icmp=(143, 0)),
    _from("fe80::1", "ff02::2", protocol=ICMPV6, icmp=(133, 0), hop_limit=255),
    _from("fe80::1", "fd00:65::1", protocol=ICMPV6, icmp=(136, 0), hop_limit=255),
    _from("fe80::1", "fd00:65::1", protocol=ICMPV6, icmp=(136, 0)),
    _from("fe80::1", "ff02::16", protocol=ICMPV6, icmp=(131, 0)),
    _from("fe80::1", "ff02::1", protocol=ICMPV6, icmp=(134, 0), hop_limit=255),
    _from("fd00:65:1::1", "fd00:65::1", protocol=ICMPV6, icmp=(135, 0), hop_limit=255),
)
