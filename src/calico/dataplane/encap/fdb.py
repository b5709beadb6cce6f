"""The forwarding tables of our VXLAN devices: to which host frames for a MAC go. All entries there are ours."""

from __future__ import annotations

import errno
from collections.abc import Iterable, Mapping
from typing import Final

from calico.dataplane.dumps import dump_all
from calico.errors import Transient
from calico.lib import packed
from calico.lib.reconcile import Plan, Reconciler
from calico.netlink.rtnetlink.vxlan import FdbEntry, decode_fdb, delete_fdb, dump_fdb, new_fdb
from calico.netlink.socket import NetlinkSocket

__all__ = ["ForwardingTable"]

_GONE: Final = frozenset({errno.ENOENT, errno.ENODEV, errno.ENXIO, errno.ESRCH})


class ForwardingTable:
    """Desired entries of one device, by MAC. ``moved`` says that it is a new device, whose table is empty."""

    def __init__(self, sock: NetlinkSocket) -> None:
        self._driver = _Driver(sock)
        self._kernel: Reconciler[bytes, bytes] = Reconciler(self._driver)

    def moved(self, index: int) -> None:
        """The device has this index now; 0: there is none."""
        if index != self._driver.index:
            self._driver.index = index
            for mac in self._kernel.desired:
                self._kernel.touch(mac)
            self._kernel.resync()

    def want(self, mac: bytes, host: bytes) -> None:
        """Frames to a MAC go to a host."""
        self._kernel.want(mac, host)

    def unwant(self, mac: bytes) -> None:
        self._kernel.unwant(mac)

    @property
    def repaired(self) -> set[str]:
        """What the last apply put right that others had changed."""
        return {f"frames to {mac.hex(':')}" for mac in self._kernel.repaired}

    def resync(self) -> None:
        """Read the kernel's table at the next apply."""
        self._kernel.resync()

    async def apply(self) -> Mapping[bytes, str]:
        """Bring the kernel to what is wanted; returns what failed, which is tried again at the next apply."""
        if not self._driver.index:
            return {}
        return {mac: str(error) for mac, error in await self._kernel.apply()}


class _Driver:
    def __init__(self, sock: NetlinkSocket) -> None:
        self.index = 0
        self._sock = sock

    async def read(self) -> Mapping[bytes, bytes]:
        answers = dump_all(self._sock, lambda seq: dump_fdb(seq, self.index))
        entries = (decode_fdb(answer.payload) for answer in answers)
        return {entry.mac: entry.host for entry in entries if entry.index == self.index}

    async def write(self, plan: Plan[bytes, bytes]) -> Iterable[tuple[bytes, Exception]]:
        macs = [*plan.delete, *plan.put]
        if not macs:
            return []
        first = self._sock.next_seq(len(macs))
        messages = [
            new_fdb(first + i, FdbEntry(self.index, mac, plan.put[mac]))
            if mac in plan.put
            else delete_fdb(first + i, FdbEntry(self.index, mac, b""))
            for i, mac in enumerate(macs)
        ]
        failed: list[tuple[bytes, Exception]] = []
        for failure in self._sock.transact(messages):
            mac = macs[failure.seq - first]
            if mac in plan.put or failure.errno not in _GONE:
                host = packed.addr_str(plan.put[mac]) if mac in plan.put else "a host"
                failed.append((mac, Transient(f"forwarding of {mac.hex(':')} to {host}: {failure}")))
        return failed
