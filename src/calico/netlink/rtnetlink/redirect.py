"""A filter that sends everything that enters an interface to another one (an ifb), which can shape it.

It is a u32 classifier that matches always, with the action mirred; numbers and layouts are those of
``linux/pkt_cls.h`` and ``linux/tc_act/tc_mirred.h``.
"""

from __future__ import annotations

import struct
import sys
from typing import Final

import msgspec

from calico.netlink import wire
from calico.netlink.rtnetlink.qdisc import INGRESS_HANDLE, tc_header
from calico.netlink.wire import WireError

__all__ = [
    "RTM_DELTFILTER",
    "RTM_GETTFILTER",
    "RTM_NEWTFILTER",
    "Filter",
    "decode_filter",
    "delete_redirect",
    "dump_filters",
    "new_redirect",
]

RTM_NEWTFILTER: Final = 44
RTM_DELTFILTER: Final = 45
RTM_GETTFILTER: Final = 46

_ETH_P_ALL: Final = int.from_bytes(b"\0\3", sys.byteorder)
"""All protocols, in network order."""

_TCA_KIND: Final = 1
_TCA_OPTIONS: Final = 2
_U32_SEL: Final = 5
_U32_ACT: Final = 7
_ACT_KIND: Final = 1
_ACT_OPTIONS: Final = 2
_MIRRED_PARMS: Final = 2
_EGRESS_REDIRECT: Final = 1
_STOLEN: Final = 4
_TERMINAL: Final = 1

_TCMSG = struct.Struct("=BxxxiIII")
_SELECTOR = struct.Struct("=BBBxHHhhIIIii")  # flags, shift, keys, masks and offsets; then one key that is always true
_MIRRED = struct.Struct("=IIiiiiI")  # index, capabilities, what becomes of the packet, counts, action, target


class Filter(msgspec.Struct, frozen=True, gc=False):
    """A filter of what enters the interface ``index``; ``target``: where it redirects all to, if it is such a one."""

    index: int
    priority: int
    kind: str
    target: int = 0


def new_redirect(seq: int, index: int, target: int, priority: int) -> bytes:
    """Send all that enters ``index`` out of ``target``; the interface needs an ingress qdisc (EINVAL without)."""
    parms = _MIRRED.pack(0, 0, _STOLEN, 0, 0, _EGRESS_REDIRECT, target)
    action = wire.attr_str(_ACT_KIND, "mirred") + wire.nested(_ACT_OPTIONS, wire.attr(_MIRRED_PARMS, parms))
    selector = _SELECTOR.pack(_TERMINAL, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0)
    options = wire.nested(_TCA_OPTIONS, wire.nested(_U32_ACT, wire.nested(1, action)), wire.attr(_U32_SEL, selector))
    body = _header(index, priority) + wire.attr_str(_TCA_KIND, "u32") + options
    flags = wire.NLM_F_REQUEST | wire.NLM_F_CREATE | wire.NLM_F_EXCL
    return wire.message(RTM_NEWTFILTER, flags, seq, body)


def delete_redirect(seq: int, index: int, priority: int) -> bytes:
    """Remove the filters of a priority."""
    return wire.message(RTM_DELTFILTER, wire.NLM_F_REQUEST, seq, _header(index, priority))


def dump_filters(seq: int, index: int) -> bytes:
    """The filters of what enters an interface."""
    header = tc_header(index, parent=INGRESS_HANDLE)
    return wire.message(RTM_GETTFILTER, wire.NLM_F_REQUEST | wire.NLM_F_DUMP, seq, header)


def decode_filter(payload: bytes) -> Filter:
    """A filter from an RTM_NEWTFILTER payload; the kernel tells a u32 classifier in several parts."""
    if len(payload) < _TCMSG.size:
        raise WireError(f"filter message of {len(payload)} bytes")
    _, index, _, _, info = _TCMSG.unpack_from(payload)
    attrs = wire.parse_attrs(payload[_TCMSG.size :])
    kind = wire.text(attrs.get(_TCA_KIND, b""))
    target = _target(wire.parse_attrs(attrs.get(_TCA_OPTIONS, b""))) if kind == "u32" else 0
    return Filter(index, info >> 16, kind, target)


def _header(index: int, priority: int) -> bytes:
    return tc_header(index, parent=INGRESS_HANDLE, info=priority << 16 | _ETH_P_ALL)


def _target(options: dict[int, bytes]) -> int:
    for _, action in wire.iter_attrs(options.get(_U32_ACT, b"")):
        attrs = wire.parse_attrs(action)
        if wire.text(attrs.get(_ACT_KIND, b"")) != "mirred":
            continue
        parms = wire.parse_attrs(attrs.get(_ACT_OPTIONS, b"")).get(_MIRRED_PARMS, b"")
        if len(parms) >= _MIRRED.size:
            _, _, _, _, _, action_kind, target = _MIRRED.unpack_from(parms)
            if action_kind == _EGRESS_REDIRECT:
                return int(target)
    return 0
