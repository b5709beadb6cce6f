"""Which interfaces there are and what they look like now, from the kernel's events.

Knows nothing of endpoints. After ``start`` every interface with one of the prefixes has been reported once; after
that only differences are. A lost event (buffer overflow) leads to a full re-read, so the view is never wrong for long.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

import msgspec
import structlog

from calico.errors import InvalidInput, ResyncRequired, Transient
from calico.netlink.rtnetlink import event as rt_event
from calico.netlink.rtnetlink.address import RTM_DELADDR, RTM_NEWADDR, Address, decode_address, dump_addresses
from calico.netlink.rtnetlink.family import AF_INET, AF_INET6
from calico.netlink.rtnetlink.link import RTM_DELLINK, RTM_NEWLINK, Link, decode_link, dump_links
from calico.netlink.rtnetlink.route import (
    RTM_DELROUTE,
    RTM_NEWROUTE,
    TABLE_LOCAL,
    TABLE_MAIN,
    KernelRoute,
    decode_route,
    peek_route,
)
from calico.netlink.socket import NETLINK_ROUTE, NetlinkSocket
from calico.netlink.wire import Message

__all__ = ["Interface", "InterfaceMonitor", "OnInterface", "OnOther", "OnRoute"]

log = structlog.get_logger(__name__)

_GROUPS: Final = (rt_event.GROUP_LINK, rt_event.GROUP_ADDRESS4, rt_event.GROUP_ADDRESS6)
_ROUTE_GROUPS: Final = (rt_event.GROUP_ROUTE4, rt_event.GROUP_ROUTE6)
_LINKS_AND_ADDRESSES: Final = frozenset({RTM_NEWLINK, RTM_DELLINK, RTM_NEWADDR, RTM_DELADDR})
_ATTEMPTS: Final = 5
_RETRY_S: Final = 0.1


class Interface(msgspec.Struct, frozen=True, kw_only=True):
    """One interface. ``up`` is what was asked for, ``oper_up`` that packets can pass; addresses are packed."""

    name: str
    index: int
    up: bool = False
    oper_up: bool = False
    mac: bytes = b""
    addresses: frozenset[bytes] = frozenset()
    mtu: int = 1500


OnInterface: TypeAlias = Callable[[str, Interface | None], None]
"""Told the name and the interface as it is now, None when it is gone. One re-created under its name is gone first."""

OnRoute: TypeAlias = Callable[[KernelRoute, bool, int], None]
"""Told a route of the main or local table, whether it is gone, and the netlink port of who changed it, or 0."""

OnOther: TypeAlias = Callable[[Message], None]
"""Told messages of further groups as they are."""


class InterfaceMonitor:
    """Watches the namespace of the thread that calls ``start``. Callbacks run in the event loop."""

    def __init__(
        self,
        on_interface: OnInterface,
        *,
        prefixes: Sequence[str] = ("cali",),
        on_route: OnRoute | None = None,
        on_resync: Callable[[], None] | None = None,
        on_other: OnOther | None = None,
        more_groups: Sequence[int] = (),
        rcvbuf: int = 32 << 20,
    ) -> None:
        """``prefixes``: ``("",)`` means every interface. ``on_resync``: events were lost, re-read what you know.
        ``on_other`` is told what comes from ``more_groups`` of the kernel's."""
        self._on_interface = on_interface
        self._on_route = on_route
        self._on_resync = on_resync
        self._on_other = on_other
        self._groups = (*_GROUPS, *(() if on_route is None else _ROUTE_GROUPS), *more_groups)
        self._prefixes = tuple(prefixes)
        self._rcvbuf = rcvbuf
        self._links: dict[int, Link] = {}
        self._addresses: dict[int, set[tuple[bytes, int]]] = {}
        self._published: dict[str, Interface] = {}
        self._events: NetlinkSocket | None = None
        self._dumps: NetlinkSocket | None = None
        self._retry: asyncio.TimerHandle | None = None

    @property
    def interfaces(self) -> dict[str, Interface]:
        """What was reported last, by name; do not change it."""
        return self._published

    def start(self) -> None:
        """Join the kernel's groups, report what there is, and watch from the running loop on."""
        self._events = NetlinkSocket(NETLINK_ROUTE, groups=self._groups, rcvbuf=self._rcvbuf)
        self._dumps = NetlinkSocket(NETLINK_ROUTE)
        self.resync()
        asyncio.get_running_loop().add_reader(self._events.fileno(), self.on_readable)

    def stop(self) -> None:
        """Stop watching; nothing is reported as gone."""
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        if self._events is not None and self._dumps is not None:
            asyncio.get_running_loop().remove_reader(self._events.fileno())
            self._events.close()
            self._dumps.close()
            self._events = self._dumps = None

    async def run(self) -> None:
        """Watch until cancelled."""
        self.start()
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            self.stop()

    def on_readable(self) -> None:
        """Handle everything that the kernel has queued."""
        if self._events is None:
            return
        try:
            for message in self._events.drain():
                self._on_message(message)
        except ResyncRequired:
            log.warning("interface events lost")
            self.resync()
            if self._on_resync is not None:
                self._on_resync()

    def resync(self) -> None:
        """Read all links and addresses again and report what differs; tries again soon if they change meanwhile."""
        for _ in range(_ATTEMPTS):
            try:
                links, addresses = self._read()
            except (ResyncRequired, Transient):
                continue
            self._replace(links, addresses)
            return
        log.warning("interfaces kept changing while they were read")
        self._retry = asyncio.get_running_loop().call_later(_RETRY_S, self.resync)

    def _read(self) -> tuple[dict[int, Link], dict[int, set[tuple[bytes, int]]]]:
        sock = self._dumps
        if sock is None:
            return {}, {}
        links: dict[int, Link] = {}
        for answer in sock.dump(dump_links(sock.next_seq())):
            link = decode_link(answer.payload)
            links[link.index] = link
        addresses: dict[int, set[tuple[bytes, int]]] = {}
        for answer in sock.dump(dump_addresses(sock.next_seq())):
            if answer.payload[:1] in (bytes((AF_INET,)), bytes((AF_INET6,))):
                address = decode_address(answer.payload)
                addresses.setdefault(address.index, set()).add((address.address, address.prefix_len))
        return links, addresses

    def _replace(self, links: dict[int, Link], addresses: dict[int, set[tuple[bytes, int]]]) -> None:
        for index in self._links.keys() - links.keys():
            self._forget(index)
        self._addresses = addresses
        for link in links.values():
            self._on_link(link, gone=False)

    def _on_message(self, message: Message) -> None:
        if message.type in (RTM_NEWROUTE, RTM_DELROUTE):
            self._on_route_message(message)
            return
        if message.type not in _LINKS_AND_ADDRESSES:
            if self._on_other is not None:
                self._on_other(message)
            return
        try:
            event = rt_event.decode_event(message)
        except InvalidInput as error:
            log.warning("interface event not understood", error=str(error))
            return
        if event is None:
            return
        if isinstance(event.subject, Link):
            self._on_link(event.subject, gone=event.gone)
        elif isinstance(event.subject, Address):
            self._on_address(event.subject, gone=event.gone)

    def _on_route_message(self, message: Message) -> None:
        """The cheap look first: a routing daemon may add routes by the hundred thousand."""
        if self._on_route is None:
            return
        try:
            family, _, table, _ = peek_route(message.payload)
            if family in (AF_INET, AF_INET6) and table in (TABLE_MAIN, TABLE_LOCAL):
                route = decode_route(message.payload)
                if not route.cached:
                    self._on_route(route, message.type == RTM_DELROUTE, message.pid)
        except InvalidInput as error:
            log.warning("route event not understood", error=str(error))

    def _on_link(self, link: Link, *, gone: bool) -> None:
        if gone:
            self._forget(link.index)
            return
        old = self._links.get(link.index)
        if old is not None and old.name != link.name:
            self._publish_gone(old.name, old.index)
        self._links[link.index] = link
        shown = self._published.get(link.name)
        if shown is not None and shown.index != link.index:
            self._forget(shown.index)
        self._publish(link)

    def _on_address(self, address: Address, *, gone: bool) -> None:
        """One address may be there several times, with different prefix lengths."""
        known = self._addresses.setdefault(address.index, set())
        if gone:
            known.discard((address.address, address.prefix_len))
        else:
            known.add((address.address, address.prefix_len))
        link = self._links.get(address.index)
        if link is not None:
            self._publish(link)

    def _forget(self, index: int) -> None:
        link = self._links.pop(index, None)
        self._addresses.pop(index, None)
        if link is not None:
            self._publish_gone(link.name, index)

    def _publish(self, link: Link) -> None:
        if not link.name.startswith(self._prefixes):
            return
        addresses = frozenset(address for address, _ in self._addresses.get(link.index, ()))
        seen = Interface(
            name=link.name,
            index=link.index,
            up=link.up,
            oper_up=link.oper_up,
            mac=link.mac,
            addresses=addresses,
            mtu=link.mtu,
        )
        if self._published.get(link.name) != seen:
            self._published[link.name] = seen
            self._on_interface(link.name, seen)

    def _publish_gone(self, name: str, index: int) -> None:
        shown = self._published.get(name)
        if shown is not None and shown.index == index:
            del self._published[name]
            self._on_interface(name, None)
