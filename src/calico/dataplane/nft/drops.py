"""What our table has dropped and why, read from the kernel: it needs no Felix, and no ownership of the table."""

from __future__ import annotations

from calico.dataplane.nft.reading import read_counters, read_status
from calico.errors import InvalidInput
from calico.netlink.nftables.codec import TableCodec
from calico.netlink.nftables.counters import Counted
from calico.netlink.nftables.objects import Table
from calico.netlink.socket import NETLINK_NETFILTER, NetlinkSocket
from calico.rules.drops import REASONS, reason_of

__all__ = ["read_drops"]


def read_drops(table: Table) -> dict[str, Counted]:
    """By reason, what was dropped since the table was made: all reasons known, then those of another version of ours.

    InvalidInput when there is no such table, Transient when it cannot be read now.
    """
    codec = TableCodec(table)
    with NetlinkSocket(NETLINK_NETFILTER) as sock:
        counters = read_counters(sock, codec)
        if not counters and not read_status(sock, codec).exists:
            raise InvalidInput(
                f"no table {table.family} {table.name} in this network namespace: Felix has not run here",
                subject="ruleset",
            )
    found = {reason: counted for name, counted in sorted(counters.items()) if (reason := reason_of(name)) is not None}
    known: dict[str, Counted] = {reason.name: found.pop(reason.name, Counted()) for reason in REASONS}
    return {**known, **found}
