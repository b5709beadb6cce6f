"""One WireGuard device: made, given its address and peers, read back, taken away."""

from __future__ import annotations

import errno
from collections.abc import Iterable
from functools import partial

from calico.dataplane.dumps import dump_all
from calico.dataplane.encap.wgplan import plan_device
from calico.errors import Conflict, ResyncRequired, Transient
from calico.lib import packed
from calico.netlink import genetlink
from calico.netlink.genetlink import NETLINK_GENERIC
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
from calico.netlink.wireguard import FAMILY, DeviceChange, WgDevice, decode_device, get_device, set_device

__all__ = ["UNAVAILABLE", "WireguardDevice"]

UNAVAILABLE = (
    "the kernel has no WireGuard: load its module (modprobe wireguard; Linux 5.6 or newer has it), or switch encryption"
    " off for this host (wireguardEnabled of its FelixConfiguration)"
)
_KIND = "wireguard"
_FAMILIES = (2, 10)


class WireguardDevice:
    """The device of a name. Whatever WireGuard device has the name is ours; one of another kind is in the way."""

    def __init__(self, sock: NetlinkSocket, name: str) -> None:
        self.name = name
        self.have: WgDevice | None = None
        """As the kernel has it, as far as known."""
        self._sock = sock
        self._family = 0

    def ensure(self, mtu: int, address: bytes) -> int:
        """Make the device, or change it; its index. Conflict when it cannot be had: see ``UNAVAILABLE``."""
        link = self._read()
        if link is None:
            self.have = None
            self._ask(new_plain(self._sock.next_seq(), self.name, _KIND), "making", errno.EEXIST)
            link = self._read()
        if link is None:
            raise Transient(f"{self.name}: somebody else keeps changing it")
        if link.kind != _KIND:
            raise Conflict(f"{self.name} is an interface that is no WireGuard device ({link.kind or 'physical'})")
        if link.mtu != mtu:
            self._ask(set_link(self._sock.next_seq(), link.index, mtu=mtu), "changing")
        self._address(link.index, address)
        if not link.up:
            self._ask(set_link(self._sock.next_seq(), link.index, up=True), "setting up")
        return link.index

    def configure(self, wanted: WgDevice, peers: Iterable[bytes] | None) -> None:
        """Bring keys, port, mark and peers (those that may differ, None: all) to what is wanted."""
        with NetlinkSocket(NETLINK_GENERIC) as sock:
            if self.have is None:
                self.have, peers = self._look(sock), None
            change = plan_device(wanted, self.have, peers)
            if not change:
                return
            self._change(sock, change)
            self.have = self._look(sock) if change.private_key is not None else _with_keys(wanted, self.have)

    def remove(self) -> None:
        """Delete the device, if it is a WireGuard device."""
        link = self._read()
        self.have = None
        if link is not None and link.kind == _KIND:
            self._ask(delete_link(self._sock.next_seq(), link.index), "removing", errno.ENODEV)

    def exists(self) -> bool:
        """Whether there is a WireGuard device of the name."""
        link = self._read()
        return link is not None and link.kind == _KIND

    def _change(self, sock: NetlinkSocket, change: DeviceChange) -> None:
        family, self.have = self._family_of(sock), None
        first = sock.next_seq(len(change.peers) + 2)
        for message in set_device(family, first, self.name, change):
            try:
                sock.request(message)
            except NetlinkError as error:
                raise Transient(f"peers of {self.name}: {error}") from error

    def _look(self, sock: NetlinkSocket) -> WgDevice:
        try:
            return decode_device(list(sock.dump(get_device(self._family_of(sock), sock.next_seq(), self.name))))
        except (NetlinkError, ResyncRequired) as error:
            raise Transient(f"reading {self.name}: {error}") from error

    def _family_of(self, sock: NetlinkSocket) -> int:
        if not self._family:
            try:
                self._family = genetlink.decode_family(sock.request(genetlink.ask_family(sock.next_seq(), FAMILY)))
            except NetlinkError as error:
                raise Conflict(f"{self.name}: {UNAVAILABLE}") from error
        return self._family

    def _read(self) -> Link | None:
        try:
            return decode_link(self._sock.request(get_link(self._sock.next_seq(), self.name))[0].payload)
        except NetlinkError as error:
            if error.errno == errno.ENODEV:
                return None
            raise Transient(f"{self.name}: {error}") from error

    def _address(self, index: int, wanted: bytes) -> None:
        """The one address of the device, empty: none."""
        answers = [answer for family in _FAMILIES for answer in dump_all(self._sock, partial(_ask_addresses, family))]
        found = [a for a in (decode_address(answer.payload) for answer in answers) if a.index == index]
        found = [address for address in found if address.scope == SCOPE_GLOBAL]
        length = len(wanted) * 8
        if wanted and not any((a.address, a.prefix_len) == (wanted, length) for a in found):
            new = Address(index=index, address=wanted, prefix_len=length)
            what = f"giving {packed.addr_str(wanted)} to"
            self._ask(new_address(self._sock.next_seq(), new, nodad=True), what, errno.EEXIST)
        for address in found:
            if (address.address, address.prefix_len) != (wanted, length):
                request = delete_address(self._sock.next_seq(), address)
                self._ask(request, "removing an address of", errno.EADDRNOTAVAIL)

    def _ask(self, request: bytes, what: str, *passed: int) -> None:
        try:
            self._sock.request(request)
        except NetlinkError as error:
            if error.errno == errno.EOPNOTSUPP:
                raise Conflict(f"{self.name}: {UNAVAILABLE}") from error
            if error.errno not in passed:
                raise Transient(f"{what} {self.name}: {error}") from error


def _ask_addresses(family: int, seq: int) -> bytes:
    return dump_addresses(seq, family)


def _with_keys(wanted: WgDevice, read: WgDevice) -> WgDevice:
    return WgDevice(
        private_key=wanted.private_key,
        public_key=read.public_key,
        port=wanted.port,
        mark=wanted.mark,
        peers=dict(wanted.peers),
    )
