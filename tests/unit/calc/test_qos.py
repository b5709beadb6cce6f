"""What an endpoint's host is told of its limits."""

from __future__ import annotations

from calico.calc.messages import QoS
from calico.calc.qos import decode_qos
from calico.model.qos import QoSControls


def test_an_endpoint_without_limits_has_none() -> None:
    assert decode_qos(None, {}) == (None, ())
    assert decode_qos(QoSControls(), {"other": "x"}) == (None, ())


def test_rates_have_the_default_bursts() -> None:
    qos, problems = decode_qos(QoSControls(ingress_bandwidth=1000, egress_packet_rate=10), {})
    assert problems == ()
    assert qos == QoS(ingress_bandwidth=1000, ingress_burst=4294967296, egress_packet_rate=10, egress_packet_burst=5)


def test_what_has_no_effect_without_another_limit_is_not_told() -> None:
    without = QoSControls(ingress_burst=5000, ingress_peakrate=9000, egress_minburst=2000, egress_packet_burst=7)
    assert decode_qos(without, {}) == (None, ())
    given = QoSControls(egress_bandwidth=5000, egress_peakrate=9000, egress_burst=1000, egress_minburst=2000)
    assert decode_qos(given, {})[0] == QoS(
        egress_bandwidth=5000, egress_peakrate=9000, egress_burst=1000, egress_minburst=2000
    )


def test_a_peak_rate_without_its_bucket_has_the_least() -> None:
    qos, _ = decode_qos(QoSControls(egress_bandwidth=5000, egress_burst=1000, egress_peakrate=9000), {})
    assert qos == QoS(egress_bandwidth=5000, egress_burst=1000, egress_peakrate=9000, egress_minburst=0)


def test_a_limit_out_of_bounds_is_left_out_and_named_and_the_others_hold() -> None:
    qos, problems = decode_qos(QoSControls(ingress_bandwidth=999, ingress_max_connections=3, dscp="XX"), {})
    assert qos == QoS(ingress_max_connections=3)
    assert [problem.partition(":")[0] for problem in problems] == [
        "spec.qosControls.ingressBandwidth",
        "spec.qosControls.dscp",
    ]
    assert all("999" in problem or "XX" in problem for problem in problems)


def test_annotations_of_the_endpoint_count_where_qos_controls_say_nothing() -> None:
    annotations = {
        "qos.projectcalico.org/ingressBandwidth": "5M",
        "qos.projectcalico.org/egressPacketRate": "9",
        "qos.projectcalico.org/dscp": "EF",
    }
    qos, problems = decode_qos(QoSControls(ingress_bandwidth=1000), annotations)
    assert problems == ()
    assert qos is not None
    assert (qos.ingress_bandwidth, qos.egress_packet_rate, qos.dscp) == (1000, 9, 46)


def test_dscp_0_is_a_mark() -> None:
    qos, _ = decode_qos(QoSControls(dscp="DF"), {})
    assert qos == QoS(dscp=0)
