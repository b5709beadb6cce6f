"""How an endpoint's bandwidth becomes token buckets. Pure."""

from __future__ import annotations

from typing import Final

import msgspec

from calico.calc.messages import QoS
from calico.netlink.rtnetlink.qdisc import Tbf

__all__ = ["UNSHAPED", "Shape", "shape_of"]

_ETHERNET_HEADER: Final = 18
"""With a VLAN tag."""

_QUEUES_PER_S: Final = 40
_LEAST_QUEUE: Final = 2 * 65536
"""Two segments before they are cut for the wire (GSO): a bucket refuses what does not fit its queue."""

_U32: Final = (1 << 32) - 1


class Shape(msgspec.Struct, frozen=True):
    """What shapes the packets towards a workload (``ingress``) and from it; None: nothing does."""

    ingress: Tbf | None = None
    egress: Tbf | None = None

    def __bool__(self) -> bool:
        return self.ingress is not None or self.egress is not None


UNSHAPED: Final = Shape()


def shape_of(qos: QoS | None, mtu: int) -> Shape:
    """The buckets for limits at an interface."""
    if qos is None:
        return UNSHAPED
    return Shape(
        _tbf(qos.ingress_bandwidth, qos.ingress_burst, qos.ingress_peakrate, qos.ingress_minburst, mtu),
        _tbf(qos.egress_bandwidth, qos.egress_burst, qos.egress_peakrate, qos.egress_minburst, mtu),
    )


def _tbf(bandwidth: int, burst: int, peakrate: int, minburst: int, mtu: int) -> Tbf | None:
    """25 ms of the rate may wait. A bucket holds at least one packet: the kernel drops what a bucket never holds."""
    rate, peak, packet = bandwidth // 8, peakrate // 8, mtu + _ETHERNET_HEADER
    if not rate:
        return None
    if peak <= rate:
        peak = 0
    return Tbf(
        rate=rate,
        burst=min(max(burst // 8, packet), _U32),
        limit=min(max(rate // _QUEUES_PER_S, _LEAST_QUEUE), _U32),
        peakrate=peak,
        minburst=max(minburst, packet) if peak else 0,
    )
