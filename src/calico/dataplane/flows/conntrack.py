"""Forgetting the flows of addresses that leave this host or move to another workload.

An established flow passes without policy being asked again; so the next owner of an address must not inherit its
predecessor's flows.
"""

from __future__ import annotations

import errno
from collections.abc import Collection, Iterable
from typing import Final, get_args

from calico.dataplane.dumps import dump_all
from calico.netlink.conntrack import Flow, Place, count_flows, decode_count, decode_flow, delete_flow, dump_flows
from calico.netlink.rtnetlink.family import AF_INET, AF_INET6, AF_UNSPEC, family_of
from calico.netlink.socket import Failure, NetlinkError, NetlinkSocket

__all__ = ["Conntrack"]

_IP: Final = (bytes((AF_INET,)), bytes((AF_INET6,)))
_PLACES: Final[tuple[Place, ...]] = get_args(Place)
_FEW: Final = 16
_SMALL: Final = 4096
"""Every dump walks the machine's whole hash table (5 ms with 262144 buckets), however few flows there are, and every
flow dumped costs us about 15 us. So a small table is read whole, once; of a large one the kernel picks the flows of
each address and place, unless there are many addresses."""

_ATTEMPTS: Final = 3


class Conntrack:
    """Deletes flows through a NETLINK_NETFILTER socket of the host's namespace."""

    def __init__(self, sock: NetlinkSocket, *, small: int = _SMALL) -> None:
        """``small``: up to this many flows the whole table is read rather than picked from."""
        self._sock = sock
        self._small = small

    def forget(self, addresses: Collection[bytes]) -> int:
        """Delete every flow that has one of the packed addresses in either tuple; returns how many there were.

        Looks again until none is left, three times at most: what traffic makes anew meanwhile was judged anew too.
        Transient when the kernel refused.
        """
        if not addresses:
            return 0
        deleted = 0
        for _ in range(_ATTEMPTS):
            flows = self._find(addresses)
            if not flows:
                return deleted
            first = self._sock.next_seq(len(flows))
            failures = self._sock.transact([delete_flow(first + i, flow) for i, flow in enumerate(flows)])
            deleted += len(flows) - len(failures)
            _raise_if_refused(failures)
        return deleted

    def _find(self, addresses: Collection[bytes]) -> list[Flow]:
        answers = self._sock.request(count_flows(self._sock.next_seq()))
        count = sum(decode_count(answer.payload) for answer in answers)
        if not count:
            return []
        found: dict[bytes, Flow] = {}
        pick = len(addresses) <= _FEW and count > self._small
        for flow in self._picked(addresses) if pick else self._dump(AF_UNSPEC):
            if not flow.addresses.isdisjoint(addresses):
                found[flow.key] = flow
        return list(found.values())

    def _picked(self, addresses: Iterable[bytes]) -> Iterable[Flow]:
        for address in addresses:
            for place in _PLACES:
                yield from self._dump(family_of(address), address, place)

    def _dump(self, family: int, address: bytes = b"", place: Place = "orig-src") -> list[Flow]:
        answers = dump_all(self._sock, lambda seq: dump_flows(seq, family, address, place))
        return [decode_flow(answer.payload) for answer in answers if answer.payload[:1] in _IP]


def _raise_if_refused(failures: Iterable[Failure]) -> None:
    for failure in failures:
        if failure.errno != errno.ENOENT:
            raise NetlinkError(failure)
