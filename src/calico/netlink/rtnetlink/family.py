"""The two address families, by the length of their addresses."""

from __future__ import annotations

from typing import Final

from calico.netlink.wire import WireError

__all__ = ["AF_INET", "AF_INET6", "AF_UNSPEC", "address_length", "family_of"]

AF_UNSPEC: Final = 0
AF_INET: Final = 2
AF_INET6: Final = 10

_LENGTHS: Final = {AF_INET: 4, AF_INET6: 16}
_FAMILIES: Final = {4: AF_INET, 16: AF_INET6}


def address_length(family: int) -> int:
    """Bytes in an address of the family; WireError for families that are not IP."""
    try:
        return _LENGTHS[family]
    except KeyError:
        raise WireError(f"address family {family} is not IP") from None


def family_of(address: bytes) -> int:
    """The family of a packed address; WireError unless it has 4 or 16 bytes."""
    try:
        return _FAMILIES[len(address)]
    except KeyError:
        raise WireError(f"an address has 4 or 16 bytes, not {len(address)}") from None
