import pytest

from calico.errors import InvalidInput
from calico.lab.probe.flow import Interval, intervals
from calico.lab.probe.matrix import Target, parse_service, plan_probes

A = Target(name="a", netns="x", addresses=("10.0.0.1", "fd00::1"))
B = Target(name="b", netns="y", addresses=("10.0.0.2",))
C = Target(name="c", netns="z", addresses=("10.0.0.3", "fd00::3"))


def test_every_ordered_pair_is_asked_in_each_family_that_both_have():
    asked = {(p.src, p.dst, p.family) for p in plan_probes([A, B, C], [("TCP", 80)])}
    both = {("a", "b"), ("a", "c"), ("b", "a"), ("b", "c"), ("c", "a"), ("c", "b")}
    assert asked == {(s, d, 4) for s, d in both} | {("a", "c", 6), ("c", "a", 6)}


def test_sources_and_destinations_narrow_the_matrix():
    asked = list(plan_probes([A, B, C], [("ICMP", None)], (4,), sources=["a"], destinations=["b"]))
    assert [(p.src, p.dst, p.protocol, p.port) for p in asked] == [("a", "b", "ICMP", None)]


@pytest.mark.parametrize(
    ("text", "service"),
    [
        ("tcp:80", ("TCP", 80)),
        ("UDP:53", ("UDP", 53)),
        ("sctp:9", ("SCTP", 9)),
        ("icmp", ("ICMP", None)),
        ("443", ("TCP", 443)),
        ("udp", ("UDP", 80)),
    ],
)
def test_a_service_is_a_protocol_and_a_port(text, service):
    assert parse_service(text) == service


@pytest.mark.parametrize("text", ["gre", "tcp:0", "tcp:70000", "tcp:http", "icmp:8", "", ":"])
def test_what_is_no_service_is_refused(text):
    with pytest.raises(InvalidInput):
        parse_service(text)


def test_a_loss_is_told_from_its_first_packet_to_its_last():
    times = [0.0, 0.1, 0.2, 0.3, 0.4]
    assert intervals(times, {0, 3}, passed=False) == (Interval(0.1, 0.2, 2), Interval(0.4, 0.4, 1))
    assert intervals(times, {0, 3}, passed=True) == (Interval(0.0, 0.0, 1), Interval(0.3, 0.3, 1))


def test_a_flow_without_loss_has_no_interval():
    assert intervals([0.0, 0.1], {0, 1}, passed=False) == ()
