"""The device of IP in IP: ``tunl0``, which the kernel's module brings itself and never gives away.

It wraps whatever is routed over it in IPv4 to the gateway of the route, so it needs no ends and no neighbours. It may
be others' as well (load balancers keep addresses on it): ours is what carries our protocol number, and the state of a
device that has an address of ours.
"""

from __future__ import annotations

import errno
from typing import Final

import msgspec

from calico.dataplane.dumps import dump_all
from calico.errors import Conflict, Transient
from calico.lib import packed
from calico.netlink.rtnetlink.address import (
    SCOPE_GLOBAL,
    Address,
    decode_address,
    delete_address,
    dump_addresses,
    new_address,
)
from calico.netlink.rtnetlink.link import Link, decode_link, delete_link, get_link, new_plain, set_link
from calico.netlink.socket import NetlinkError, NetlinkSocket

__all__ = ["IPIP_DEVICE", "NO_IPIP", "IpipDevice", "IpipWanted"]

IPIP_DEVICE: Final = "tunl0"
NO_IPIP: Final = "the kernel has no IP in IP: load its module (modprobe ipip), or use vxlanMode in the pools"
_KIND, _INET = "ipip", 2
_ATTEMPTS = 3


class IpipWanted(msgspec.Struct, frozen=True, kw_only=True):
    """The device as it should be; ``address`` is packed."""

    mtu: int
    address: bytes


class IpipDevice:
    """The device of the name, in the namespace of the socket. ``protocol`` marks the address as ours."""

    def __init__(self, sock: NetlinkSocket, protocol: int, name: str = IPIP_DEVICE) -> None:
        self.name = name
        self._sock = sock
        self._protocol = protocol

    def ensure(self, wanted: IpipWanted) -> tuple[int, str]:
        """Bring the device up with its MTU and address; its index, and what was wrong with it (empty: nothing).
        Conflict when the kernel has no such device or another has the name, Transient for what it refuses now."""
        link, made = self._read(), ""
        for _ in range(_ATTEMPTS):
            if link is not None:
                break
            made = "gone"
            self._make()
            link = self._read()
        if link is None:
            raise Transient(f"{self.name}: somebody else keeps removing it")
        if link.kind != _KIND:
            raise Conflict(f"{self.name} is an interface that is no IP in IP device ({link.kind or 'physical'})")
        wrong = []
        if link.mtu != wanted.mtu:
            wrong.append(f"of MTU {link.mtu}")
            self._ask(set_link(self._seq(), link.index, mtu=wanted.mtu), "changing")
        if not self._address(link.index, wanted.address):
            wrong.append("of other addresses")
        if not link.up:
            wrong.append("down")
            self._ask(set_link(self._seq(), link.index, up=True), "setting up")
        return link.index, made or ", ".join(wrong)

    def exists(self) -> bool:
        """Whether the device has an address of ours."""
        link = self._read()
        return link is not None and link.kind == _KIND and bool(self._ours(link.index))

    def remove(self) -> None:
        """Take our addresses away. With no address left the device goes down and is deleted, which the kernel does to
        every one but its own, of which nothing of ours remains then."""
        link = self._read()
        if link is None or link.kind != _KIND:
            return
        ours = self._ours(link.index)
        for address in ours:
            self._ask(delete_address(self._seq(), address), "removing an address of", errno.EADDRNOTAVAIL)
        if ours and not self._addresses(link.index):
            self._ask(set_link(self._seq(), link.index, up=False), "setting down", errno.ENODEV)
            self._ask(delete_link(self._seq(), link.index), "removing", errno.ENODEV, errno.EOPNOTSUPP)

    def _make(self) -> None:
        try:
            self._sock.request(new_plain(self._seq(), self.name, _KIND))
        except NetlinkError as error:
            if error.errno == errno.EOPNOTSUPP:
                raise Conflict(f"{self.name}: {NO_IPIP}") from error
            if error.errno != errno.EEXIST:  # loading the module made it
                raise Transient(f"making {self.name}: {error}") from error

    def _read(self) -> Link | None:
        try:
            return decode_link(self._sock.request(get_link(self._seq(), self.name))[0].payload)
        except NetlinkError as error:
            if error.errno == errno.ENODEV:
                return None
            raise Transient(f"{self.name}: {error}") from error

    def _addresses(self, index: int) -> list[Address]:
        answers = dump_all(self._sock, lambda seq: dump_addresses(seq, _INET))
        found = (decode_address(answer.payload) for answer in answers)
        return [address for address in found if address.index == index and address.scope == SCOPE_GLOBAL]

    def _ours(self, index: int) -> list[Address]:
        return [address for address in self._addresses(index) if address.protocol == self._protocol]

    def _address(self, index: int, wanted: bytes) -> bool:
        """See that the device has this address and none else of ours; whether it was so."""
        found = self._addresses(index)
        has = any((address.address, address.prefix_len) == (wanted, 32) for address in found)
        if not has:
            new = Address(index=index, address=wanted, prefix_len=32, protocol=self._protocol)
            self._ask(new_address(self._seq(), new), f"giving {packed.addr_str(wanted)} to", errno.EEXIST)
        old = [a for a in found if a.protocol == self._protocol and (a.address, a.prefix_len) != (wanted, 32)]
        for address in old:  # last, since with the last IPv4 address the kernel drops all routes over the device
            self._ask(delete_address(self._seq(), address), "removing an address of", errno.EADDRNOTAVAIL)
        return has and not old

    def _ask(self, request: bytes, what: str, *passed: int) -> None:
        try:
            self._sock.request(request)
        except NetlinkError as error:
            if error.errno not in passed:
                raise Transient(f"{what} {self.name}: {error}") from error

    def _seq(self) -> int:
        return self._sock.next_seq()
