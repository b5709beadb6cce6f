"""What a probe run asks and answers: targets, probes and rows, and which probes make a matrix. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Iterable, Iterator

import msgspec

from calico.errors import InvalidInput
from calico.lab.addressing import Layout

__all__ = ["PROTOCOLS", "Probe", "Row", "Target", "lab_targets", "parse_service", "plan_probes"]

PROTOCOLS = ("TCP", "UDP", "SCTP", "ICMP")
_DEFAULT_PORT = 80


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """A machine that probes leave and reach: its namespace and its addresses, the first of a family is used."""

    name: str
    netns: str
    addresses: tuple[str, ...]
    kind: str = "workload"  # or host, external

    def address(self, family: int) -> str | None:
        """The address that stands for the machine in a family (4 or 6)."""
        return next((a for a in self.addresses if ipaddress.ip_address(a).version == family), None)


class Probe(msgspec.Struct, frozen=True, kw_only=True, order=True):
    """One question: does a packet of this kind get from here to there, and its answer back? ICMP has no port."""

    src: str
    dst: str
    protocol: str
    port: int | None
    family: int


class Row(Probe, frozen=True, kw_only=True):
    """A probe with its answer."""

    reachable: bool


def parse_service(text: str) -> tuple[str, int | None]:
    """``tcp:80``, ``UDP:53``, ``sctp:9``, ``icmp`` or a bare port (TCP) as (protocol, port); InvalidInput otherwise."""
    if text.upper() == "ICMP":
        return "ICMP", None
    name, _, number = (text, "", str(_DEFAULT_PORT)) if text.isalpha() else text.rpartition(":")
    protocol = (name or "TCP").upper()
    if protocol not in PROTOCOLS[:3] or not number.isdigit() or not 0 < int(number) < 65536:
        raise InvalidInput("must be like tcp:80, udp:53, sctp:9 or icmp", subject=text)
    return protocol, int(number)


def lab_targets(layout: Layout) -> list[Target]:
    """Workloads, hosts, then externals of a lab."""
    workloads = [
        Target(name=p.workload.name, netns=p.netns, addresses=p.addresses, kind="workload") for p in layout.workloads
    ]
    hosts = [
        Target(name=p.host.name, netns=p.netns, addresses=(p.uplink.address4, p.uplink.address6), kind="host")
        for p in layout.hosts
    ]
    externals = [
        Target(name=p.external.name, netns=p.netns, addresses=p.addresses, kind="external") for p in layout.externals
    ]
    return [*workloads, *hosts, *externals]


def plan_probes(
    targets: Iterable[Target],
    services: Collection[tuple[str, int | None]],
    families: Collection[int] = (4, 6),
    *,
    sources: Collection[str] = (),
    destinations: Collection[str] = (),
) -> Iterator[Probe]:
    """Every pair of different machines for every service and family that both have; empty selections mean all."""
    known = list(targets)
    for src in known:
        for dst in known:
            if src.name == dst.name or (sources and src.name not in sources):
                continue
            if destinations and dst.name not in destinations:
                continue
            for family in families:
                if src.address(family) and dst.address(family):
                    for protocol, port in services:
                        yield Probe(src=src.name, dst=dst.name, protocol=protocol, port=port, family=family)
