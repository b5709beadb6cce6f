"""Rules are made of what ``nft`` would generate itself, so that it lists them in its own words."""

from __future__ import annotations

import socket
import sys

import pytest

from calico.lib.packed import net
from calico.netlink.nftables.expr import Bitwise, Cmp, Ct, Fib, Meta, MetaSet, Payload
from calico.rules.loads import (
    ESTABLISHED_OR_RELATED,
    FIRST_PACKET,
    FROM_HERE,
    INVALID,
    TRANSLATED,
    Side,
    address,
    icmp_number,
    mark_clear,
    mark_is_set,
    mark_set,
    mark_unset,
    net_is,
    port,
)

BIT = 0x00010000


def host_order(value: int) -> bytes:
    return value.to_bytes(4, sys.byteorder)


@pytest.mark.parametrize(("side", "v4", "v6", "at"), [("src", (12, 4), (8, 16), 0), ("dst", (16, 4), (24, 16), 2)])
def test_addresses_and_ports_are_loaded_from_where_the_headers_have_them(
    side: Side, v4: tuple[int, int], v6: tuple[int, int], at: int
) -> None:
    assert address(side, False, 3) == Payload("network", *v4, 3)
    assert address(side, True, 3) == Payload("network", *v6, 3)
    assert port(side, 3) == Payload("transport", at, 2, 3)


def test_a_prefix_of_whole_bytes_is_compared_as_it_is_and_another_through_a_mask() -> None:
    assert net_is("src", net("10.1.0.0/16")) == (Payload("network", 12, 2), Cmp("eq", b"\x0a\x01"))
    assert net_is("dst", net("10.1.2.3"), "neq") == (Payload("network", 16, 4), Cmp("neq", b"\x0a\x01\x02\x03"))
    assert net_is("src", net("fd00::/8")) == (Payload("network", 8, 1), Cmp("eq", b"\xfd"))
    masked = (Payload("network", 12, 4), Bitwise(b"\xff\xf0\0\0", bytes(4)), Cmp("eq", b"\x0a\x10\0\0"))
    assert net_is("src", net("10.16.0.0/12")) == masked
    nine = (Payload("network", 12, 4), Bitwise(b"\xff\x80\0\0", bytes(4)), Cmp("eq", b"\x0a\x80\0\0"))
    assert net_is("src", net("10.128.0.0/9")) == nine


def test_states_of_connections_are_bits_in_host_order() -> None:
    assert (Ct("state"), Bitwise(host_order(1), bytes(4)), Cmp("neq", bytes(4))) == INVALID
    assert (Ct("state"), Bitwise(host_order(6), bytes(4)), Cmp("neq", bytes(4))) == ESTABLISHED_OR_RELATED


def test_marks_change_or_look_at_one_bit_in_host_order_and_leave_the_others() -> None:
    others = host_order(BIT ^ 0xFFFFFFFF)
    assert mark_set(BIT) == (Meta("mark"), Bitwise(others, host_order(BIT)), MetaSet("mark"))
    assert mark_clear(BIT) == (Meta("mark"), Bitwise(others, bytes(4)), MetaSet("mark"))
    assert mark_unset(BIT) == (Meta("mark"), Bitwise(host_order(BIT), bytes(4)), Cmp("eq", bytes(4)))


def test_a_mark_that_is_set_is_one_bit_in_host_order() -> None:
    assert mark_is_set(BIT) == (Meta("mark"), Bitwise(host_order(BIT), bytes(4)), Cmp("neq", bytes(4)))


CONFIRMED_BIT, DST_NAT_BIT = 3, 5
"""Bits of ``enum ip_conntrack_status`` (linux/netfilter/nf_conntrack_common.h)."""

RTN_LOCAL = 2
"""An address of this host (linux/rtnetlink.h)."""


def test_the_status_of_a_connection_is_a_bit_in_host_order() -> None:
    assert (Ct("status"), Bitwise(host_order(1 << DST_NAT_BIT), bytes(4)), Cmp("neq", bytes(4))) == TRANSLATED
    assert (Ct("status"), Bitwise(host_order(1 << CONFIRMED_BIT), bytes(4)), Cmp("eq", bytes(4))) == FIRST_PACKET


def test_the_type_of_an_address_is_a_number_in_host_order() -> None:
    assert (Fib("type", ("saddr",)), Cmp("eq", host_order(RTN_LOCAL))) == FROM_HERE


def test_icmp_has_another_number_in_each_family() -> None:
    assert (icmp_number(4), icmp_number(6)) == (socket.IPPROTO_ICMP, socket.IPPROTO_ICMPV6)
