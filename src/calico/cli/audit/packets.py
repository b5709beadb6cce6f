"""Hostile packets, judged by the rules that the kernel has: what must not pass, and by whom it is tried. Pure."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from calico.calc.messages import EndpointUpdate
from calico.cli.audit.findings import Finding
from calico.cli.audit.intent import Intent
from calico.lib.packed import addr_bytes
from calico.netlink.rtnetlink.link import Link
from calico.rules.config import RulesConfig
from calico.rules.evaluator.evaluate import Packet, evaluate, forward, from_host, to_host
from calico.rules.packets import ICMP, ICMPV6, TCP, UDP, Flow
from calico.rules.table import TableState

__all__ = ["judge_endpoint", "judge_strangers", "judge_tunnel"]

_OUTSIDE = "audit-outside"
"""An interface that is no workload's and that there is not."""

_ELSEWHERE = {4: addr_bytes("198.51.100.77"), 6: addr_bytes("2001:db8:77::77")}
_SPOOFED = {4: addr_bytes("203.0.113.66"), 6: addr_bytes("2001:db8:66::66")}
_NOBODY = {4: bytes(4), 6: bytes(16)}
_FIX = "restart Felix (calico-felix), which repairs its ruleset; see who changed it: `nft monitor`"


class _Try(msgspec.Struct, frozen=True):
    """A packet that must not pass, and what it would be."""

    property: str
    what: str
    flow: Flow


def judge_strangers(table: TableState, intent: Intent, links: dict[str, Link]) -> Iterator[Finding]:
    """Interfaces of no endpoint: one that there is not yet (S1), and those that there are (S3)."""
    unknown = [("S1", f"{prefix}audit"[:15]) for prefix in intent.rules.interface_prefixes]
    unknown += [("S3", name) for name in links if intent.rules.is_workload(name) and name not in intent.endpoints]
    for number, name in unknown:
        for way in _open_ways(table, name):
            yield Finding(number, f"interface {name}", f"it is no endpoint's, and {way} pass", _FIX)


def _open_ways(table: TableState, name: str) -> Iterator[str]:
    for version in (4, 6):
        out = Flow(src=_SPOOFED[version], dst=_ELSEWHERE[version])
        data, back = out.data(), Flow(src=_ELSEWHERE[version], dst=_SPOOFED[version]).data()
        ways = {
            "forwarded from it": forward(table, Packet(data=data, iifname=name, oifname=_OUTSIDE)),
            "forwarded to it": forward(table, Packet(data=back, iifname=_OUTSIDE, oifname=name)),
            "to this host": to_host(table, Packet(data=data, iifname=name)),
            "from this host": from_host(table, Packet(data=back, oifname=name)),
        }
        for way, outcome in ways.items():
            if outcome.verdict == "accept":
                yield f"IPv{version} packets {way}"


def judge_endpoint(table: TableState, config: RulesConfig, endpoint: EndpointUpdate) -> Iterator[Finding]:
    """What an endpoint must never be able to send, whatever its policy."""
    subject = f"{endpoint.key.namespace}/{endpoint.key.name} ({endpoint.interface})"
    for attempt in _spoofs(endpoint):
        packet = Packet(data=attempt.flow.data(), iifname=endpoint.interface)
        if evaluate(table, packet, "prerouting").verdict == "accept":
            yield Finding(attempt.property, subject, f"{attempt.what} passes the check of senders", _FIX)
    for attempt in _forbidden(config, endpoint):
        packet = Packet(data=attempt.flow.data(), iifname=endpoint.interface, oifname=_OUTSIDE)
        passed = [w for w, o in (("out", forward(table, packet)), ("to this host", to_host(table, packet)))
                  if o.verdict == "accept"]  # fmt: skip
        if passed:
            yield Finding(attempt.property, subject, f"{attempt.what} passes {' and '.join(passed)}", _FIX)


def judge_tunnel(table: TableState, config: RulesConfig, has_device: bool) -> Iterator[Finding]:
    """VXLAN to a host that has it, from somebody who is no host."""
    for version in (4, 6) if has_device else ():
        flow = Flow(src=_SPOOFED[version], dst=_ELSEWHERE[version], protocol=UDP, dport=config.vxlan_port)
        if to_host(table, Packet(data=flow.data(), iifname=_OUTSIDE)).verdict == "accept":
            evidence = f"VXLAN over IPv{version} from an address of no host is taken"
            yield Finding("S9", f"UDP port {config.vxlan_port}", evidence, _FIX)


def _spoofs(endpoint: EndpointUpdate) -> Iterator[_Try]:
    for version in (4, 6):
        if any(_inside(_SPOOFED[version], net) for net in endpoint.spoofed):
            continue  # the operator lets it
        for what, flow in (
            ("another's address", Flow(src=_SPOOFED[version], dst=_ELSEWHERE[version])),
            ("a fragment from another's address", Flow(src=_SPOOFED[version], dst=_ELSEWHERE[version], fragment=True)),
            ("TCP from no address", Flow(src=_NOBODY[version], dst=_ELSEWHERE[version], protocol=TCP)),
        ):
            yield _Try("S6", f"IPv{version}: {what}", flow)
    for net in endpoint.nets:
        if len(net) == 5:
            flow = Flow(src=net[:-1], dst=_ELSEWHERE[4], options=b"\x83\x04\x04\0")
            yield _Try("S6", "a source route", flow)


def _forbidden(config: RulesConfig, endpoint: EndpointUpdate) -> Iterator[_Try]:
    for net in endpoint.nets:
        own, version = net[:-1], 4 if len(net) == 5 else 6
        server = (67, 68) if version == 4 else (547, 546)
        offer = Flow(src=own, dst=_ELSEWHERE[version], protocol=UDP, sport=server[0], dport=server[1])
        yield _Try("S8", f"an offer of a DHCP server over IPv{version}", offer)
        if not config.allow_vxlan:
            vxlan = Flow(src=own, dst=_ELSEWHERE[version], protocol=UDP, dport=config.vxlan_port)
            yield _Try("S9", f"VXLAN over IPv{version}", vxlan)
        if not config.allow_ipip:
            yield _Try("S9", f"IP in IP over IPv{version}", Flow(src=own, dst=_ELSEWHERE[version], protocol=4))
        if version == 6:
            for kind, what in ((134, "a router advertisement"), (137, "a redirect")):
                everyone = addr_bytes("ff02::1")
                yield _Try("S7", what, Flow(src=own, dst=everyone, protocol=ICMPV6, icmp=(kind, 0), hop_limit=255))
        else:
            yield _Try("S7", "a redirect", Flow(src=own, dst=_ELSEWHERE[4], protocol=ICMP, icmp=(5, 1)))


def _inside(address: bytes, net: bytes) -> bool:
    size = len(address) * 8
    return len(net) == len(address) + 1 and (
        int.from_bytes(address, "big") >> size - net[-1] == int.from_bytes(net[:-1], "big") >> size - net[-1]
    )
