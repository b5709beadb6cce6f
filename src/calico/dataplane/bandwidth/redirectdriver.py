"""The edge of shaping what comes from workloads: ifb devices with token buckets, and the filters that lead to them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from typing import Final

import msgspec

from calico.dataplane.bandwidth.bucketdriver import GONE, OUR_HANDLE, is_ours, read_links, read_qdiscs
from calico.dataplane.dumps import dump_all
from calico.errors import Transient
from calico.lib.reconcile import Plan
from calico.netlink.rtnetlink.link import Link, decode_link, delete_link, get_link, new_ifb, set_link
from calico.netlink.rtnetlink.qdisc import (
    INGRESS_HANDLE,
    TC_H_INGRESS,
    Qdisc,
    Tbf,
    delete_qdisc,
    new_ingress,
    new_tbf,
    same_tbf,
)
from calico.netlink.rtnetlink.redirect import Filter, decode_filter, delete_redirect, dump_filters, new_redirect
from calico.netlink.socket import NetlinkError, NetlinkSocket

__all__ = ["IFB_PREFIX", "PROBE", "RedirectDriver", "Redirected", "can_redirect", "ifb_name"]

IFB_PREFIX: Final = "ifbc-"
PROBE: Final = f"{IFB_PREFIX}probe"
PRIORITY: Final = 0xCA1C
"""Of our filters: after most of what others may have there."""


class Redirected(msgspec.Struct, frozen=True, kw_only=True):
    """What an ifb is for: the workload interface that leads to it (0: none does) and its bucket."""

    index: int = 0
    tbf: Tbf | None = None


def ifb_name(interface: str) -> str:
    """The name of an interface's ifb: 15 characters, the same in every run."""
    return IFB_PREFIX + hashlib.sha256(interface.encode()).hexdigest()[:10]


def can_redirect(sock: NetlinkSocket) -> bool:
    """Whether the kernel has all that it takes, tried out on a device that no packet ever meets."""
    if _is_ifb(_find(sock, PROBE)):  # an earlier run was stopped in the middle
        sock.transact([delete_link(sock.next_seq(), PROBE)])
    if sock.transact([new_ifb(sock.next_seq(), PROBE)]):
        return False
    link = _find(sock, PROBE)
    index = link.index if link is not None else 0
    failures = sock.transact([new_ingress(sock.next_seq(), index)])
    failures += sock.transact([new_redirect(sock.next_seq(), index, index, PRIORITY)])
    sock.transact([delete_link(sock.next_seq(), PROBE)])
    return not failures


class RedirectDriver:
    """Driver by name of the ifb. An ifb of ours that is not complete reads as one that nothing leads to.

    ``_led``: the index of the interface that leads to an ifb, as far as known.
    """

    def __init__(
        self, sock: NetlinkSocket, prefixes: tuple[str, ...], wanted: Callable[[], Mapping[str, Redirected]]
    ) -> None:
        self._sock = sock
        self._prefixes = prefixes
        self._wanted = wanted
        self._led: dict[str, int] = {}

    async def read(self) -> Mapping[str, Redirected]:
        links = read_links(self._sock)
        ours = {link.index: link for link in links.values() if _is_ifb(link) and link.name.startswith(IFB_PREFIX)}
        self._led = {}
        if not ours:
            return {}
        buckets: dict[int, Tbf] = {}
        led: dict[int, int] = {}
        for qdisc in read_qdiscs(self._sock):
            if is_ours(qdisc) and qdisc.tbf is not None:
                buckets[qdisc.index] = qdisc.tbf
            elif qdisc.kind == "ingress" and _is_workload(links.get(qdisc.index), self._prefixes):
                led.update((f.target, f.index) for f in self._filters(qdisc.index) if f.target in ours)
        self._led = {link.name: led[index] for index, link in ours.items() if index in led}
        return {link.name: self._told(link, led.get(link.index, 0), buckets.get(link.index)) for link in ours.values()}

    async def write(self, plan: Plan[str, Redirected]) -> Iterable[tuple[str, Exception]]:
        failed: list[tuple[str, Exception]] = []
        for name in plan.delete:
            try:
                self._remove(name)
            except NetlinkError as error:
                failed.append((name, Transient(f"removing {name}: {error}")))
        for name, redirected in plan.put.items():
            try:
                self._put(name, redirected)
            except NetlinkError as error:
                failed.append((name, Transient(f"bandwidth from the workload: {error}")))
        return failed

    def _told(self, link: Link, index: int, tbf: Tbf | None) -> Redirected:
        wanted = self._wanted().get(link.name)
        if not link.up or tbf is None or not index:
            return Redirected()
        if wanted is not None and wanted.tbf is not None and same_tbf(wanted.tbf, tbf):
            tbf = wanted.tbf
        return Redirected(index=index, tbf=tbf)

    def _put(self, name: str, redirected: Redirected) -> None:
        """The device works before anything is sent to it: a redirect to one that is down loses every packet."""
        assert redirected.tbf is not None
        link = _find(self._sock, name)
        if link is None:
            self._request(new_ifb(self._sock.next_seq(), name, up=True))
        elif not link.up:
            self._request(set_link(self._sock.next_seq(), name, up=True))
        target = link.index if link is not None else _index(self._sock, name)
        self._request(new_tbf(self._sock.next_seq(), target, OUR_HANDLE, redirected.tbf))
        before = self._led.get(name, 0)
        if before and before != redirected.index:
            self._unlead(before, target)
        filters = self._filters(redirected.index)
        if target not in {found.target for found in filters}:
            if any(found.priority == PRIORITY for found in filters):  # to a device that is gone: it eats every packet
                self._forget(delete_redirect(self._sock.next_seq(), redirected.index, PRIORITY))
            self._request(new_ingress(self._sock.next_seq(), redirected.index))
            self._request(new_redirect(self._sock.next_seq(), redirected.index, target, PRIORITY))
        self._led[name] = redirected.index

    def _remove(self, name: str) -> None:
        """Filters first: what they lead to must be there as long as they are."""
        link = _find(self._sock, name)
        if link is not None and name in self._led:
            self._unlead(self._led[name], link.index)
        self._led.pop(name, None)
        if link is not None:
            self._request(delete_link(self._sock.next_seq(), name))

    def _unlead(self, index: int, target: int) -> None:
        """Take away what leads from an interface to a device; the place for it too if nobody else uses it."""
        filters = self._filters(index)
        if not any(found.target == target for found in filters):
            return
        self._forget(delete_redirect(self._sock.next_seq(), index, PRIORITY))
        if all(found.priority == PRIORITY for found in filters):
            place = Qdisc(index=index, kind="ingress", handle=INGRESS_HANDLE, parent=TC_H_INGRESS)
            self._forget(delete_qdisc(self._sock.next_seq(), place))

    def _filters(self, index: int) -> list[Filter]:
        return [decode_filter(answer.payload) for answer in dump_all(self._sock, lambda seq: dump_filters(seq, index))]

    def _request(self, message: bytes) -> None:
        self._sock.request(message)

    def _forget(self, message: bytes) -> None:
        try:
            self._sock.request(message)
        except NetlinkError as error:
            if error.errno not in GONE:
                raise


def _is_workload(link: Link | None, prefixes: tuple[str, ...]) -> bool:
    return link is not None and link.name.startswith(prefixes)


def _is_ifb(link: Link | None) -> bool:
    return link is not None and link.kind == "ifb"


def _find(sock: NetlinkSocket, name: str) -> Link | None:
    try:
        return decode_link(sock.request(get_link(sock.next_seq(), name))[0].payload)
    except NetlinkError:
        return None


def _index(sock: NetlinkSocket, name: str) -> int:
    return decode_link(sock.request(get_link(sock.next_seq(), name))[0].payload).index
