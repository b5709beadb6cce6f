"""The BIRD configuration of the lab's own routers: the gateway, the ToRs and externals that speak BGP. Pure.

These stand for the data centre's equipment; the BIRDs of hosts are configured by ``calico bgp`` alone.
"""

from __future__ import annotations

import ipaddress

import msgspec

from calico.lab.addressing import Attachment, ExternalPlan, Layout, Rack
from calico.lab.fabric import EXTERNAL_GATEWAY4, EXTERNAL_GATEWAY6

__all__ = ["external_config", "gateway_config", "tor_config"]


class Neighbour(msgspec.Struct, frozen=True, kw_only=True):
    """A session: one for each family that both ends have an address of."""

    name: str
    as_number: int
    local4: str
    local6: str
    address4: str
    address6: str
    multihop: bool = False


def gateway_config(layout: Layout, run_dir: str) -> str:
    """The spine or segment router: sessions with reflectors, hosts or ToRs, and with externals that have an AS."""
    own = layout.gateway
    if layout.racks:
        inside = [_peer(f"tor_{i}", rack.as_number, own, rack.spine) for i, rack in enumerate(layout.racks)]
    else:
        speakers = layout.topology.reflectors or tuple(plan.host.name for plan in layout.hosts)
        inside = [
            _peer(f"host_{i}", plan.as_number, own, plan.uplink)
            for i, plan in enumerate(layout.hosts)
            if plan.host.name in speakers
        ]
    outside = [
        Neighbour(
            name=f"external_{i}",
            as_number=plan.external.as_number,
            local4=EXTERNAL_GATEWAY4,
            local6=EXTERNAL_GATEWAY6,
            address4=_first(plan, 4),
            address6=_first(plan, 6),
            multihop=True,  # its address is a /32 of its own, not one of a shared subnet
        )
        for i, plan in enumerate(layout.externals)
        if plan.external.as_number is not None
    ]
    statics = {address: plan.interface for plan in layout.externals for address in plan.addresses}
    return _render(run_dir, own, layout.topology.fabric.router_as, [*inside, *outside], statics)


def tor_config(layout: Layout, rack: Rack, run_dir: str) -> str:
    """A rack's ToR: sessions with the rack's hosts and with the spine router."""
    hosts = [plan for plan in layout.hosts if plan.host.rack == rack.name]
    inside = [_peer(f"host_{i}", plan.as_number, rack.inside, plan.uplink) for i, plan in enumerate(hosts)]
    spine = _peer("spine", layout.topology.fabric.router_as, rack.spine, layout.gateway)
    return _render(run_dir, rack.inside, rack.as_number, [*inside, spine], {})


def external_config(plan: ExternalPlan, router_as: int, run_dir: str) -> str:
    """An external that peers with the router and learns the workloads' routes."""
    assert plan.external.as_number is not None
    own = Attachment(ip4=f"{_first(plan, 4) or '192.0.2.1'}/32", ip6=f"{_first(plan, 6) or '::'}/128", mac="")
    router = Neighbour(
        name="router",
        as_number=router_as,
        local4=_first(plan, 4),
        local6=_first(plan, 6),
        address4=EXTERNAL_GATEWAY4,
        address6=EXTERNAL_GATEWAY6,
        multihop=True,
    )
    return _render(run_dir, own, plan.external.as_number, [router], {}, learn=True)


def _peer(name: str, as_number: int, own: Attachment, other: Attachment) -> Neighbour:
    return Neighbour(
        name=name,
        as_number=as_number,
        local4=own.address4,
        local6=own.address6,
        address4=other.address4,
        address6=other.address6,
    )


def _first(plan: ExternalPlan, version: int) -> str:
    return next((a for a in plan.addresses if ipaddress.ip_address(a).version == version), "")


def _render(
    run_dir: str,
    own: Attachment,
    as_number: int,
    neighbours: list[Neighbour],
    statics: dict[str, str],
    *,
    learn: bool = False,
) -> str:
    # an external reaches its router by a host route, which BIRD must have learned to resolve next hops through it
    imports = "all" if learn else "none"
    lines = [
        f'log "{run_dir}/bird.log" {{ info, remote, warning, error, auth, fatal, bug }};',
        "timeformat protocol iso long ms;",
        "timeformat log iso long ms;",
        f"router id {own.address4};",
        "protocol device { scan time 10; }",
        "protocol direct attached { ipv4; ipv6; }",
        "filter to_kernel { if source != RTS_BGP then reject; accept; }",
        "filter to_bgp { if source = RTS_DEVICE || source = RTS_INHERIT then reject; accept; }",
    ]
    for version in (4, 6):
        routes = "".join(
            f' route {address}/{32 if version == 4 else 128} via "{interface}";'
            for address, interface in statics.items()
            if ipaddress.ip_address(address).version == version
        )
        options = f"{'learn; ' if learn else ''}persist; scan time 5; netlink rx buffer 8388608; merge paths on;"
        channel = f"ipv{version} {{ import {imports}; export filter to_kernel; }};"
        lines += [
            f"protocol kernel kernel{version} {{ {options} {channel} }}",
            f"protocol static static{version} {{ ipv{version};{routes} }}",
        ]
    for peer in neighbours:
        for version, local, remote in ((4, peer.local4, peer.address4), (6, peer.local6, peer.address6)):
            if local and remote:
                lines.append(_session(peer, version, local, remote, as_number))
    return "\n".join(lines) + "\n"


def _session(peer: Neighbour, version: int, local: str, remote: str, as_number: int) -> str:
    reflect = "rr client; " if peer.as_number == as_number else ""
    hops = "multihop 4; " if peer.multihop else "direct; "
    return (
        f"protocol bgp {peer.name}_v{version} {{ local {local} as {as_number}; neighbor {remote} as {peer.as_number};"
        f" {hops}{reflect}graceful restart on; hold time 90; connect delay time 1; connect retry time 1;"
        f" error wait time 1,5; ipv{version} {{ import all; export filter to_bgp; }}; }}"
    )
