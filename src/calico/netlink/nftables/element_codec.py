"""Elements of sets and maps to netlink and back, in bulk: a set may have a million.

An interval set's CIDR is two kernel elements: where it starts, and (flagged) where it ends; a CIDR that reaches the
last address has no end.
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from calico.netlink import wire
from calico.netlink.nftables import uapi
from calico.netlink.nftables.data_codec import decode_verdict, encode_verdict
from calico.netlink.nftables.expr import Verdict
from calico.netlink.nftables.objects import VERDICT_VALUE, ElementValue, SetDecl
from calico.netlink.nftables.set_codec import kernel_key_length, key_length, value_length
from calico.netlink.wire import WireError, attr, attr_be32, nested

__all__ = ["KernelElement", "decode_elements", "element_chunks", "elements_to_content", "encode_value"]

_CHUNK_MAX: Final = 60_000
"""Bytes of elements in one message: a netlink attribute holds 64 KiB."""

_IS_END: Final = attr_be32(uapi.ELEM_FLAGS, uapi.ELEM_F_INTERVAL_END)
_IS_OPEN: Final = attr(
    uapi.ELEM_USERDATA, bytes((uapi.UDATA_ELEM_FLAGS, 4)) + struct.pack("=I", uapi.UDATA_ELEM_F_OPEN)
)
_KEY_AT: Final = 12
"""Where the key starts in an encoded element: after the headers of the element, its key and the key's value."""

KernelElement = tuple[bytes, ElementValue, bool]
"""A kernel element: its key, its value if any (not padded), whether it ends an interval."""


def element_chunks(
    decl: SetDecl, keys: Sequence[bytes], values: Mapping[bytes, ElementValue] | None = None, *, single: bool = False
) -> Iterator[tuple[bytes, Sequence[bytes]]]:
    """NFTA_SET_ELEM_LIST_ELEMENTS attributes that fit a message, each with the keys that it holds.

    ``values`` are those of a map's elements to add; a deletion needs none. ``single``: one key in each. WireError if a
    key or a value is not of the length and kind that the declaration tells.
    """
    expected = key_length(decl.key) + (1 if decl.interval else 0)
    for key in keys:
        if len(key) != expected:
            raise WireError(f"set {decl.name}: key {key.hex()} is not {expected} bytes")
    if decl.interval:
        yield from _grouped(keys, [_interval(key) for key in keys], single)
    elif decl.value and values is not None:
        length = kernel_key_length(decl)
        yield from _grouped(keys, [_mapping(key[:length], _kernel_value(decl, values[key])) for key in keys], single)
    else:
        yield from _plain_chunks(keys, kernel_key_length(decl), single)


def decode_elements(payload: bytes) -> list[KernelElement]:
    """The elements in the payload of one NFTA_SET_ELEM_LIST_ELEMENTS."""
    plain = _decode_plain(payload)
    if plain is not None:
        return [(key, None, False) for key in plain]
    return [_decode_element(element) for _, element in wire.iter_attrs(payload)]


def elements_to_content(decl: SetDecl, elements: Iterable[KernelElement]) -> dict[bytes, ElementValue] | None:
    """What the kernel's elements mean in terms of ``TableState.elements``; None if they mean nothing there.

    That is so for an interval that is not a CIDR and for an element listed twice (the kernel does that while it
    rehashes a set).
    """
    if decl.interval:
        return _nets_of(list(elements))
    content: dict[bytes, ElementValue] = {}
    count = 0
    padding = bytes(key_length(decl.key) - kernel_key_length(decl))
    for key, value, _ in elements:
        content[key + padding] = value.ljust((len(value) + 3) & ~3, b"\0") if isinstance(value, bytes) else value
        count += 1
    return content if len(content) == count else None


# -- encoding --------------------------------------------------------------------------------------------------------


def _plain_chunks(keys: Sequence[bytes], length: int, single: bool) -> Iterator[tuple[bytes, Sequence[bytes]]]:
    sample = _element(bytes(length))
    before, after = sample[:_KEY_AT], sample[_KEY_AT + length :]
    between = after + before
    per_chunk = 1 if single else _CHUNK_MAX // len(sample)
    for start in range(0, len(keys), per_chunk):
        part = keys[start : start + per_chunk]
        trimmed = part if len(part[0]) == length else [key[:length] for key in part]
        yield nested(uapi.ELEM_LIST_ELEMENTS, before, between.join(trimmed), after), part


def _grouped(keys: Sequence[bytes], encoded: Sequence[bytes], single: bool) -> Iterator[tuple[bytes, Sequence[bytes]]]:
    start, size = 0, 0
    for index, element in enumerate(encoded):
        if index > start and (single or size + len(element) > _CHUNK_MAX):
            yield nested(uapi.ELEM_LIST_ELEMENTS, *encoded[start:index]), keys[start:index]
            start, size = index, 0
        size += len(element)
    if start < len(encoded):
        yield nested(uapi.ELEM_LIST_ELEMENTS, *encoded[start:]), keys[start:]


def _element(key: bytes, *more: bytes) -> bytes:
    return nested(uapi.LIST_ELEM, nested(uapi.ELEM_KEY, attr(uapi.DATA_VALUE, key)), *more)


def encode_value(value: Verdict | bytes) -> bytes:
    """NFTA_SET_ELEM_DATA."""
    return nested(uapi.ELEM_DATA, encode_verdict(value) if isinstance(value, Verdict) else attr(uapi.DATA_VALUE, value))


def _kernel_value(decl: SetDecl, value: ElementValue) -> Verdict | bytes:
    """A value as the kernel wants it: without padding."""
    if decl.value is None or decl.value == VERDICT_VALUE:
        if not isinstance(value, Verdict):
            raise WireError(f"map {decl.name}: {value!r} is no verdict")
        return value
    length = value_length(decl.value)
    if not isinstance(value, bytes) or len(value) != (length + 3) & ~3 or any(value[length:]):
        raise WireError(f"map {decl.name}: {value!r} is not {length} bytes of {decl.value}, padded")
    return value[:length]


def _mapping(key: bytes, value: Verdict | bytes) -> bytes:
    if not isinstance(value, Verdict):
        return _element(key, encode_value(value))
    before, after = _mapping_frame(len(key), value)
    return before + key + after


@functools.lru_cache(maxsize=1 << 16)
def _mapping_frame(length: int, verdict: Verdict) -> tuple[bytes, bytes]:
    element = _element(bytes(length), encode_value(verdict))
    return element[:_KEY_AT], element[_KEY_AT + length :]


def _interval(net: bytes) -> bytes:
    low, bits = net[:-1], len(net) * 8 - 8
    if net[-1] > bits:
        raise WireError(f"prefix length {net[-1]} of {bits} bits")
    high = int.from_bytes(low, "big") + (1 << bits - net[-1])
    if high >> bits:
        return _element(low, _IS_OPEN)
    return _element(low) + _element(high.to_bytes(len(low), "big"), _IS_END)


# -- decoding --------------------------------------------------------------------------------------------------------


def _decode_plain(payload: bytes) -> list[bytes] | None:
    """The keys, if the payload consists of nothing but keys of one length (as a plain set's dump does)."""
    if len(payload) < _KEY_AT:
        return None
    stride = (wire.u16(payload) + 3) & ~3
    length = wire.u16(payload[8:10]) - 4
    if length < 1 or stride != (_KEY_AT + length + 3) & ~3 or len(payload) % stride:
        return None
    keys = [payload[at : at + length] for at in range(_KEY_AT, len(payload), stride)]
    before, after = payload[:_KEY_AT], bytes(stride - _KEY_AT - length)
    return keys if before + (after + before).join(keys) + after == payload else None


def _decode_element(element: bytes) -> KernelElement:
    attrs = wire.parse_attrs(element)
    key = wire.parse_attrs(attrs.get(uapi.ELEM_KEY, b"")).get(uapi.DATA_VALUE)
    if key is None:
        raise WireError("element without a key")
    is_end = bool(wire.be32(attrs.get(uapi.ELEM_FLAGS, b"\0\0\0\0")) & uapi.ELEM_F_INTERVAL_END)
    return key, _value_of(wire.parse_attrs(attrs.get(uapi.ELEM_DATA, b""))), is_end


def _value_of(data: Mapping[int, bytes]) -> ElementValue:
    if uapi.DATA_VERDICT in data:
        return decode_verdict(data[uapi.DATA_VERDICT])
    return data.get(uapi.DATA_VALUE)


def _nets_of(elements: list[KernelElement]) -> dict[bytes, ElementValue] | None:
    elements.sort(key=lambda element: (element[0], not element[2]))
    nets: dict[bytes, ElementValue] = {}
    start: bytes | None = None
    for key, _, is_end in elements:
        if not is_end:
            if start is not None:
                return None
            start = key
        elif start is not None:
            net = _net_between(start, int.from_bytes(key, "big"))
            if net is None:
                return None
            nets[net] = None
            start = None
    if start is not None:
        net = _net_between(start, 1 << len(start) * 8)
        if net is None:
            return None
        nets[net] = None
    return nets


def _net_between(low: bytes, high: int) -> bytes | None:
    first = int.from_bytes(low, "big")
    size = high - first
    if size <= 0 or size & size - 1 or first & size - 1:
        return None
    return low + bytes((len(low) * 8 - size.bit_length() + 1,))
