import struct

from hypothesis import given
from hypothesis import strategies as st

from calico.lab.probe.wire import (
    INIT,
    INIT_ACK,
    SctpPacket,
    crc32c,
    echo_reply_key,
    echo_request,
    ip_payload,
    parse_sctp,
    sctp_packet,
)

PORT = st.integers(0, 65535)
TAG = st.integers(0, 2**32 - 1)


def test_the_crc_is_castagnolis():
    # the check value of CRC-32C and a vector of RFC 3720, appendix B.4
    assert crc32c(b"123456789") == 0xE3069283
    assert crc32c(bytes(32)) == 0x8A9136AA


@given(PORT, PORT, st.sampled_from([INIT, INIT_ACK]), TAG, TAG)
def test_a_packet_is_read_back_as_it_was_made(source, destination, chunk, verification, tag):
    packet = sctp_packet(source, destination, chunk, verification_tag=verification, tag=tag)
    assert parse_sctp(packet) == SctpPacket(source, destination, chunk, tag)
    assert struct.unpack_from("!I", packet, 4) == (verification,)


@given(PORT, PORT, TAG)
def test_the_checksum_holds_over_the_packet_with_its_own_field_zeroed(source, destination, tag):
    packet = sctp_packet(source, destination, INIT_ACK, verification_tag=tag, tag=tag)
    assert struct.unpack_from("<I", packet, 8)[0] == crc32c(packet[:8] + bytes(4) + packet[12:])


@given(st.sampled_from([INIT, INIT_ACK]))
def test_the_chunk_says_its_own_length(chunk):
    packet = sctp_packet(1, 2, chunk, verification_tag=0, tag=9)
    assert struct.unpack_from("!H", packet, 14)[0] == len(packet) - 12


@given(st.binary(max_size=80), st.sampled_from([4, 6]))
def test_arbitrary_bytes_are_read_or_passed_over(data, family):
    payload = ip_payload(data, family)
    parse_sctp(payload)
    echo_reply_key(payload, family)


def test_an_ipv4_header_is_cut_off_by_its_own_length():
    assert ip_payload(bytes([0x46]) + bytes(23) + b"rest", 4) == b"rest"
    assert ip_payload(b"rest", 6) == b"rest"


def test_a_reply_is_known_by_identifier_and_sequence():
    reply = b"\x00" + echo_request(4, 7, 3)[1:]
    assert echo_reply_key(reply, 4) == (7, 3)
    assert echo_reply_key(echo_request(4, 7, 3), 4) is None
    assert echo_reply_key(b"\x81" + echo_request(6, 8, 1)[1:], 6) == (8, 1)


def test_the_sum_over_an_ipv4_echo_is_all_ones():
    data = echo_request(4, 513, 5)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    assert (total & 0xFFFF) + (total >> 16) == 0xFFFF
