"""Datamodel 15.6: endpoints that may send from networks which are not theirs."""

from __future__ import annotations

from typing import Any

import pytest

from calico.calc.messages import EndpointId, EndpointRemove
from calico.lib.packed import addr_bytes
from calico.rules.antispoof import FOREIGN_SOURCES
from calico.rules.evaluator.evaluate import Packet, forward

LENT = ("10.1.0.0/16", "10.9.0.0/23", "fd01::/64")
OWN = frozenset(map(addr_bytes, ("10.1.255.1", "fd01::ffff")))


def sends(host: Any, source: str, interface: str = "cali1", **fields: Any) -> bool:
    target = "2001:db8::9" if ":" in source else "192.0.2.9"
    flow = host.flow(source, target, **fields)
    passed: bool = host.forwards(interface, "eth0", flow, local_addresses=OWN)
    return passed


def tells_of(host: Any, router: int, quoted: str) -> bool:
    """Whether a workload's ICMP error passes about a packet that was sent to an address."""
    v6 = ":" in quoted
    error = host.between(router, 9, v6, protocol=58 if v6 else 1, icmp=(2 if v6 else 3, 4))
    about = host.flow("2001:db8::9" if v6 else "192.0.2.9", quoted)
    packet = Packet(data=error.data() + about.data(), iifname=f"cali{router}", oifname="eth0", ct_state="related")
    return forward(host.state, packet).verdict == "accept"


@pytest.mark.parametrize("source", ["10.1.0.1", "10.1.255.255", "10.9.1.255", "fd01::1", "10.0.0.1", "fd00::1"])
def test_what_is_lent_may_be_sent_from_and_nothing_beside_it(host: Any, source: str) -> None:
    host.workload(1, spoofed=LENT)
    host.workload(2)
    assert sends(host, source)
    assert not sends(host, source, "cali2")


@pytest.mark.parametrize("source", ["10.2.0.1", "10.0.255.255", "10.9.2.0", "10.0.0.2", "fd01:0:0:1::1", "fd00::2"])
def test_what_is_not_lent_is_spoofed(host: Any, source: str) -> None:
    host.workload(1, spoofed=LENT)
    host.workload(2)
    assert not sends(host, source)


@pytest.mark.parametrize("source", ["10.1.255.1", "fd01::ffff"])
def test_an_address_of_the_host_is_never_lent(host: Any, source: str) -> None:
    host.workload(1, spoofed=("0.0.0.0/0", "::/0", *LENT))
    assert not sends(host, source)


@pytest.mark.parametrize(
    "source",
    ["0.0.0.0", "0.1.2.3", "127.0.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255", "::", "::1", "fe80::1", "ff02::1"],
)
def test_no_network_lends_what_is_no_source(host: Any, source: str) -> None:
    host.workload(1, spoofed=("0.0.0.0/0", "::/0"))
    assert sends(host, "9.9.9.9")
    assert sends(host, "1.0.0.0")
    assert sends(host, "223.255.255.255")
    assert sends(host, "2001:db8::1")
    assert not sends(host, source)


def test_one_family_lends_nothing_of_the_other(host: Any) -> None:
    host.workload(1, spoofed=("::/0",))
    assert not sends(host, "9.9.9.9")
    host.workload(1, spoofed=("0.0.0.0/0",))
    assert not sends(host, "2001:db8::1")


def test_lent_sources_are_not_routed_by_their_sender(host: Any) -> None:
    host.workload(1, spoofed=LENT)
    assert not sends(host, "10.1.0.1", options=b"\x83\x04\x04\0")
    assert not sends(host, "fd01::1", extensions=((43, b"\0\0\x01\0\0\0\0"),))
    assert sends(host, "fd01::1", extensions=((0, bytes(7)),))
    assert not sends(host, "10.1.0.1", protocol=1, icmp=(5, 0))
    assert not sends(host, "fd01::1", protocol=58, icmp=(134, 0))
    assert sends(host, "10.1.0.1", fragment=True)


@pytest.mark.parametrize("lent", [LENT, ("0.0.0.0/0", "::/0")], ids=["some", "all"])
@pytest.mark.parametrize(
    ("quoted", "is_lent"), [("10.1.2.3", True), ("10.2.0.1", False), ("fd01::5", True), ("fd02::5", False)]
)
def test_errors_about_what_was_sent_to_lent_networks_pass(
    host: Any, lent: tuple[str, ...], quoted: str, is_lent: bool
) -> None:
    for router, passes in ((1, is_lent or lent != LENT), (2, False)):
        host.workload(router, spoofed=lent if router == 1 else ())
        assert tells_of(host, router, quoted) == passes


@pytest.mark.parametrize(
    ("quoted", "is_lent"), [("10.9.9.8", True), ("10.9.9.9", False), ("fd01::7", True), ("fd01::6", False)]
)
def test_errors_about_a_single_lent_address_are_about_no_neighbour_of_it(host: Any, quoted: str, is_lent: bool) -> None:
    host.workload(1, spoofed=("10.9.9.8/32", "fd01::7/128"))
    assert tells_of(host, 1, quoted) == is_lent


def test_those_who_are_lent_the_same_share_a_chain_that_goes_with_the_last(host: Any) -> None:
    def chains() -> list[str]:
        return [name for name in host.state.chains if name.startswith("foreign-")]

    one = host.workload(1, spoofed=("10.1.0.0/16", "10.1.2.0/24"))
    two = host.workload(2, spoofed=("10.1.0.0/16",))
    assert len(chains()) == 1
    host.workload(1, spoofed=LENT)
    assert len(chains()) == 2
    host.workload(1)
    assert len(chains()) == 1
    assert sends(host, "10.1.0.1", "cali2")
    for endpoint in (one, two):
        host.say(EndpointRemove(id=endpoint))
    assert not chains()
    assert not host.state.elements("wl-foreign-src")


def test_the_endpoint_that_has_the_interface_says_what_it_may_send_from(host: Any) -> None:
    host.workload(2, interface="cali1", spoofed=LENT)
    assert sends(host, "10.1.0.1")
    host.workload(1)
    assert not sends(host, "10.1.0.1")
    host.say(EndpointRemove(id=EndpointId("k8s", "ns/w1", "eth0")))
    assert sends(host, "10.1.0.1")


def test_the_map_of_those_who_are_lent_networks_grows_before_it_is_full(host: Any) -> None:
    first = host.state.sets[FOREIGN_SOURCES].size
    for number in range(first + 1):
        nets = (f"10.{number >> 8}.{number & 255}.7/32",)
        host.workload(number, interface=f"cali-{number}", nets=nets, spoofed=("172.16.0.0/16",))
    assert host.state.sets[FOREIGN_SOURCES].size >= host.state.room_needed(FOREIGN_SOURCES) > first
