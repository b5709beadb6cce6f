"""What this host's kernel has of addresses, and which addresses answer it."""

from __future__ import annotations

import ipaddress
import select
import socket
import struct
import time
from collections.abc import Iterable
from functools import partial

from calico.dataplane.dumps import dump_all
from calico.errors import Transient
from calico.ipam.audit.kernelview import KernelView
from calico.lib.packed import addr_str, is_host
from calico.netlink.rtnetlink import route as rt
from calico.netlink.rtnetlink.address import RTM_NEWADDR, decode_address, dump_addresses
from calico.netlink.rtnetlink.link import decode_link, dump_links
from calico.netlink.socket import NETLINK_ROUTE, NetlinkSocket

__all__ = ["answering", "read_kernel"]

_ECHO = {4: (socket.AF_INET, socket.IPPROTO_ICMP, 8), 6: (socket.AF_INET6, socket.IPPROTO_ICMPV6, 128)}
_AT_ONCE = 64


def read_kernel(host: str) -> KernelView:
    """Addresses of interfaces and routes to single addresses in the network namespace of this process."""
    local: set[str] = set()
    routes: dict[str, str] = {}
    try:
        with NetlinkSocket(NETLINK_ROUTE) as sock:
            links = (decode_link(answer.payload) for answer in dump_all(sock, dump_links))
            names = {link.index: link.name for link in links}
            for family in (socket.AF_INET, socket.AF_INET6):
                for message in dump_all(sock, partial(dump_addresses, family=family)):
                    if message.type == RTM_NEWADDR:
                        local.add(str(ipaddress.ip_address(decode_address(message.payload).address)))
            for message in dump_all(sock, rt.dump_routes):
                if rt.peek_route(message.payload)[2] != rt.TABLE_MAIN:
                    continue
                route = rt.decode_route(message.payload)
                if not route.cached and is_host(route.dst) and len(route.hops) == 1 and not route.hops[0].gateway:
                    routes[addr_str(route.dst)] = names.get(route.hops[0].oif, f"#{route.hops[0].oif}")
    except OSError as error:
        raise Transient(f"the kernel did not tell its routes: {error}") from error
    return KernelView(host, frozenset(local), routes)


def answering(addresses: Iterable[str], wait_s: float = 1.0) -> frozenset[str]:
    """Those that answer an ICMP echo from this host. Blocks; Transient when this process may not ask."""
    wanted = [ipaddress.ip_address(address) for address in addresses]
    found: set[str] = set()
    for version in (4, 6):
        of_version = [str(address) for address in wanted if address.version == version]
        for start in range(0, len(of_version), _AT_ONCE):
            found |= _echo(of_version[start : start + _AT_ONCE], version, wait_s)
    return frozenset(found)


def _echo(addresses: list[str], version: int, wait_s: float) -> set[str]:
    family, protocol, kind = _ECHO[version]
    with _socket(family, protocol) as sock:
        for address in addresses:
            try:
                sock.sendto(_request(kind), (address, 0))
            except OSError:
                continue  # nowhere to send it: so it cannot answer
        return _answers(sock, set(addresses), wait_s)


def _answers(sock: socket.socket, wanted: set[str], wait_s: float) -> set[str]:
    found: set[str] = set()
    ends = time.monotonic() + wait_s
    while found != wanted and (left := ends - time.monotonic()) > 0:
        if not select.select([sock], [], [], left)[0]:
            break
        try:
            sender = sock.recvfrom(2048)[1][0]
        except OSError:
            continue
        found |= {str(ipaddress.ip_address(sender.partition("%")[0]))} & wanted
    return found


def _socket(family: int, protocol: int) -> socket.socket:
    try:
        return socket.socket(family, socket.SOCK_RAW, protocol)
    except PermissionError as error:
        raise Transient("asking addresses whether they answer needs root (CAP_NET_RAW)") from error


def _request(kind: int) -> bytes:
    """An echo request; the kernel fills in the checksum of ICMPv6, not of ICMP."""
    head = struct.pack("!BBHHH", kind, 0, 0, 0x6361, 1)
    total = sum(struct.unpack("!4H", head))
    total = (total & 0xFFFF) + (total >> 16)
    return struct.pack("!BBHHH", kind, 0, ~total & 0xFFFF, 0x6361, 1)
