"""Queueing disciplines: the token bucket (tbf) that shapes what leaves an interface, and the place for filters of what
enters one (ingress).

Numbers and layouts are those of ``linux/pkt_sched.h`` and ``linux/rtnetlink.h``. The kernel tells a bucket's size as
the time that it takes to fill, in ticks of 64 ns and 32 bits, so what it tells is near to what it was given
(``same_tbf``).
"""

from __future__ import annotations

import struct
from typing import Final

import msgspec

from calico.netlink import wire
from calico.netlink.wire import WireError

__all__ = [
    "INGRESS_HANDLE",
    "RTM_DELQDISC",
    "RTM_GETQDISC",
    "RTM_NEWQDISC",
    "TC_H_INGRESS",
    "TC_H_ROOT",
    "Qdisc",
    "Tbf",
    "decode_qdisc",
    "delete_qdisc",
    "dump_qdiscs",
    "new_ingress",
    "new_tbf",
    "same_tbf",
    "tc_header",
]

RTM_NEWQDISC: Final = 36
RTM_DELQDISC: Final = 37
RTM_GETQDISC: Final = 38

TC_H_ROOT: Final = 0xFFFFFFFF
TC_H_INGRESS: Final = 0xFFFFFFF1
INGRESS_HANDLE: Final = 0xFFFF0000
"""The handle that every ingress qdisc has."""

_TCA_KIND: Final = 1
_TCA_OPTIONS: Final = 2
_PARMS: Final = 1
_RATE_TABLE: Final = 2
_PEAK_TABLE: Final = 3
_RATE64: Final = 4
_PEAK64: Final = 5
_BURST: Final = 6
_PEAK_BURST: Final = 7

_TICK_NS: Final = 64
_U32: Final = (1 << 32) - 1
_ETHERNET: Final = 1
_CELL_LOG: Final = 3
_CELLS: Final = 256

_TCMSG = struct.Struct("=BxxxiIII")  # family, index, handle, parent, info
_RATE_SPEC = struct.Struct("=BBHhHI")  # cell log, link layer, overhead, cell align, mpu, rate
_TBF_PARMS = struct.Struct("=12s12sIII")  # rate, peak rate, limit, ticks of the bucket and of the peak's


class Tbf(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A token bucket: bytes per second, bytes that may pass at once, bytes that may wait.

    With a ``peakrate`` a second bucket of ``minburst`` bytes bounds how fast the first is emptied.
    """

    rate: int
    burst: int
    limit: int
    peakrate: int = 0
    minburst: int = 0


class Qdisc(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """One queueing discipline of an interface; handle 0 is one that the kernel made by itself."""

    index: int
    kind: str
    handle: int = 0
    parent: int = TC_H_ROOT
    tbf: Tbf | None = None


def tc_header(index: int, handle: int = 0, parent: int = 0, info: int = 0) -> bytes:
    """The header (``tcmsg``) of messages about qdiscs and filters."""
    return _TCMSG.pack(0, index, handle, parent, info)


def dump_qdiscs(seq: int) -> bytes:
    """All queueing disciplines of the namespace."""
    return wire.message(RTM_GETQDISC, wire.NLM_F_REQUEST | wire.NLM_F_DUMP, seq, tc_header(0))


def new_tbf(seq: int, index: int, handle: int, tbf: Tbf) -> bytes:
    """Make a token bucket the root of an interface, or change the one that has this handle there.

    EEXIST when the interface has another root than the kernel's own.
    """
    body = tc_header(index, handle, TC_H_ROOT) + wire.attr_str(_TCA_KIND, "tbf") + _encode_tbf(tbf)
    return wire.message(RTM_NEWQDISC, wire.NLM_F_REQUEST | wire.NLM_F_CREATE, seq, body)


def new_ingress(seq: int, index: int) -> bytes:
    """The place for filters of what enters an interface; it may be there already. EINVAL if it is another kind's."""
    body = tc_header(index, INGRESS_HANDLE, TC_H_INGRESS) + wire.attr_str(_TCA_KIND, "ingress")
    return wire.message(RTM_NEWQDISC, wire.NLM_F_REQUEST | wire.NLM_F_CREATE, seq, body)


def delete_qdisc(seq: int, qdisc: Qdisc) -> bytes:
    """Remove exactly this one: the kernel compares handle, parent and kind."""
    body = tc_header(qdisc.index, qdisc.handle, qdisc.parent) + wire.attr_str(_TCA_KIND, qdisc.kind)
    return wire.message(RTM_DELQDISC, wire.NLM_F_REQUEST, seq, body)


def decode_qdisc(payload: bytes) -> Qdisc:
    """A qdisc from an RTM_NEWQDISC or RTM_DELQDISC payload."""
    if len(payload) < _TCMSG.size:
        raise WireError(f"qdisc message of {len(payload)} bytes")
    _, index, handle, parent, _ = _TCMSG.unpack_from(payload)
    attrs = wire.parse_attrs(payload[_TCMSG.size :])
    kind = wire.text(attrs.get(_TCA_KIND, b""))
    tbf = _decode_tbf(attrs[_TCA_OPTIONS]) if kind == "tbf" and _TCA_OPTIONS in attrs else None
    return Qdisc(index=index, kind=kind, handle=handle, parent=parent, tbf=tbf)


def same_tbf(given: Tbf, told: Tbf) -> bool:
    """Whether what the kernel tells can be what it was given."""
    return (
        (given.rate, given.peakrate, given.limit) == (told.rate, told.peakrate, told.limit)
        and _same_bucket(given.burst, told.burst, given.rate)
        and (not given.peakrate or _same_bucket(given.minburst, told.minburst, given.peakrate))
    )


def _same_bucket(given: int, told: int, rate: int) -> bool:
    """The kernel computes with 31 significant bits and cuts the ticks to 32 bits."""
    ticks = _ticks(given, rate)
    distance = (ticks - _ticks(told, rate)) & _U32
    return min(distance, _U32 + 1 - distance) <= _ticks(2, rate) + 2 + (ticks >> 24)


def _ticks(size: int, rate: int) -> int:
    """How long so many bytes take at a rate."""
    return size * 10**9 // (rate * _TICK_NS) if rate else 0


def _encode_tbf(tbf: Tbf) -> bytes:
    ticks = _ticks(tbf.burst, tbf.rate) & _U32, _ticks(tbf.minburst, tbf.peakrate) & _U32
    try:
        parms = _TBF_PARMS.pack(_rate_spec(tbf.rate), _rate_spec(tbf.peakrate), tbf.limit, *ticks)
    except struct.error as error:
        raise WireError(f"token bucket {tbf}: {error}") from error
    body = [wire.attr(_PARMS, parms), wire.attr_u32(_BURST, tbf.burst), wire.attr(_RATE_TABLE, _rate_table(tbf.rate))]
    if tbf.rate > _U32:
        body.append(wire.attr_u64(_RATE64, tbf.rate))
    if tbf.peakrate:
        body += [wire.attr_u32(_PEAK_BURST, tbf.minburst), wire.attr(_PEAK_TABLE, _rate_table(tbf.peakrate))]
    if tbf.peakrate > _U32:
        body.append(wire.attr_u64(_PEAK64, tbf.peakrate))
    return wire.nested(_TCA_OPTIONS, *body)


def _rate_spec(rate: int) -> bytes:
    if not rate:
        return bytes(_RATE_SPEC.size)
    return _RATE_SPEC.pack(_CELL_LOG, _ETHERNET, 0, -1, 0, min(rate, _U32))


def _rate_table(rate: int) -> bytes:
    """The time that packets take by their length; only kernels that know no link layers look at it."""
    cells = (min(_ticks(cell << _CELL_LOG, rate), _U32) for cell in range(1, _CELLS + 1))
    return struct.pack(f"={_CELLS}I", *cells)


def _decode_tbf(options: bytes) -> Tbf:
    attrs = wire.parse_attrs(options)
    parms = attrs.get(_PARMS, b"")
    if len(parms) < _TBF_PARMS.size:
        raise WireError(f"token bucket of {len(parms)} bytes")
    rate_spec, peak_spec, limit, ticks, peak_ticks = _TBF_PARMS.unpack_from(parms)
    rate = wire.u64(attrs[_RATE64]) if _RATE64 in attrs else _RATE_SPEC.unpack(rate_spec)[5]
    peakrate = wire.u64(attrs[_PEAK64]) if _PEAK64 in attrs else _RATE_SPEC.unpack(peak_spec)[5]
    return Tbf(
        rate=rate,
        burst=wire.u32(attrs[_BURST]) if _BURST in attrs else _size(ticks, rate),
        limit=limit,
        peakrate=peakrate,
        minburst=wire.u32(attrs[_PEAK_BURST]) if _PEAK_BURST in attrs else _size(peak_ticks, peakrate),
    )


def _size(ticks: int, rate: int) -> int:
    return -(-ticks * _TICK_NS * rate // 10**9)
