"""Limits of endpoints: quantities, annotations, and what becomes of limits that mean nothing."""

from __future__ import annotations

import json

import pytest

from calico.errors import InvalidInput
from calico.model.codec import decode, encode, merge_unknown, unknown_fields
from calico.model.keys import ResourceKey
from calico.model.qos import QoSControls, annotated_controls, completed, control_faults
from calico.model.quantity import parse_quantity
from calico.model.workload import WorkloadEndpoint

KEY = ResourceKey("WorkloadEndpoint", "ns", "h1-cni-a-eth0")


def read(controls: object) -> tuple[WorkloadEndpoint, tuple[str, ...]]:
    decoded = decode(KEY, json.dumps({"spec": {"node": "h1", "qosControls": controls}}).encode())
    assert isinstance(decoded.resource, WorkloadEndpoint)
    return decoded.resource, decoded.problems


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("10M", 10_000_000),
        ("1Gi", 1 << 30),
        ("1500", 1500),
        ("1.5k", 1500),
        (".5M", 500_000),
        ("2e6", 2_000_000),
        ("1E", 10**18),
        ("1E3", 1000),
        ("100m", 1),
        ("3.", 3),
        ("+1k", 1000),
        ("-1", -1),
    ],
)
def test_a_quantity_is_a_number_with_a_suffix(text: str, value: int) -> None:
    assert parse_quantity(text) == value


@pytest.mark.parametrize("text", ["", "M", "10 M", "10MB", "ten", "1e", "0x10", ".", "1e999", "1ki", "٣"])
def test_what_is_no_quantity_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        parse_quantity(text)


def test_annotations_say_what_the_fields_say_and_ours_win_over_those_of_kubernetes() -> None:
    controls, problems = annotated_controls(
        {
            "qos.projectcalico.org/ingressBandwidth": "10M",
            "kubernetes.io/ingress-bandwidth": "20M",
            "kubernetes.io/egress-bandwidth": "30M",
            "qos.projectcalico.org/egressMaxConnections": "7",
            "qos.projectcalico.org/dscp": "af11",
            "qos.projectcalico.org/unknown": "5",
        }
    )
    assert problems == ()
    assert controls == QoSControls(
        ingress_bandwidth=10_000_000, egress_bandwidth=30_000_000, egress_max_connections=7, dscp="AF11"
    )


def test_an_annotation_that_cannot_be_read_is_left_out_and_named() -> None:
    controls, problems = annotated_controls(
        {"qos.projectcalico.org/ingressPacketRate": "fast", "qos.projectcalico.org/egressPacketRate": "5"}
    )
    assert controls == QoSControls(egress_packet_rate=5)
    assert len(problems) == 1
    assert "qos.projectcalico.org/ingressPacketRate" in problems[0]


def test_fields_win_over_what_completes_them_also_where_they_say_dscp_0() -> None:
    more = QoSControls(ingress_bandwidth=1, egress_burst=2, dscp="EF")
    assert completed(QoSControls(ingress_bandwidth=5, dscp=0), more) == QoSControls(
        ingress_bandwidth=5, egress_burst=2, dscp=0
    )
    assert completed(QoSControls(), more) == more


def test_every_limit_has_bounds_and_a_peak_is_above_its_rate() -> None:
    sound = QoSControls(ingress_bandwidth=1000, ingress_peakrate=1010, egress_packet_burst=10000, dscp=63)
    assert list(control_faults(sound)) == []
    bad = QoSControls(
        ingress_bandwidth=10**15 + 1,
        egress_bandwidth=2000,
        egress_peakrate=2000,
        ingress_minburst=999,
        egress_packet_rate=10001,
        egress_max_connections=2**32,
        dscp=64,
    )
    assert {name for name, _ in control_faults(bad)} == {
        "ingress_bandwidth",
        "egress_peakrate",
        "ingress_minburst",
        "egress_packet_rate",
        "egress_max_connections",
        "dscp",
    }


def test_stored_limits_of_the_wrong_type_cost_themselves_only() -> None:
    endpoint, problems = read({"ingressBandwidth": "10M", "egressPacketRate": 7, "dscp": [1], "newer": {"a": 1}})
    assert endpoint.spec.node == "h1"
    assert endpoint.spec.qos_controls == QoSControls(egress_packet_rate=7)
    assert sorted(problem.partition(":")[0] for problem in problems) == [
        "spec.qosControls.dscp",
        "spec.qosControls.ingressBandwidth",
    ]


def test_an_endpoint_damaged_elsewhere_too_is_not_saved_by_dropping_limits() -> None:
    raw = json.dumps({"spec": {"qosControls": {"dscp": [1]}, "ipNetworks": 5}}).encode()
    assert decode(KEY, raw).resource is None


def test_limits_of_newer_versions_survive_a_read_modify_write() -> None:
    raw = json.dumps({"spec": {"node": "h1", "qosControls": {"ingressBandwidth": 1000, "newer": {"a": 1}}}}).encode()
    endpoint = decode(KEY, raw).resource
    assert endpoint is not None
    written = json.loads(merge_unknown(raw, encode(endpoint)))
    assert written["spec"]["qosControls"] == {"ingressBandwidth": 1000, "newer": {"a": 1}}


def test_a_typo_in_a_limit_is_found() -> None:
    assert unknown_fields({"spec": {"qosControls": {"speed": 5}}}, WorkloadEndpoint) == ["spec.qosControls.speed"]


@pytest.mark.parametrize(("given", "stored"), [("ef", "EF"), ("46", 46), (0, 0), ("nonsense", "nonsense")])
def test_a_dscp_is_stored_in_one_spelling(given: object, stored: object) -> None:
    endpoint, problems = read({"dscp": given})
    assert problems == ()
    assert json.loads(encode(endpoint))["spec"]["qosControls"] == {"dscp": stored}
