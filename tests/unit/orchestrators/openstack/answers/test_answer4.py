from __future__ import annotations

import msgspec
import pytest
from dhcp_samples import HOST, LEASE, MAC, OTHER_MAC, Reply4, ask4, message4, udp
from hypothesis import given
from hypothesis import strategies as st

from calico.lib.packed import addr_bytes, net
from calico.orchestrators.openstack.answers.lease import INFINITE, Route
from calico.orchestrators.openstack.answers.respond import respond

DISCOVER, OFFER, REQUEST, DECLINE, ACK, NAK, RELEASE, INFORM = range(1, 9)
OWN, SERVER, OTHER = addr_bytes("10.65.0.11"), addr_bytes("10.65.0.1"), addr_bytes("10.65.0.12")


def test_a_discover_is_answered_with_an_offer_of_the_ports_address() -> None:
    outcome = ask4(message4(DISCOVER))
    reply = Reply4(outcome.frame)
    assert (outcome.protocol, outcome.asked, outcome.answer) == ("dhcp4", "discover", "offer")
    assert (reply.op, reply.xid, reply.kind, reply.yiaddr, reply.chaddr) == (2, 0x1234, OFFER, "10.65.0.11", MAC)
    assert (reply.src, reply.dst, reply.ports) == ("10.65.0.1", "10.65.0.11", (67, 68))
    assert (reply.to_mac, reply.from_mac) == (MAC, HOST.mac)


def test_who_asks_for_nothing_in_particular_is_told_all() -> None:
    options = Reply4(ask4(message4(DISCOVER)).frame).options
    assert options[1] == bytes((255, 255, 255, 0))
    assert options[3] == SERVER
    assert options[6] == addr_bytes("10.0.0.53")
    assert options[12] == b"web"
    assert options[15] == b"example.org"
    assert options[26] == (1400).to_bytes(2, "big")
    assert options[28] == addr_bytes("10.65.0.255")
    assert options[51] == (86400).to_bytes(4, "big")
    assert options[54] == SERVER
    assert options[58] == (43200).to_bytes(4, "big")
    assert options[59] == (75600).to_bytes(4, "big")
    assert options[119] == b"\7example\3org\0\7example\3net\0"
    assert options[121] == bytes.fromhex("20a9fea9fe0a410001" + "000a410001")


def test_who_asks_for_something_gets_that_and_what_the_protocol_needs() -> None:
    options = Reply4(ask4(message4(DISCOVER, (55, bytes((6, 200))))).frame).options
    assert set(options) == {1, 6, 51, 53, 54, 58, 59}


def test_routes_come_before_the_router_for_clients_that_know_both() -> None:
    payload = Reply4(ask4(message4(DISCOVER, (55, bytes((1, 3, 121))))).frame).payload[240:]
    assert 0 < payload.index(b"\x79\x0e") < payload.index(b"\x03\x04" + SERVER)


def test_windows_gets_routes_by_its_own_number() -> None:
    options = Reply4(ask4(message4(DISCOVER, (55, bytes((249,))))).frame).options
    assert options[249] == bytes.fromhex("20a9fea9fe0a410001" + "000a410001")


def test_rapid_commit_saves_two_messages() -> None:
    reply = Reply4(ask4(message4(DISCOVER, (80, b""))).frame)
    assert (reply.kind, reply.options[80], reply.options[51]) == (ACK, b"", (86400).to_bytes(4, "big"))
    assert 80 not in Reply4(ask4(message4(DISCOVER)).frame).options


@pytest.mark.parametrize(
    ("pairs", "ciaddr", "kind"),
    [
        (((54, SERVER), (50, OWN)), "0.0.0.0", ACK),
        (((54, SERVER), (50, OTHER)), "0.0.0.0", NAK),
        (((54, OTHER), (50, OWN)), "0.0.0.0", None),
        (((50, OWN),), "0.0.0.0", ACK),
        (((50, OTHER),), "0.0.0.0", NAK),
        ((), "10.65.0.11", ACK),
        ((), "10.65.0.12", NAK),
        ((), "0.0.0.0", None),
        (((50, b"\x0a\x41"),), "0.0.0.0", NAK),
    ],
    ids=["selecting", "selecting-wrong", "other-server", "reboot", "reboot-wrong", "renew", "renew-wrong", "nothing",
         "cut-off"],
)  # fmt: skip
def test_a_request_is_confirmed_exactly_when_it_is_for_the_ports_address(
    pairs: tuple[tuple[int, bytes], ...], ciaddr: str, kind: int | None
) -> None:
    outcome = ask4(message4(REQUEST, *pairs, ciaddr=ciaddr))
    assert (Reply4(outcome.frame).kind if outcome.frame else None) == kind


def test_a_refusal_goes_to_everybody_and_holds_nothing_else() -> None:
    reply = Reply4(ask4(message4(REQUEST, (50, OTHER))).frame)
    assert (reply.dst, reply.to_mac, reply.yiaddr, reply.ciaddr) == (
        "255.255.255.255",
        b"\xff" * 6,
        "0.0.0.0",
        "0.0.0.0",
    )
    assert reply.flags & 0x8000
    assert set(reply.options) == {53, 54, 56}


def test_an_answer_goes_where_the_client_can_hear_it() -> None:
    broadcast = Reply4(ask4(message4(DISCOVER, flags=0x8000)).frame)
    assert (broadcast.dst, broadcast.to_mac) == ("255.255.255.255", b"\xff" * 6)
    renewing = Reply4(ask4(message4(REQUEST, ciaddr="10.65.0.11"), src="10.65.0.11", dst="10.65.0.1").frame)
    assert (renewing.dst, renewing.to_mac, renewing.ciaddr) == ("10.65.0.11", MAC, "10.65.0.11")


def test_inform_is_answered_without_an_address_and_times() -> None:
    reply = Reply4(ask4(message4(INFORM, ciaddr="10.65.0.11")).frame)
    assert (reply.kind, reply.yiaddr, reply.ciaddr) == (ACK, "0.0.0.0", "10.65.0.11")
    assert not {51, 58, 59} & set(reply.options)
    assert reply.options[6] == addr_bytes("10.0.0.53")


@pytest.mark.parametrize("kind", [DECLINE, RELEASE])
def test_giving_an_address_back_changes_nothing(kind: int) -> None:
    assert not ask4(message4(kind, (54, SERVER), (50, OWN))).frame
    assert Reply4(ask4(message4(DISCOVER)).frame).yiaddr == "10.65.0.11"


@pytest.mark.parametrize(
    ("message", "why"),
    [
        (message4(DISCOVER, chaddr=OTHER_MAC), "foreign-mac"),
        (message4(DISCOVER, giaddr="10.65.0.1"), "relayed"),
        (message4(DISCOVER, op=2), "malformed"),
        (message4(DISCOVER, htype=6), "malformed"),
        (message4(DISCOVER, hlen=16), "malformed"),
        (message4(OFFER), "malformed"),
        (message4(99), "malformed"),
        (message4(DISCOVER)[:239], "malformed"),
        (message4(DISCOVER)[:240], "malformed"),
        (message4(DISCOVER)[:-1] + b"\x0c\xff", "malformed"),
        (message4(DISCOVER).replace(b"\x63\x82\x53\x63", b"\x63\x82\x53\x64"), "malformed"),
    ],
)
def test_what_is_no_request_of_the_port_gets_no_answer(message: bytes, why: str) -> None:
    outcome = ask4(message)
    assert (outcome.protocol, outcome.asked, outcome.frame) == ("dhcp4", why, b"")


def test_a_port_without_ipv4_gets_no_answer() -> None:
    assert ask4(message4(DISCOVER), msgspec.structs.replace(LEASE, v4=None)).asked == "no-address"


def test_options_of_a_request_may_be_spread_over_the_fields_for_names() -> None:
    request = message4(REQUEST, (52, 3), file=b"\x32\x02" + OWN[:2] + b"\xff", sname=b"\x32\x02" + OWN[2:] + b"\xff")
    assert Reply4(ask4(request).frame).kind == ACK


def test_an_answer_is_never_longer_than_the_client_can_take_and_uses_the_fields_for_names_before_it_leaves_out() -> (
    None
):
    v4 = LEASE.v4
    assert v4 is not None
    many = tuple(Route(net(f"10.{n}.0.0/16"), SERVER) for n in range(30))  # 210 bytes
    extra = ((43, b"x" * 50), (60, b"y" * 50), (224, b"z" * 250))
    lease = msgspec.structs.replace(LEASE, v4=msgspec.structs.replace(v4, routes=many), extra4=extra)
    small = ask4(message4(DISCOVER), lease)
    reply = Reply4(small.frame)
    assert len(reply.payload) <= 548
    assert len(reply.options[121]) == 210
    assert reply.options[43] == b"x" * 50
    assert reply.options[60] == b"y" * 50
    assert 224 not in reply.options
    assert "224" in small.detail
    large = Reply4(ask4(message4(DISCOVER, (57, (1500).to_bytes(2, "big"))), lease).frame)
    assert large.options[224] == b"z" * 250
    assert 52 not in large.options


def test_long_options_come_in_pieces() -> None:
    lease = msgspec.structs.replace(LEASE, extra4=((224, bytes(range(256)) * 2),))
    reply = Reply4(ask4(message4(DISCOVER, (57, (1500).to_bytes(2, "big"))), lease).frame)
    assert reply.options[224] == bytes(range(256)) * 2


def test_extra_options_are_sent_unasked_and_stand_before_what_the_subnet_says() -> None:
    lease = msgspec.structs.replace(
        LEASE, extra4=((67, b"pxelinux.0"), (6, SERVER), (58, b"\0\0\0\x64")), next_server=addr_bytes("192.0.2.9")
    )
    reply = Reply4(ask4(message4(DISCOVER, (55, bytes((1, 6)))), lease).frame)
    assert reply.options[67] == b"pxelinux.0"
    assert reply.options[6] == SERVER
    assert reply.options[58] == b"\0\0\0\x64"
    assert reply.siaddr == "192.0.2.9"


def test_a_lease_may_last_for_ever() -> None:
    lease = msgspec.structs.replace(LEASE, lease_s=INFINITE)
    options = Reply4(ask4(message4(DISCOVER), lease).frame).options
    assert {options[code] for code in (51, 58, 59)} == {b"\xff" * 4}


def test_the_client_identifier_comes_back() -> None:
    assert Reply4(ask4(message4(DISCOVER, (61, b"\1" + MAC))).frame).options[61] == b"\1" + MAC


@given(st.binary(max_size=700))
def test_any_payload_is_survived(payload: bytes) -> None:
    outcome = ask4(payload)
    assert not outcome.frame or Reply4(outcome.frame)


@given(st.lists(st.tuples(st.integers(1, 254), st.binary(max_size=255)), max_size=12), st.integers(0, 9), st.data())
def test_any_options_lead_to_a_well_formed_answer_or_none(
    pairs: list[tuple[int, bytes]], kind: int, data: st.DataObject
) -> None:
    request = message4(kind, *((code, value) for code, value in pairs if code not in (52, 53)))
    outcome = ask4(request[: data.draw(st.integers(0, len(request)))] if data.draw(st.booleans()) else request)
    if outcome.frame:
        reply = Reply4(outcome.frame)
        assert reply.xid == 0x1234
        assert len(reply.payload) <= 1472


def test_a_fragment_and_a_frame_that_is_cut_off_are_nothing() -> None:
    frame = udp(message4(DISCOVER), "0.0.0.0", "255.255.255.255", (68, 67))
    assert respond(frame, LEASE, HOST).frame
    fragment = frame[:20] + b"\x20\0" + frame[22:]
    for bad in (fragment, frame[:-1], frame[:30], frame[:13], b""):
        assert not respond(bad, LEASE, HOST).frame
