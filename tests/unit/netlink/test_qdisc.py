"""Queueing disciplines and redirecting filters: what is encoded is what is decoded, and what tc sends is understood."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from calico.netlink import wire
from calico.netlink.rtnetlink.qdisc import (
    INGRESS_HANDLE,
    RTM_DELQDISC,
    TC_H_INGRESS,
    TC_H_ROOT,
    Qdisc,
    Tbf,
    decode_qdisc,
    delete_qdisc,
    new_ingress,
    new_tbf,
    same_tbf,
    tc_header,
)
from calico.netlink.rtnetlink.redirect import Filter, decode_filter, delete_redirect, dump_filters, new_redirect

SIZES = st.integers(1, 2**32 - 1)
RATES = st.integers(125, 125 * 10**12)
TBFS = st.builds(
    Tbf, rate=RATES, burst=SIZES, limit=SIZES, peakrate=st.just(0) | RATES, minburst=st.integers(1, 10**8)
).map(lambda tbf: tbf if tbf.peakrate else replace(tbf, minburst=0))

OF_TC = bytes.fromhex("03010000ffff0000d0121300 03010000ffff0000a0252600 00900100 f93f0600 10270000")
"""struct tc_tbf_qopt as tc sends it for: rate 10mbit burst 32kb limit 100kb peakrate 20mbit minburst 1600."""

FILTER_OF_TC = bytes.fromhex(
    "38000700 34000100 0b000100 6d6972726564 0000 24000280 20000200"
    "00000000 00000000 04000000 00000000 00000000 01000000 04000000"
    "24000500 01000100 000000000000000000000000 00000000000000000000000000000000"
)
"""The options tc sends for: u32 match u32 0 0 action mirred egress redirect dev <interface 4>."""


def payload(message: bytes) -> bytes:
    (one,) = wire.iter_messages(message)
    return one.payload


@given(st.integers(1, 2**31 - 1), st.integers(0, 2**32 - 1), TBFS)
def test_a_token_bucket_survives_the_wire(index: int, handle: int, tbf: Tbf) -> None:
    decoded = decode_qdisc(payload(new_tbf(7, index, handle, tbf)))
    assert decoded == Qdisc(index=index, kind="tbf", handle=handle, parent=TC_H_ROOT, tbf=tbf)


def test_a_token_bucket_of_tc_is_understood() -> None:
    options = wire.attr(1, OF_TC) + wire.attr_u32(6, 32768) + wire.attr_u32(7, 1600)
    body = tc_header(3, 0xCA1C0000, TC_H_ROOT) + wire.attr_str(1, "tbf") + wire.nested(2, options)
    assert decode_qdisc(body).tbf == Tbf(rate=1250000, burst=32768, limit=102400, peakrate=2500000, minburst=1600)


def test_ours_is_laid_out_as_that_of_tc_apart_from_its_rounding_to_microseconds() -> None:
    tbf = Tbf(rate=1250000, burst=32768, limit=102400, peakrate=2500000, minburst=1600)
    options = wire.parse_attrs(wire.parse_attrs(payload(new_tbf(7, 3, 0xCA1C0000, tbf))[20:])[2])
    assert options[1][:28] == OF_TC[:28]
    assert wire.u32(options[1][28:]) - wire.u32(OF_TC[28:]) == 7  # of 409600 ticks
    assert options[1][32:] == OF_TC[32:]
    assert len(options[2]) == len(options[3]) == 1024
    assert wire.u32(options[2]) == 100  # 8 bytes take 6.4 us


@given(TBFS)
def test_what_the_kernel_tells_of_a_bucket_is_the_same_bucket(tbf: Tbf) -> None:
    """It tells ticks only, cut to 32 bits."""
    options = wire.parse_attrs(wire.parse_attrs(payload(new_tbf(7, 3, 0, tbf))[20:])[2])
    told = b"".join(wire.attr(kind, value) for kind, value in options.items() if kind in (1, 4, 5))
    body = tc_header(3, 0, TC_H_ROOT) + wire.attr_str(1, "tbf") + wire.nested(2, told)
    decoded = decode_qdisc(body).tbf
    assert decoded is not None
    assert same_tbf(tbf, decoded)


def test_another_bucket_is_not_the_same() -> None:
    tbf = Tbf(rate=125000, burst=50000, limit=131072, peakrate=250000, minburst=1600)
    assert same_tbf(tbf, tbf)
    for field, value in (("rate", 125001), ("burst", 50100), ("limit", 131073), ("peakrate", 0), ("minburst", 1650)):
        assert not same_tbf(tbf, replace(tbf, **{field: value})), field


def test_a_rate_of_more_than_32_bits_is_told_in_64() -> None:
    fast = Tbf(rate=1 << 33, burst=1 << 31, limit=1 << 20, peakrate=1 << 34, minburst=5000)
    options = wire.parse_attrs(wire.parse_attrs(payload(new_tbf(7, 3, 0, fast))[20:])[2])
    assert (wire.u64(options[4]), wire.u64(options[5])) == (1 << 33, 1 << 34)


@pytest.mark.parametrize("field", ["burst", "limit"])
def test_a_size_that_does_not_fit_is_refused(field: str) -> None:
    tbf = replace(Tbf(rate=1000, burst=1, limit=1), **{field: 1 << 32})
    with pytest.raises(wire.WireError):
        new_tbf(7, 3, 0, tbf)


def test_qdiscs_of_other_kinds_are_known_by_kind_and_place() -> None:
    place = Qdisc(index=5, kind="ingress", handle=INGRESS_HANDLE, parent=TC_H_INGRESS)
    assert decode_qdisc(payload(new_ingress(7, 5))) == place
    (message,) = wire.iter_messages(delete_qdisc(8, place))
    assert message.type == RTM_DELQDISC
    assert decode_qdisc(message.payload) == place


def test_a_redirect_is_laid_out_as_that_of_tc() -> None:
    ours = payload(new_redirect(7, 3, 4, 10))
    assert ours[:20] == tc_header(3, 0, INGRESS_HANDLE, 0x000A0300)
    options = wire.parse_attrs(wire.parse_attrs(ours[20:])[2])
    of_tc = wire.parse_attrs(FILTER_OF_TC)
    assert options.keys() == of_tc.keys()
    assert options[5] == of_tc[5]
    assert b"".join(dict(wire.iter_attrs(options[7])).values()) == b"".join(dict(wire.iter_attrs(of_tc[7])).values())


@given(st.integers(1, 2**31 - 1), st.integers(1, 2**31 - 1), st.integers(1, 65535))
def test_a_redirect_survives_the_wire(index: int, target: int, priority: int) -> None:
    assert decode_filter(payload(new_redirect(7, index, target, priority))) == Filter(index, priority, "u32", target)
    assert decode_filter(payload(delete_redirect(7, index, priority))) == Filter(index, priority, "")
    assert decode_filter(payload(dump_filters(7, index))).index == index


def test_parts_of_a_classifier_and_other_actions_lead_nowhere() -> None:
    header = tc_header(3, 0, INGRESS_HANDLE, 0x000A0300) + wire.attr_str(1, "u32")
    assert decode_filter(header) == Filter(3, 10, "u32")
    drop = wire.nested(1, wire.attr_str(1, "gact"), wire.nested(2, wire.attr(2, bytes(28))))
    assert decode_filter(header + wire.nested(2, wire.nested(7, drop))).target == 0
    mirror = wire.attr(2, wire.attr(2, bytes(20) + b"\2\0\0\0\4\0\0\0"))
    assert (
        decode_filter(
            header + wire.nested(2, wire.nested(7, wire.nested(1, wire.attr_str(1, "mirred"), mirror)))
        ).target
        == 0
    )


@given(st.binary(max_size=200))
def test_bad_bytes_raise_wire_errors_and_nothing_else(data: bytes) -> None:
    prefix = tc_header(3) + wire.attr_str(1, "tbf")
    for decode in (decode_qdisc, decode_filter):
        for start in (b"", prefix, prefix + wire.attr(2, data[:100])):
            with contextlib.suppress(wire.WireError):
                decode(start + data)
