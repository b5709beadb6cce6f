"""The one table that Calico keeps in nftables, and whether the kernel has it."""

from __future__ import annotations

from typing import Final

from calico.dataplane.nft.reading import read_status
from calico.netlink.nftables.codec import TableCodec
from calico.netlink.nftables.objects import Table
from calico.netlink.socket import NETLINK_NETFILTER, NetlinkSocket

__all__ = ["TABLE", "is_filtering"]

TABLE: Final = Table("calico")


def is_filtering() -> bool:
    """Whether this host judges packets of workloads: by the rules of a Felix that runs, or ran, or by the boot guard.
    One question to the kernel, some tens of microseconds."""
    with NetlinkSocket(NETLINK_NETFILTER) as sock:
        return read_status(sock, TableCodec(TABLE)).exists
