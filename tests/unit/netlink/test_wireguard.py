"""WireGuard's messages: byte for byte those of another encoder, and back."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calico.lib.packed import addr_bytes, net
from calico.netlink import genetlink, wire
from calico.netlink.rtnetlink.rule import (
    MarkRule,
    SourceRule,
    decode_mark_rule,
    delete_mark_rule,
    new_mark_rule,
    new_rule,
)
from calico.netlink.wire import Message, WireError
from calico.netlink.wireguard import (
    DeviceChange,
    Endpoint,
    PeerChange,
    WgDevice,
    WgPeer,
    decode_device,
    get_device,
    set_device,
)

KEY = bytes(range(32))
NAME = "wireguard.cali"

# As pyroute2 0.9.7 encodes them (its class wgmsg), for family 0x20 and sequence number 7.
OF_PYROUTE2 = {
    "device": (
        DeviceChange(private_key=bytes(range(100, 132)), port=51820, mark=0x40000),
        (
            "5c00000020000100070000000000000001010000130002007769726567756172642e63616c690000240003006465666768696a6b6c6d6e6f70"
            "7172737475767778797a7b7c7d7e7f80818283060006006cca00000800070000000400"
        ),
    ),
    "peer": (
        DeviceChange(
            peers=(
                PeerChange(
                    key=KEY,
                    endpoint=Endpoint(addr_bytes("192.0.2.2"), 51820),
                    keepalive_s=25,
                    nets=(net("10.65.1.0/26"), net("fd65::40/122")),
                ),
            )
        ),
        (
            "c000000020000100070000000000000001010000130002007769726567756172642e63616c690000980008809400018024000100000102030405"
            "060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f140004000200ca6cc0000202000000000000000006000500190000000800"
            "030000000000480009801c0001800600010002000000080002000a410100050003001a00000028000280060001000a00000014000200fd65"
            "0000000000000000000000000040050003007a000000"
        ),
    ),
    "peer at an IPv6 address": (
        DeviceChange(
            peers=(
                PeerChange(
                    key=KEY,
                    replace=True,
                    endpoint=Endpoint(addr_bytes("2001:db8::2"), 51821),
                    nets=(net("10.65.1.0/26"),),
                ),
            )
        ),
        (
            "9c00000020000100070000000000000001010000130002007769726567756172642e63616c690000740008807000018024000100000102030405"
            "060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f200004000a00ca6d0000000020010db8000000000000000000000002000000"
            "000800030002000000200009801c0001800600010002000000080002000a410100050003001a000000"
        ),
    ),
    "peer that goes": (
        DeviceChange(peers=(PeerChange(key=KEY, remove=True),)),
        (
            "5c00000020000100070000000000000001010000130002007769726567756172642e63616c690000340008803000018024000100000102030405"
            "060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f0800030001000000"
        ),
    ),
}


@pytest.mark.parametrize("what", OF_PYROUTE2)
def test_messages_are_those_of_another_encoder_byte_for_byte(what: str) -> None:
    change, expected = OF_PYROUTE2[what]
    assert [message.hex() for message in set_device(0x20, 7, NAME, change)] == [expected]


def test_a_question_is_a_dump_of_the_device_by_its_name() -> None:
    (message,) = wire.iter_messages(get_device(0x20, 3, NAME))
    assert (message.type, message.flags, message.payload[:4]) == (0x20, 0x301, b"\0\1\0\0")
    assert wire.parse_attrs(genetlink.body(message.payload)) == {2: b"wireguard.cali\0"}


def test_the_number_of_a_family_is_asked_of_the_controller() -> None:
    (message,) = wire.iter_messages(genetlink.ask_family(1, "wireguard"))
    assert (message.type, message.payload) == (0x10, b"\x03\x01\0\0" + wire.attr_str(2, "wireguard"))
    answer = Message(0x10, 0, 1, 0, b"\x01\x02\0\0" + wire.attr_str(2, "wireguard") + wire.attr_u16(1, 0x25))
    assert genetlink.decode_family([answer]) == 0x25
    with pytest.raises(WireError):
        genetlink.decode_family([])


def _as_read(messages: list[bytes]) -> list[Message]:
    """What was sent, as if it were an answer: the attributes are the same in both directions."""
    return [message for data in messages for message in wire.iter_messages(data)]


NETS = st.sets(
    st.one_of(
        st.integers(0, 32).map(lambda length: bytes((10, 65, 1, 0, length))),
        st.binary(min_size=4, max_size=4).map(lambda address: address + b"\x20"),
        st.binary(min_size=16, max_size=16).map(lambda address: address + b"\x80"),
    ),
    max_size=20,
)
PEERS = st.dictionaries(
    st.binary(min_size=32, max_size=32),
    st.builds(
        WgPeer,
        endpoint=st.builds(Endpoint, st.sampled_from((bytes(4), bytes(range(16)))), st.integers(1, 65535)),
        keepalive_s=st.integers(0, 65535),
        nets=NETS.map(frozenset),
    ),
    max_size=5,
)


@given(peers=PEERS)
def test_what_is_written_is_read_again(peers: dict[bytes, WgPeer]) -> None:
    change = DeviceChange(
        private_key=KEY,
        port=51820,
        mark=1 << 18,
        peers=tuple(
            PeerChange(key=key, endpoint=peer.endpoint, keepalive_s=peer.keepalive_s, nets=tuple(peer.nets))
            for key, peer in peers.items()
        ),
    )
    read = decode_device(_as_read(set_device(0x20, 1, NAME, change)))
    assert read == WgDevice(private_key=KEY, port=51820, mark=1 << 18, peers=peers)


def test_many_peers_with_many_networks_take_several_messages_and_none_is_lost() -> None:
    nets = [bytes((10, n >> 8, n & 255, 0, 24)) for n in range(3000)]
    peers = {bytes((n,)) * 32: frozenset(nets[n::3]) for n in range(3)}
    change = DeviceChange(peers=tuple(PeerChange(key=key, replace=True, nets=tuple(of)) for key, of in peers.items()))
    messages = set_device(0x20, 5, NAME, change)
    assert len(messages) > 1
    assert [message.seq for message in _as_read(messages)] == list(range(5, 5 + len(messages)))
    assert {key: peer.nets for key, peer in decode_device(_as_read(messages)).peers.items()} == peers
    replacing = [data.count(wire.attr_u32(3, 2)) for data in messages]
    assert sum(replacing) == len(peers), "what continues a peer must not replace what was said before"


@given(data=st.binary(max_size=200))
def test_arbitrary_bytes_raise_nothing_but_a_wire_error(data: bytes) -> None:
    for payload in (data, b"\0\1\0\0" + data, b"\0\1\0\0" + wire.nested(8, wire.nested(0, data))[:60000]):
        for decode in (lambda m: decode_device([m]), lambda m: genetlink.decode_family([m])):
            try:
                decode(Message(0x20, 0, 1, 0, payload))
            except WireError:
                pass


def test_a_key_of_another_length_is_refused() -> None:
    with pytest.raises(WireError):
        set_device(0x20, 1, NAME, DeviceChange(private_key=b"short"))


def test_a_rule_for_packets_without_a_mark_is_read_as_it_was_written() -> None:
    rule = MarkRule(family=2, mark=0x40000, table=1, priority=99)
    (message,) = wire.iter_messages(new_mark_rule(1, rule))
    assert (message.type, message.flags, decode_mark_rule(message.payload)) == (32, 0x601, rule)
    (message,) = wire.iter_messages(delete_mark_rule(1, rule))
    assert (message.type, decode_mark_rule(message.payload)) == (33, rule)
    other: Any = new_rule(1, SourceRule(source=bytes(4), table=1, priority=99))
    assert decode_mark_rule(next(iter(wire.iter_messages(other))).payload) is None
