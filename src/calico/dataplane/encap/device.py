"""One VXLAN device, brought to what it should be with as little change as that takes."""

from __future__ import annotations

import errno

import msgspec

from calico.dataplane.dumps import dump_all
from calico.errors import CalicoError, Conflict, Transient
from calico.lib import packed
from calico.netlink.rtnetlink.address import (
    SCOPE_GLOBAL,
    Address,
    decode_address,
    delete_address,
    dump_addresses,
    new_address,
)
from calico.netlink.rtnetlink.link import Link, decode_link, delete_link, get_link, set_link
from calico.netlink.rtnetlink.vxlan import Vxlan, decode_vxlan, new_vxlan
from calico.netlink.socket import NetlinkError, NetlinkSocket

__all__ = ["Device", "VxlanDevice"]

_FAMILY = {4: 2, 16: 10}
_ATTEMPTS = 3


class Device(msgspec.Struct, frozen=True, kw_only=True):
    """A device as it should be; ``address`` is packed, and the only one (but for link-local ones) that it has."""

    vxlan: Vxlan
    mac: bytes
    mtu: int
    address: bytes


class VxlanDevice:
    """The device of a name. Whatever VXLAN device has the name is ours; one of another kind is in the way."""

    def __init__(self, sock: NetlinkSocket, name: str) -> None:
        self.name = name
        self._sock = sock

    def ensure(self, wanted: Device) -> tuple[int, str]:
        """Make or change the device; its index, and what was wrong with it (empty: nothing). Conflict when something
        else has its name or network, Transient for what the kernel refuses."""
        made, wrong = "", list[str]()
        for _ in range(_ATTEMPTS):
            found = self._read()
            if found is None:
                made = made or "gone"
                self._ask(new_vxlan(self._seq(), self.name, wanted.vxlan, mac=wanted.mac, mtu=wanted.mtu), "making")
                continue
            link, vxlan = found
            if vxlan != wanted.vxlan:
                if vxlan is None:
                    raise Conflict(f"{self.name} is an interface that is no VXLAN device ({link.kind or 'physical'})")
                made = "of another network"
                self.remove()
                continue
            if (link.mac, link.mtu) != (wanted.mac, wanted.mtu):
                wrong.append("of another MAC" if link.mac != wanted.mac else f"of MTU {link.mtu}")
                self._ask(set_link(self._seq(), link.index, mac=wanted.mac, mtu=wanted.mtu), "changing")
            if not self._address(link.index, wanted.address):
                wrong.append("of other addresses")
            if not link.up:
                wrong.append("down")
                self._ask(set_link(self._seq(), link.index, up=True), "setting up")
            return link.index, made or ", ".join(wrong)
        raise Transient(f"{self.name}: somebody else keeps changing it")

    def exists(self) -> bool:
        """Whether there is a VXLAN device of the name."""
        found = self._read()
        return found is not None and found[1] is not None

    def remove(self) -> None:
        """Delete the device, if it is a VXLAN device."""
        found = self._read()
        if found is not None and found[1] is not None:
            self._ask(delete_link(self._seq(), found[0].index), "removing", errno.ENODEV)

    def _read(self) -> tuple[Link, Vxlan | None] | None:
        try:
            payload = self._sock.request(get_link(self._seq(), self.name))[0].payload
        except NetlinkError as error:
            if error.errno == errno.ENODEV:
                return None
            raise Transient(f"{self.name}: {error}") from error
        return decode_link(payload), decode_vxlan(payload)

    def _address(self, index: int, wanted: bytes) -> bool:
        """See that the device has this address and no other; whether it was so."""
        found = []
        for answer in dump_all(self._sock, lambda seq: dump_addresses(seq, _FAMILY[len(wanted)])):
            address = decode_address(answer.payload)
            if address.index == index and address.scope == SCOPE_GLOBAL:
                found.append(address)
        length = len(wanted) * 8
        if not any((address.address, address.prefix_len) == (wanted, length) for address in found):
            new = Address(index=index, address=wanted, prefix_len=length)
            what = f"giving {packed.addr_str(wanted)} to"
            self._ask(new_address(self._seq(), new, nodad=True), what, errno.EEXIST)
        for address in found:  # last, since with the last IPv4 address the kernel drops all routes over the device
            if (address.address, address.prefix_len) != (wanted, length):
                self._ask(delete_address(self._seq(), address), "removing an address of", errno.EADDRNOTAVAIL)
        return [(address.address, address.prefix_len) for address in found] == [(wanted, length)]

    def _ask(self, request: bytes, what: str, *passed: int) -> None:
        try:
            self._sock.request(request)
        except NetlinkError as error:
            if error.errno not in passed:
                raise _sorted(error, f"{what} {self.name}: {error}") from error

    def _seq(self) -> int:
        return self._sock.next_seq()


def _sorted(error: NetlinkError, text: str) -> CalicoError:
    if error.errno == errno.EEXIST:
        return Conflict(f"{text}: another device has the same network number and port")
    if error.errno == errno.EOPNOTSUPP:
        return Conflict(f"{text}: the kernel knows no VXLAN")
    return Transient(text)
