"""Encryption between hosts: the devices, their peers, and the routes to what is behind them.

Packets to networks of a host that has a key find them in a table of our own, before all other routes. While the device
is not there they are unreachable: what is to be encrypted is never sent in the clear.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, Literal

import msgspec
import structlog

from calico.calc.messages import (
    Message,
    WireguardPeerRemove,
    WireguardPeerUpdate,
    WireguardRouteRemove,
    WireguardRouteUpdate,
)
from calico.dataplane.encap.mtu import tunnel_mtu
from calico.dataplane.encap.wgdevice import WireguardDevice
from calico.dataplane.encap.wgkey import private_key
from calico.dataplane.encap.wgroutes import RuleKeeper, TableDriver
from calico.dataplane.interfaces import Interface
from calico.errors import CalicoError, Conflict
from calico.lib import packed
from calico.lib.reconcile import Reconciler
from calico.netlink.rtnetlink import route as rt
from calico.netlink.rtnetlink.address import SCOPE_GLOBAL
from calico.netlink.rtnetlink.route import KernelRoute, NextHop
from calico.netlink.rtnetlink.rule import MarkRule
from calico.netlink.socket import NETLINK_ROUTE, NetlinkSocket
from calico.netlink.wireguard import Endpoint, WgDevice, WgPeer

__all__ = ["DEVICE_NAMES", "ENCRYPTION_TABLE", "WireguardManager", "WireguardSettings"]

log = structlog.get_logger(__name__)

Version = Literal[4, 6]

DEVICE_NAMES: Final[Mapping[Version, str]] = {4: "wireguard.cali", 6: "wg-v6.cali"}
ENCRYPTION_TABLE: Final = 1
"""The routing table of what is encrypted, in both families: Calico's first."""
_FAMILY: Final[Mapping[Version, int]] = {4: 2, 6: 10}


class WireguardSettings(msgspec.Struct, frozen=True, kw_only=True):
    """``versions`` that are encrypted; ``mark``: the bit that encrypted packets carry; MTU 0: what fits the host's;
    ``key_directory``: where private keys are kept."""

    versions: frozenset[Version] = frozenset()
    names: Mapping[Version, str] = msgspec.field(default_factory=lambda: DEVICE_NAMES)
    ports: Mapping[Version, int] = msgspec.field(default_factory=lambda: {4: 51820, 6: 51821})
    mtus: Mapping[Version, int] = msgspec.field(default_factory=lambda: {4: 0, 6: 0})
    keepalive_s: int = 0
    mark: int = 0x40000
    priority: int = 99
    protocol: int = 81
    key_directory: Path = Path("/run/calico")


class WireguardManager:
    """Lives in the namespace of the thread that makes it."""

    def __init__(self, settings: WireguardSettings) -> None:
        self._sock = NetlinkSocket(NETLINK_ROUTE)
        self._settings = settings
        self._parts = {version: _Part(version, settings, self._sock) for version in DEVICE_NAMES}
        self.on_keys: Callable[[], None] = lambda: None
        """Called when ``public_keys`` changed."""
        self.public_keys: dict[Version, str] = {}
        """What others need to know, base64, of the versions in which this host can be sent to encrypted."""
        self.settled = False
        """Whether ``public_keys`` says all: there was an apply."""
        self.failed: Mapping[str, str] = {}
        """What could not be done, by device or network."""
        self.refused: Mapping[str, str] = {}
        """What this host cannot have until somebody does something about it, by device."""

    def close(self) -> None:
        """Close the socket; the kernel keeps everything."""
        self._sock.close()

    def on_message(self, message: Message) -> None:
        """Take one message of the calculation; those that are not about encryption are ignored."""
        match message:
            case WireguardPeerUpdate():
                self._parts[message.version].put(message)
            case WireguardPeerRemove():
                self._parts[message.version].remove(message.node)
            case WireguardRouteUpdate():
                self._parts[6 if packed.is_v6(message.dst) else 4].lead(message)
            case WireguardRouteRemove():
                self._parts[6 if packed.is_v6(message.dst) else 4].forget(message.dst)
            case _:
                pass

    def on_interface(self, name: str, interface: Interface | None) -> None:
        """An interface of the host changed, appeared or (None) went."""
        for part in self._parts.values():
            if part.device.name == name:
                part.on_interface(interface)

    def resync(self) -> None:
        """Trust nothing that is remembered of the kernel."""
        for part in self._parts.values():
            part.resync()

    def mtu(self, host: int) -> int:
        """The longest packet that fits the host's MTU and all that is put around it."""
        return min((host, *(part.mtu(host) for part in self._parts.values() if part.enabled)))

    async def apply(self, host_mtu: int) -> bool:
        """Bring the kernel to what is wanted; false when something failed that is worth another try."""
        failed: dict[str, str] = {}
        refused: dict[str, str] = {}
        for part in self._parts.values():
            try:
                part.make(host_mtu)
            except Conflict as error:
                refused[part.device.name] = f"{error}; unreachable meanwhile: {part.hosts} hosts that have a key"
            except CalicoError as error:
                failed[part.device.name] = str(error)
            failed.update(await part.route())
        keys = {version: part.public_key for version, part in self._parts.items() if part.public_key}
        if (refused, failed) != (self.refused, self.failed) and (refused or failed):
            log.warning("encryption is not complete", refused=refused, failed=failed)
        self.failed, self.refused = failed, refused
        if keys != self.public_keys or not self.settled:
            self.public_keys, self.settled = keys, True
            self.on_keys()
        return not failed

    def as_data(self) -> dict[str, Any]:
        """What there is, for people; no private key."""
        return {part.device.name: part.as_data() for part in self._parts.values() if part.enabled}


class _Part:
    """Encryption in one IP version. Always true: a route leads into the device only while the device is as it should
    be."""

    def __init__(self, version: Version, settings: WireguardSettings, sock: NetlinkSocket) -> None:
        self.enabled = version in settings.versions
        self.device = WireguardDevice(sock, settings.names[version])
        self._version: Version = version
        self._settings = settings
        family = _FAMILY[version]
        driver = TableDriver(sock, family, ENCRYPTION_TABLE, settings.protocol)
        self._routes: Reconciler[bytes, KernelRoute] = Reconciler(driver)
        rule = MarkRule(family=family, mark=settings.mark, table=ENCRYPTION_TABLE, priority=settings.priority)
        self._rule = RuleKeeper(sock, rule)
        self._nodes: dict[str, WireguardPeerUpdate] = {}
        self._own_address = b""
        self._nets: dict[str, set[bytes]] = {}
        self._ways: dict[bytes, WireguardRouteUpdate] = {}
        self._peers: dict[bytes, WgPeer] = {}
        self._dirty: set[str] = set()
        self._keys: dict[str, bytes] = {}
        self._gone: set[bytes] = set()
        self._private = b""
        self._index = 0
        self._stale = True
        self._rule_stale = True
        self._mtu = 0
        self.public_key = ""

    @property
    def hosts(self) -> int:
        """Those that have a key."""
        return len(self._nodes)

    def put(self, node: WireguardPeerUpdate) -> None:
        if node.own:
            self._own_address, self._stale = node.address, True
        else:
            self._nodes[node.node] = node
            self._dirty.add(node.node)

    def remove(self, node: str) -> None:
        if self._nodes.pop(node, None) is None:
            self._own_address, self._stale = b"", True
        self._dirty.add(node)

    def lead(self, way: WireguardRouteUpdate) -> None:
        self.forget(way.dst)
        self._ways[way.dst] = way
        if way.kind == "peer":
            self._nets.setdefault(way.node, set()).add(way.dst)
            self._dirty.add(way.node)
        self._routes.want(way.dst, self._route(way))

    def forget(self, dst: bytes) -> None:
        old = self._ways.pop(dst, None)
        if old is not None and old.kind == "peer":
            self._nets[old.node].discard(dst)
            if not self._nets[old.node]:
                del self._nets[old.node]
            self._dirty.add(old.node)
        self._routes.unwant(dst)

    def on_interface(self, interface: Interface | None) -> None:
        """Our device, as the kernel has it: with one that goes, or is set down, go the routes over it."""
        addresses = interface.addresses if interface is not None else frozenset()
        if (
            interface is None
            or (interface.index, interface.up, interface.mtu) != (self._index, True, self._mtu)
            or (self._own_address and self._own_address not in addresses)
        ):
            self._stale = True
            self._routes.resync()

    def resync(self) -> None:
        self.device.have = None
        self._stale = self._rule_stale = True
        self._routes.resync()

    def mtu(self, host: int) -> int:
        """The longest packet that the device takes."""
        kind: Literal["wireguard4", "wireguard6"] = "wireguard4" if self._version == 4 else "wireguard6"
        return tunnel_mtu(kind, host, self._settings.mtus[self._version])

    def make(self, host_mtu: int) -> None:
        """See that the device is there with its peers, or is not there."""
        if not self.enabled:
            if self._stale:
                self.device.remove()
                self._stale = False
            return
        mtu = self.mtu(host_mtu)
        try:
            if self._stale or mtu != self._mtu:
                self._lead_into(self.device.ensure(mtu, self._own_address))
                self._mtu = mtu
            wanted = self._wanted()
            self.device.configure(wanted, None if self._stale else self._touched())
            self._stale = False
            self._dirty.clear()
            self._gone.clear()
        except CalicoError:
            self._stale = True
            self._lead_into(0)
            self.public_key = ""
            raise
        have = self.device.have
        self.public_key = base64.b64encode(have.public_key).decode() if have is not None else ""

    async def route(self) -> dict[str, str]:
        """Routes first, and then the rule by which they are asked; what failed, by network."""
        failed = {packed.net_str(dst): str(error) for dst, error in await self._routes.apply()}
        if self._rule_stale:
            try:
                self._rule.keep(self.enabled)
                self._rule_stale = False
            except CalicoError as error:
                failed[self.device.name] = str(error)
        return failed

    def as_data(self) -> dict[str, Any]:
        ready = bool(self._index)
        return {"public_key": self.public_key, "up": ready, "hosts": len(self._nodes), "networks": len(self._ways)}

    def _wanted(self) -> WgDevice:
        """Cost: what changed since the last time, and a private key that is read when nothing is known."""
        settings, version = self._settings, self._version
        if self._stale or not self._private:
            path = settings.key_directory / ("wireguard.key" if version == 4 else "wireguard-v6.key")
            self._private = private_key(path)
        for node in self._dirty:
            key = self._keys.pop(node, None)
            if key is not None:
                del self._peers[key]
                self._gone.add(key)
        for node in self._dirty & self._nodes.keys():
            told = self._nodes[node]
            self._keys[node] = told.key
            self._peers[told.key] = WgPeer(
                endpoint=Endpoint(told.endpoint, settings.ports[version]),
                keepalive_s=settings.keepalive_s,
                nets=frozenset(self._nets.get(node, ())),
            )
        return WgDevice(private_key=self._private, port=settings.ports[version], mark=settings.mark, peers=self._peers)

    def _touched(self) -> set[bytes]:
        """The keys of peers that may differ: those of changed nodes, now and before."""
        return self._gone | {self._keys[node] for node in self._dirty if node in self._keys}

    def _lead_into(self, index: int) -> None:
        if index != self._index:
            self._index = index
            for way in self._ways.values():
                if way.kind == "peer":
                    self._routes.want(way.dst, self._route(way))

    def _route(self, way: WireguardRouteUpdate) -> KernelRoute:
        leads = way.kind == "peer" and bool(self._index)
        kind = rt.TYPE_UNICAST if leads else rt.TYPE_THROW if way.kind == "throw" else rt.TYPE_UNREACHABLE
        return KernelRoute(
            dst=way.dst,
            hops=(NextHop(oif=self._index),) if leads else (),
            metric=rt.IP6_DEFAULT_METRIC if packed.is_v6(way.dst) else 0,
            protocol=self._settings.protocol,
            scope=rt.on_link_scope(way.dst, b"") if leads else SCOPE_GLOBAL,
            table=ENCRYPTION_TABLE,
            type=kind,
        )
