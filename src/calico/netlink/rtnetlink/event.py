"""What the kernel tells listeners: which groups to join, and messages turned into events."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeAlias

import msgspec

from calico.netlink.rtnetlink.address import RTM_DELADDR, RTM_NEWADDR, Address, decode_address
from calico.netlink.rtnetlink.family import AF_INET, AF_INET6, AF_UNSPEC
from calico.netlink.rtnetlink.link import RTM_DELLINK, RTM_NEWLINK, Link, decode_link
from calico.netlink.rtnetlink.neighbour import RTM_DELNEIGH, RTM_NEWNEIGH, Neighbour, decode_neighbour
from calico.netlink.rtnetlink.route import RTM_DELROUTE, RTM_NEWROUTE, KernelRoute, decode_route
from calico.netlink.wire import Message

__all__ = [
    "GROUP_ADDRESS4",
    "GROUP_ADDRESS6",
    "GROUP_LINK",
    "GROUP_NEIGHBOUR",
    "GROUP_ROUTE4",
    "GROUP_ROUTE6",
    "GROUP_TRAFFIC_CONTROL",
    "Event",
    "decode_event",
]

GROUP_LINK: Final = 1
GROUP_NEIGHBOUR: Final = 3
GROUP_TRAFFIC_CONTROL: Final = 4
GROUP_ADDRESS4: Final = 5
GROUP_ROUTE4: Final = 7
GROUP_ADDRESS6: Final = 9
GROUP_ROUTE6: Final = 11

Subject: TypeAlias = Link | Address | KernelRoute | Neighbour

_DECODERS: Final[dict[int, tuple[Callable[[bytes], Subject], bool]]] = {
    RTM_NEWLINK: (decode_link, False),
    RTM_DELLINK: (decode_link, True),
    RTM_NEWADDR: (decode_address, False),
    RTM_DELADDR: (decode_address, True),
    RTM_NEWROUTE: (decode_route, False),
    RTM_DELROUTE: (decode_route, True),
    RTM_NEWNEIGH: (decode_neighbour, False),
    RTM_DELNEIGH: (decode_neighbour, True),
}


class Event(msgspec.Struct, frozen=True, gc=False):
    """``subject`` is there (new or changed) or ``gone``."""

    subject: Subject
    gone: bool


def decode_event(message: Message) -> Event | None:
    """The event in a message; None for types and families that are not ours to read. WireError on bad bytes.

    A bridge sends link messages of its own family about its ports; a port that leaves looks like a deletion there,
    so only messages of the unspecified family count as links.
    """
    entry = _DECODERS.get(message.type)
    if entry is None:
        return None
    decode, gone = entry
    family = message.payload[0] if message.payload else AF_UNSPEC
    is_link = message.type in (RTM_NEWLINK, RTM_DELLINK)
    if family not in ((AF_UNSPEC,) if is_link else (AF_INET, AF_INET6)):
        return None
    return Event(decode(message.payload), gone)
