"""Registers, constant data and verdicts in the attributes of nf_tables expressions and elements.

Numbers are from ``linux/netfilter/nf_tables.h`` (``nft_registers``, ``nft_data_attributes``, ``nft_verdicts``).
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import TypeVar

from calico.netlink import wire
from calico.netlink.nftables import uapi
from calico.netlink.nftables.expr import Verdict
from calico.netlink.wire import WireError, attr, attr_be32, attr_str, nested

__all__ = [
    "constant",
    "constant_of",
    "decode_verdict",
    "encode_verdict",
    "flags_of",
    "name_of",
    "need",
    "register",
    "register_of",
]

K = TypeVar("K")


@functools.lru_cache(maxsize=1 << 16)
def encode_verdict(verdict: Verdict) -> bytes:
    """NFTA_DATA_VERDICT."""
    code = attr_be32(uapi.VERDICT_CODE, uapi.VERDICTS[verdict.kind] & 0xFFFFFFFF)
    chain = attr_str(uapi.VERDICT_CHAIN, verdict.chain) if verdict.kind in ("jump", "goto") else b""
    return nested(uapi.DATA_VERDICT, code, chain)


def decode_verdict(payload: bytes) -> Verdict:
    """The verdict in the payload of NFTA_DATA_VERDICT."""
    attrs = wire.parse_attrs(payload)
    code = wire.be32(need(attrs, uapi.VERDICT_CODE))
    kind = name_of(uapi.VERDICTS, code - (1 << 32) if code >> 31 else code)
    return Verdict(kind, wire.text(attrs.get(uapi.VERDICT_CHAIN, b"")))  # type: ignore[arg-type]


def register(kind: int, reg: int) -> bytes:
    """An attribute that names a data register.

    Every fourth 4-byte register is also a 16-byte one, and the kernel tells it by that number.
    """
    if not 0 <= reg < 16:
        raise WireError(f"no register {reg}")
    return attr_be32(kind, 1 + reg // 4 if reg % 4 == 0 else 8 + reg)


def register_of(payload: bytes) -> int:
    """The data register that an attribute names."""
    number = wire.be32(payload)
    if 1 <= number <= 4:
        return (number - 1) * 4
    if 8 <= number < 24:
        return number - 8
    raise WireError(f"no data register {number}")


def constant(kind: int, value: bytes) -> bytes:
    """An attribute that holds constant data."""
    return nested(kind, attr(uapi.DATA_VALUE, value))


def constant_of(payload: bytes) -> bytes:
    """The constant data that an attribute holds."""
    return need(wire.parse_attrs(payload), uapi.DATA_VALUE)


def need(attrs: Mapping[int, bytes], kind: int) -> bytes:
    """An attribute that must be there."""
    try:
        return attrs[kind]
    except KeyError:
        raise WireError(f"attribute {kind} is missing") from None


def name_of(numbers: Mapping[K, int], number: int) -> K:
    """The name that stands for a number."""
    for name, value in numbers.items():
        if value == number:
            return name
    raise WireError(f"number {number} is not one of {list(numbers)}")


def flags_of(attrs: Mapping[int, bytes], kind: int, known: int) -> int:
    """The bits of a flags attribute, 0 when it is missing. WireError for a bit that is not ``known``."""
    flags = wire.be32(attrs.get(kind, b"\0\0\0\0"))
    if flags & ~known:
        raise WireError(f"flags {flags:#x} of which only {known:#x} are ours")
    return flags
