"""Sets and their elements survive encoding and decoding, in chunks that fit a netlink attribute."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calico.lib import packed
from calico.netlink import wire
from calico.netlink.nftables import uapi
from calico.netlink.nftables.element_codec import decode_elements, element_chunks, elements_to_content
from calico.netlink.nftables.expr import Verdict
from calico.netlink.nftables.objects import ElementValue, SetDecl
from calico.netlink.nftables.set_codec import KernelSet, decode_set, encode_set, key_length
from calico.netlink.wire import WireError

fields = st.sampled_from(sorted(uapi.KEY_TYPES))
keys = st.lists(fields, min_size=1, max_size=4).map(tuple)
set_names = st.text("abcdefgh-", min_size=1, max_size=20)
plain_decls = st.builds(
    SetDecl, set_names, keys, st.sampled_from([None, "verdict"]) | fields, st.just(False), st.integers(0, 1 << 20)
)
interval_decls = st.builds(
    SetDecl, set_names, st.sampled_from([("ipv4_addr",), ("ipv6_addr",)]), st.none(), st.just(True), st.just(0)
)


@given(plain_decls | interval_decls, st.booleans())
def test_a_declaration_is_read_as_it_was_written_whatever_the_kernel_calls_the_set(decl: SetDecl, same: bool) -> None:
    kernel_name = decl.name if same else decl.name + ".1"
    encoded = wire.parse_attrs(encode_set(decl, kernel_name, 1))
    assert decode_set(encoded) == KernelSet(kernel_name, decl.name, decl)


def test_a_set_of_a_shape_that_is_never_declared_has_no_declaration() -> None:
    attrs = wire.parse_attrs(encode_set(SetDecl("s", ("ipv4_addr",)), "s", 1))
    assert decode_set({**attrs, uapi.SET_KEY_TYPE: b"\0\0\0\x05"}).decl is None
    assert decode_set({**attrs, uapi.SET_FLAGS: b"\0\0\0\x10"}).decl is None
    assert decode_set({**attrs, uapi.SET_KEY_LEN: b"\0\0\0\x05"}).decl is None


def test_a_map_of_data_that_is_never_declared_has_no_declaration() -> None:
    attrs = wire.parse_attrs(encode_set(SetDecl("m", ("ipv4_addr",), "ipv4_addr"), "m", 1))
    assert decode_set(attrs).decl is not None
    pair = wire.be32(attrs[uapi.SET_DATA_TYPE]) << uapi.KEY_TYPE_BITS | 13
    assert decode_set({**attrs, uapi.SET_DATA_TYPE: pair.to_bytes(4, "big")}).decl is None
    assert decode_set({**attrs, uapi.SET_DATA_TYPE: b"\0\0\0\x05"}).decl is None
    assert decode_set({**attrs, uapi.SET_DATA_LEN: b"\0\0\0\x10"}).decl is None
    assert decode_set({**attrs, uapi.SET_FLAGS: b"\0\0\0\x0c"}).decl is None


@pytest.mark.parametrize("value", ["verdict", "ipv4_addr"])
def test_a_map_of_intervals_is_refused(value) -> None:
    with pytest.raises(WireError, match="map m"):
        encode_set(SetDecl("m", ("ipv4_addr",), value, interval=True), "m", 1)


@given(st.dictionaries(st.integers(2, 60), st.binary(max_size=20)))
def test_arbitrary_set_attributes_raise_nothing_but_a_wire_error(attrs: dict[int, bytes]) -> None:
    with contextlib.suppress(WireError):
        decode_set(attrs)


def padded_key(draw: st.DrawFn, key: tuple[str, ...]) -> bytes:
    parts = (uapi.KEY_TYPES[field][1] for field in key)
    return b"".join(draw(st.binary(min_size=n, max_size=n)) + bytes(-n % 4) for n in parts)


verdicts = st.sampled_from([Verdict("drop"), Verdict("accept"), Verdict("goto", "c-1"), Verdict("jump", "chain")])


@st.composite
def contents(draw: st.DrawFn) -> tuple[SetDecl, dict[bytes, ElementValue]]:
    decl = draw(plain_decls)
    elements: dict[bytes, ElementValue] = {}
    for _ in range(draw(st.integers(0, 6))):
        key = padded_key(draw, decl.key)
        if decl.value is None:
            elements[key] = None
        else:
            elements[key] = draw(verdicts) if decl.value == "verdict" else padded_key(draw, (decl.value,))
    return decl, elements


def reread(chunks: list[tuple[bytes, object]]) -> list[tuple[bytes, ElementValue, bool]]:
    return [element for chunk, _ in chunks for element in decode_elements(wire.parse_attrs(chunk)[3])]


@given(contents(), st.booleans())
def test_elements_are_read_as_they_were_written(
    content: tuple[SetDecl, dict[bytes, ElementValue]], single: bool
) -> None:
    decl, elements = content
    chunks = list(element_chunks(decl, list(elements), elements, single=single))
    assert elements_to_content(decl, reread(chunks)) == elements
    assert [key for _, keys in chunks for key in keys] == list(elements)
    if single:
        assert len(chunks) == len(elements)


def disjoint(nets: list[bytes]) -> list[bytes]:
    chosen: list[tuple[int, int, bytes]] = []
    for net in nets:
        low = int.from_bytes(net[:-1], "big")
        high = low + (1 << (len(net) - 1) * 8 - net[-1])
        if all(high <= other_low or other_high <= low for other_low, other_high, _ in chosen):
            chosen.append((low, high, net))
    return [net for _, _, net in chosen]


v4_nets = st.tuples(st.integers(0, 0xFFFFFFFF), st.integers(0, 32)).map(
    lambda pair: packed.net(f"{packed.addr_str(pair[0].to_bytes(4, 'big'))}/{pair[1]}")
)


@given(st.lists(v4_nets, max_size=12).map(disjoint))
def test_disjoint_nets_are_read_as_they_were_written(nets: list[bytes]) -> None:
    decl = SetDecl("n4", ("ipv4_addr",), interval=True)
    found = reread(list(element_chunks(decl, nets)))
    assert elements_to_content(decl, found) == dict.fromkeys(nets)
    assert elements_to_content(decl, list(reversed(found))) == dict.fromkeys(nets)


def test_an_interval_that_is_no_cidr_means_nothing() -> None:
    decl = SetDecl("n4", ("ipv4_addr",), interval=True)
    start, end = bytes((10, 0, 0, 0)), bytes((10, 0, 0, 3))
    assert elements_to_content(decl, [(start, None, False), (end, None, True)]) is None
    assert elements_to_content(decl, [(start, None, False), (end, None, False)]) is None


def test_an_element_listed_twice_means_nothing() -> None:
    decl = SetDecl("h4", ("ipv4_addr",))
    assert elements_to_content(decl, [(b"1234", None, False), (b"1234", None, False)]) is None


def test_a_hundred_thousand_elements_are_split_into_messages_that_fit() -> None:
    decl = SetDecl("h4", ("ipv4_addr",))
    keys = [number.to_bytes(4, "big") for number in range(100_000)]
    chunks = list(element_chunks(decl, keys))
    assert max(len(chunk) for chunk, _ in chunks) <= 60_100
    assert sum(len(part) for _, part in chunks) == 100_000
    assert elements_to_content(decl, reread(chunks)) == dict.fromkeys(keys)


def test_a_map_of_many_elements_is_split_into_messages_that_fit() -> None:
    decl = SetDecl("m", ("ifname",), "verdict")
    elements = {f"cali{n}".encode().ljust(16, b"\0"): Verdict("goto", f"gi-{n}") for n in range(3000)}
    chunks = list(element_chunks(decl, list(elements), elements))
    assert max(len(chunk) for chunk, _ in chunks) <= 60_100
    assert elements_to_content(decl, reread(chunks)) == elements


@given(st.binary(max_size=120))
def test_arbitrary_element_bytes_raise_nothing_but_a_wire_error(data: bytes) -> None:
    with contextlib.suppress(WireError):
        decode_elements(data)


@pytest.mark.parametrize("key", [b"", b"123", b"12345"])
def test_a_key_of_another_length_is_refused(key: bytes) -> None:
    with pytest.raises(WireError):
        list(element_chunks(SetDecl("h4", ("ipv4_addr",)), [key]))


def test_a_lone_short_field_is_padded_in_the_state_and_not_in_the_kernel() -> None:
    decl = SetDecl("svc", ("inet_service",))
    assert key_length(decl.key) == 4
    ((chunk, _),) = element_chunks(decl, [b"\0\x50\0\0"])
    assert reread([(chunk, None)]) == [(b"\0\x50", None, False)]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("ipv4_addr", None),
        ("ipv4_addr", Verdict("drop")),
        ("ipv4_addr", b"123"),
        ("ipv4_addr", b"12345678"),
        ("inet_service", b"\0\x50"),
        ("inet_service", b"\0\x50\0\1"),
        ("verdict", b"1234"),
        ("verdict", None),
    ],
)
def test_a_value_of_another_kind_or_length_is_refused(field, value: ElementValue) -> None:
    decl = SetDecl("m", ("ipv4_addr",), field)
    with pytest.raises(WireError, match="map m"):
        list(element_chunks(decl, [b"1234"], {b"1234": value}))


def test_a_short_value_is_padded_in_the_state_and_not_in_the_kernel() -> None:
    decl = SetDecl("ports", ("ipv4_addr",), "inet_service")
    ((chunk, _),) = element_chunks(decl, [b"1234"], {b"1234": b"\0\x50\0\0"})
    assert reread([(chunk, None)]) == [(b"1234", b"\0\x50", False)]


def test_an_element_of_a_map_is_deleted_by_its_key() -> None:
    decl = SetDecl("m", ("ipv4_addr",), "ipv4_addr")
    ((chunk, _),) = element_chunks(decl, [b"1234"])
    assert reread([(chunk, None)]) == [(b"1234", None, False)]
