"""Our neighbour entries: a workload's address → its MAC, and IPv6 gateways that the host answers for (proxy NDP).

An entry is ours if it carries our protocol number. With a permanent entry the host never asks a workload who it is,
so no workload can claim another's address on its own wire; with a proxy entry the workload's solicitation for its
gateway gets the interface's MAC (needs ``proxy_ndp`` and ``forwarding`` on the interface).
"""

from __future__ import annotations

import errno
from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from calico.dataplane.drift import Drift, OnDrift, at_once
from calico.dataplane.dumps import dump_all
from calico.dataplane.routing.routes import OUR_PROTOCOL
from calico.errors import Transient
from calico.lib import packed
from calico.lib.reconcile import Plan, Reconciler
from calico.netlink.rtnetlink import neighbour as rt
from calico.netlink.socket import NetlinkSocket

__all__ = ["NeighbourKey", "NeighbourTable"]

_GONE: Final = frozenset({errno.ENOENT, errno.ENODEV, errno.ENXIO, errno.ESRCH})
_IP: Final = (b"\x02", b"\x0a")


class NeighbourKey(msgspec.Struct, frozen=True, gc=False):
    """An interface's index, a packed address, and whether the host answers for it."""

    index: int
    address: bytes
    proxy: bool = False


class NeighbourTable:
    """Desired entries. The kernel drops those of an interface that goes away or is set down (``on_flushed``)."""

    def __init__(self, sock: NetlinkSocket, *, protocol: int = OUR_PROTOCOL, on_drift: OnDrift = at_once) -> None:
        self._kernel: Reconciler[NeighbourKey, bytes] = Reconciler(_Driver(sock, protocol))
        self._on_drift = on_drift
        self._port = sock.port

    def want(self, index: int, address: bytes, mac: bytes) -> None:
        """The neighbour with this address has this MAC."""
        self._kernel.want(NeighbourKey(index, address), mac)

    def want_proxy(self, index: int, address: bytes) -> None:
        """The host answers for this address on this interface."""
        self._kernel.want(NeighbourKey(index, address, True), b"")

    def unwant(self, key: NeighbourKey) -> None:
        self._kernel.unwant(key)

    def flushed(self, key: NeighbourKey) -> None:
        """The kernel has dropped the entry by itself."""
        self._kernel.touch(key)

    def on_entry(self, entry: rt.Neighbour, gone: bool, port: int) -> None:
        """An event about an entry of an interface of ours, caused through a netlink port (0: the kernel)."""
        key = NeighbourKey(entry.index, entry.address, entry.proxy)
        wanted = self._kernel.desired.get(key)
        if wanted is None or port == self._port or not self._kernel.is_right(key):
            return
        if gone or (not entry.proxy and (entry.mac != wanted or entry.state != rt.NUD_PERMANENT)):
            drift = Drift("neighbours", packed.addr_str(entry.address), "removed" if gone else "changed", port)
            self._on_drift(drift, lambda: self._kernel.noticed(key))

    async def found(self) -> list[str]:
        """What the kernel has of ours, by name."""
        return [packed.addr_str(key.address) for key in await self._kernel.look()]

    @property
    def repaired(self) -> set[str]:
        """What the last apply put right that others had changed."""
        return {packed.addr_str(key.address) for key in self._kernel.repaired}

    def resync(self) -> None:
        """Read the kernel's entries at the next apply."""
        self._kernel.resync()

    async def apply(self) -> Mapping[NeighbourKey, str]:
        """Bring the kernel to what is wanted; returns what failed, which is tried again at the next apply."""
        return {key: str(error) for key, error in await self._kernel.apply()}


class _Driver:
    def __init__(self, sock: NetlinkSocket, protocol: int) -> None:
        self._sock = sock
        self._protocol = protocol

    async def read(self) -> Mapping[NeighbourKey, bytes]:
        ours: dict[NeighbourKey, bytes] = {}
        for proxy in (False, True):
            for answer in dump_all(self._sock, lambda seq, proxy=proxy: rt.dump_neighbours(seq, proxy=proxy)):  # type: ignore[misc]
                if answer.payload[:1] not in _IP:
                    continue
                entry = rt.decode_neighbour(answer.payload)
                if entry.protocol == self._protocol and (proxy or entry.state == rt.NUD_PERMANENT):
                    ours[NeighbourKey(entry.index, entry.address, proxy)] = entry.mac
        return ours

    async def write(self, plan: Plan[NeighbourKey, bytes]) -> Iterable[tuple[NeighbourKey, Exception]]:
        keys = [*plan.delete, *plan.put]
        if not keys:
            return []
        first = self._sock.next_seq(len(keys))
        messages = [
            rt.new_neighbour(first + i, self._entry(key, plan.put[key]))
            if key in plan.put
            else rt.delete_neighbour(first + i, self._entry(key, b""))
            for i, key in enumerate(keys)
        ]
        failed: list[tuple[NeighbourKey, Exception]] = []
        for failure in self._sock.transact(messages):
            key = keys[failure.seq - first]
            if key in plan.put or failure.errno not in _GONE:
                failed.append((key, Transient(f"neighbour {packed.addr_str(key.address)}: {failure}")))
        return failed

    def _entry(self, key: NeighbourKey, mac: bytes) -> rt.Neighbour:
        return rt.Neighbour(index=key.index, address=key.address, mac=mac, proxy=key.proxy, protocol=self._protocol)
