"""Domain names as DNS writes them (RFC 1035 section 3.1), which DHCP borrows. No compression: RFC 3397 allows to do
without, RFC 8415 and 8106 demand it."""

from __future__ import annotations

from collections.abc import Iterable

from calico.errors import InvalidInput

__all__ = ["domain_bytes", "domains_bytes"]

_LABEL_MAX, _NAME_MAX = 63, 255


def domain_bytes(name: str) -> bytes:
    """A name with its final empty label. InvalidInput when DNS cannot write it."""
    out = b""
    for label in name.rstrip(".").split("."):
        try:
            raw = label.encode("ascii") if label.isascii() else label.encode("idna")
        except UnicodeError as error:
            raise InvalidInput(f"{name!r} is no domain name: {error}") from None
        if not 0 < len(raw) <= _LABEL_MAX or any(byte <= 0x20 for byte in raw):
            raise InvalidInput(f"{name!r} is no domain name")
        out += bytes((len(raw),)) + raw
    if len(out) >= _NAME_MAX:
        raise InvalidInput(f"{name!r} is too long for a domain name")
    return out + b"\0"


def domains_bytes(names: Iterable[str]) -> bytes:
    """Several names, one after the other."""
    return b"".join(map(domain_bytes, names))
