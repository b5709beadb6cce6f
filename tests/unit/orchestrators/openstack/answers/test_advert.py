from __future__ import annotations

import struct

import msgspec
import pytest
from dhcp_samples import HOST, LEASE, MAC, OTHER_MAC, Answer, icmp6
from hypothesis import given
from hypothesis import strategies as st

from calico.lib.packed import addr_bytes, net
from calico.orchestrators.openstack.answers.advert import advertisement
from calico.orchestrators.openstack.answers.lease import INFINITE, Lease, Lease6, Mode
from calico.orchestrators.openstack.answers.outcome import Outcome
from calico.orchestrators.openstack.answers.respond import Host, respond

SOLICITATION = bytes((133, 0, 0, 0, 0, 0, 0, 0))
SLLA = bytes((1, 1)) + MAC


def lease(*modes: Mode, **fields: object) -> Lease:
    six = tuple(
        Lease6(address=addr_bytes(f"fd00:{n}::5"), net=net(f"fd00:{n}::/64"), mode=m) for n, m in enumerate(modes)
    )
    return msgspec.structs.replace(LEASE, v6=six, **fields)


def options(message: bytes) -> list[tuple[int, bytes]]:
    found, rest = [], message[16:]
    while rest:
        size = rest[1] * 8
        assert size
        found.append((rest[0], rest[:size]))
        rest = rest[size:]
    return found


def solicited(of: Lease, **fields: object) -> Outcome:
    return respond(icmp6(SOLICITATION + SLLA, **fields), of, HOST)  # type: ignore[arg-type]


def test_a_solicitation_is_answered_to_who_asked() -> None:
    outcome = solicited(lease("slaac"))
    answer = Answer(outcome.frame)
    assert (outcome.protocol, outcome.asked, outcome.answer) == ("ra", "solicitation", "advertisement")
    assert (answer.src, answer.dst, answer.hop_limit) == ("fe80::fc16:3eff:fe00:1", "fe80::f816:3eff:fe00:1", 255)
    assert (answer.from_mac, answer.to_mac, answer.payload[:2]) == (HOST.mac, MAC, bytes((134, 0)))


def test_who_has_no_address_yet_is_answered_by_multicast() -> None:
    answer = Answer(respond(icmp6(SOLICITATION, src=bytes(16)), lease("slaac"), HOST).frame)
    assert (answer.dst, answer.to_mac) == ("ff02::1", bytes.fromhex("333300000001"))


@pytest.mark.parametrize(
    ("modes", "flags", "prefixes"),
    [
        (("slaac",), 0, 1),
        (("dhcpv6-stateless",), 0x40, 1),
        (("dhcpv6-stateful",), 0xC0, 0),
        (("slaac", "dhcpv6-stateful"), 0xC0, 1),
        (("slaac", "dhcpv6-stateless"), 0x40, 2),
    ],
)
def test_flags_and_prefixes_say_how_the_instance_comes_by_its_address(
    modes: tuple[Mode, ...], flags: int, prefixes: int
) -> None:
    message = Answer(solicited(lease(*modes)).frame).payload
    assert message[5] == flags
    found = [raw for code, raw in options(message) if code == 3]
    assert len(found) == prefixes
    for raw in found:
        assert raw[2] == 64
        assert raw[3] == 0x40, "autonomous, and never on the link"
        assert struct.unpack("!II", raw[4:12]) == (86400, 86400)


def test_the_router_its_mtu_routes_and_name_servers_are_told() -> None:
    six = (msgspec.structs.replace(LEASE.v6[0], routes=(net("fd09::/48"), net("fd09:1::/80"))),)
    message = Answer(solicited(msgspec.structs.replace(LEASE, v6=six)).frame).payload
    assert message[4] == 64
    assert int.from_bytes(message[6:8], "big") == 9000
    found = options(message)
    by_code = dict(found)
    assert by_code[1] == bytes((1, 1)) + HOST.mac
    assert by_code[5] == bytes((5, 1, 0, 0)) + (1400).to_bytes(4, "big")
    routes = [raw for code, raw in found if code == 24]
    assert [(raw[1], raw[2]) for raw in routes] == [(2, 48), (3, 80)]
    assert routes[0][8:] == addr_bytes("fd09::")[:8]
    assert by_code[25][8:] == addr_bytes("fd00::53")
    assert by_code[31][8:].rstrip(b"\0") == b"\7example\3org\0\7example\3net"
    assert int.from_bytes(by_code[25][4:8], "big") >= 9000


def test_an_mtu_too_small_for_ipv6_is_not_told() -> None:
    message = Answer(solicited(lease("slaac", mtu=1200)).frame).payload
    assert 5 not in dict(options(message))


def test_lifetimes_may_not_end() -> None:
    found = dict(options(Answer(solicited(lease("slaac", lease_s=INFINITE)).frame).payload))
    assert found[3][4:12] == b"\xff" * 8
    assert found[25][4:8] == b"\xff" * 4


@pytest.mark.parametrize(
    "frame",
    [
        icmp6(SOLICITATION, hops=254),
        icmp6(SOLICITATION[:-1]),
        icmp6(bytes((133, 1)) + bytes(6)),
        icmp6(SOLICITATION + b"\1\0" + bytes(6)),
        icmp6(SOLICITATION + b"\1\2" + bytes(6)),
        icmp6(SOLICITATION + b"\1"),
        icmp6(SOLICITATION + SLLA, src=bytes(16)),
        icmp6(SOLICITATION, src=addr_bytes("fd00::5")),
        icmp6(SOLICITATION, dst=addr_bytes("fd00::1")),
        icmp6(bytes((134, 0)) + bytes(14)),
        icmp6(SOLICITATION, mac=OTHER_MAC),
    ],
)
def test_what_is_no_valid_solicitation_of_the_port_gets_no_answer(frame: bytes) -> None:
    assert not respond(frame, lease("slaac"), HOST).frame


def test_nothing_is_said_without_ipv6_or_without_an_address_of_the_router() -> None:
    assert not solicited(lease()).frame
    assert not advertisement(lease(), HOST.mac, HOST.link_local).frame
    assert respond(icmp6(SOLICITATION), lease("slaac"), Host(HOST.mac)).asked == "no-link-local"


def test_an_unasked_advertisement_says_the_same_to_all() -> None:
    unasked = Answer(advertisement(lease("slaac"), HOST.mac, HOST.link_local).frame)
    asked = Answer(solicited(lease("slaac")).frame)
    assert unasked.dst == "ff02::1"
    assert unasked.payload[4:] == asked.payload[4:]


@given(st.binary(max_size=300))
def test_any_bytes_are_survived(data: bytes) -> None:
    for frame in (data, icmp6(bytes((133, 0)) + data), bytes(12) + b"\x86\xdd" + data, bytes(12) + b"\x08\0" + data):
        outcome = respond(frame, LEASE, HOST)
        assert not outcome.frame or Answer(outcome.frame)
