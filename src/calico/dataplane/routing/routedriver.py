"""The edge of the route table: reads and writes the kernel's main table, and knows who else has routes there."""

from __future__ import annotations

import errno
from collections.abc import Container, Iterable, Mapping
from typing import Final, TypeAlias

from calico.dataplane.dumps import dump_all
from calico.errors import Conflict, InvalidInput, Transient
from calico.lib import packed
from calico.lib.reconcile import Plan
from calico.netlink.rtnetlink import route as rt
from calico.netlink.rtnetlink.link import decode_link, get_link
from calico.netlink.rtnetlink.route import KernelRoute, NextHop
from calico.netlink.socket import Failure, NetlinkError, NetlinkSocket

__all__ = ["RouteDriver", "RouteKey", "canonical"]

RouteKey: TypeAlias = tuple[bytes, int]
"""Packed destination net and metric as the kernel keeps it."""

_GONE: Final = frozenset({errno.ESRCH, errno.ENODEV, errno.ENOENT, errno.ENXIO})
_TABLES: Final = (rt.TABLE_MAIN, rt.TABLE_LOCAL)


class RouteDriver:
    """Driver of the reconciler of routes.

    ``installed`` mirrors our routes in the kernel, ``deleted`` collects what was removed. Foreign routes are
    remembered only if they are for a single address and in the main or local table: nothing shorter can shadow a
    workload's route.
    """

    def __init__(self, sock: NetlinkSocket, protocol: int) -> None:
        self.protocol = protocol
        self.installed: dict[RouteKey, KernelRoute] = {}
        self.deleted: set[RouteKey] = set()
        self._sock = sock
        self._foreign: dict[bytes, set[KernelRoute]] = {}
        self._foreign_over: dict[int, set[bytes]] = {}

    async def read(self) -> Mapping[RouteKey, KernelRoute]:
        """Our routes. A second one of ours for a key (only ``append`` or a tos makes such) is removed at once."""
        self.installed, self._foreign, self._foreign_over, extra = {}, {}, {}, []
        for route in self._dump():
            if not self._is_ours(route):
                self.note_foreign(route, gone=False)
            elif route.tos or (route.dst, route.metric) in self.installed:
                extra.append(route)
            else:
                self.installed[route.dst, route.metric] = canonical(route)
        self._send([rt.delete_route(self._sock.next_seq(), route) for route in extra])
        return self.installed

    async def write(self, plan: Plan[RouteKey, KernelRoute]) -> Iterable[tuple[RouteKey, Exception]]:
        """Deletions, then additions, in batches; what only gets another metric keeps its old route until the new one
        is there. A new route never replaces anything, a changed one our own."""
        hops = {key[0]: route.hops for key, route in plan.put.items()}
        late = {key for key in plan.delete if key in self.installed and hops.get(key[0]) == self.installed[key].hops}
        failed = self._delete(plan.delete - late)
        taken: list[RouteKey] = []
        for key, failure in self._put(plan.put, replace=self.installed.keys()).items():
            if failure.errno == errno.EEXIST:
                taken.append(key)
            else:
                failed.append((key, Transient(f"route to {packed.net_str(key[0])}: {failure}")))
        return failed + self._settle({key: plan.put[key] for key in taken}) + self._delete(late)

    def put_now(self, key: RouteKey, route: KernelRoute) -> None:
        """Write one of ours in place of whoever's has its key; a failure is found by whoever writes it again."""
        if not self._put({key: route}, replace=(key,)):
            for rival in [rival for rival in self._foreign.get(key[0], ()) if rival.metric == key[1]]:
                self.note_foreign(rival, gone=True)

    def forget(self, key: RouteKey, oif: int) -> bool:
        """The kernel dropped its routes over an interface; whether that concerns what we installed for ``key``."""
        route = self.installed.get(key)
        if route is None or route.oif != oif:
            return False
        del self.installed[key]
        return True

    def note_foreign(self, route: KernelRoute, gone: bool) -> None:
        """Remember or forget a route of somebody else."""
        if not packed.is_host(route.dst) or route.table not in _TABLES:
            return
        known = self._foreign.setdefault(route.dst, set())
        if gone:
            known.discard(canonical(route))
        else:
            known.add(canonical(route))
            self._foreign_over.setdefault(route.oif, set()).add(route.dst)
        if not known:
            del self._foreign[route.dst]

    def forget_flushed(self, oif: int) -> set[bytes]:
        """The kernel dropped all routes over an interface, untold in IPv4; where those of others led."""
        found = self._foreign_over.pop(oif, set())
        for dst in found:
            left = {route for route in self._foreign.pop(dst, ()) if route.oif != oif}
            if left:
                self._foreign[dst] = left
        return found

    def shadow(self, route: KernelRoute) -> KernelRoute | None:
        """The foreign route that the kernel prefers to ``route`` and that leads elsewhere, if there is one."""
        for other in self._foreign.get(route.dst, ()):
            preferred = other.table == rt.TABLE_LOCAL or other.metric <= route.metric
            if preferred and (other.oif, other.type) != (route.oif, route.type):
                return other
        return None

    def describe(self, route: KernelRoute) -> str:
        """A foreign route in words."""
        device = f" dev {self._name(route.oif)}" if route.oif else ""
        table = "the host's own address" if route.table == rt.TABLE_LOCAL else f"protocol {route.protocol}"
        return f"a foreign route ({table}{device} metric {route.metric})"

    def _settle(self, taken: Mapping[RouteKey, KernelRoute]) -> list[tuple[RouteKey, Exception]]:
        """The kernel has routes where ours should be: ours or the same as ours are replaced, others are conflicts."""
        if not taken:
            return []
        rivals = {(r.dst, r.metric): r for r in self._dump() if r.table == rt.TABLE_MAIN and not r.tos}
        failed: list[tuple[RouteKey, Exception]] = []
        replace: dict[RouteKey, KernelRoute] = {}
        for key, route in taken.items():
            rival = rivals.get(key)
            if rival is None or self._is_ours(rival) or (rival.oif, rival.type) == (route.oif, route.type):
                replace[key] = route
            else:
                self.note_foreign(rival, gone=False)
                text = f"route to {packed.net_str(key[0])}: its place is taken by {self.describe(rival)}"
                failed.append((key, Conflict(text)))
        for key, failure in self._put(replace, replace=replace.keys()).items():
            failed.append((key, Transient(f"route to {packed.net_str(key[0])}: {failure}")))
        return failed

    def _put(self, routes: Mapping[RouteKey, KernelRoute], *, replace: Container[RouteKey]) -> dict[RouteKey, Failure]:
        first = self._sock.next_seq(len(routes)) if routes else 0
        keys = list(routes)
        messages = [rt.new_route(first + i, routes[key], replace=key in replace) for i, key in enumerate(keys)]
        failed = {keys[failure.seq - first]: failure for failure in self._send(messages)}
        self.installed.update((key, route) for key, route in routes.items() if key not in failed)
        return failed

    def _delete(self, keys: Iterable[RouteKey]) -> list[tuple[RouteKey, Exception]]:
        known = [key for key in keys if key in self.installed]
        first = self._sock.next_seq(len(known)) if known else 0
        messages = [rt.delete_route(first + i, self.installed[key]) for i, key in enumerate(known)]
        failed: dict[RouteKey, Exception] = {}
        for failure in self._send(messages):
            if failure.errno not in _GONE:
                key = known[failure.seq - first]
                failed[key] = Transient(f"removing the route to {packed.net_str(key[0])}: {failure}")
        for key in known:
            if key not in failed:
                del self.installed[key]
                self.deleted.add(key)
        return list(failed.items())

    def _send(self, messages: list[bytes]) -> list[Failure]:
        return self._sock.transact(messages) if messages else []

    def _dump(self) -> list[KernelRoute]:
        """Routes worth a look: ours, and anybody's for a single address. The rest is skipped without decoding."""
        routes = []
        for answer in dump_all(self._sock, rt.dump_routes):
            family, length, table, protocol = rt.peek_route(answer.payload)
            host = length == {2: 32, 10: 128}.get(family)
            if table in _TABLES and (host or protocol == self.protocol):
                route = rt.decode_route(answer.payload)
                if not route.cached:
                    routes.append(route)
        return routes

    def _is_ours(self, route: KernelRoute) -> bool:
        return route.protocol == self.protocol and route.table == rt.TABLE_MAIN

    def _name(self, index: int) -> str:
        try:
            return decode_link(self._sock.request(get_link(self._sock.next_seq(), index))[0].payload).name
        except (NetlinkError, InvalidInput):
            return f"#{index}"


def canonical(route: KernelRoute) -> KernelRoute:
    """A route without what the kernel adds on its own (states of next hops)."""
    leads = route.type == rt.TYPE_UNICAST  # IPv6 says ``lo`` of routes that lead nowhere
    hops = tuple(NextHop(oif=hop.oif, gateway=hop.gateway, weight=hop.weight) for hop in route.hops)
    return KernelRoute(
        dst=route.dst,
        hops=hops if leads else (),
        metric=route.metric,
        protocol=route.protocol,
        scope=route.scope,
        table=route.table,
        type=route.type,
        source=route.source,
        tos=route.tos,
        flags=route.flags & rt.ONLINK,
    )
