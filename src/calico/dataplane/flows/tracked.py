"""The kernel's table of tracked flows: read it, look one up, forget single ones. Knows nothing of policy."""

from __future__ import annotations

import errno
from collections.abc import Collection, Generator, Iterator, Sequence
from typing import Final

from calico.netlink.conntrack import (
    Flow,
    Place,
    count_flows,
    decode_count,
    decode_flow,
    delete_flow,
    dump_flows,
    get_flow,
)
from calico.netlink.rtnetlink.family import AF_INET, AF_INET6, AF_UNSPEC, family_of
from calico.netlink.socket import NETLINK_NETFILTER, Failure, NetlinkError, NetlinkSocket

__all__ = ["FlowTable", "Lookup"]

_IP: Final = (bytes((AF_INET,)), bytes((AF_INET6,)))
_FLOWS_PER_WALK: Final = 1024
"""To pick the flows of one address the kernel walks its whole hash table, as long as we take to skip so many."""

Lookup = tuple[Place, bytes]
"""Where an address must stand in a flow."""


class FlowTable:
    """Two sockets of the host's namespace, so that flows can be deleted while a dump is being read."""

    def __init__(self) -> None:
        self._dumps = NetlinkSocket(NETLINK_NETFILTER)
        self._requests = NetlinkSocket(NETLINK_NETFILTER)

    def close(self) -> None:
        self._dumps.close()
        self._requests.close()

    def most_lookups(self) -> int:
        """With how many lookups reading some flows is still no dearer than reading all, which is a walk, too."""
        answers = self._requests.request(count_flows(self._requests.next_seq()))
        return 1 + sum(decode_count(answer.payload) for answer in answers) // _FLOWS_PER_WALK

    def read(self, lookups: Collection[Lookup] | None = None) -> Generator[bytes, None, None]:
        """The payload of every IP flow, or of those that the lookups find (some maybe twice), as the kernel goes on.

        A flow that is there from the first to the last is among them. One reader at a time; close it if it is not read
        to its end. Transient, or ResyncRequired at the end, when something may be missing.
        """
        if lookups is None:
            yield from self._dump(dump_flows(self._dumps.next_seq(), AF_UNSPEC))
            return
        for place, address in lookups:
            yield from self._dump(dump_flows(self._dumps.next_seq(), family_of(address), address, place))

    def find(self, family: int, orig_attrs: bytes, zone: bytes = b"") -> Flow | None:
        """The flow with an original tuple, given by its content; None when there is none."""
        try:
            answers = self._requests.request(get_flow(self._requests.next_seq(), family, orig_attrs, zone))
        except NetlinkError as error:
            if error.errno == errno.ENOENT:
                return None
            raise
        return decode_flow(answers[0].payload) if answers else None

    def delete(self, flows: Sequence[Flow]) -> tuple[int, Failure | None]:
        """Forget flows: how many were still there and are gone, and the first refusal of the kernel."""
        if not flows:
            return 0, None
        first = self._requests.next_seq(len(flows))
        failures = self._requests.transact([delete_flow(first + i, flow) for i, flow in enumerate(flows)])
        refused = next((failure for failure in failures if failure.errno != errno.ENOENT), None)
        return len(flows) - len(failures), refused

    def _dump(self, request: bytes) -> Iterator[bytes]:
        for answer in self._dumps.dump(request):
            if answer.payload[:1] in _IP:
                yield answer.payload
