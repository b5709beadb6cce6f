"""This host's end of IP in IP: whether its device is there and leads where routes want to go.

Always true: ``ready`` iff the device was brought to what is wanted and nobody has been seen to change it since.
"""

from __future__ import annotations

from typing import Any

from calico.calc.messages import IpipUpdate
from calico.dataplane.drift import Drift, OnDrift
from calico.dataplane.encap.ipdevice import IpipDevice, IpipWanted
from calico.dataplane.interfaces import Interface
from calico.errors import CalicoError
from calico.lib import packed
from calico.netlink.socket import NetlinkSocket

__all__ = ["IpipEnd"]


class IpipEnd:
    """``own`` is the end that is wanted; what another run left of it is removed while none is."""

    def __init__(self, sock: NetlinkSocket, protocol: int, on_drift: OnDrift) -> None:
        self._device = IpipDevice(sock, protocol)
        self._on_drift = on_drift
        self.name = self._device.name
        self.own: IpipUpdate | None = None
        self._made: IpipWanted | None = None
        self._index = 0
        self._stale = True
        self._wrong = ""

    @property
    def ready(self) -> bool:
        """Whether routes may lead into the device."""
        return self.own is not None and self._made is not None

    @property
    def leaving(self) -> bool:
        """Whether something of it may be there that nobody wants."""
        return self.own is None and self._stale

    def want(self, own: IpipUpdate | None) -> None:
        """Our end; None: there is to be none."""
        self.own, self._stale = own, True

    def resync(self) -> None:
        """The next ``make`` reads the device."""
        self._stale = True

    def on_interface(self, interface: Interface | None) -> bool:
        """The device, as the kernel has it now. Whether routes over it may be gone, untold."""
        made = self._made
        if made is None:
            self._stale = True
            return False
        if interface is None or interface.index != self._index:
            self._on_drift(Drift("tunnels", self.name, "removed"), self.resync)
            return False
        has_address = made.address in interface.addresses
        if (interface.up, interface.mtu, has_address) != (True, made.mtu, True):
            self._on_drift(Drift("tunnels", self.name, "changed"), self.resync)
        return not has_address

    def make(self, mtu: int) -> None:
        """See that the device is as wanted; CalicoError says why it is not, and then it is not ``ready``."""
        if self.own is None:
            self._made = None
            return
        wanted = IpipWanted(mtu=mtu, address=self.own.address)
        if self._stale or wanted != self._made:
            was_right = self._made == wanted
            try:
                self._index, wrong = self._device.ensure(wanted)
            except CalicoError:
                self._made = None
                raise
            self._made, self._stale, self._wrong = wanted, False, wrong if was_right else ""

    def clear_away(self) -> None:
        """Remove what nobody wants, when nothing leads to it any more."""
        if self.leaving:
            self._device.remove()
            self._made, self._stale = None, False

    def take_repaired(self) -> dict[str, str]:
        """What was put right since this was last asked, and what had been wrong with it."""
        wrong, self._wrong = self._wrong, ""
        return {self.name: f"was {wrong}"} if wrong else {}

    def as_data(self) -> dict[str, Any]:
        """The end as this host has it."""
        address = packed.addr_str(self.own.address) if self.own is not None else ""
        return {"address": address, "up": self.ready and not self._stale}
