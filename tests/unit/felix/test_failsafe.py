"""Failsafe ports as they may be written, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from calico.felix.config.failsafe import failsafe_ports, failsafe_text
from calico.felix.config.merging import merge_config
from calico.felix.config.parameters import PARAMETERS
from calico.felix.config.settings import FelixConfig
from calico.felix.host import rules_config
from calico.lib.packed import net
from calico.rules.config import FailsafePort


@pytest.mark.parametrize(
    ("text", "ports"),
    [
        ("tcp:22", (FailsafePort(6, 22),)),
        ("22", (FailsafePort(6, 22),)),
        ("UDP:53, sctp:9 ,tcp:0", (FailsafePort(17, 53), FailsafePort(132, 9), FailsafePort(6, 0))),
        ("tcp:10.0.0.0/8:22", (FailsafePort(6, 22, net("10.0.0.0/8")),)),
        ("tcp:[fd00::/8]:22", (FailsafePort(6, 22, net("fd00::/8")),)),
        ("tcp:10.1.2.3:22", (FailsafePort(6, 22, net("10.1.2.3/32")),)),
        ("tcp:22,tcp:22", (FailsafePort(6, 22),)),
        ("none", ()),
        ("None", ()),
    ],
)
def test_the_string_form(text: str, ports: tuple[FailsafePort, ...]) -> None:
    assert failsafe_ports(text) == ports


def test_the_form_of_objects() -> None:
    written = [{"protocol": "TCP", "port": 22}, {"protocol": "udp", "port": 68, "net": "fd00::/8"}]
    assert failsafe_ports(written) == (FailsafePort(6, 22), FailsafePort(17, 68, net("fd00::/8")))
    assert failsafe_ports([]) == ()


@pytest.mark.parametrize(
    "value",
    [
        "icmp:1",
        "tcp:65536",
        "tcp",
        "tcp:22:10.0.0.0/8",
        "tcp:fd00::/8:22",
        "tcp:[10.0.0.0/8]:22",
        "tcp:10.0.0.0/33:22",
        "tcp:10.0.0/8:22",
        "none,tcp:22",
        "tcp:-1",
        [{"port": 22}],
        [{"protocol": "TCP", "port": "22"}],
        22,
        [{"protocol": "ICMP", "port": 22}],
        [{"protocol": "TCP", "port": 22, "net": "10.0.0.0/x"}],
        [{"protocol": "TCP", "port": -1}],
        ["tcp:22"],
    ],
)
def test_what_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match=r"."):
        failsafe_ports(value)


@pytest.mark.parametrize(
    ("name", "attribute", "text"),
    [
        (
            "FailsafeInboundHostPorts",
            "failsafe_in",
            "tcp:22,udp:68,tcp:179,tcp:2379,tcp:2380,tcp:5473,tcp:6443,tcp:6666,tcp:6667",
        ),
        (
            "FailsafeOutboundHostPorts",
            "failsafe_out",
            "udp:53,udp:67,tcp:179,tcp:2379,tcp:2380,tcp:5473,tcp:6443,tcp:6666,tcp:6667",
        ),
    ],
)
def test_the_defaults_are_those_of_the_data_model(name: str, attribute: str, text: str) -> None:
    assert getattr(FelixConfig(), attribute) == failsafe_ports(text)
    assert failsafe_text(getattr(FelixConfig(), attribute)) == text
    (parameter,) = [parameter for parameter in PARAMETERS if parameter.key == name]
    assert parameter.effect == "restart"


def test_a_later_source_replaces_the_whole_list_and_an_empty_list_is_one() -> None:
    merged = merge_config(
        [
            ("FelixConfiguration default", {"failsafeInboundHostPorts": [], "failsafeOutboundHostPorts": []}),
            ("environment", {"FAILSAFEOUTBOUNDHOSTPORTS": "udp:53"}),
        ]
    )
    config, problems = merged.settings, merged.refused
    assert (config.failsafe_in, config.failsafe_out, problems) == ((), (FailsafePort(17, 53),), {})


def test_the_two_lowest_bits_of_the_mask_are_the_marks() -> None:
    config = rules_config(FelixConfig(mark_mask=0x00A40000))
    assert (config.pass_mark, config.accept_mark) == (0x00040000, 0x00200000)
