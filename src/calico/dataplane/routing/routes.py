"""Our routes in the kernel's main table: desired ones made, stale ones removed, other people's left alone.

A route is ours if it carries our protocol number, whoever made it (an earlier run of us). A route of somebody else is
never replaced or removed, with one exception: it has the destination, metric and interface of one of ours and so says
the same thing (a CNI plugin's route for the workload); then it becomes ours. A foreign route that sends the
destination elsewhere is a problem, named as such.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, Literal, TypeVar

import msgspec

from calico.dataplane.drift import Drift, OnDrift, at_once
from calico.dataplane.interfaces import Interface
from calico.dataplane.routing.routedriver import RouteDriver, RouteKey, canonical
from calico.errors import InvalidInput
from calico.lib import packed
from calico.lib.reconcile import Reconciler
from calico.netlink.rtnetlink import route as rt
from calico.netlink.rtnetlink.address import SCOPE_GLOBAL
from calico.netlink.rtnetlink.route import KernelRoute, NextHop
from calico.netlink.socket import NetlinkSocket

__all__ = ["OUR_PROTOCOL", "Route", "RouteKey", "RouteTable"]

K = TypeVar("K")
V = TypeVar("V")

OUR_PROTOCOL: Final = 80
"""The protocol number of our routes, neighbours and addresses unless configured otherwise."""

_TAKEN: Final = frozenset((*range(5), 9, 12, 16, *range(186, 193)))
"""Protocol numbers of the kernel, boot scripts, administrators, BIRD, DHCP and other daemons (rt_protos): by such a
number we would take their routes for ours and remove them."""

_TYPES: Final = {"unicast": rt.TYPE_UNICAST, "blackhole": rt.TYPE_BLACKHOLE, "unreachable": rt.TYPE_UNREACHABLE}


class Route(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A route somebody wants. ``interface`` is required for unicast ones; ``source`` is the address we send
    from; ``onlink``: the gateway is on the link although no address says so."""

    dst: bytes
    interface: str = ""
    metric: int = 0
    gateway: bytes = b""
    source: bytes = b""
    onlink: bool = False
    kind: Literal["unicast", "blackhole", "unreachable"] = "unicast"

    @property
    def key(self) -> RouteKey:
        """What identifies it in the kernel, which turns metric 0 of IPv6 into 1024."""
        default = rt.IP6_DEFAULT_METRIC if packed.is_v6(self.dst) else 0
        return self.dst, self.metric or default


class RouteTable:
    """Desired routes by (destination, metric). A unicast one is wanted of the kernel only while its interface is
    oper-up. Cost of an apply is the number of routes touched; the first one, and one after ``resync``, reads all.
    """

    def __init__(
        self,
        sock: NetlinkSocket,
        *,
        protocol: int = OUR_PROTOCOL,
        on_dirty: Callable[[bytes], None] = lambda dst: None,
        on_drift: OnDrift = at_once,
    ) -> None:
        """``on_dirty(dst)``: the kernel's routes to a wanted destination changed behind our back; apply soon.
        ``on_drift``: somebody else changed one of ours.

        InvalidInput for a ``protocol`` number that is somebody else's.
        """
        if protocol in _TAKEN or not 0 < protocol < 256:
            raise InvalidInput(f"route protocol {protocol} is not free for our use", field="protocol")
        self._driver = RouteDriver(sock, protocol)
        self._kernel: Reconciler[RouteKey, KernelRoute] = Reconciler(self._driver)
        self._on_dirty = on_dirty
        self._on_drift = on_drift
        self._port = sock.port
        self._routes: dict[RouteKey, Route] = {}
        self._by_interface: dict[str, set[RouteKey]] = {}
        self._metrics: dict[bytes, set[int]] = {}
        self._interfaces: dict[str, Interface] = {}
        self._failed: dict[RouteKey, str] = {}

    def want(self, route: Route) -> None:
        """Desire a route; replaces the desired one of the same destination and metric."""
        key = route.key
        old = self._routes.get(key)
        if old is not None and old.interface != route.interface:
            self._unlist(old)
        self._routes[key] = route
        self._by_interface.setdefault(route.interface, set()).add(key)
        self._metrics.setdefault(route.dst, set()).add(key[1])
        self._gate(key)

    def unwant(self, dst: bytes, metric: int = 0) -> None:
        """Desire that there be no route of ours to ``dst`` with this metric."""
        key = Route(dst=dst, metric=metric).key
        route = self._routes.pop(key, None)
        if route is not None:
            self._unlist(route)
            _discard(self._metrics, dst, key[1])
        self._failed.pop(key, None)
        self._kernel.unwant(key)

    def on_interface(self, name: str, interface: Interface | None) -> None:
        """An interface changed. The kernel itself drops the routes of one that is gone or set down, untold in IPv4."""
        old = self._interfaces.pop(name, None)
        if interface is not None:
            self._interfaces[name] = interface
        flushed = old is not None and (interface is None or not interface.up or interface.index != old.index)
        cleared = self._driver.forget_flushed(old.index) if flushed and old is not None else set()
        for dst in cleared & self._metrics.keys():
            self._on_dirty(dst)
        for key in self._by_interface.get(name, ()):
            if flushed and old is not None and self._driver.forget(key, old.index):
                self._kernel.touch(key)
            self._gate(key)

    def on_route(self, route: KernelRoute, gone: bool, port: int = 0) -> None:
        """A route event of the kernel, caused through a netlink port. Our own changes come back, too, and are known."""
        if port == self._port:
            return
        key = (route.dst, route.metric)
        installed = self._driver.installed.get(key)
        ours = route.protocol == self._driver.protocol and route.table == rt.TABLE_MAIN
        if ours and gone:
            lost, what = installed == canonical(route), "removed"
        elif ours:
            lost, what = installed != canonical(route) and not route.tos, "changed" if installed else "added"
        else:
            self._driver.note_foreign(route, gone)
            lost, what = not gone and route.table == rt.TABLE_MAIN and installed is not None, "replaced"
            if route.dst in self._metrics and not lost:
                self._on_dirty(route.dst)
        if lost:
            found = canonical(route) if ours and not gone else None
            drift = Drift("routes", packed.net_str(route.dst), what, port)
            self._on_drift(drift, lambda: self._note_changed(key, found))

    def _note_changed(self, key: RouteKey, found: KernelRoute | None) -> None:
        self._driver.installed.pop(key, None)
        if found is not None:
            self._driver.installed[key] = found
        self._kernel.noticed(key, found)
        self._on_dirty(key[0])

    def resync(self) -> None:
        """Read the kernel's routes at the next apply."""
        self._kernel.resync()

    async def apply(self) -> Mapping[RouteKey, str]:
        """Bring the kernel to what is wanted; returns what failed this time, which is tried again at the next apply.

        Call it first when everything wanted is known (in sync): routes of an earlier run that nobody wants go then.
        """
        self._driver.deleted.clear()
        self._failed = {key: str(error) for key, error in await self._kernel.apply()}
        return self._failed

    def hasten(self, route: Route) -> None:
        """Want a route, and put it into the kernel now, in place of one of the same metric: BIRD's may be there, which
        it leaves for seconds when its metric changes. If that fails, the next apply puts it there."""
        self.want(route)
        wanted = self._kernel.desired.get(route.key)
        if wanted is not None:
            self._driver.put_now(route.key, wanted)

    def problem(self, dst: bytes, metric: int = 0) -> str:
        """Why packets to a wanted destination do not take our route; "" if they do, or will with its interface."""
        key = Route(dst=dst, metric=metric).key
        route = self._routes.get(key)
        if route is None:
            return ""
        if key in self._failed:
            return self._failed[key]
        wanted = self._kernel.desired.get(key)
        rival = self._driver.shadow(wanted) if wanted is not None else None
        return f"route to {packed.net_str(dst)} is shadowed by {self._driver.describe(rival)}" if rival else ""

    @property
    def desired(self) -> Mapping[RouteKey, Route]:
        """Every route that is wanted, whether its interface is up or not."""
        return self._routes

    @property
    def installed(self) -> Mapping[RouteKey, KernelRoute]:
        """Our routes that the kernel has, as far as known."""
        return self._driver.installed

    async def found(self) -> list[str]:
        """What the kernel has of ours, by name."""
        return [packed.net_str(dst) for dst, _ in await self._kernel.look()]

    @property
    def repaired(self) -> set[str]:
        """What the last apply put right that others had changed."""
        return {packed.net_str(dst) for dst, _ in self._kernel.repaired}

    @property
    def removed(self) -> set[bytes]:
        """Destinations that lost a route of ours in the last apply and are not wanted any more."""
        return {key[0] for key in self._driver.deleted if key[0] not in self._metrics}

    def _gate(self, key: RouteKey) -> None:
        route = self._routes[key]
        if route.kind != "unicast":
            self._kernel.want(key, self._to_kernel(route, ()))
            return
        interface = self._interfaces.get(route.interface)
        if interface is not None and interface.oper_up:
            hop = NextHop(oif=interface.index, gateway=route.gateway)
            self._kernel.want(key, self._to_kernel(route, (hop,)))
        else:
            self._kernel.unwant(key)

    def _to_kernel(self, route: Route, hops: tuple[NextHop, ...]) -> KernelRoute:
        dst, metric = route.key
        scope = rt.on_link_scope(dst, route.gateway) if hops else SCOPE_GLOBAL
        return KernelRoute(
            dst=dst,
            hops=hops,
            metric=metric,
            protocol=self._driver.protocol,
            scope=scope,
            type=_TYPES[route.kind],
            source=route.source,
            flags=rt.ONLINK if route.onlink else 0,
        )

    def _unlist(self, route: Route) -> None:
        _discard(self._by_interface, route.interface, route.key)


def _discard(index: dict[K, set[V]], key: K, value: V) -> None:
    """Take a value out of an index of sets that never holds an empty set."""
    values = index.get(key)
    if values is not None:
        values.discard(value)
        if not values:
            del index[key]
