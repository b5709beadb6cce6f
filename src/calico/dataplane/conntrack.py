"""Forgetting the flows of addresses that leave this host or move to another workload.

An established flow passes without policy being asked again; so the next owner of an address must not inherit its
predecessor's flows.
"""

from __future__ import annotations

import errno
from collections.abc import Collection, Iterable
from typing import Final, get_args

from calico.dataplane.dumps import dump_all
from calico.netlink.conntrack import Flow, Place, decode_flow, delete_flow, dump_flows
from calico.netlink.rtnetlink.family import family_of
from calico.netlink.socket import Failure, NetlinkError, NetlinkSocket

__all__ = ["Conntrack"]

_PLACES: Final[tuple[Place, ...]] = get_args(Place)
_FEW: Final = 16
"""Up to this many addresses the kernel filters, one walk of its table a place; more are picked from one full dump."""

_ATTEMPTS: Final = 3


class Conntrack:
    """Deletes flows through a NETLINK_NETFILTER socket of the host's namespace."""

    def __init__(self, sock: NetlinkSocket) -> None:
        self._sock = sock

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
        found: dict[bytes, Flow] = {}
        for flow in self._few(addresses) if len(addresses) <= _FEW else self._many(addresses):
            found[flow.key] = flow
        return list(found.values())

    def _few(self, addresses: Iterable[bytes]) -> Iterable[Flow]:
        for address in addresses:
            for place in _PLACES:
                yield from self._dump(family_of(address), address, place)

    def _many(self, addresses: Collection[bytes]) -> Iterable[Flow]:
        wanted = frozenset(addresses)
        for family in {family_of(address) for address in wanted}:
            yield from (flow for flow in self._dump(family) if not flow.addresses.isdisjoint(wanted))

    def _dump(self, family: int, address: bytes = b"", place: Place = "orig-src") -> list[Flow]:
        answers = dump_all(self._sock, lambda seq: dump_flows(seq, family, address, place))
        flows = [decode_flow(answer.payload) for answer in answers]
        return [flow for flow in flows if not address or address in flow.addresses]


def _raise_if_refused(failures: Iterable[Failure]) -> None:
    for failure in failures:
        if failure.errno != errno.ENOENT:
            raise NetlinkError(failure)
