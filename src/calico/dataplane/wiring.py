"""What one workload endpoint needs of the kernel, given what it won and what its interface is now. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final, Literal

import msgspec

from calico.calc.messages import EndpointUpdate
from calico.dataplane.bandwidth.shaping import UNSHAPED, Shape, shape_of
from calico.dataplane.interfaces import Interface
from calico.dataplane.routing.gateways import DEFAULT_GATEWAY_V4
from calico.dataplane.routing.neighbours import NeighbourKey
from calico.dataplane.routing.routes import Route
from calico.lib import packed

__all__ = ["NOTHING", "NO_SOURCES", "Sources", "Wiring", "wiring_of"]

Sources = tuple[bytes, bytes]
"""The packed IPv4 and IPv6 address that the host uses on its routes to workloads; empty: the kernel chooses."""

NO_SOURCES: Final[Sources] = (b"", b"")


class Wiring(msgspec.Struct, frozen=True, kw_only=True):
    """What an endpoint has, or should have, in the tables. ``index`` is 0 while the interface does not exist,
    ``sysctls`` tells whether the kernel checks the reverse path (None: no settings are wanted), and ``nats`` are the
    translations (own, external address) whose external address is routed here."""

    interface: str = ""
    index: int = 0
    sysctls: Literal["strict", "any-source"] | None = None
    routes: frozenset[Route] = frozenset()
    neighbours: Mapping[NeighbourKey, bytes] = {}
    gateway: bytes = b""
    shape: Shape = UNSHAPED
    nats: frozenset[tuple[bytes, bytes]] = frozenset()


NOTHING: Final = Wiring()


def wiring_of(
    update: EndpointUpdate,
    nets: Collection[bytes],
    interface: Interface | None,
    *,
    metrics: tuple[int, int] | None = (0, 0),
    sources: Sources = NO_SOURCES,
) -> Wiring:
    """The wiring of an endpoint that owns its interface and these of its nets.

    Routes are wanted whatever the interface does (the route table waits for it), neighbours while it is up, because
    the kernel drops them when it is not, and settings while it exists. External addresses get routes only: what comes
    for them is translated before it is sent on. ``metrics`` are those of IPv4 and IPv6 routes; None: none are wanted.
    """
    own = [net for net in nets if net in update.nets]
    has_v6 = any(packed.is_v6(net) for net in own)
    has_v4 = any(not packed.is_v6(net) for net in own)
    neighbours: dict[NeighbourKey, bytes] = {}
    if interface is not None and interface.up:
        if update.mac:
            neighbours = {NeighbourKey(interface.index, net[:-1]): update.mac for net in own}
        if update.gateway_v6 and has_v6:
            neighbours[NeighbourKey(interface.index, update.gateway_v6, True)] = b""
    routes = (
        Route(dst=net, interface=update.interface, metric=metrics[v6], source=sources[v6])
        for net, v6 in ((net, packed.is_v6(net)) for net in nets)
        if metrics is not None
    )
    return Wiring(
        interface=update.interface,
        index=interface.index if interface else 0,
        sysctls=None if interface is None else "any-source" if update.spoofed else "strict",
        routes=frozenset(routes),
        neighbours=neighbours,
        gateway=(update.gateway_v4 or DEFAULT_GATEWAY_V4) if has_v4 else b"",
        shape=shape_of(update.qos, interface.mtu) if interface is not None else UNSHAPED,
        nats=frozenset(nat for nat in update.nats if packed.net_of_host(nat[1]) in nets),
    )
