"""What is asked of the plugin, and the specification's codes for what cannot be."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calico.orchestrators.cni.protocol.fault import PluginError
from calico.orchestrators.cni.protocol.request import parse_request

ADD = {"CNI_COMMAND": "ADD", "CNI_CONTAINERID": "c1", "CNI_NETNS": "/n", "CNI_IFNAME": "eth0", "CNI_PATH": "/bin"}


def config(**fields: Any) -> bytes:
    return json.dumps({"cniVersion": "1.0.0", "name": "net", "type": "calico", **fields}).encode()


def test_an_add_is_read_whole() -> None:
    environment = {**ADD, "CNI_ARGS": "IgnoreUnknown=1;NOTE=web=1;;IP=10.0.0.1", "CNI_PATH": "/a:/b"}
    request = parse_request(environment, config(ipam={"type": "calico-ipam", "assign_ipv6": "true"}))
    assert (request.command, request.container_id, request.interface) == ("ADD", "c1", "eth0")
    assert request.arguments == {"IgnoreUnknown": "1", "NOTE": "web=1", "IP": "10.0.0.1"}
    assert request.path == ("/a", "/b")
    assert (request.config.ipam.wants_v4, request.config.ipam.wants_v6) == (True, True)


def test_a_name_of_a_pod_without_a_namespace_is_podmans_and_may_be_any() -> None:
    request = parse_request({**ADD, "CNI_ARGS": "IgnoreUnknown=1;K8S_POD_NAME=Web_1"}, config())
    assert request.arguments["K8S_POD_NAME"] == "Web_1"
    with pytest.raises(PluginError, match="Web_1"):
        parse_request({**ADD, "CNI_ARGS": "K8S_POD_NAME=Web_1;K8S_POD_NAMESPACE=ns"}, config())


@pytest.mark.parametrize(
    "fields",
    [{"mtu": -1}, {"mtu": "much"}, {"datastore_type": "kdd"}, {"ipam": {"type": "calico-ipam", "subnet": "x"}}],
)
def test_what_is_wrong_in_a_network_hinders_no_removal(fields: dict[str, Any]) -> None:
    with pytest.raises(PluginError):
        parse_request(ADD, config(**fields))
    removal = parse_request({**ADD, "CNI_COMMAND": "DEL"}, config(nodename="n1", **fields))
    assert (removal.config.name, removal.config.nodename, removal.config.is_own_ipam) == ("net", "n1", True)


@pytest.mark.parametrize(
    ("change", "code", "names"),
    [
        ({"CNI_COMMAND": ""}, 4, "CNI_COMMAND"),
        ({"CNI_COMMAND": "FROB"}, 4, "FROB"),
        ({"CNI_CONTAINERID": "", "CNI_NETNS": ""}, 4, "CNI_CONTAINERID,CNI_NETNS"),
        ({"CNI_CONTAINERID": "../x"}, 4, "../x"),
        ({"CNI_CONTAINERID": "-x"}, 4, "-x"),
        ({"CNI_IFNAME": "sixteencharacter"}, 4, "sixteencharacter"),
        ({"CNI_IFNAME": "a/b"}, 4, "a/b"),
        ({"CNI_IFNAME": ".."}, 4, ".."),
        ({"CNI_IFNAME": "a b"}, 4, "a b"),
        ({"CNI_ARGS": "nonsense"}, 4, "nonsense"),
        ({"CNI_PATH": ""}, 4, "CNI_PATH"),
    ],
)
def test_a_wrong_environment_is_code_4_and_named(change: dict[str, str], code: int, names: str) -> None:
    with pytest.raises(PluginError) as refused:
        parse_request({**ADD, **change}, config())
    assert refused.value.code == code
    assert names in refused.value.message


@pytest.mark.parametrize(
    ("stdin", "code", "names"),
    [
        (b"", 6, "network configuration"),
        (b"{", 6, "network configuration"),
        (b"[]", 7, "object"),
        (config(cniVersion="9.9.9"), 1, "incompatible"),
        (config(name=""), 7, "name of the network"),
        (config(name="a/b"), 7, "a/b"),
        (config(mtu="big"), 7, "mtu"),
        (config(mtu=-1), 7, "mtu"),
        (config(device_type="netkit"), 2, "'netkit'"),
        (config(ipam={"subnet": "usePodCidr"}), 2, "'usePodCidr'"),
        (config(ipam={"assign_ipv4": "perhaps"}), 7, "'perhaps'"),
        (config(ipam={"assign_ipv4": "false"}), 7, "both false"),
    ],
)
def test_a_wrong_configuration_has_the_code_of_its_fault_and_names_it(stdin: bytes, code: int, names: str) -> None:
    with pytest.raises(PluginError) as refused:
        parse_request(ADD, stdin)
    assert refused.value.code == code
    assert names in refused.value.message + refused.value.details


@pytest.mark.parametrize(
    ("command", "version", "ok"),
    [
        ("CHECK", "0.3.1", False),
        ("CHECK", "0.4.0", True),
        ("GC", "1.0.0", False),
        ("GC", "1.1.0", True),
        ("STATUS", "1.0.0", False),
        ("STATUS", "1.1.0", True),
        ("DEL", "0.1.0", True),
    ],
)
def test_a_command_is_as_old_as_the_specification_has_it(command: str, version: str, ok: bool) -> None:
    environment = {**ADD, "CNI_COMMAND": command}
    if ok:
        assert parse_request(environment, config(cniVersion=version)).command == command
        return
    with pytest.raises(PluginError) as refused:
        parse_request(environment, config(cniVersion=version))
    assert refused.value.code == 1


def test_commands_need_no_more_than_the_specification_says() -> None:
    for command in ("GC", "STATUS"):
        parse_request({"CNI_COMMAND": command, "CNI_PATH": "/bin"}, config(cniVersion="1.1.0"))
    parse_request({k: v for k, v in {**ADD, "CNI_COMMAND": "DEL"}.items() if k != "CNI_NETNS"}, config())
    assert parse_request({"CNI_COMMAND": "VERSION"}, b"").command == "VERSION"


def test_a_configuration_without_a_version_has_the_oldest() -> None:
    assert parse_request(ADD, b'{"name": "net"}').version == "0.1.0"


@given(st.binary(max_size=200), st.dictionaries(st.sampled_from(sorted(ADD)), st.text(max_size=20)))
def test_nothing_but_a_plugin_error_comes_of_any_bytes(stdin: bytes, environment: dict[str, str]) -> None:
    try:
        parse_request({**ADD, **environment}, stdin)
    except PluginError:
        pass
