"""Everything of ours in this host's kernel: found, named and taken away, whoever made it and however much is left.

Each part is what the dataplane itself takes for its own: our table, our protocol number on routes, neighbours and
addresses, our handle on queueing disciplines, our prefix on ifb devices; settings by what was recorded before.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final, Literal

import msgspec

from calico.dataplane.bandwidth.qdiscs import QdiscTable
from calico.dataplane.encap.device import VxlanDevice
from calico.dataplane.encap.ipdevice import IpipDevice
from calico.dataplane.encap.tunnels import DEVICES, tunnel_protocol
from calico.dataplane.encap.wgdevice import WireguardDevice
from calico.dataplane.encap.wgroutes import TableDriver, delete_rules, find_rules
from calico.dataplane.encap.wireguard import DEVICE_NAMES, ENCRYPTION_TABLE
from calico.dataplane.nft.reading import read_status
from calico.dataplane.routing.gateways import GatewayTable
from calico.dataplane.routing.neighbours import NeighbourTable
from calico.dataplane.routing.routedriver import RouteDriver
from calico.dataplane.routing.routes import OUR_PROTOCOL, RouteTable
from calico.dataplane.settings_record import restore
from calico.errors import CalicoError
from calico.lib import packed
from calico.lib.reconcile import Reconciler
from calico.netlink.nftables.codec import TableCodec, encode_batch
from calico.netlink.nftables.objects import Table
from calico.netlink.socket import NETLINK_NETFILTER, NETLINK_ROUTE, NetlinkSocket

__all__ = ["Item", "KernelRemoval", "table_owner"]

_BIRD: Final = 12
"""The protocol number of BIRD's routes."""


class Item(msgspec.Struct, frozen=True):
    """One thing: what it is, its name, and why it could not be taken away (empty: it was, or can be)."""

    kind: str
    name: str
    fault: str = ""


class KernelRemoval:
    """One look (``dry_run``) or one removal, in order: filters last, so that nothing is open that was closed."""

    def __init__(
        self, table: Table, record: Path, *, protocol: int = OUR_PROTOCOL, with_bird: bool = False, dry_run: bool
    ) -> None:
        """``record`` is that of the settings; ``with_bird``: the routes that BIRD left are ours, too."""
        self._table = table
        self._record = record
        self._protocol = protocol
        self._with_bird = with_bird
        self._dry_run = dry_run

    async def run(self) -> list[Item]:
        """What was found, with the fault of what could not be taken away. Doing so again finds nothing."""
        items: list[Item] = []
        with NetlinkSocket(NETLINK_ROUTE) as sock:
            parts: list[tuple[str, Callable[[NetlinkSocket], Awaitable[list[Item]]]]] = [
                ("route", self._routes),
                ("tunnel", self._tunnels),
                ("encryption", self._encryption),
                ("neighbour", self._neighbours),
                ("gateway address", self._gateways),
                ("bandwidth limit", self._qdiscs),
            ]
            for kind, part in parts:
                try:
                    items += await part(sock)
                except (CalicoError, OSError) as error:
                    items.append(Item(kind, "all", str(error)))
        changed, failed = restore(self._record, dry_run=self._dry_run)
        items += [Item("setting", text) for text in changed]
        items += [Item("setting", text.partition(":")[0], text.partition(": ")[2]) for text in failed]
        return items + self._filters()

    async def _routes(self, sock: NetlinkSocket) -> list[Item]:
        items = await self._routes_of(sock, self._protocol)
        items += await self._routes_of(sock, tunnel_protocol(self._protocol))
        if not self._with_bird:
            return items
        bird = Reconciler(RouteDriver(sock, _BIRD))
        theirs = [Item("route of BIRD", packed.net_str(dst)) for dst, _ in await bird.look()]
        faults = [] if self._dry_run else await bird.apply()
        return items + _with_faults(theirs, {packed.net_str(key[0]): str(error) for key, error in faults})

    async def _routes_of(self, sock: NetlinkSocket, protocol: int) -> list[Item]:
        ours = RouteTable(sock, protocol=protocol)
        found = [Item("route", name) for name in await ours.found()]
        failed = {} if self._dry_run else await ours.apply()
        return _with_faults(found, {packed.net_str(dst): text for (dst, _), text in failed.items()})

    async def _tunnels(self, sock: NetlinkSocket) -> list[Item]:
        """The devices, and with them their forwarding tables and neighbours."""
        items = []
        devices: list[VxlanDevice | IpipDevice] = [VxlanDevice(sock, name) for name in DEVICES.values()]
        devices.append(IpipDevice(sock, tunnel_protocol(self._protocol)))
        for device in devices:
            if device.exists():
                items.append(Item("tunnel", device.name))
                if not self._dry_run:
                    device.remove()
        return items

    async def _encryption(self, sock: NetlinkSocket) -> list[Item]:
        """The rules first, then the table that they lead to, then the devices of the usual names."""
        items: list[Item] = []
        for family in (2, 10):
            rules = find_rules(sock, family, ENCRYPTION_TABLE)
            items += [Item("rule", f"priority {rule.priority} for table {rule.table}") for rule in rules]
            if not self._dry_run:
                delete_rules(sock, rules)
            table = Reconciler(TableDriver(sock, family, ENCRYPTION_TABLE, tunnel_protocol(self._protocol)))
            found = [Item("route", packed.net_str(dst)) for dst in await table.look()]
            faults = [] if self._dry_run else await table.apply()
            items += _with_faults(found, {packed.net_str(dst): str(error) for dst, error in faults})
        for device in (WireguardDevice(sock, name) for name in DEVICE_NAMES.values()):
            if device.exists():
                items.append(Item("tunnel", device.name))
                if not self._dry_run:
                    device.remove()
        return items

    async def _neighbours(self, sock: NetlinkSocket) -> list[Item]:
        table = NeighbourTable(sock, protocol=self._protocol)
        found = [Item("neighbour", name) for name in await table.found()]
        failed = {} if self._dry_run else await table.apply()
        return _with_faults(found, {packed.addr_str(key.address): text for key, text in failed.items()})

    async def _gateways(self, sock: NetlinkSocket) -> list[Item]:
        table = GatewayTable(sock, protocol=self._protocol)
        found = [Item("gateway address", name) for name in await table.found()]
        failed = {} if self._dry_run else await table.apply()
        return _with_faults(found, {packed.addr_str(gateway): text for gateway, text in failed.items()})

    async def _qdiscs(self, sock: NetlinkSocket) -> list[Item]:
        table = QdiscTable(sock, prefixes=("",))
        found = [Item("bandwidth limit", name) for name in await table.found()]
        failed = {} if self._dry_run else await table.apply()
        return found + [Item("bandwidth limit", name or "all", text) for name, text in failed.items()]

    def _filters(self) -> list[Item]:
        """The table, which may be the boot guard only."""
        kind: Literal["table"] = "table"
        name = f"{self._table.family} {self._table.name}"
        try:
            with NetlinkSocket(NETLINK_NETFILTER) as sock:
                codec = TableCodec(self._table)
                if not read_status(sock, codec).exists:
                    return []
                if self._dry_run:
                    return [Item(kind, name)]
                first = sock.next_seq(3)
                _, failures = sock.exchange(encode_batch([codec.delete_table()], first, None), first, first + 2)
                return [Item(kind, name, str(failures[0]) if failures else "")]
        except (CalicoError, OSError) as error:
            return [Item(kind, name, str(error))]


def table_owner(table: Table) -> int:
    """The netlink port that owns a table; 0: nobody, or there is none."""
    with NetlinkSocket(NETLINK_NETFILTER) as sock:
        return read_status(sock, TableCodec(table)).owner


def _with_faults(found: list[Item], faults: dict[str, str]) -> list[Item]:
    return [Item(item.kind, item.name, faults.get(item.name, "")) for item in found]
