"""The edge of token buckets at workload interfaces: reads ours, makes, changes and removes them."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from calico.dataplane.dumps import dump_all
from calico.errors import Conflict, Transient
from calico.lib.reconcile import Plan
from calico.netlink.rtnetlink.link import Link, decode_link, dump_links
from calico.netlink.rtnetlink.qdisc import (
    TC_H_ROOT,
    Qdisc,
    Tbf,
    decode_qdisc,
    delete_qdisc,
    dump_qdiscs,
    new_tbf,
    same_tbf,
)
from calico.netlink.socket import NetlinkError, NetlinkSocket

__all__ = ["GONE", "OUR_HANDLE", "BucketDriver", "is_ours", "read_links", "read_qdiscs"]

OUR_HANDLE: Final = 0xCA1C0000
"""``tc`` shows it as ``ca1c:``."""

GONE: Final = frozenset({errno.ENODEV, errno.ENOENT, errno.EINVAL, errno.ENXIO, errno.ESRCH})
"""Answers to a deletion of what is not there (any more)."""


class BucketDriver:
    """Driver by interface index. What the kernel tells only nearly equal to what is wanted counts as that."""

    def __init__(self, sock: NetlinkSocket, prefixes: tuple[str, ...], wanted: Callable[[], Mapping[int, Tbf]]) -> None:
        self._sock = sock
        self._prefixes = prefixes
        self._wanted = wanted

    async def read(self) -> Mapping[int, Tbf]:
        wanted = self._wanted()
        found: dict[int, Tbf] = {}
        ours = [qdisc for qdisc in read_qdiscs(self._sock) if is_ours(qdisc)]
        names = {index: link.name for index, link in read_links(self._sock).items()} if ours else {}
        for qdisc in ours:
            if qdisc.tbf is not None and names.get(qdisc.index, "").startswith(self._prefixes):
                want = wanted.get(qdisc.index)
                found[qdisc.index] = want if want is not None and same_tbf(want, qdisc.tbf) else qdisc.tbf
        return found

    async def write(self, plan: Plan[int, Tbf]) -> Iterable[tuple[int, Exception]]:
        keys = [*plan.delete, *plan.put]
        first = self._sock.next_seq(len(keys))
        messages = [
            new_tbf(first + i, index, OUR_HANDLE, plan.put[index])
            if index in plan.put
            else delete_qdisc(first + i, Qdisc(index=index, kind="tbf", handle=OUR_HANDLE))
            for i, index in enumerate(keys)
        ]
        failed: list[tuple[int, Exception]] = []
        for failure in self._sock.transact(messages):
            index = keys[failure.seq - first]
            if index in plan.put and failure.errno == errno.EEXIST:
                text = "bandwidth to the workload: the interface has a queueing discipline of somebody else"
                failed.append((index, Conflict(text)))
            elif index in plan.put or failure.errno not in GONE:
                failed.append((index, Transient(f"bandwidth to the workload: {failure}")))
        return failed


def is_ours(qdisc: Qdisc) -> bool:
    """Whether it is a root that we made."""
    return (qdisc.kind, qdisc.handle, qdisc.parent) == ("tbf", OUR_HANDLE, TC_H_ROOT)


def read_qdiscs(sock: NetlinkSocket) -> list[Qdisc]:
    """Every queueing discipline of the namespace; none where the kernel is built without them."""
    try:
        return [decode_qdisc(answer.payload) for answer in dump_all(sock, dump_qdiscs)]
    except NetlinkError as error:
        if error.errno == errno.EOPNOTSUPP:
            return []
        raise


def read_links(sock: NetlinkSocket) -> dict[int, Link]:
    """Every interface by index."""
    links = (decode_link(answer.payload) for answer in dump_all(sock, dump_links))
    return {link.index: link for link in links}
