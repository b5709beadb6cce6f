"""The IPv6 link-local addresses that this host has on the interface of every instance: the router's, and the metadata
service's (fe80::a9fe:a9fe, the same on all).

The kernel usually gives an interface the first one itself; where that is switched off it comes from here, made of the
MAC in the same way (RFC 4291 appendix A). No duplicate is looked for: the only neighbour is the instance.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable
from typing import Final

import structlog

from calico.errors import CalicoError
from calico.lib import packed
from calico.netlink.rtnetlink.address import SCOPE_LINK, Address, new_address
from calico.netlink.socket import NETLINK_ROUTE, NetlinkSocket

__all__ = ["METADATA_V6", "LinkLocal", "made_of_mac", "router_address"]

log = structlog.get_logger(__name__)

METADATA_V6: Final = packed.addr_bytes("fe80::a9fe:a9fe")
_PREFIX: Final = b"\xfe\x80" + b"\0" * 6


def made_of_mac(mac: bytes) -> bytes:
    """The link-local address that the kernel makes of a MAC by default."""
    return _PREFIX + bytes((mac[0] ^ 2,)) + mac[1:3] + b"\xff\xfe" + mac[3:]


def router_address(addresses: Iterable[bytes], mac: bytes) -> bytes:
    """By which the instance knows its router: that of the MAC, otherwise the lowest; empty when there is none."""
    found = {address for address in addresses if address.startswith(_PREFIX) and address != METADATA_V6}
    own = made_of_mac(mac) if len(mac) == 6 else b""
    return own if own in found else min(found, default=b"")


class LinkLocal:
    """Adds addresses. One that the kernel refuses is not asked for again until the interface changes."""

    def __init__(self) -> None:
        self._sock = NetlinkSocket(NETLINK_ROUTE)
        self._refused: dict[tuple[int, bytes], str] = {}

    def close(self) -> None:
        self._sock.close()

    def ensure(self, index: int, there: frozenset[bytes], wanted: Iterable[bytes]) -> str:
        """Have these addresses on an interface; why not, or nothing."""
        troubles = []
        for address in wanted:
            if address in there:
                self._refused.pop((index, address), None)
                continue
            if (index, address) not in self._refused:
                self._add(index, address)
            if trouble := self._refused.get((index, address)):
                troubles.append(f"{packed.addr_str(address)}: {trouble}")
        return "; ".join(troubles)

    def forget(self, index: int) -> None:
        """The interface is gone, or went up or down."""
        for key in [key for key in self._refused if key[0] == index]:
            del self._refused[key]

    def _add(self, index: int, address: bytes) -> None:
        wanted = Address(index=index, address=address, prefix_len=64, scope=SCOPE_LINK)
        try:
            failures = self._sock.transact([new_address(self._sock.next_seq(), wanted, nodad=True)])
        except CalicoError as error:
            log.warning("an address could not be added", index=index, error=str(error))
            return
        for failure in failures:
            if failure.errno not in (errno.EEXIST, errno.ENODEV):
                self._refused[index, address] = str(failure)
