"""A Felix of another layout of the table, as far as a stream of packets can tell: other chains, hooks and priorities,
a set of ours with another key, and the same verdicts."""

from __future__ import annotations

from felix_world import World

from calico.dataplane.netns import in_netns
from calico.dataplane.nft.table import NftDataplane
from calico.felix.host import TABLE
from calico.netlink.nftables.expr import Cmp, Lookup, Meta, Payload, Rule, Verdict
from calico.netlink.nftables.objects import Chain, Hook, SetDecl
from calico.netlink.socket import NETLINK_NETFILTER, NetlinkSocket
from calico.rules.layout import LAYOUT, LAYOUT_CHAIN, layout_chain
from calico.rules.loads import ESTABLISHED_OR_RELATED
from calico.rules.static import FROM_MAP
from calico.rules.table import TableState

__all__ = ["take_over"]


def take_over(world: World) -> None:
    """Make its table of whatever table the host has, in one transaction, and let go of it."""
    state = TableState()
    state.want_set(SetDecl(FROM_MAP, ("inet_service",), size=16))  # with us it is a map of interfaces
    state.want_element(FROM_MAP, (9999).to_bytes(2, "big").ljust(4, b"\0"))
    udp = (Meta("l4proto"), Cmp("eq", b"\x11"))
    denied = Rule((*udp, Payload("transport", 2, 2), Lookup(FROM_MAP), Verdict("drop")), "closed ports")
    state.want_chain(Chain("judged", (denied, Rule((Verdict("accept"),)))))
    known = Rule((*ESTABLISHED_OR_RELATED, Verdict("accept")))
    state.want_chain(Chain("to-workload", (known, Rule((Verdict("goto", "judged"),))), Hook("forward", -7)))
    state.want_chain(Chain("output", (known,), Hook("postrouting", 3)))
    state.want_chain(layout_chain(LAYOUT - 1))
    dataplane = NftDataplane(
        TABLE,
        state,
        socket_factory=lambda: in_netns(world.netns("h"), lambda: NetlinkSocket(NETLINK_NETFILTER)),
        layout=LAYOUT_CHAIN,
    )
    try:
        assert dataplane.apply().failed == ()
    finally:
        dataplane.close()
