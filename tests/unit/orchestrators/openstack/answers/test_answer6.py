from __future__ import annotations

import msgspec
import pytest
from dhcp_samples import (
    DUID,
    HOST,
    LEASE,
    MAC,
    OTHER_MAC,
    Reply6,
    ask6,
    encoded,
    ia,
    message6,
    read_options,
)
from hypothesis import given
from hypothesis import strategies as st

from calico.lib.packed import addr_bytes, net
from calico.orchestrators.openstack.answers.lease import Lease6

SOLICIT, ADVERTISE, REQUEST, CONFIRM, RENEW, REBIND, REPLY, RELEASE, DECLINE, _, INFORMATION = range(1, 12)
ME = (1, b"\0\1\0\1abcdefgh")
YOU = (2, DUID)
ADDRESS = addr_bytes("fd00::11")
STATELESS = msgspec.structs.replace(LEASE, v6=(Lease6(address=ADDRESS, net=net("fd00::/64"), mode="dhcpv6-stateless"),))


def addresses(association: bytes) -> dict[bytes, tuple[int, int]]:
    """Preferred and valid lifetime of each address of an association."""
    return {
        value[:16]: (int.from_bytes(value[16:20], "big"), int.from_bytes(value[20:24], "big"))
        for code, value in read_options(association[12:])
        if code == 5
    }


def status(options: list[tuple[int, bytes]]) -> int | None:
    return next((int.from_bytes(value[:2], "big") for code, value in options if code == 13), None)


def test_a_solicit_is_answered_with_an_advertise_of_the_ports_address() -> None:
    outcome = ask6(message6(SOLICIT, ME, (3, ia(7))))
    reply = Reply6(outcome.frame)
    assert (outcome.asked, outcome.answer, reply.kind, reply.transaction) == (
        "solicit",
        "advertise",
        ADVERTISE,
        b"\1\2\3",
    )
    assert (reply.src, reply.ports, reply.to_mac, reply.from_mac) == (
        "fe80::fc16:3eff:fe00:1",
        (547, 546),
        MAC,
        HOST.mac,
    )
    assert reply.dst == "fe80::f816:3eff:fe00:1"
    assert (reply.one(1), reply.one(2)) == (ME[1], DUID)
    association = reply.one(3)
    assert association[:12] == ia(7)[:4] + (43200).to_bytes(4, "big") + (75600).to_bytes(4, "big")
    assert addresses(association) == {ADDRESS: (86400, 86400)}


def test_rapid_commit_saves_two_messages() -> None:
    reply = Reply6(ask6(message6(SOLICIT, ME, (14, b""), (3, ia(7)))).frame)
    assert (reply.kind, reply.one(14)) == (REPLY, b"")


@pytest.mark.parametrize(("kind", "server"), [(REQUEST, True), (RENEW, True), (REBIND, False)])
def test_who_asks_for_its_address_again_gets_it_and_loses_any_other(kind: int, server: bool) -> None:
    options = [ME, *([YOU] if server else []), (3, ia(7, "fd00::11", "fd00::12"))]
    reply = Reply6(ask6(message6(kind, *options)).frame)
    assert reply.kind == REPLY
    assert addresses(reply.one(3)) == {ADDRESS: (86400, 86400), addr_bytes("fd00::12"): (0, 0)}


def test_all_stateful_addresses_go_to_the_first_association() -> None:
    six = (*LEASE.v6, Lease6(address=addr_bytes("fd00:1::5"), net=net("fd00:1::/64")))
    reply = Reply6(ask6(message6(SOLICIT, ME, (3, ia(7)), (3, ia(8))), msgspec.structs.replace(LEASE, v6=six)).frame)
    first, second = [value for code, value in reply.options if code == 3]
    assert set(addresses(first)) == {ADDRESS, addr_bytes("fd00:1::5")}
    assert not addresses(second)
    assert status(read_options(second[12:])) == 2


def test_prefixes_temporary_addresses_and_addresses_that_are_not_by_dhcp_are_not_given() -> None:
    request = message6(SOLICIT, ME, (3, ia(7)), (4, b"\0\0\0\1"), (25, b"\0\0\0\2" + bytes(8)))
    reply = Reply6(ask6(request, STATELESS).frame)
    assert status(read_options(reply.one(3)[12:])) == 2
    assert status(read_options(reply.one(4)[4:])) == 2
    assert status(read_options(reply.one(25)[12:])) == 6


@pytest.mark.parametrize(
    ("claimed", "answer"), [(("fd00::11",), 0), (("fd00::11", "fd00::12"), 4), (("fd00::12",), 4), ((), None)]
)
def test_confirm_says_whether_addresses_are_the_ports(claimed: tuple[str, ...], answer: int | None) -> None:
    frame = ask6(message6(CONFIRM, ME, (3, ia(7, *claimed)))).frame
    assert (status(Reply6(frame).options) if frame else None) == answer


@pytest.mark.parametrize("kind", [RELEASE, DECLINE])
def test_giving_an_address_back_is_confirmed_and_changes_nothing(kind: int) -> None:
    reply = Reply6(ask6(message6(kind, ME, YOU, (3, ia(7, "fd00::11")))).frame)
    assert status(reply.options) == 0
    assert addresses(Reply6(ask6(message6(SOLICIT, ME, (3, ia(7)))).frame).one(3))


@pytest.mark.parametrize("identified", [True, False])
def test_information_is_given_without_addresses(identified: bool) -> None:
    reply = Reply6(ask6(message6(INFORMATION, *([ME] if identified else [])), STATELESS).frame)
    assert reply.kind == REPLY
    assert (1 in dict(reply.options)) == identified
    assert reply.one(23) == addr_bytes("fd00::53")
    assert reply.one(24) == b"\7example\3org\0\7example\3net\0"
    assert reply.one(32) == (86400).to_bytes(4, "big")
    assert 3 not in dict(reply.options)


def test_the_name_is_told_to_who_asks_for_it() -> None:
    reply = Reply6(ask6(message6(SOLICIT, ME, (3, ia(7)), (6, b"\0\x17\0\x27"))).frame)
    assert reply.one(39) == b"\0\3web\7example\3org\0"
    assert 39 not in dict(Reply6(ask6(message6(SOLICIT, ME, (3, ia(7)))).frame).options)


def test_extra_options_stand_before_what_the_subnet_says() -> None:
    lease = msgspec.structs.replace(LEASE, extra6=((23, addr_bytes("fd00::99")), (59, b"http://boot")))
    reply = Reply6(ask6(message6(SOLICIT, ME, (3, ia(7))), lease).frame)
    assert (reply.one(23), reply.one(59)) == (addr_bytes("fd00::99"), b"http://boot")


@pytest.mark.parametrize("kind", [REQUEST, RENEW, RELEASE, DECLINE])
def test_who_asks_one_server_alone_is_told_to_ask_all(kind: int) -> None:
    reply = Reply6(ask6(message6(kind, ME, YOU, (3, ia(7, "fd00::11"))), dst=HOST.link_local).frame)
    assert status(reply.options) == 5
    assert 3 not in dict(reply.options)


@pytest.mark.parametrize(
    "message",
    [
        message6(SOLICIT, (3, ia(7))),
        message6(SOLICIT, ME, YOU),
        message6(SOLICIT, (1, b"")),
        message6(SOLICIT, (1, b"x" * 131)),
        message6(REQUEST, ME, (3, ia(7))),
        message6(REQUEST, ME, (2, b"\0\3\0\1another"), (3, ia(7))),
        message6(REBIND, ME, YOU),
        message6(CONFIRM, ME, YOU, (3, ia(7, "fd00::11"))),
        message6(INFORMATION, ME, (3, ia(7))),
        message6(INFORMATION, ME, (2, b"\0\3\0\1another")),
        message6(SOLICIT, ME, (3, b"\0\0\0\7")),
        message6(SOLICIT, ME, (3, ia(7) + encoded((5, b"short")))),
        message6(SOLICIT, ME, (25, b"\0")),
        message6(SOLICIT, ME)[:-1],
        message6(ADVERTISE, ME),
        message6(200, ME),
        b"\1\2\3",
        b"",
        bytes((12, 0)) + bytes(32),
        bytes((13,)) + bytes(33),
    ],
)
def test_what_is_no_request_to_us_gets_no_answer(message: bytes) -> None:
    assert not ask6(message).frame


def test_another_mac_or_a_source_off_the_link_gets_no_answer() -> None:
    solicit = message6(SOLICIT, ME, (3, ia(7)))
    assert ask6(solicit, mac=OTHER_MAC).asked == "foreign-mac"
    assert not ask6(solicit, src=addr_bytes("fd00::11")).frame
    assert ask6(solicit, msgspec.structs.replace(LEASE, v6=())).asked == "no-address"


@given(st.binary(max_size=400), st.integers(0, 14))
def test_any_payload_is_survived(payload: bytes, kind: int) -> None:
    for message in (payload, bytes((kind,)) + payload):
        outcome = ask6(message)
        assert not outcome.frame or Reply6(outcome.frame)


@given(st.lists(st.tuples(st.sampled_from([1, 2, 3, 4, 5, 6, 13, 14, 25, 39]), st.binary(max_size=60)), max_size=8),
       st.integers(1, 11), st.booleans(), st.booleans())  # fmt: skip
def test_any_options_lead_to_a_well_formed_answer_or_none(
    options: list[tuple[int, bytes]], kind: int, identified: bool, to_us: bool
) -> None:
    known = [*([ME] if identified else []), *([YOU] if to_us else [])]
    frame = ask6(message6(kind, *known, *options)).frame
    if frame:
        reply = Reply6(frame)
        assert reply.one(2) == DUID
        for code, value in reply.options:
            if code == 3:
                read_options(value[12:])


def test_the_link_local_address_of_the_client_may_be_any() -> None:
    assert ask6(message6(SOLICIT, ME, (3, ia(7))), src=addr_bytes("fe80::abcd")).frame
