"""Gateways that IPv4 workloads ask for by ARP: makes sure that this host answers, with its own MAC.

The rule of the kernel (``arp_process``): with ``proxy_arp`` on the workload's interface an address is answered if the
best route to it is a unicast one over *another* interface; an address of the host's own is always answered. So

* a link-local gateway (169.254.1.1, what Kubernetes workloads use) becomes an address of ``lo`` with scope link.
  Nothing on the wire may legitimately be reached at such an address through us, so nothing is captured; packets to it
  end here instead of leaking along the default route; scope link keeps the kernel from ever using it as a source
  address on another interface (``inet_select_addr``);
* any other gateway (a Neutron subnet's) is left to ``proxy_arp`` whenever a route makes that work: it may be a real
  router that the host itself needs. Only if no unicast route leads to it (no default route, or a blackhole for the
  local block is more specific) it becomes an address of ``lo`` too, and stops being one when such a route appears.

Weak point: like every address of a Linux host it is answered on all interfaces, so a neighbour on the fabric that
asks for 169.254.1.1 there gets an answer (``arp_ignore`` of that interface decides, and is not ours to set).
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from calico.dataplane.drift import Drift, OnDrift, at_once
from calico.dataplane.dumps import dump_all
from calico.dataplane.routing.routes import OUR_PROTOCOL
from calico.errors import Transient
from calico.lib import packed
from calico.lib.reconcile import Plan, Reconciler
from calico.netlink.rtnetlink.address import (
    SCOPE_LINK,
    Address,
    decode_address,
    delete_address,
    dump_addresses,
    new_address,
)
from calico.netlink.rtnetlink.family import AF_INET
from calico.netlink.rtnetlink.route import (
    TABLE_LOCAL,
    TABLE_MAIN,
    TYPE_LOCAL,
    TYPE_UNICAST,
    KernelRoute,
    decode_route,
    dump_routes,
    peek_route,
)
from calico.netlink.socket import NetlinkSocket

__all__ = ["DEFAULT_GATEWAY_V4", "GatewayTable", "answered_without_us"]

DEFAULT_GATEWAY_V4: Final = packed.addr_bytes("169.254.1.1")
"""What a workload asks for when its endpoint names no gateway."""

_LO: Final = 1
"""Index of ``lo``: the first interface of every namespace."""

_LINK_LOCAL: Final = packed.addr_bytes("169.254.0.0")[:2]


class GatewayTable:
    """Gateways wanted by at least one endpoint. Reads the routes only when a change may alter who answers."""

    def __init__(self, sock: NetlinkSocket, *, protocol: int = OUR_PROTOCOL, on_drift: OnDrift = at_once) -> None:
        self._sock = sock
        self._on_drift = on_drift
        self._seen: frozenset[bytes] = frozenset()
        self._addresses: Reconciler[bytes, bool] = Reconciler(_Driver(sock, protocol))
        self._users: dict[bytes, int] = {}
        self._dirty = True

    def want(self, gateway: bytes) -> None:
        """One more endpoint uses a gateway."""
        self._users[gateway] = self._users.get(gateway, 0) + 1
        self._dirty = self._dirty or self._users[gateway] == 1

    def unwant(self, gateway: bytes) -> None:
        """One endpoint less uses it."""
        self._users[gateway] -= 1
        if not self._users[gateway]:
            del self._users[gateway]
            self._dirty = True

    def on_route(self, route: KernelRoute, gone: bool) -> bool:
        """A route event; whether it may change who answers for a gateway (apply soon)."""
        if len(route.dst) != 5 or (route.oif == _LO and route.type == TYPE_LOCAL):
            return False
        if any(_covers(route.dst, gateway) for gateway in self._users if not _is_link_local(gateway)):
            self._dirty = True
            return True
        return False

    def on_addresses(self, addresses: frozenset[bytes]) -> None:
        """The addresses that ``lo`` has now."""
        lost, self._seen = self._seen - addresses, addresses
        for gateway in lost & self._addresses.desired.keys():
            self._on_drift(Drift("gateways", packed.addr_str(gateway), "removed"), self._noticed(gateway))

    def _noticed(self, gateway: bytes) -> Callable[[], None]:
        return lambda: self._addresses.noticed(gateway)

    async def found(self) -> list[str]:
        """What the kernel has of ours, by name."""
        return [packed.addr_str(gateway) for gateway in await self._addresses.look()]

    @property
    def repaired(self) -> set[str]:
        """What the last apply put right that others had changed."""
        return set(map(packed.addr_str, self._addresses.repaired))

    def resync(self) -> None:
        """Read addresses and routes at the next apply."""
        self._addresses.resync()
        self._dirty = True

    async def apply(self) -> Mapping[bytes, str]:
        """Make the host answer; returns what failed: gateway → sentence. The first call removes an earlier run's."""
        if self._dirty:
            need = self._needed()
            for gateway in set(self._addresses.desired) - need:
                self._addresses.unwant(gateway)
            for gateway in need:
                self._addresses.want(gateway, True)
            self._dirty = False
        return {gateway: str(error) for gateway, error in await self._addresses.apply()}

    def _needed(self) -> set[bytes]:
        """Gateways that must be addresses of ``lo``."""
        others = [gateway for gateway in self._users if not _is_link_local(gateway)]
        if not others:
            return set(self._users)
        routes = self._routes(others)
        return set(self._users) - {gateway for gateway in others if answered_without_us(gateway, routes)}

    def _routes(self, gateways: Iterable[bytes]) -> list[KernelRoute]:
        """The IPv4 routes that cover a gateway."""
        routes = []
        for answer in dump_all(self._sock, lambda seq: dump_routes(seq, AF_INET)):
            if peek_route(answer.payload)[0] == AF_INET:
                route = decode_route(answer.payload)
                if any(_covers(route.dst, gateway) for gateway in gateways):
                    routes.append(route)
        return routes


def answered_without_us(gateway: bytes, routes: Iterable[KernelRoute]) -> bool:
    """Whether the kernel answers ARP for ``gateway`` by its routes: own address elsewhere, or proxied.

    The best route decides: local table first, then the longest prefix, then the lowest metric. Routes over ``lo``
    of the local table are our own doing and do not count.
    """
    best: tuple[int, int] | None = None
    answered = False
    for route in routes:
        if not _covers(route.dst, gateway):
            continue
        if route.table == TABLE_LOCAL and route.type == TYPE_LOCAL and route.oif != _LO:
            return True
        if route.table == TABLE_MAIN:
            rank = (packed.prefix_len(route.dst), -route.metric)
            if best is None or rank > best:
                best, answered = rank, route.type == TYPE_UNICAST and route.oif != _LO
    return answered


def _covers(net: bytes, address: bytes) -> bool:
    length = net[-1]
    if len(net) != len(address) + 1:
        return False
    shift = len(address) * 8 - length
    return int.from_bytes(net[:-1], "big") >> shift == int.from_bytes(address, "big") >> shift


def _is_link_local(gateway: bytes) -> bool:
    return gateway.startswith(_LINK_LOCAL)


class _Driver:
    """Addresses of ``lo`` that carry our protocol number."""

    def __init__(self, sock: NetlinkSocket, protocol: int) -> None:
        self._sock = sock
        self._protocol = protocol

    async def read(self) -> Mapping[bytes, bool]:
        answers = dump_all(self._sock, lambda seq: dump_addresses(seq, AF_INET))
        found = (decode_address(answer.payload) for answer in answers)
        return {a.address: True for a in found if a.index == _LO and a.protocol == self._protocol}

    async def write(self, plan: Plan[bytes, bool]) -> Iterable[tuple[bytes, Exception]]:
        failed: list[tuple[bytes, Exception]] = []
        for gateway in [*plan.delete, *plan.put]:
            make = new_address if gateway in plan.put else delete_address
            for failure in self._sock.transact([make(self._sock.next_seq(), self._address(gateway))]):
                if failure.errno not in (errno.EEXIST, errno.EADDRNOTAVAIL):
                    failed.append((gateway, Transient(f"gateway {packed.addr_str(gateway)}: {failure}")))
        return failed

    def _address(self, gateway: bytes) -> Address:
        return Address(index=_LO, address=gateway, prefix_len=32, scope=SCOPE_LINK, protocol=self._protocol)
