"""The headers of a packet are found as RFC 791 and RFC 8200 lay them out, and as far as the kernel reads them."""

from __future__ import annotations

import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calico.rules.evaluator.headers import Headers, read_headers

AUTH, FRAGMENT = socket.IPPROTO_AH, socket.IPPROTO_FRAGMENT
LONG = (socket.IPPROTO_HOPOPTS, socket.IPPROTO_ROUTING, socket.IPPROTO_DSTOPTS)
"""Extension headers whose length is in units of 8 bytes, the first not counted (RFC 8200, 4.3 to 4.6)."""

NO_EXTENSIONS = (
    socket.IPPROTO_TCP,
    socket.IPPROTO_UDP,
    socket.IPPROTO_ESP,
    socket.IPPROTO_ICMPV6,
    socket.IPPROTO_NONE,
    socket.IPPROTO_SCTP,
)
ANY = st.integers(0, 0xFF)


def v4(protocol: int, fragment: int = 0, options: bytes = b"") -> bytes:
    words, body = 5 + len(options) // 4, bytes(8)
    start = struct.pack("!BBHHHBBH", 0x40 | words, 0, words * 4 + len(body), 0, fragment, 64, protocol, 0)
    return start + bytes(8) + options + body


def v6(kind: int, rest: bytes) -> bytes:
    return struct.pack("!IHBB", 6 << 28, len(rest), kind, 64) + bytes(32) + rest


def extension(kind: int, following: int, units: int, filling: int, fragment: int = 0) -> bytes:
    """An extension header of the least length and so many units more."""
    if kind == FRAGMENT:
        return struct.pack("!BBHI", following, filling, fragment, filling)
    if kind == AUTH:
        return bytes((following, units + 1)) + bytes((filling,)) * ((units + 1 + 2) * 4 - 2)  # RFC 4302, 2.2
    return bytes((following, units)) + bytes((filling,)) * ((units + 1) * 8 - 2)


def chained(kinds: list[int], units: int, filling: int, last: int) -> tuple[int, bytes]:
    """The first kind, and the bytes of extension headers that lead to ``last``."""
    following = [*kinds, last]
    pairs = zip(kinds, following[1:], strict=True)
    return following[0], b"".join(extension(kind, after, units, filling) for kind, after in pairs)


@pytest.mark.parametrize("options", [b"", b"\1\1\1\1", bytes(40)])
@pytest.mark.parametrize("flags", [0, 0x4000, 0x2000])
def test_an_ipv4_packet_or_first_fragment_has_its_transport_after_the_options(options: bytes, flags: int) -> None:
    data = v4(socket.IPPROTO_UDP, flags, options)
    assert read_headers(data) == Headers(4, socket.IPPROTO_UDP, 20 + len(options))


@pytest.mark.parametrize("bit", range(13))
def test_a_later_ipv4_fragment_has_a_protocol_and_no_transport(bit: int) -> None:
    assert read_headers(v4(socket.IPPROTO_UDP, 1 << bit)) == Headers(4, socket.IPPROTO_UDP, None)


KINDS = st.lists(st.sampled_from((*LONG, FRAGMENT)), max_size=4)


@given(KINDS, st.integers(0, 3), ANY, st.sampled_from(NO_EXTENSIONS))
def test_an_ipv6_packet_has_its_transport_after_all_extension_headers(
    kinds: list[int], units: int, filling: int, last: int
) -> None:
    first, headers = chained(kinds, units, filling, last)
    found = read_headers(v6(first, headers + bytes(8)))
    assert found == Headers(6, last, 40 + len(headers), frozenset(kinds))


@given(KINDS, KINDS, st.integers(0, 3), ANY)
def test_an_authentication_header_is_the_protocol_and_what_is_behind_it_still_an_extension_header(
    before: list[int], behind: list[int], units: int, filling: int
) -> None:
    _, headers = chained(before, units, filling, AUTH)
    for second in ([], [AUTH]):
        first, all_of_them = chained([*before, AUTH, *second, *behind], units, filling, socket.IPPROTO_TCP)
        assert all_of_them.startswith(headers)
        found = read_headers(v6(first, all_of_them + bytes(8)))
        assert found == Headers(6, AUTH, 40 + len(headers), frozenset((*before, AUTH, *behind)))


def test_an_authentication_header_is_the_protocol_also_of_a_packet_that_ends_behind_it_and_of_a_fragment() -> None:
    header = extension(AUTH, FRAGMENT, 1, 0)
    for rest, kinds in ((b"", ()), (extension(FRAGMENT, socket.IPPROTO_TCP, 0, 0, fragment=8), (FRAGMENT,))):
        assert read_headers(v6(AUTH, header + rest)) == Headers(6, AUTH, 40, frozenset((AUTH, *kinds)))


@pytest.mark.parametrize("kind", [*LONG, FRAGMENT, AUTH])
@pytest.mark.parametrize("units", [0, 1])
def test_each_extension_header_is_as_long_as_its_rfc_says(kind: int, units: int) -> None:
    header = extension(kind, LONG[2], units, 0)
    found = read_headers(v6(kind, header + extension(LONG[2], kind, 0, 0)))
    assert found.extensions == {kind, LONG[2]}
    assert kind == AUTH or found.protocol is None


@pytest.mark.parametrize("bit", range(3, 16))
@pytest.mark.parametrize("last", NO_EXTENSIONS)
def test_a_later_ipv6_fragment_has_the_protocol_that_its_header_names_and_no_transport(bit: int, last: int) -> None:
    header = extension(FRAGMENT, last, 0, 0, fragment=1 << bit)
    assert read_headers(v6(FRAGMENT, header + bytes(8))) == Headers(6, last, None, frozenset((FRAGMENT,)))


@pytest.mark.parametrize("bit", range(3))
def test_a_first_ipv6_fragment_has_its_transport_whatever_its_flags(bit: int) -> None:
    header = extension(FRAGMENT, socket.IPPROTO_TCP, 0, 0xFF, fragment=1 << bit)
    found = read_headers(v6(FRAGMENT, header + bytes(8)))
    assert found == Headers(6, socket.IPPROTO_TCP, 48, frozenset((FRAGMENT,)))


@pytest.mark.parametrize("last", [*LONG, AUTH, FRAGMENT])
def test_a_later_fragment_whose_protocol_is_an_extension_header_has_no_protocol(last: int) -> None:
    header = extension(FRAGMENT, last, 0, 0, fragment=8)
    assert read_headers(v6(FRAGMENT, header + bytes(8))) == Headers(6, None, None, frozenset((FRAGMENT,)))


READ = {
    socket.IPPROTO_HOPOPTS: 2,
    socket.IPPROTO_DSTOPTS: 2,
    AUTH: 2,
    socket.IPPROTO_ROUTING: 4,
    FRAGMENT: 4,
}
"""How many bytes of an extension header the kernel must have to go on (``ipv6_find_hdr``)."""


@pytest.mark.parametrize("kind", READ)
def test_a_packet_that_ends_before_what_the_kernel_reads_of_an_extension_header_has_no_protocol(kind: int) -> None:
    header = extension(kind, socket.IPPROTO_TCP, 0, 0)
    for length in range(len(header)):
        found = read_headers(v6(kind, header[:length]))
        if length < READ[kind]:
            assert found == Headers(6), length
        elif kind == AUTH:
            assert found == Headers(6, AUTH, 40, frozenset((kind,))), length
        else:
            assert found == Headers(6, socket.IPPROTO_TCP, 40 + len(header), frozenset((kind,))), length
    first = extension(LONG[2], kind, 0, 0)
    assert read_headers(v6(LONG[2], first + b"\0")) == Headers(6, None, None, frozenset((LONG[2],)))


def test_what_is_no_whole_ipv4_or_ipv6_header_is_neither() -> None:
    four, six = v4(socket.IPPROTO_TCP)[:20], v6(socket.IPPROTO_TCP, b"")
    assert (read_headers(four).version, read_headers(six).version) == (4, 6)
    for data in (b"", four[:19], six[:39], six[:20], b"\x45", b"\x60", *(bytes((n << 4,)) * 60 for n in (0, 5, 7, 14))):
        assert read_headers(data) == Headers(0)
