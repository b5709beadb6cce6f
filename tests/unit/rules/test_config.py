"""A configuration that would make the ruleset match what it must not is refused."""

from __future__ import annotations

import re
import socket
from pathlib import Path

import pytest

from calico.errors import InvalidInput
from calico.netlink.nftables.expr import Limit
from calico.rules.config import RulesConfig


@pytest.mark.parametrize("prefixes", [(), ("",), ("cali", ""), ("a" * 16,), ("ca\0li",)])
def test_prefixes_must_be_beginnings_of_interface_names(prefixes: tuple[str, ...]) -> None:
    with pytest.raises(InvalidInput, match="interface_prefixes"):
        RulesConfig(interface_prefixes=prefixes)


@pytest.mark.parametrize("mark", [0, 3, -1, 1 << 32])
def test_the_pass_mark_is_exactly_one_bit(mark: int) -> None:
    with pytest.raises(InvalidInput, match="pass_mark"):
        RulesConfig(pass_mark=mark)


@pytest.mark.parametrize("prefixes", [("c",), ("a" * 15,), ("é" * 7,), ("cali", "tap")])
def test_a_prefix_may_be_as_long_as_the_name_of_an_interface(prefixes: tuple[str, ...]) -> None:
    assert RulesConfig(interface_prefixes=prefixes).is_workload(prefixes[0])


def test_a_prefix_is_measured_in_bytes() -> None:
    with pytest.raises(InvalidInput) as refused:
        RulesConfig(interface_prefixes=("é" * 8,))
    assert refused.value.field == "interface_prefixes"


@pytest.mark.parametrize("field", ["pass_mark", "accept_mark"])
def test_a_mark_is_any_one_bit_of_32(field: str) -> None:
    for bit in range(32):
        other = {"accept_mark": 1 << (bit + 1) % 32, "pass_mark": 1 << (bit + 1) % 32}
        RulesConfig(**{**other, field: 1 << bit})
    for mark in (0, 3, 6, 0x80000001, -1, 1 << 32):
        with pytest.raises(InvalidInput) as refused:
            RulesConfig(**{field: mark})
        assert refused.value.field == field


def test_the_two_marks_are_different_bits() -> None:
    with pytest.raises(InvalidInput) as refused:
        RulesConfig(pass_mark=4, accept_mark=4)
    assert refused.value.field == "accept_mark"


def test_without_a_prefix_no_interface_would_be_a_workloads() -> None:
    with pytest.raises(InvalidInput) as refused:
        RulesConfig(interface_prefixes=())
    assert refused.value.field == "interface_prefixes"


def test_the_interface_of_nat_is_a_name_or_none() -> None:
    for name in ("", "e", "eth+", "a" * 15, "X"):
        assert RulesConfig(nat_interface=name).nat_interface == name
    for name in ("a" * 16, "é" * 8, "eth\0"):
        with pytest.raises(InvalidInput, match="nat_interface"):
            RulesConfig(nat_interface=name)


NAMES = [("e", True), ("a" * 15, True), ("a" * 16, False), ("é" * 8, False), ("", False), ("eth\0", False)]


@pytest.mark.parametrize(("rest", "is_name"), NAMES)
def test_an_interface_is_a_workloads_or_the_hosts_if_its_name_is_one(rest: str, is_name: bool) -> None:
    config = RulesConfig(interface_prefixes=("a", "e", "é"))
    assert config.is_workload(rest) == is_name
    assert not config.is_hosts(rest)
    other = RulesConfig(interface_prefixes=("cali",))
    assert other.is_hosts(rest) == is_name
    assert not other.is_workload(rest)


def test_the_loopback_is_never_a_host_endpoint() -> None:
    assert not RulesConfig().is_hosts("lo")
    assert RulesConfig().is_hosts("lo0")


HOWTO = Path(__file__).parents[3] / "docs/howto/host-endpoints.md"


def ports(text: str) -> set[tuple[int, int]]:
    """Ports as people write them: (tcp 22), (udp 68), (tcp 1, 2)."""
    numbers = {"tcp": socket.IPPROTO_TCP, "udp": socket.IPPROTO_UDP}
    found = re.findall(r"(tcp|udp) (\d+(?:,\s+\d+)*)", text)
    return {(numbers[kind], int(port)) for kind, each in found for port in each.split(",")}


def test_what_stays_open_unless_configured_is_what_the_howto_tells_operators() -> None:
    (accepted, sent) = re.search(r"(?s)accepts? (.*?), and may send (.*?)\. Does", HOWTO.read_text()).groups()  # type: ignore[union-attr]
    assert {(entry.protocol, entry.port) for entry in RulesConfig().failsafe_in} == ports(accepted)
    shared = ports(accepted) - ports("tcp 22, udp 68")
    assert {(entry.protocol, entry.port) for entry in RulesConfig().failsafe_out} == ports(sent) | shared
    assert {entry.net for entry in (*RulesConfig().failsafe_in, *RulesConfig().failsafe_out)} == {None}


def test_a_log_may_burst_as_nft_lets_any_limit() -> None:
    assert RulesConfig().log_burst == Limit(1, 1).burst
