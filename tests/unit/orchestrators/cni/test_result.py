"""Results in the shape of every version."""

from __future__ import annotations

from typing import Any

import pytest

from calico.orchestrators.cni.protocol.fault import PluginError
from calico.orchestrators.cni.protocol.request import VERSIONS
from calico.orchestrators.cni.protocol.result import (
    Interface,
    IPConfig,
    Result,
    Route,
    extend,
    parse_result,
    render_result,
)

RESULT = Result(
    interfaces=(
        Interface(name="calia", mac="ee:ee:ee:ee:ee:ee", mtu=1500),
        Interface(name="eth0", mtu=1500, sandbox="/n"),
    ),
    ips=(IPConfig(address="10.0.0.1/32", interface=1), IPConfig(address="fd00::1/128", interface=1)),
    routes=(Route(dst="0.0.0.0/0", gw="169.254.1.1"), Route(dst="::/0", gw="fe80::1", priority=7)),
    dns={"nameservers": ["192.0.2.53"]},
)
DNS = {"nameservers": ["192.0.2.53"]}
OLD: dict[str, Any] = {
    "ip4": {"ip": "10.0.0.1/32", "routes": [{"dst": "0.0.0.0/0", "gw": "169.254.1.1"}]},
    "ip6": {"ip": "fd00::1/128", "routes": [{"dst": "::/0", "gw": "fe80::1"}]},
    "dns": DNS,
}
MIDDLE: dict[str, Any] = {
    "interfaces": [{"name": "calia", "mac": "ee:ee:ee:ee:ee:ee"}, {"name": "eth0", "sandbox": "/n"}],
    "ips": [
        {"version": "4", "address": "10.0.0.1/32", "interface": 1},
        {"version": "6", "address": "fd00::1/128", "interface": 1},
    ],
    "routes": [{"dst": "0.0.0.0/0", "gw": "169.254.1.1"}, {"dst": "::/0", "gw": "fe80::1"}],
    "dns": DNS,
}
NEW = {**MIDDLE, "ips": [{k: v for k, v in ip.items() if k != "version"} for ip in MIDDLE["ips"]]}
NEWEST = {
    **NEW,
    "interfaces": [{**one, "mtu": 1500} for one in MIDDLE["interfaces"]],
    "routes": [MIDDLE["routes"][0], {**MIDDLE["routes"][1], "priority": 7}],
}
SHAPES = {
    "0.1.0": OLD, "0.2.0": OLD, "0.3.0": MIDDLE, "0.3.1": MIDDLE, "0.4.0": MIDDLE, "1.0.0": NEW, "1.1.0": NEWEST,
}  # fmt: skip


@pytest.mark.parametrize("version", VERSIONS)
def test_a_result_has_its_versions_shape(version: str) -> None:
    assert render_result(RESULT, version) == {"cniVersion": version, **SHAPES[version]}


@pytest.mark.parametrize("version", VERSIONS)
def test_a_result_is_read_back_as_far_as_its_version_can_say(version: str) -> None:
    document = render_result(RESULT, version)
    assert render_result(parse_result(document, version), version) == document


def test_what_came_before_in_the_list_comes_first_and_our_interfaces_are_counted_behind_it() -> None:
    previous = Result(interfaces=(Interface(name="lo"),), ips=(IPConfig(address="127.0.0.1/8", interface=0),))
    both = extend(previous, RESULT)
    assert [one.name for one in both.interfaces] == ["lo", "calia", "eth0"]
    assert [ip.interface for ip in both.ips] == [0, 2, 2]


def test_a_result_that_cannot_be_read_is_code_6() -> None:
    with pytest.raises(PluginError) as refused:
        parse_result({"ips": [{"address": 5}]}, "1.0.0")
    assert refused.value.code == 6
