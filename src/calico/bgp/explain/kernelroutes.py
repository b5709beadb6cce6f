"""Reads this host's routes from the kernel, as text beside what BIRD says of its own."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from calico.bgp.explain.inquiry import KernelEntry
from calico.dataplane.dumps import dump_all
from calico.lib.packed import addr_str, net_str
from calico.netlink.rtnetlink import route as rt
from calico.netlink.rtnetlink.link import decode_link, dump_links
from calico.netlink.socket import NETLINK_ROUTE, NetlinkSocket

__all__ = ["read_kernel_routes"]


def read_kernel_routes() -> Mapping[str, tuple[KernelEntry, ...]]:
    """The routes of both families by prefix, the best metric first: the main table's and the host's own addresses.

    Raises OSError, or what the kernel refuses.
    """
    found: dict[str, list[KernelEntry]] = defaultdict(list)
    with NetlinkSocket(NETLINK_ROUTE) as sock:
        links = (decode_link(answer.payload) for answer in dump_all(sock, dump_links))
        names = {link.index: link.name for link in links}
        for answer in dump_all(sock, rt.dump_routes):
            if rt.peek_route(answer.payload)[2] not in (rt.TABLE_MAIN, rt.TABLE_LOCAL):
                continue
            route = rt.decode_route(answer.payload)
            if not route.cached and (route.table == rt.TABLE_MAIN or route.type == rt.TYPE_LOCAL):
                hops = tuple(_hop(hop, names) for hop in route.hops)
                entry = KernelEntry(protocol=route.protocol, metric=route.metric, hops=hops)
                found[net_str(route.dst)].append(entry)
    return {net: tuple(sorted(entries, key=lambda entry: entry.metric)) for net, entries in found.items()}


def _hop(hop: rt.NextHop, names: Mapping[int, str]) -> str:
    name = names.get(hop.oif, f"#{hop.oif}")
    return f"via {addr_str(hop.gateway)} on {name}" if hop.gateway else f"dev {name}"
