"""What the kernel has, read back with the codecs alone: nothing that a running Felix remembers is asked.

All of it is of the network namespace of the caller. Transient when the kernel cannot be read.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

from calico.dataplane.dumps import dump_all
from calico.dataplane.nft.mirror import Mirror
from calico.dataplane.nft.reading import TableStatus, read_table
from calico.errors import Transient
from calico.netlink.nftables.codec import TableCodec
from calico.netlink.nftables.expr import Expr, Lookup, Rule
from calico.netlink.nftables.expr_codec import decode_exprs
from calico.netlink.nftables.objects import Chain, Table
from calico.netlink.rtnetlink import neighbour as rt_neighbour
from calico.netlink.rtnetlink import route as rt_route
from calico.netlink.rtnetlink.address import decode_address, dump_addresses
from calico.netlink.rtnetlink.link import Link, decode_link, dump_links
from calico.netlink.rtnetlink.vxlan import FdbEntry, decode_fdb, dump_fdb
from calico.netlink.socket import NETLINK_NETFILTER, NETLINK_ROUTE, NetlinkError, NetlinkSocket
from calico.netlink.wire import WireError
from calico.rules.table import TableState

__all__ = ["Kernel", "read_kernel", "read_sysctl"]

_IP = (b"\x02", b"\x0a")


class Kernel(msgspec.Struct, kw_only=True):
    """``table`` is our table as rules can be executed, ``unreadable`` the parts of which that is not so."""

    status: TableStatus
    table: TableState
    unreadable: tuple[str, ...] = ()
    links: Mapping[str, Link] = {}
    addresses: Mapping[str, frozenset[bytes]] = {}
    routes: tuple[rt_route.KernelRoute, ...] = ()
    neighbours: tuple[rt_neighbour.Neighbour, ...] = ()
    forwarding: tuple[tuple[str, FdbEntry], ...] = ()

    def name_of(self, index: int) -> str:
        """The interface of an index."""
        return next((name for name, link in self.links.items() if link.index == index), f"#{index}")


def read_kernel(table: Table) -> Kernel:
    """Everything that an audit looks at."""
    try:
        with NetlinkSocket(NETLINK_NETFILTER) as sock:
            mirror, status = read_table(sock, TableCodec(table))
        state, unreadable = _as_state(mirror)
        with NetlinkSocket(NETLINK_ROUTE) as sock:
            links = {link.name: link for link in (decode_link(a.payload) for a in dump_all(sock, dump_links))}
            names = {link.index: link.name for link in links.values()}
            addresses: dict[str, set[bytes]] = {name: set() for name in links}
            for answer in dump_all(sock, dump_addresses):
                if answer.payload[:1] in _IP:
                    address = decode_address(answer.payload)
                    addresses.setdefault(names.get(address.index, ""), set()).add(address.address)
            routes = []
            for answer in dump_all(sock, rt_route.dump_routes):
                if rt_route.peek_route(answer.payload)[2] == rt_route.TABLE_MAIN:
                    route = rt_route.decode_route(answer.payload)
                    if not route.cached:
                        routes.append(route)
            neighbours = [
                rt_neighbour.decode_neighbour(a.payload)
                for a in dump_all(sock, rt_neighbour.dump_neighbours)
                if a.payload[:1] in _IP
            ]
            forwarding = [
                (name, entry)
                for name, link in links.items()
                if link.kind == "vxlan"
                for entry in _forwarding(sock, link.index)
            ]
    except (OSError, NetlinkError, WireError) as error:
        raise Transient(f"the kernel cannot be read (this needs root): {error}") from error
    return Kernel(
        status=status,
        table=state,
        unreadable=tuple(unreadable),
        links=links,
        addresses={name: frozenset(found) for name, found in addresses.items()},
        routes=tuple(routes),
        neighbours=tuple(neighbours),
        forwarding=tuple(forwarding),
    )


def read_sysctl(path: str) -> str:
    """A setting below /proc/sys/net; empty when there is none."""
    try:
        return Path("/proc/sys/net", path).read_text().strip()
    except OSError:
        return ""


def _forwarding(sock: NetlinkSocket, index: int) -> list[FdbEntry]:
    found = [decode_fdb(answer.payload) for answer in dump_all(sock, lambda seq: dump_fdb(seq, index))]
    return [entry for entry in found if entry.index == index]


def _as_state(mirror: Mirror) -> tuple[TableState, list[str]]:
    """The table that was read, as one whose rules can be executed."""
    state, unreadable = TableState(), []
    own = {kernel: name for name, kernel in mirror.renamed.items()}
    for name, found in mirror.sets.items():
        if found.decl is None:
            unreadable.append(f"set {name}")
            continue
        state.want_set(found.decl)
        for key, value in mirror.elements[name].items():
            state.want_element(name, key, value)
    for name, chain in mirror.chains.items():
        try:
            rules = tuple(
                Rule(tuple(_renamed(expr, own) for expr in decode_exprs(rule.exprs)), rule.comment)
                for rule in chain.read
            )
        except WireError as error:
            unreadable.append(f"chain {name}: {error}")
            continue
        state.want_chain(Chain(name, rules, chain.hook))
    return state, unreadable


def _renamed(expr: Expr, own: Mapping[str, str]) -> Expr:
    if isinstance(expr, Lookup) and expr.set in own:
        return msgspec.structs.replace(expr, set=own[expr.set])
    return expr
