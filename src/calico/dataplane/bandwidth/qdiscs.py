"""Bandwidth of workloads: a token bucket at the workload's interface for what goes to the workload, and for what comes
from it one at an ifb of its own, to which everything that enters the interface is redirected.

Ours is a root with our handle on an interface of a workload, an ifb whose name has our prefix, and filters of our
priority that lead to one. Queueing disciplines and filters of others are never replaced or removed; where they are in
the way, the endpoint says so.
"""

from __future__ import annotations

from collections.abc import Mapping

import structlog

from calico.dataplane.bandwidth.bucketdriver import BucketDriver, read_links
from calico.dataplane.bandwidth.redirectdriver import RedirectDriver, Redirected, can_redirect, ifb_name
from calico.dataplane.bandwidth.shaping import Shape
from calico.dataplane.drift import Drift, OnDrift, at_once
from calico.dataplane.interfaces import Interface
from calico.errors import CalicoError
from calico.lib.reconcile import Reconciler
from calico.netlink.rtnetlink.qdisc import Tbf
from calico.netlink.socket import NetlinkSocket

__all__ = ["QdiscTable"]

log = structlog.get_logger(__name__)


class QdiscTable:
    """Desired shapes by interface. The kernel drops all but the ifb of an interface that goes away."""

    def __init__(
        self, sock: NetlinkSocket, *, prefixes: tuple[str, ...] = ("cali",), on_drift: OnDrift = at_once
    ) -> None:
        """``prefixes``: how names of workload interfaces begin."""
        self._sock = sock
        self._on_drift = on_drift
        self._ifbs: dict[int, str] = {}
        buckets = BucketDriver(sock, prefixes, lambda: self._buckets.desired)
        self._buckets: Reconciler[int, Tbf] = Reconciler(buckets)
        redirects = RedirectDriver(sock, prefixes, lambda: self._redirects.desired)
        self._redirects: Reconciler[str, Redirected] = Reconciler(redirects)
        self._names: dict[int, str] = {}
        self._can_redirect: bool | None = None

    def can_shape_egress(self) -> bool:
        """Whether this kernel can redirect to an ifb; tried out once, when it is first asked."""
        if self._can_redirect is None:
            try:
                self._can_redirect = can_redirect(self._sock)
            except CalicoError as error:
                log.warning("redirection was not tried out", error=str(error))
                self._can_redirect = False
        return self._can_redirect

    def want(self, name: str, index: int, shape: Shape) -> None:
        """The shape of an interface that exists now. Without redirection what comes from the workload is left alone."""
        self._names[index] = name
        if shape.ingress is not None:
            self._buckets.want(index, shape.ingress)
        else:
            self._buckets.unwant(index)
        if shape.egress is not None and self.can_shape_egress():
            self._redirects.want(ifb_name(name), Redirected(index=index, tbf=shape.egress))
        else:
            self._redirects.unwant(ifb_name(name))

    def unwant(self, name: str, index: int) -> None:
        """The interface is gone, or is to be unshaped."""
        self._buckets.unwant(index)
        redirected = self._redirects.desired.get(ifb_name(name))
        if redirected is not None and redirected.index == index:
            self._redirects.unwant(ifb_name(name))
        self._names.pop(index, None)

    def on_ifb(self, name: str, interface: Interface | None) -> None:
        """An ifb with a name of ours changed, appeared or (None) went."""
        self._ifbs = {index: known for index, known in self._ifbs.items() if known != name}
        if interface is not None:
            self._ifbs[interface.index] = name
        if (
            (interface is None or not interface.up)
            and name in self._redirects.desired
            and self._redirects.is_right(name)
        ):
            what = "removed" if interface is None else "set down"
            self._on_drift(Drift("qdiscs", name, what), self.resync)

    def on_traffic_control(self, index: int, port: int) -> None:
        """Somebody changed a queueing discipline or filter of an interface through a netlink port."""
        name = self._names.get(index) or self._ifbs.get(index)
        if name is None or port in (0, self._sock.port) or not (self._buckets.desired or self._redirects.desired):
            return
        self._on_drift(Drift("qdiscs", name, "changed", port), self.resync)

    async def found(self) -> list[str]:
        """What the kernel has of ours, by name: ifb devices, and others that have a bucket."""
        links = read_links(self._sock)
        ifbs = await self._redirects.look()
        buckets = [links[index].name for index in await self._buckets.look() if index in links]
        return sorted({*ifbs, *buckets})

    @property
    def repaired(self) -> set[str]:
        """What the last apply put right that others had changed."""
        return {self._names.get(index, "?") for index in self._buckets.repaired} | self._redirects.repaired

    def resync(self) -> None:
        """Read what the kernel has at the next apply."""
        self._buckets.resync()
        self._redirects.resync()

    async def apply(self) -> Mapping[str, str]:
        """Bring the kernel to what is wanted; returns what failed: interface → sentence, tried again next time."""
        failed: dict[str, list[str]] = {}
        for index, error in await self._buckets.apply():
            failed.setdefault(self._names.get(index, ""), []).append(str(error))
        by_ifb = {ifb_name(name): name for name in self._names.values()} if self._redirects.desired else {}
        for ifb, error in await self._redirects.apply():
            failed.setdefault(by_ifb.get(ifb, ""), []).append(str(error))
        return {name: "; ".join(texts) for name, texts in failed.items()}
