"""What kind of address the kernel takes an address for: the result of a ``fib`` look up of its type."""

from __future__ import annotations

from collections.abc import Container
from typing import Final

__all__ = ["BROADCAST", "LOCAL", "MULTICAST", "UNICAST", "address_type"]

UNICAST, LOCAL, BROADCAST, MULTICAST = 1, 2, 3, 5
"""Numbers of ``linux/rtnetlink.h`` (RTN_*)."""

_LOOPBACK: Final = bytes(15) + b"\1"


def address_type(address: bytes, local_addresses: Container[bytes]) -> int:
    """The type of a packed address for a host that has a route to every address.

    As ``inet_dev_addr_type`` (net/ipv4/fib_frontend.c) and nft_fib_ipv6.c; broadcasts of a subnet are not known here.
    """
    if len(address) == 4:
        if address[0] == 0 or address == b"\xff\xff\xff\xff":
            return BROADCAST
        is_multicast, is_loopback = address[0] >> 4 == 14, address[0] == 127
    else:
        is_multicast, is_loopback = address[0] == 255, address == _LOOPBACK
    if is_multicast:
        return MULTICAST
    return LOCAL if is_loopback or address in local_addresses else UNICAST
