"""Building the wires of a lab: namespaces, segments, addresses, routes between them, and permanent neighbours.

Everything is made inside the lab's own namespaces; the root namespace is not touched. Neighbours on the segments are
permanent because the kernel counts learned entries of all namespaces against one limit (1024): with some thirty
meshed hosts learned entries overflow and sessions never come up.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from pathlib import Path

import msgspec

from calico.dataplane.links import Links
from calico.dataplane.netns import create_netns, in_netns
from calico.lab.addressing import EXTERNAL_SUBNET, EXTERNAL_SUBNET6, Attachment, ExternalPlan, Layout, link_local

__all__ = [
    "EXTERNAL_GATEWAY4",
    "EXTERNAL_GATEWAY6",
    "Member",
    "Segment",
    "build_external",
    "build_fabric",
    "build_segment",
    "make_namespace",
]

EXTERNAL_GATEWAY4, EXTERNAL_GATEWAY6 = str(EXTERNAL_SUBNET[1]), str(EXTERNAL_SUBNET6[1])

_NO_WAIT = {"ipv6/conf/all/accept_dad": "0", "ipv6/conf/default/accept_dad": "0", "ipv6/conf/default/accept_ra": "0"}
_ROUTER = {
    "ipv4/ip_forward": "1",
    "ipv6/conf/all/forwarding": "1",
    "ipv4/conf/all/send_redirects": "0",
    "ipv4/conf/default/send_redirects": "0",
}


class Member(msgspec.Struct, frozen=True):
    """One machine on a segment."""

    netns: str
    interface: str
    end: Attachment


class Segment(msgspec.Struct, frozen=True):
    """One L2 segment: a bridge in the fabric's namespace and who is plugged in."""

    name: str
    members: tuple[Member, ...]


def segments(layout: Layout) -> Iterator[Segment]:
    """The segments of a layout: ``etcd``, then ``hosts`` (L2) or ``spine`` and one per rack (routed)."""
    gateway = layout.netns("gw")
    members = [Member(layout.netns(f"etcd{i + 1}"), "eth0", end) for i, end in enumerate(layout.etcd)]
    if layout.controller is not None:
        members.append(Member(layout.netns("controller"), "eth0", layout.controller))
    yield Segment("etcd", (Member(gateway, "etcd0", layout.etcd_gateway), *members))
    hosts = {plan.host.name: Member(plan.netns, "eth0", plan.uplink) for plan in layout.hosts}
    router = Member(gateway, "eth0", layout.gateway)
    if not layout.racks:
        yield Segment("hosts", (router, *hosts.values()))
        return
    yield Segment("spine", (router, *(Member(rack.netns, "spine0", rack.spine) for rack in layout.racks)))
    for number, rack in enumerate(layout.racks):
        inside = [hosts[plan.host.name] for plan in layout.hosts if plan.host.rack == rack.name]
        yield Segment(f"rack{number}", (Member(rack.netns, "eth0", rack.inside), *inside))


def make_namespace(name: str, *, router: bool) -> None:
    """A namespace with ``lo`` up, no duplicate address detection, and forwarding if it is to route."""
    create_netns(name)
    in_netns(name, lambda: _set({**_NO_WAIT, **(_ROUTER if router else {})}))
    with Links(name) as links:
        links.set_up("lo")


def build_fabric(layout: Layout) -> None:
    """Plug every machine but the workloads and externals into its segments and give it addresses and routes."""
    for segment in segments(layout):
        build_segment(layout.netns("fabric"), segment)
    for rack in layout.racks:
        with Links(rack.netns) as tor, Links(layout.netns("gw")) as gateway:
            for subnet, hop in _rack_routes(rack.inside, rack.spine):
                gateway.add_route(subnet, via=hop, dev="eth0")
            for other in layout.racks:
                for subnet, hop in _rack_routes(other.inside, other.spine) if other is not rack else ():
                    tor.add_route(subnet, via=hop, dev="spine0")


def build_external(layout: Layout, plan: ExternalPlan) -> None:
    """Join an external (whose namespace exists) to the router by a link of its own."""
    with Links(layout.netns("gw")) as gateway, Links(plan.netns) as links:
        gateway.create_veth(plan.interface, "eth0", peer_netns=plan.netns)
        gateway.add_address(plan.interface, f"{EXTERNAL_GATEWAY4}/32")
        gateway.add_address(plan.interface, f"{EXTERNAL_GATEWAY6}/128")
        links.add_route(f"{EXTERNAL_GATEWAY4}/32", dev="eth0")
        links.add_route(f"{EXTERNAL_GATEWAY6}/128", dev="eth0")
        for address in plan.addresses:
            length = 128 if ":" in address else 32
            links.add_address("eth0", f"{address}/{length}")
            gateway.add_route(f"{address}/{length}", dev=plan.interface)
        for via in (EXTERNAL_GATEWAY4, EXTERNAL_GATEWAY6):
            links.add_route("default", via=via, dev="eth0")


def build_segment(fabric: str, segment: Segment) -> None:
    """Plug the members into a bridge in the fabric's namespace; each knows the addresses of all others for good."""
    with Links(fabric) as switch:
        switch.create_bridge(segment.name)
        for number, member in enumerate(segment.members):
            port = f"{segment.name}-{number}"
            mac = bytes.fromhex(member.end.mac.replace(":", ""))
            switch.create_veth(port, member.interface, peer_netns=member.netns, peer_mac=mac)
            switch.attach(port, segment.name)
    for member in segment.members:
        with Links(member.netns) as links:
            links.add_address(member.interface, member.end.ip4)
            links.add_address(member.interface, member.end.ip6)
            for via in (member.end.via4, member.end.via6):
                if via:
                    links.add_route("default", via=via, dev=member.interface)
            _add_neighbours(links, member, segment)


def _add_neighbours(links: Links, member: Member, segment: Segment) -> None:
    for other in segment.members:
        if other is member:
            continue
        mac = bytes.fromhex(other.end.mac.replace(":", ""))
        for address in (other.end.address4, other.end.address6, link_local(other.end.mac)):
            links.add_neighbour(member.interface, address, mac)


def _rack_routes(inside: Attachment, spine: Attachment) -> Iterator[tuple[str, str]]:
    yield _subnet(inside.ip4), spine.address4
    yield _subnet(inside.ip6), spine.address6


def _subnet(interface: str) -> str:
    return str(ipaddress.ip_interface(interface).network)


def _set(settings: dict[str, str]) -> None:
    for path, value in settings.items():
        Path("/proc/sys/net", path).write_text(value)
