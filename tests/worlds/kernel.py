"""The third witness: a real kernel with the ruleset in it, and the packets sent through it.

Namespaces, connections and table stay while worlds come and go; only what differs is programmed, by the product's own
path, so every world also tests the change from the one before it.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from random import Random

import msgspec

from calico.dataplane.netns import in_netns
from calico.dataplane.nft.table import NftDataplane
from calico.lib.packed import addr_bytes, addr_str
from calico.netlink import wire as netlink
from calico.netlink.nftables.objects import Table
from calico.netlink.socket import NETLINK_NETFILTER, NetlinkSocket
from calico.rules.config import RulesConfig
from worlds.machines import LISTENED, Machines, machines, on_one_processor
from worlds.scene import HOST_ADDRESSES, UPLINK, interface_to
from worlds.wire import ConnectionKey, connection, in_two, packet, unsendable
from worlds.witnesses import Product
from worlds.world import Probe, World

__all__ = ["Kernel", "Sent", "kernel"]

_FLUSH = 1 << 8 | 2
"""A request to delete connections (nfnetlink_conntrack.h) that names none deletes all."""

_HOST = [addr_bytes(text) for text in HOST_ADDRESSES]
_NOT_FORWARDED = ("127.", "0.0.0.0", "255.", "::", "fe80:", "ff0")


class Sent(msgspec.Struct, frozen=True):
    """A packet that was sent and whether it arrived. ``must``: nothing but policy could keep it from arriving."""

    probe: Probe
    arrived: bool
    must: bool
    split: bool

    def contradicts(self, passes: bool) -> bool:
        """Whether the kernel did other than a witness who says that the packet passes, or does not."""
        return self.arrived != passes and (self.must or self.arrived)


class Kernel:
    """Made by ``kernel``."""

    def __init__(self, there: Machines) -> None:
        self._machines = there
        self._numbers = itertools.count(1)
        self._conntrack = in_netns(there.router, lambda: NetlinkSocket(NETLINK_NETFILTER))
        self._product: Product | None = None
        self._dataplane: NftDataplane | None = None
        self._settings: RulesConfig | None = None

    def close(self) -> None:
        self._conntrack.close()
        if self._dataplane is not None:
            self._dataplane.close()

    def become(self, world: World, chance: Random | None = None) -> None:
        """Bring the kernel to a world. Other settings are those of another process, which takes the table over."""
        if self._product is None or self._settings != world.settings:
            if self._dataplane is not None:
                self._dataplane.close()
            product = self._product = Product(world.settings)
            self._dataplane = in_netns(self._machines.router, lambda: NftDataplane(Table("calico"), product.table))
            self._settings = world.settings
        assert self._dataplane is not None
        self._product.become(world.resources, chance)
        applied = self._dataplane.apply()
        assert applied.failed == (), applied.failed
        self._conntrack.request(
            netlink.message(_FLUSH, netlink.NLM_F_REQUEST | netlink.NLM_F_ACK, self._conntrack.next_seq(), bytes(4))
        )

    def judge(self, probes: list[Probe]) -> list[Sent]:
        """Send the packets that can be sent, each the first of its connection; what became of them."""
        for _ in self._machines.seen():
            pass
        sent: dict[int, tuple[Probe, bool]] = {}
        with on_one_processor():
            for probe in _firsts(probes):
                number = next(self._numbers)
                split = _can_split(probe) and number % 8 == 0
                self._send(probe, packet(probe.flow, number), split)
                sent[number] = probe, split
            self._machines.settle()
        arrived = {number for where, (number, src, dst) in self._machines.seen() if _is(sent, where, number, src, dst)}
        return [Sent(probe, number in arrived, _must(probe), split) for number, (probe, split) in sent.items()]

    def _send(self, probe: Probe, data: bytes, split: bool) -> None:
        if probe.way == "from-host":
            self._machines.send_from_host(data)
            return
        for part in in_two(data) if split else [data]:
            self._machines.send(probe.source, part)


@contextmanager
def kernel() -> Iterator[Kernel]:
    """A kernel that all worlds of a with block share."""
    with machines() as there:
        made = Kernel(there)
        try:
            yield made
        finally:
            made.close()


def _firsts(probes: list[Probe]) -> Iterator[Probe]:
    """The packets that a kernel can be shown, without those that belong to the connection of an earlier one."""
    known: set[ConnectionKey] = set()
    for probe in probes:
        there, back = connection(probe.flow)
        if unsendable(probe.flow) or not _goes_this_way(probe) or known & {there, back}:
            continue
        known |= {there, back}
        yield probe


def _goes_this_way(probe: Probe) -> bool:
    """Whether routes lead the packet where the probe says."""
    to_host = probe.flow.dst in _HOST
    if probe.way == "to-host":
        return to_host
    return not to_host and interface_to(probe.flow.dst) == probe.target


def _must(probe: Probe) -> bool:
    """Whether routing lets the packet through: no loopback, no link's own addresses, no source routes."""
    flow = probe.flow
    if probe.way != "from-host" and flow.src in _HOST:
        return False
    if any(addr_str(address).startswith(_NOT_FORWARDED) for address in (flow.src, flow.dst)):
        return False
    routed = any(number == 43 for number, _ in flow.extensions)
    if probe.way == "to-host" and (routed or flow.protocol not in LISTENED):
        return False
    return not flow.options.startswith(b"\x83") or probe.source != UPLINK


def _can_split(probe: Probe) -> bool:
    return probe.way != "from-host" and not probe.flow.extensions and not probe.flow.options


def _is(sent: dict[int, tuple[Probe, bool]], where: str, number: int, src: bytes, dst: bytes) -> bool:
    """Whether what was seen is what was sent, where it was to arrive."""
    if number not in sent:
        return False
    probe = sent[number][0]
    expected = "" if probe.way == "to-host" else probe.target
    return where == expected and (src, dst) in ((probe.flow.src, probe.flow.dst), (b"", b""))
