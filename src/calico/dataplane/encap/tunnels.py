"""Tunnels to other hosts: their devices, the ends of other hosts, and the routes into them.

``TunnelManager`` is told ends and routes by the calculation and interfaces by the kernel, in any order; ``apply`` does
what the difference needs, at a cost of what changed. What cannot be tunnelled is unreachable: never sent in the open.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal, TypeAlias

import msgspec
import structlog

from calico.calc.messages import IpipRemove, IpipUpdate, Message, RouteRemove, RouteUpdate, VtepRemove, VtepUpdate
from calico.dataplane.drift import Drift, OnDrift, at_once
from calico.dataplane.encap.device import Device, VxlanDevice
from calico.dataplane.encap.fdb import ForwardingTable
from calico.dataplane.encap.ipdevice import IPIP_DEVICE
from calico.dataplane.encap.ipip import IpipEnd
from calico.dataplane.encap.mtu import DEFAULT_MTU, host_mtu, tunnel_mtu, workload_mtu
from calico.dataplane.interfaces import Interface
from calico.dataplane.routing.neighbours import NeighbourKey, NeighbourTable
from calico.dataplane.routing.routes import Route, RouteTable
from calico.errors import CalicoError, Conflict
from calico.lib import packed
from calico.netlink.rtnetlink.route import KernelRoute
from calico.netlink.rtnetlink.vxlan import Vxlan
from calico.netlink.socket import NETLINK_ROUTE, NetlinkSocket

__all__ = ["DEVICES", "ROUTE_METRIC", "TUNNEL_PROTOCOL", "TunnelManager", "TunnelSettings", "tunnel_protocol"]

log = structlog.get_logger(__name__)

Version: TypeAlias = Literal[4, 6]

DEVICES: Final[Mapping[Version, str]] = {4: "vxlan.calico", 6: "vxlan-v6.calico"}
TUNNEL_PROTOCOL: Final = 81
"""The protocol number of routes and neighbours of tunnels: those of workloads are told from them by it."""
ROUTE_METRIC: Final = 1100
"""Behind the routes to workloads of this host and what BGP may bring: an address that comes here is here at once."""


def tunnel_protocol(device_route_protocol: int) -> int:
    """The protocol number, which must not be that of the routes to workloads."""
    return TUNNEL_PROTOCOL if device_route_protocol != TUNNEL_PROTOCOL else TUNNEL_PROTOCOL + 1


class TunnelSettings(msgspec.Struct, frozen=True, kw_only=True):
    """``mtu_v4``, ``mtu_v6`` and ``mtu_ipip`` are those of the devices, 0: by the interfaces whose names match
    ``mtu_pattern``."""

    vni: int = 4096
    port: int = 4789
    mtu_v4: int = 0
    mtu_v6: int = 0
    mtu_ipip: int = 0
    mtu_pattern: str = "^((en|wl|ww|sl|ib)[Pcopsvx].*|(eth|wlan|wwan).*)"
    protocol: int = TUNNEL_PROTOCOL


class TunnelManager:
    """Lives in the namespace of the thread that makes it. ``node`` is this host's name. ``on_drift`` is told what
    somebody else changed of a device or a route; the rest is found when it is read.
    """

    def __init__(self, node: str, settings: TunnelSettings, on_drift: OnDrift = at_once) -> None:
        def as_ours(drift: Drift, repair: Callable[[], None]) -> None:
            on_drift(msgspec.structs.replace(drift, kind="tunnels"), repair)

        self._settings = settings
        self._sock = NetlinkSocket(NETLINK_ROUTE)
        self._neighbours = NeighbourTable(self._sock, protocol=settings.protocol)
        self.routes = RouteTable(self._sock, protocol=settings.protocol, on_drift=as_ours)
        self._networks = {v: _Network(v, node, self._sock, self._neighbours, on_drift) for v in DEVICES}
        self._ipip = IpipEnd(self._sock, settings.protocol, on_drift)
        self._wanted: dict[bytes, RouteUpdate] = {}
        self._direct: dict[bytes, set[bytes]] = {}
        self._interfaces: dict[str, Interface] = {}
        self._homes: dict[bytes, str] = {}
        self._inside_ip: set[bytes] = set()
        self._leads = False
        self._failed: dict[str, str] = {}
        self._host_mtu = DEFAULT_MTU
        self.repaired: dict[str, str] = {}
        """What the last apply put right that others had changed, and what was wrong with it ("": as was noticed)."""

    def close(self) -> None:
        """Close the socket; the kernel keeps everything."""
        self._sock.close()

    def on_message(self, message: Message) -> None:
        """Take one message of the calculation; those that are not about tunnels are ignored."""
        match message:
            case VtepUpdate():
                self._networks[message.version].put(message)
            case VtepRemove():
                self._networks[message.version].remove(message.node)
            case IpipUpdate():
                self._ipip.want(message)
            case IpipRemove():
                self._ipip.want(None)
            case RouteUpdate():
                self._want(message)
            case RouteRemove():
                self._unwant(message.dst)
            case _:
                pass

    def on_interface(self, name: str, interface: Interface | None) -> None:
        """An interface of the host changed, appeared or (None) went."""
        old = self._interfaces.pop(name, None)
        if interface is not None:
            self._interfaces[name] = interface
        self.routes.on_interface(name, interface)
        for network in self._networks.values():
            if network.name == name and network.on_interface(interface):
                self.routes.resync()
        if name == self._ipip.name and self._ipip.on_interface(interface):
            self.routes.resync()
        if old is None or interface is None or old.mtu != interface.mtu:
            self._measure()
        before = old.addresses if old is not None else frozenset()
        after = interface.addresses if interface is not None else frozenset()
        for address in before - after:
            if self._homes.get(address) == name:
                del self._homes[address]
                self._rehome(address)
        for address in after - before:
            self._homes[address] = name
            self._rehome(address)

    def on_route(self, route: KernelRoute, gone: bool, port: int = 0) -> None:
        """A route event of the kernel."""
        self.routes.on_route(route, gone, port)

    def resync(self) -> None:
        """Trust nothing that is remembered of the kernel: the next apply reads and compares all."""
        self.routes.resync()
        self._neighbours.resync()
        self._ipip.resync()
        for network in self._networks.values():
            network.resync()

    @property
    def host_mtu(self) -> int:
        """The longest packet that may leave this host."""
        return self._host_mtu

    @property
    def mtu(self) -> int:
        """The longest packet that workloads may send: it fits every tunnel that there is."""
        host = self._host_mtu
        tunnels = [self._mtu(version, host) for version, network in self._networks.items() if network.own]
        if self._ipip.own:
            tunnels.append(self._mtu_ipip(host))
        return workload_mtu(host, tunnels)

    @property
    def leaving(self) -> bool:
        """Whether a device may be there that nobody wants: it goes before what guards it."""
        return self._ipip.leaving or any(network.leaving for network in self._networks.values())

    def as_data(self) -> dict[str, Any]:
        """What there is, for people."""
        networks = {n.name: n.as_data() for n in self._networks.values() if n.own is not None}
        if self._ipip.own is not None:
            networks[self._ipip.name] = self._ipip.as_data()
        kinds = Counter(route.kind for route in self._wanted.values())
        return {"mtu": self.mtu, "networks": networks, "routes": dict(kinds)}

    @property
    def failed(self) -> Mapping[str, str]:
        """What could not be done, by what it concerns."""
        return self._failed

    async def apply(self) -> bool:
        """Bring the kernel to what is wanted; false when something failed that is worth another try. What an earlier
        run left is removed by the first call."""
        failed: dict[str, str] = {}
        self.repaired = {}
        host = self._host_mtu
        for version, network in self._networks.items():
            try:
                network.make(self._settings, self._mtu(version, host))
            except CalicoError as error:
                failed[network.name] = str(error)
            failed.update((network.name, text) for text in (await network.forwarding.apply()).values())
            self.repaired.update(network.take_repaired())
        lacking = self._make_ipip(failed)
        failed.update((packed.addr_str(key.address), text) for key, text in (await self._neighbours.apply()).items())
        failed.update((packed.net_str(key[0]), text) for key, text in (await self.routes.apply()).items())
        self.repaired.update(dict.fromkeys(self._neighbours.repaired | self.routes.repaired, ""))
        ends: tuple[_Network | IpipEnd, ...] = (*self._networks.values(), self._ipip)
        for end in ends:
            try:
                end.clear_away()
            except CalicoError as error:
                failed[end.name] = str(error)
        retry = bool(failed)
        if lacking:
            failed[self._ipip.name] = f"{lacking}; unreachable networks: {len(self._inside_ip)}"
        own = {network.own.parent for network in self._networks.values() if network.own is not None}
        if self._ipip.own is not None:
            own.add(self._ipip.own.parent)
        for address in sorted({*self._direct, *own}):
            if address not in self._homes:
                failed[packed.addr_str(address)] = "this host's address is on none of its interfaces"
        if failed != self._failed and failed:
            log.warning("tunnels are not complete", problems=failed)
        self._failed = failed
        return not retry

    def _want(self, update: RouteUpdate) -> None:
        self._forget(update.dst)
        self._wanted[update.dst] = update
        if update.kind == "ipip":
            self._inside_ip.add(update.dst)
        if update.kind == "direct":
            self._direct.setdefault(update.local, set()).add(update.dst)
        self.routes.want(self._route(update))

    def _unwant(self, dst: bytes) -> None:
        self._forget(dst)
        self._wanted.pop(dst, None)
        self.routes.unwant(dst, ROUTE_METRIC)

    def _forget(self, dst: bytes) -> None:
        self._inside_ip.discard(dst)
        old = self._wanted.get(dst)
        if old is not None and old.kind == "direct":
            self._direct[old.local].discard(dst)
            if not self._direct[old.local]:
                del self._direct[old.local]

    def _rehome(self, address: bytes) -> None:
        """An address of this host is on another interface than before, or on none."""
        for dst in self._direct.get(address, ()):
            self.routes.want(self._route(self._wanted[dst]))

    def _route(self, update: RouteUpdate) -> Route:
        """What cannot be tunnelled, and what is near but not to be found, leads nowhere."""
        if update.kind == "vxlan":
            device = DEVICES[6 if packed.is_v6(update.dst) else 4]
            return Route(dst=update.dst, interface=device, gateway=update.gateway, onlink=True, metric=ROUTE_METRIC)
        if update.kind == "ipip" and self._leads:
            gateway = update.gateway
            return Route(dst=update.dst, interface=IPIP_DEVICE, gateway=gateway, onlink=True, metric=ROUTE_METRIC)
        home = self._homes.get(update.local)
        if update.kind == "direct" and home is not None:
            return Route(dst=update.dst, interface=home, gateway=update.gateway, metric=ROUTE_METRIC)
        return Route(dst=update.dst, kind="unreachable", metric=ROUTE_METRIC)

    def _make_ipip(self, failed: dict[str, str]) -> str:
        """See to the device of IP in IP; routes lead into it while it is there. Why there can be none, which another
        try does not change (empty: there is one, or none is wanted); what may pass is told in ``failed``."""
        lacking = ""
        try:
            self._ipip.make(self._mtu_ipip(self._host_mtu))
        except Conflict as error:
            lacking = str(error)
        except CalicoError as error:
            failed[self._ipip.name] = str(error)
        self.repaired.update(self._ipip.take_repaired())
        if self._ipip.ready != self._leads:
            self._leads = self._ipip.ready
            for dst in self._inside_ip:
                self.routes.want(self._route(self._wanted[dst]))
        return lacking

    def _mtu_ipip(self, host: int) -> int:
        return tunnel_mtu("ipip", host, self._settings.mtu_ipip)

    def _measure(self) -> None:
        found = ((name, interface.mtu) for name, interface in self._interfaces.items())
        self._host_mtu = host_mtu(found, self._settings.mtu_pattern)

    def _mtu(self, version: Version, host: int) -> int:
        given = self._settings.mtu_v4 if version == 4 else self._settings.mtu_v6
        return tunnel_mtu("vxlan4" if version == 4 else "vxlan6", host, given)


class _Network:
    """The VXLAN network of one IP version. Always true: forwarding and neighbours are wanted of the device that there
    is, for every end but our own."""

    def __init__(
        self, version: Version, node: str, sock: NetlinkSocket, neighbours: NeighbourTable, on_drift: OnDrift
    ) -> None:
        self._on_drift = on_drift
        self._wrong = ""
        self.name = DEVICES[version]
        self.forwarding = ForwardingTable(sock)
        self.own: VtepUpdate | None = None
        self._node = node
        self._device = VxlanDevice(sock, self.name)
        self._neighbours = neighbours
        self._ends: dict[str, VtepUpdate] = {}
        self._index = 0
        self._made: Device | None = None
        self._stale = True

    def put(self, end: VtepUpdate) -> None:
        if end.node == self._node:
            self.own, self._stale = end, True
            return
        if end.node in self._ends:
            self.remove(end.node)
        self._ends[end.node] = end
        self._want(end)

    def remove(self, node: str) -> None:
        if node == self._node:
            self.own, self._stale = None, True
            return
        end = self._ends.pop(node, None)
        if end is not None:
            self.forwarding.unwant(end.mac)
            self._neighbours.unwant(NeighbourKey(self._index, end.address))
            for other in self._ends.values():  # two nodes may say the same by mistake
                if other.mac == end.mac or other.address == end.address:
                    self._want(other)

    def on_interface(self, interface: Interface | None) -> bool:
        """Our device, as the kernel has it: anybody may have changed it. Whether routes over it may be gone, which the
        kernel does not tell when a device loses its last IPv4 address."""
        made = self._made
        if made is None:
            self._stale = True
            return False
        if interface is None or interface.index != self._index:
            self._on_drift(Drift("tunnels", self.name, "removed"), self._look_again)
            return False
        has_address = made.address in interface.addresses
        if (interface.up, interface.mac, interface.mtu, has_address) != (True, made.mac, made.mtu, True):
            self._on_drift(Drift("tunnels", self.name, "changed"), self._look_again)
        return not has_address

    def take_repaired(self) -> dict[str, str]:
        """What was put right since this was last asked, and what had been wrong with it."""
        found = dict.fromkeys(self.forwarding.repaired, "")
        if self._wrong:
            found[self.name], self._wrong = f"was {self._wrong}", ""
        return found

    def _look_again(self) -> None:
        self._stale = True
        self._flushed()

    def resync(self) -> None:
        self._stale = True
        self.forwarding.resync()

    def as_data(self) -> dict[str, Any]:
        """The network as this host has it."""
        address = packed.addr_str(self.own.address) if self.own is not None else ""
        return {"address": address, "up": self._made is not None and not self._stale, "hosts": len(self._ends)}

    def make(self, settings: TunnelSettings, mtu: int) -> None:
        """See that the device is there, and that others' ends are wanted of it."""
        own = self.own
        if own is None:
            self._settle(0)
            return
        wanted = Device(
            vxlan=Vxlan(vni=settings.vni, port=settings.port, local=own.parent),
            mac=own.mac,
            mtu=mtu,
            address=own.address,
        )
        if self._stale or wanted != self._made:
            was_right, self._made = self._made == wanted, None
            index, wrong = self._device.ensure(wanted)
            self._settle(index)
            self._made, self._stale, self._wrong = wanted, False, wrong if was_right else ""

    @property
    def leaving(self) -> bool:
        return self.own is None and self._stale

    def clear_away(self) -> None:
        """Remove the device that nobody wants, when nothing leads to it any more."""
        if self.leaving:
            self._device.remove()
            self._made, self._stale = None, False

    def _settle(self, index: int) -> None:
        self.forwarding.moved(index)
        if index == self._index:
            return
        for end in self._ends.values():
            self._neighbours.unwant(NeighbourKey(self._index, end.address))
            if index:
                self._neighbours.want(index, end.address, end.mac)
        self._index = index

    def _want(self, end: VtepUpdate) -> None:
        self.forwarding.want(end.mac, end.parent)
        if self._index:
            self._neighbours.want(self._index, end.address, end.mac)

    def _flushed(self) -> None:
        """The kernel forgets the neighbours of a device that goes down."""
        for end in self._ends.values():
            self._neighbours.flushed(NeighbourKey(self._index, end.address))
        self.forwarding.resync()
