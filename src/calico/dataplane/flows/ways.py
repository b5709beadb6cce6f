"""Which interface the packets of an address come from and go to: that of its endpoint, else where the route leads.

Workloads send from their own addresses only and by strict reverse path, so the way to an address is the way from it.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Final

from calico.netlink.rtnetlink.route import RTM_NEWROUTE, TYPE_UNICAST, decode_route, lookup_route
from calico.netlink.socket import NETLINK_ROUTE, NetlinkError, NetlinkSocket

__all__ = ["Ways"]

_NOWHERE: Final = ""


class Ways:
    """Interfaces by address. Routes are remembered until ``forget``."""

    def __init__(self, interface_of: Callable[[bytes], str | None]) -> None:
        """``interface_of``: the interface of the local endpoint that has an address."""
        self._interface_of = interface_of
        self._sock = NetlinkSocket(NETLINK_ROUTE)
        self._routed: dict[bytes, str | None] = {}

    def close(self) -> None:
        self._sock.close()

    def forget(self) -> None:
        """Routes may have changed."""
        self._routed.clear()

    def way(self, address: bytes) -> str | None:
        """The name of the interface, empty when there is no way; None for what this host itself takes."""
        interface = self._interface_of(address)
        if interface is not None:
            return interface
        if address not in self._routed:
            self._routed[address] = self._lookup(address)
        return self._routed[address]

    def _lookup(self, address: bytes) -> str | None:
        try:
            answers = self._sock.request(lookup_route(self._sock.next_seq(), address))
        except NetlinkError:  # unreachable, prohibited, no route
            return _NOWHERE
        for answer in answers:
            if answer.type == RTM_NEWROUTE:
                route = decode_route(answer.payload)
                return _name(route.oif) if route.type == TYPE_UNICAST else None
        return _NOWHERE


def _name(index: int) -> str:
    try:
        return socket.if_indextoname(index)
    except OSError:
        return _NOWHERE
