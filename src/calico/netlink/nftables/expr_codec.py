"""nf_tables expressions to netlink and back: loads and comparisons by ``match_codec``, the rest by ``statement_codec``.

Encoding and decoding are memoised: a ruleset has few distinct expressions, and what remains of a rule is a join.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from calico.netlink import wire
from calico.netlink.nftables import match_codec, statement_codec, uapi
from calico.netlink.nftables.data_codec import need
from calico.netlink.nftables.expr import Expr
from calico.netlink.wire import WireError, attr_str, nested

__all__ = ["decode_exprs", "encode_expr", "encode_exprs"]

_ENCODERS: Final[Mapping[type, Callable[[Any], tuple[str, tuple[bytes, ...]]]]] = {
    **match_codec.ENCODERS,
    **statement_codec.ENCODERS,
}
_DECODERS: Final[Mapping[str, Callable[[Mapping[int, bytes]], Expr]]] = {
    **match_codec.DECODERS,
    **statement_codec.DECODERS,
}


@functools.lru_cache(maxsize=1 << 16)
def encode_expr(expr: Expr) -> bytes:
    """One list element of NFTA_RULE_EXPRESSIONS. WireError if a value does not fit."""
    try:
        name, data = _ENCODERS[type(expr)](expr)
    except KeyError as error:
        raise WireError(f"{expr}: {error} is not known") from error
    return nested(uapi.LIST_ELEM, attr_str(uapi.EXPR_NAME, name), nested(uapi.EXPR_DATA, *data))


def encode_exprs(exprs: Iterable[Expr]) -> bytes:
    """NFTA_RULE_EXPRESSIONS."""
    return nested(uapi.RULE_EXPRESSIONS, b"".join(map(encode_expr, exprs)))


def decode_exprs(payload: bytes) -> tuple[Expr, ...]:
    """The expressions in the payload of NFTA_RULE_EXPRESSIONS; WireError if one is not of ``expr.Expr``.

    Canonical: a value that the kernel fills in by itself (a log level, a burst, the end of a range of one port) reads
    as not given.
    """
    return tuple(_decode_expr(element) for _, element in wire.iter_attrs(payload))


@functools.lru_cache(maxsize=1 << 16)
def _decode_expr(element: bytes) -> Expr:
    attrs = wire.parse_attrs(element)
    name = wire.text(need(attrs, uapi.EXPR_NAME))
    decoder = _DECODERS.get(name)
    if decoder is None:
        raise WireError(f"expression {name!r} is not one of ours")
    return decoder(wire.parse_attrs(attrs.get(uapi.EXPR_DATA, b"")))
