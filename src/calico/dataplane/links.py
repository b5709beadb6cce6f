"""Building links, addresses and routes in a network namespace, imperatively and without any ``ip`` process.

For those who build hosts and wire workloads (the lab, the CNI daemon, tests). Felix's own state is reconciled
elsewhere. Every call is one round trip to the kernel (tens of microseconds) and raises what the kernel refused.
"""

from __future__ import annotations

import errno
import ipaddress
import os
from types import TracebackType
from typing import Self

import msgspec

from calico.dataplane.dumps import dump_all
from calico.dataplane.netns import in_netns, open_netns
from calico.errors import AlreadyExists, CalicoError, NotFound, Transient
from calico.lib import packed
from calico.netlink.rtnetlink import address as rt_address
from calico.netlink.rtnetlink import link as rt_link
from calico.netlink.rtnetlink import neighbour as rt_neighbour
from calico.netlink.rtnetlink import route as rt_route
from calico.netlink.rtnetlink import rule as rt_rule
from calico.netlink.socket import NETLINK_ROUTE, NetlinkError, NetlinkSocket

__all__ = ["Links"]

_MISSING = frozenset({errno.ENODEV, errno.ENOENT, errno.ESRCH, errno.EADDRNOTAVAIL, errno.ENXIO})


class Links:
    """A netlink socket inside one namespace (the caller's own when ``netns`` is empty). A context manager.

    Interfaces are named, or numbered by those who know the number, which saves asking. Other namespaces are named too,
    or given by path: ``peer_netns="w1"`` makes the other end be born there.
    """

    def __init__(self, netns: str = "") -> None:
        self.netns = netns
        self._sock = in_netns(netns, _open) if netns else _open()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self._sock.close()

    def all(self) -> list[rt_link.Link]:
        """Every interface."""
        return [rt_link.decode_link(answer.payload) for answer in dump_all(self._sock, rt_link.dump_links)]

    def get(self, name: str) -> rt_link.Link:
        """One interface; NotFound if there is none."""
        try:
            answers = self._sock.request(rt_link.get_link(self._seq(), name))
        except NetlinkError as error:
            raise _sorted_error(error, f"interface {name}") from error
        return rt_link.decode_link(answers[0].payload)

    def index(self, name: str) -> int:
        """The kernel's number of an interface; NotFound if there is none."""
        return self.get(name).index

    def create_veth(
        self,
        name: str,
        peer: str,
        *,
        peer_netns: str = "",
        mac: bytes | None = None,
        peer_mac: bytes | None = None,
        mtu: int | None = None,
        queues: int | None = None,
        up: bool = True,
    ) -> None:
        """A pair: ``name`` here, ``peer`` here or in ``peer_netns``; both up unless told otherwise."""
        fd = open_netns(peer_netns) if peer_netns else None
        try:
            request = rt_link.new_veth(
                self._seq(), name, peer, mac=mac, peer_mac=peer_mac, mtu=mtu, peer_netns_fd=fd, queues=queues, up=up
            )
            self._do(request, f"veth {name}")
        finally:
            if fd is not None:
                os.close(fd)
        if up and peer_netns:
            with Links(peer_netns) as there:
                there.set_up(peer)
        elif up:
            self.set_up(peer)

    def create_bridge(self, name: str, *, mac: bytes | None = None, up: bool = True) -> None:
        """A bridge without ports."""
        self._do(rt_link.new_bridge(self._seq(), name, up=up, mac=mac), f"bridge {name}")

    def attach(self, name: str, bridge: str) -> None:
        """Make an interface a port of a bridge."""
        self._do(rt_link.set_link(self._seq(), name, master=self.index(bridge)), f"interface {name}")

    def set_up(self, name: str | int, up: bool = True) -> None:
        self._do(rt_link.set_link(self._seq(), name, up=up), f"interface {name}")

    def rename(self, name: str, new: str) -> None:
        self._do(rt_link.set_link(self._seq(), self.index(name), rename=new), f"interface {name}")

    def describe(self, name: str, alias: str) -> None:
        """Write an alias on an interface (at most 255 bytes), for people and for whoever made it."""
        self._do(rt_link.set_link(self._seq(), name, alias=alias), f"interface {name}")

    def move(self, name: str, netns: str) -> None:
        """Put an interface into another namespace, where it is down and has no addresses."""
        fd = open_netns(netns)
        try:
            self._do(rt_link.set_link(self._seq(), name, netns_fd=fd), f"interface {name}")
        finally:
            os.close(fd)

    def delete(self, which: str | int) -> None:
        """Delete an interface by name, or by number, which no other has after it; of a veth the other end goes too."""
        self._do(rt_link.delete_link(self._seq(), which), f"interface {which}")

    def add_address(self, name: str | int, cidr: str, *, scope: int = rt_address.SCOPE_GLOBAL) -> None:
        """Add ``address/length``; IPv6 without duplicate address detection."""
        address = self._address(name, cidr, scope)
        self._do(rt_address.new_address(self._seq(), address, nodad=True), f"address {cidr} on {name}")

    def delete_address(self, name: str, cidr: str) -> None:
        address = self._address(name, cidr, rt_address.SCOPE_GLOBAL)
        self._do(rt_address.delete_address(self._seq(), address), f"address {cidr} on {name}")

    def addresses(self, name: str) -> list[rt_address.Address]:
        """The addresses of an interface; the kernel is not asked for those of others."""
        index = self.index(name)
        answers = dump_all(self._sock, lambda seq: rt_address.dump_addresses(seq, index=index))
        return [a for a in (rt_address.decode_address(answer.payload) for answer in answers) if a.index == index]

    def add_route(
        self,
        dst: str,
        *,
        via: str = "",
        dev: str | int = "",
        metric: int = 0,
        source: str = "",
        protocol: int = rt_route.PROTO_STATIC,
        kind: int = rt_route.TYPE_UNICAST,
        table: int = rt_route.TABLE_MAIN,
        replace: bool = False,
    ) -> None:
        """Add a route to ``dst``: a CIDR, or ``default`` for the family of ``via``."""
        route = self._route(dst, via=via, dev=dev, metric=metric, source=source, protocol=protocol, kind=kind)
        route = msgspec.structs.replace(route, table=table)
        self._do(rt_route.new_route(self._seq(), route, replace=replace), f"route to {dst}")

    def delete_route(self, dst: str, *, via: str = "", dev: str = "", metric: int = 0) -> None:
        """Remove the route to ``dst`` that agrees in what is given, whoever made it."""
        route = self._route(dst, via=via, dev=dev, metric=metric, source="", protocol=0, kind=0, any_scope=True)
        self._do(rt_route.delete_route(self._seq(), route), f"route to {dst}")

    def routes(self) -> list[rt_route.KernelRoute]:
        """The routes of the main table."""
        answers = dump_all(self._sock, rt_route.dump_routes)
        routes = []
        for answer in answers:
            if rt_route.peek_route(answer.payload)[0] in (2, 10):
                route = rt_route.decode_route(answer.payload)
                if route.table == rt_route.TABLE_MAIN and not route.cached:
                    routes.append(route)
        return routes

    def add_rule(self, source: str, table: int) -> None:
        """Packets from an address ask this table before the main one. Its number is the rule's priority, too."""
        rule = rt_rule.SourceRule(source=packed.addr_bytes(source), table=table, priority=table)
        self._do(rt_rule.new_rule(self._seq(), rule), f"rule from {source}")

    def add_neighbour(self, name: str, address: str, mac: bytes) -> None:
        """A permanent neighbour entry."""
        entry = rt_neighbour.Neighbour(index=self.index(name), address=packed.addr_bytes(address), mac=mac)
        self._do(rt_neighbour.new_neighbour(self._seq(), entry), f"neighbour {address} on {name}")

    def neighbours(self, *, proxy: bool = False) -> list[rt_neighbour.Neighbour]:
        """The IP neighbour entries of all interfaces, or the proxy entries."""
        answers = dump_all(self._sock, lambda seq: rt_neighbour.dump_neighbours(seq, proxy=proxy))
        return [rt_neighbour.decode_neighbour(a.payload) for a in answers if a.payload[:1] in (b"\x02", b"\x0a")]

    def _number(self, which: str | int) -> int:
        return which if isinstance(which, int) else self.index(which)

    def _address(self, name: str | int, cidr: str, scope: int) -> rt_address.Address:
        parsed = ipaddress.ip_interface(cidr)
        length = parsed.network.prefixlen
        return rt_address.Address(index=self._number(name), address=parsed.ip.packed, prefix_len=length, scope=scope)

    def _route(
        self,
        dst: str,
        *,
        via: str,
        dev: str | int,
        metric: int,
        source: str,
        protocol: int,
        kind: int,
        any_scope: bool = False,
    ) -> rt_route.KernelRoute:
        gateway = packed.addr_bytes(via) if via else b""
        net = packed.net(dst) if dst != "default" else bytes((len(gateway) or 4) + 1)
        hop = rt_route.NextHop(oif=self._number(dev) if dev else 0, gateway=gateway)
        unicast = kind in (0, rt_route.TYPE_UNICAST)
        return rt_route.KernelRoute(
            dst=net,
            hops=(hop,) if unicast and (dev or via) else (),
            metric=metric,
            protocol=protocol,
            scope=_ANY_SCOPE if any_scope else (rt_route.on_link_scope(net, gateway) if unicast else 0),
            type=kind,
            source=packed.addr_bytes(source) if source else b"",
        )

    def _do(self, request: bytes, subject: str) -> None:
        try:
            self._sock.request(request)
        except NetlinkError as error:
            raise _sorted_error(error, subject) from error

    def _seq(self) -> int:
        return self._sock.next_seq()


_ANY_SCOPE = 255
"""RT_SCOPE_NOWHERE: a deletion matches routes of any scope."""


def _open() -> NetlinkSocket:
    return NetlinkSocket(NETLINK_ROUTE, strict=True)


def _sorted_error(error: NetlinkError, subject: str) -> CalicoError:
    if error.errno == errno.EEXIST:
        return AlreadyExists(f"{subject}: exists")
    if error.errno in _MISSING:
        return NotFound(f"{subject}: {error}")
    return Transient(f"{subject}: {error}")
