"""How bandwidth becomes token buckets."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from calico.calc.messages import QoS
from calico.dataplane.bandwidth.shaping import UNSHAPED, Shape, shape_of
from calico.netlink.rtnetlink.qdisc import Tbf, decode_qdisc, new_tbf
from calico.netlink.wire import iter_messages


def test_without_bandwidth_nothing_is_shaped() -> None:
    assert shape_of(None, 1500) == UNSHAPED
    assert not shape_of(QoS(ingress_packet_rate=5, ingress_packet_burst=5, dscp=3), 1500)


def test_bits_become_bytes_and_25_ms_may_wait() -> None:
    qos = QoS(
        ingress_bandwidth=800_000_000,
        ingress_burst=8_000_000,
        ingress_peakrate=1_600_000_000,
        ingress_minburst=3000,
        egress_bandwidth=8_000_000,
        egress_burst=4294967296,
    )
    assert shape_of(qos, 1500) == Shape(
        Tbf(rate=100_000_000, burst=1_000_000, limit=2_500_000, peakrate=200_000_000, minburst=3000),
        Tbf(rate=1_000_000, burst=536870912, limit=131072),
    )


def test_a_bucket_holds_at_least_one_packet_of_the_interface() -> None:
    qos = QoS(ingress_bandwidth=8000, ingress_burst=1000, ingress_peakrate=80_000)
    assert shape_of(qos, 9000).ingress == Tbf(rate=1000, burst=9018, limit=131072, peakrate=10_000, minburst=9018)


def test_a_peak_that_is_no_more_than_the_rate_in_bytes_is_none() -> None:
    qos = QoS(egress_bandwidth=8000, egress_burst=80_000, egress_peakrate=8007)
    assert shape_of(qos, 1500).egress == Tbf(rate=1000, burst=10_000, limit=131072)


@given(
    st.integers(1000, 10**15),
    st.integers(1000, 34359738360),
    st.just(0) | st.integers(1010, 1010 * 10**12),
    st.just(0) | st.integers(1000, 10**8),
)
def test_whatever_is_within_bounds_can_be_told_to_the_kernel(rate: int, burst: int, peak: int, minburst: int) -> None:
    qos = QoS(ingress_bandwidth=rate, ingress_burst=burst, ingress_peakrate=peak, ingress_minburst=minburst)
    tbf = shape_of(qos, 1500).ingress
    assert tbf is not None
    (message,) = iter_messages(new_tbf(1, 2, 3, tbf))
    assert decode_qdisc(message.payload).tbf == tbf
