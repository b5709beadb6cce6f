"""Whether this kernel has what Felix needs: each feature is tried in a network namespace made for that and removed."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable
from pathlib import Path

import msgspec

from calico.dataplane.bandwidth.qdiscs import QdiscTable
from calico.dataplane.flows.log_reader import FLOW_LOG_GROUP, FlowReader
from calico.dataplane.netns import in_netns, temporary_netns
from calico.dataplane.nft.table import NftDataplane
from calico.errors import CalicoError
from calico.lib import packed
from calico.netlink.conntrack import count_flows, decode_count
from calico.netlink.nftables.objects import Table
from calico.netlink.rtnetlink.address import Address, new_address
from calico.netlink.rtnetlink.link import new_plain, new_veth, set_link
from calico.netlink.rtnetlink.route import KernelRoute, NextHop, new_route
from calico.netlink.socket import NETLINK_NETFILTER, NETLINK_ROUTE, NetlinkSocket
from calico.rules.config import RulesConfig
from calico.rules.ruleset import Ruleset
from calico.rules.table import TableState

__all__ = ["Feature", "check_kernel"]

_DEVICE = "calicheck0"


class Feature(msgspec.Struct, frozen=True):
    """One feature: whether it is there, whether Felix works without, what it is for, and what the kernel said."""

    name: str
    present: bool
    required: bool
    purpose: str
    remark: str = ""


class _Check(msgspec.Struct, frozen=True):
    name: str
    required: bool
    purpose: str
    try_out: Callable[[], str]
    """Raises when the feature is missing; a remark."""


def check_kernel() -> list[Feature]:
    """Try everything out, in order. Transient when no network namespace can be made (needs root)."""
    with temporary_netns(f"calico-check-{os.getpid()}") as name:
        return in_netns(name, lambda: [_tried(check) for check in _CHECKS])


def _tried(check: _Check) -> Feature:
    try:
        remark, present = check.try_out(), True
    except (CalicoError, OSError) as error:
        remark, present = str(error), False
    return Feature(check.name, present, check.required, check.purpose, remark)


def _ruleset() -> str:
    """The ruleset of a host without workloads: chains, sets, maps, connection tracking, reverse path, hooks."""
    state = TableState()
    Ruleset(state, RulesConfig())
    dataplane = NftDataplane(Table("calico-check"), state)
    try:
        result = dataplane.apply()
        if result.failed:
            raise OSError(
                errno.EOPNOTSUPP, "; ".join(f"{item.kind} {item.name}: {item.reason}" for item in result.failed)
            )
        return f"{result.messages} messages in {result.took_ms:.1f} ms"
    finally:
        dataplane.close()


def _owned_table() -> str:
    state = TableState()
    dataplane = NftDataplane(Table("calico-check"), state)
    try:
        dataplane.apply()
        if not dataplane.owned:
            raise OSError(errno.EOPNOTSUPP, "tables cannot be owned: others may change ours")
        return ""
    finally:
        dataplane.close()


def _connection_tracking() -> str:
    with NetlinkSocket(NETLINK_NETFILTER) as sock:
        flows = sum(decode_count(answer.payload) for answer in sock.request(count_flows(sock.next_seq())))
    return f"{flows} flows in the namespace of the check"


def _veth() -> str:
    with NetlinkSocket(NETLINK_ROUTE) as sock:
        sock.request(new_veth(sock.next_seq(), _DEVICE, "calicheck1", up=True))
    return ""


def _routes() -> str:
    """A route with our protocol number over an interface, as workloads get them."""
    with NetlinkSocket(NETLINK_ROUTE) as sock:
        index = _index_of(_DEVICE)
        sock.request(set_link(sock.next_seq(), index, up=True))
        route = KernelRoute(dst=packed.net("192.0.2.1/32"), hops=(NextHop(oif=index),), protocol=80, scope=253)
        sock.request(new_route(sock.next_seq(), route))
    return ""


def _ipv6() -> str:
    with NetlinkSocket(NETLINK_ROUTE) as sock:
        address = Address(index=_index_of(_DEVICE), address=packed.addr_bytes("2001:db8::1"), prefix_len=128)
        sock.request(new_address(sock.next_seq(), address))
    return ""


def _index_of(name: str) -> int:
    """/sys shows the namespace it was mounted in, so the C library is asked."""
    return socket.if_nametoindex(name)


def _sysctls() -> str:
    for path in ("net/ipv4/ip_forward", "net/ipv4/conf/all/rp_filter", "net/ipv4/conf/all/proxy_arp"):
        Path("/proc/sys", path).read_text()
    return ""


def _shaping() -> str:
    with NetlinkSocket(NETLINK_ROUTE) as sock:
        if not QdiscTable(sock).can_shape_egress():
            raise OSError(errno.EOPNOTSUPP, "no ifb, or no redirection to it: bandwidth is policed instead")
    return ""


def _flow_logs() -> str:
    FlowReader(FLOW_LOG_GROUP).close()
    return ""


def _kind_of_link(kind: str) -> Callable[[], str]:
    def try_out() -> str:
        with NetlinkSocket(NETLINK_ROUTE) as sock:
            failures = sock.transact([new_plain(sock.next_seq(), f"calichk-{kind}"[:15], kind)])
        if any(failure.errno == errno.EOPNOTSUPP for failure in failures):
            raise OSError(errno.EOPNOTSUPP, "the kernel does not know this kind of link")
        return ""

    return try_out


_CHECKS = (
    _Check("nftables", True, "policy, NAT and anti-spoofing", _ruleset),
    _Check("nftables table owner", False, "nobody else changes our ruleset", _owned_table),
    _Check("conntrack", True, "stateful policy, ending of forbidden flows", _connection_tracking),
    _Check("veth", True, "interfaces of workloads", _veth),
    _Check("routes", True, "routes of workloads", _routes),
    _Check("IPv6", False, "IPv6 addresses of workloads", _ipv6),
    _Check("sysctls", True, "forwarding, reverse path filter, proxy ARP", _sysctls),
    _Check("ifb, tbf", False, "shaping of bandwidth from workloads", _shaping),
    _Check("nflog", False, "flow logs", _flow_logs),
    _Check("ipip", False, "IP in IP between hosts", _kind_of_link("ipip")),
    _Check("vxlan", False, "VXLAN between hosts", _kind_of_link("vxlan")),
    _Check("wireguard", False, "encryption between hosts", _kind_of_link("wireguard")),
)
