"""Settings of interfaces that the kernel tells of when they change (``linux/netconf.h``): three of those we set."""

from __future__ import annotations

import sys
from typing import Final

import msgspec

from calico.netlink import wire
from calico.netlink.wire import WireError

__all__ = ["ALL", "GROUP_NETCONF4", "GROUP_NETCONF6", "RTM_NEWNETCONF", "NetConf", "decode_netconf"]

RTM_NEWNETCONF: Final = 80
GROUP_NETCONF4: Final = 24
GROUP_NETCONF6: Final = 25
ALL: Final = -1
"""The index of the settings called ``all``."""

_IFINDEX: Final = 1
_NAMES: Final = {2: "forwarding", 3: "rp_filter", 5: "proxy"}


class NetConf(msgspec.Struct, frozen=True, gc=False):
    """What changed: the family, the interface's index, and values by the names *forwarding*, *rp_filter* and *proxy*
    (of ARP or neighbour discovery)."""

    family: int
    index: int
    values: dict[str, int]


def decode_netconf(payload: bytes) -> NetConf:
    """An RTM_NEWNETCONF payload; WireError on bad bytes."""
    if not payload:
        raise WireError("netconf message without a family")
    attrs = wire.parse_attrs(payload[4:])
    values = {name: _number(attrs[kind]) for kind, name in _NAMES.items() if kind in attrs}
    return NetConf(payload[0], _number(attrs.get(_IFINDEX, b"")), values)


def _number(data: bytes) -> int:
    if len(data) != 4:
        raise WireError(f"netconf value of {len(data)} bytes")
    return int.from_bytes(data, sys.byteorder, signed=True)
