"""What callers and other writers can hand the plugin: it is named, never a crash, and reaches nobody else's keys."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from calico.orchestrators.cni.commands.plugin import failure
from calico.orchestrators.cni.host.records import Record, Records
from calico.orchestrators.cni.protocol.fault import PluginError
from calico.orchestrators.cni.protocol.netconf import decode_config
from calico.orchestrators.cni.protocol.request import parse_request
from calico.orchestrators.cni.protocol.result import parse_result
from calico.orchestrators.cni.workload.names import Attached

ENVIRONMENT = {
    "CNI_COMMAND": "DEL",
    "CNI_CONTAINERID": "c1",
    "CNI_IFNAME": "eth0",
    "CNI_PATH": "/opt/cni/bin",
}
BASE = {"cniVersion": "1.0.0", "name": "net", "type": "calico"}


@pytest.mark.parametrize("raw", [b"[" * 200_000, b'{"cniVersion":"1.0.0","name":"net","x":"\xff"}', b""])
def test_input_that_is_no_json_is_code_6_in_an_answer_that_can_be_written(raw: bytes) -> None:
    with pytest.raises(PluginError) as caught:
        parse_request(ENVIRONMENT, raw)
    assert caught.value.code == 6
    assert json.loads(failure(caught.value, raw).out)["code"] == 6


def test_an_error_about_a_path_that_is_no_utf8_is_told() -> None:
    told = json.loads(failure(PluginError(3, "CNI_NETNS /run/\udcff"), b"{}").out)
    assert told["msg"] == "CNI_NETNS /run/\\udcff"


@pytest.mark.parametrize("name", ["K8S_POD_NAME", "K8S_POD_NAMESPACE"])
@pytest.mark.parametrize("value", ["a/b", "../x", "A", "a b", "\udcff", "a" * 254])
def test_a_pod_whose_name_would_lead_to_other_keys_is_refused(name: str, value: str) -> None:
    names = {"K8S_POD_NAME": "web", "K8S_POD_NAMESPACE": "shop", name: value}
    arguments = ";".join(f"{key}={text}" for key, text in names.items())
    with pytest.raises(PluginError, match=name) as caught:
        parse_request({**ENVIRONMENT, "CNI_ARGS": arguments}, json.dumps(BASE).encode())
    assert caught.value.code == 4


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"nodename": "a/b"}, "nodename"),
        ({"policy_setup_timeout_seconds": 1e300}, "policy_setup_timeout_seconds"),
        ({"policy_setup_timeout_seconds": -1}, "policy_setup_timeout_seconds"),
    ],
)
def test_a_configuration_that_leads_elsewhere_or_waits_for_ever_is_refused(
    change: dict[str, object], named: str
) -> None:
    with pytest.raises(PluginError, match=named) as caught:
        decode_config(json.dumps({**BASE, **change}).encode())
    assert caught.value.code == 7


def test_null_in_a_configuration_is_nothing_said() -> None:
    nulls = {"ipam": {"type": "calico-ipam", "ipv4_pools": None}, "runtimeConfig": {"ips": None}, "policy": None}
    assert decode_config(json.dumps({**BASE, **nulls, "args": None}).encode()).asked_addresses == ()


@pytest.mark.parametrize(
    ("document", "version"),
    [({"cniVersion": "abc"}, "1.0.0"), ({"cniVersion": [1]}, "1.0.0"), ({"ip4": "x"}, "0.2.0"), ({"ips": 1}, "1.0.0")],
)
def test_a_result_that_cannot_be_read_is_code_6(document: dict[str, object], version: str) -> None:
    with pytest.raises(PluginError) as caught:
        parse_result(document, version)
    assert caught.value.code == 6


@pytest.mark.parametrize("damage", [b'{"attached":{"network":"\xff"}}', b"[" * 200_000, b""])
def test_a_damaged_record_hides_no_other(tmp_path: Path, damage: bytes) -> None:
    record = Record(
        attached=Attached(network="n", container_id="c", interface="eth0", node="h"), host_interface="cali1"
    )
    records = Records(tmp_path)
    records.write(record)
    (tmp_path / "0.json").write_bytes(damage)
    assert list(records.all()) == [record]
