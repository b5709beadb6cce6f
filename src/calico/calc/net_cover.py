"""The nets of an IP set with how often each is contributed, reduced to those that no other net contains.

The kernel's interval sets refuse overlapping elements. The rule: *a net is a member unless a shorter one in the same
set contains it*. So members never overlap and cover exactly the contributed addresses.
"""

from __future__ import annotations

from collections.abc import Iterator

from calico.lib.delta import Delta
from calico.lib.sorted_list import SortedList

__all__ = ["NetCover", "last_of", "masked"]


def masked(net: bytes, length: int) -> bytes:
    """The packed net of ``length`` bits that holds ``net``, which must not be shorter."""
    bits = (len(net) - 1) * 8
    address = int.from_bytes(net[:-1], "big") >> (bits - length) << (bits - length)
    return address.to_bytes(len(net) - 1, "big") + bytes((length,))


def last_of(net: bytes) -> bytes:
    """A bound that sorts after ``net`` and everything inside it, and before everything behind it."""
    free_bits = (len(net) - 1) * 8 - net[-1]
    address = int.from_bytes(net[:-1], "big") | ((1 << free_bits) - 1)
    return address.to_bytes(len(net) - 1, "big") + b"\xff"


class NetCover:
    """Always true: ``members`` plus what ``delta`` says is what was taken before; both follow the rule above.

    ``_shorter`` counts, by byte length of the packed net (its family), the prefix lengths of nets that can contain
    others. ``_ordered`` finds what lies inside a net; sets of single addresses, nearly all, never build it.
    Packed nets sort so that a net stands directly before all it contains.
    """

    __slots__ = ("_counts", "_ordered", "_shorter", "delta")

    def __init__(self) -> None:
        self._counts: dict[bytes, int] = {}
        self._shorter: dict[int, dict[int, int]] = {5: {}, 17: {}}
        self._ordered: dict[int, SortedList] | None = None
        self.delta: Delta[bytes] = Delta()

    def add(self, net: bytes) -> None:
        """One more contributes ``net``."""
        count = self._counts.get(net, 0)
        self._counts[net] = count + 1
        if count:
            return
        self._order(net)
        if not self._covered(net):
            self.delta.add(net)
            for inner in self._outermost_inside(net):
                self.delta.remove(inner)

    def remove(self, net: bytes) -> None:
        """One less contributes ``net``; KeyError if none did."""
        count = self._counts[net]
        if count > 1:
            self._counts[net] = count - 1
            return
        del self._counts[net]
        self._unorder(net)
        if not self._covered(net):
            self.delta.remove(net)
            for inner in self._outermost_inside(net):
                self.delta.add(inner)

    def members(self) -> frozenset[bytes]:
        """The members now."""
        if self._ordered is None:
            return frozenset(self._counts)
        return frozenset(net for net in self._counts if not self._covered(net))

    def _order(self, net: bytes) -> None:
        if net[-1] < (len(net) - 1) * 8:
            lengths = self._shorter[len(net)]
            lengths[net[-1]] = lengths.get(net[-1], 0) + 1
            if self._ordered is None:
                self._ordered = {size: SortedList(n for n in self._counts if len(n) == size) for size in (5, 17)}
                return
        if self._ordered is not None:
            self._ordered[len(net)].add(net)

    def _unorder(self, net: bytes) -> None:
        if net[-1] < (len(net) - 1) * 8:
            lengths = self._shorter[len(net)]
            lengths[net[-1]] -= 1
            if not lengths[net[-1]]:
                del lengths[net[-1]]
        if self._ordered is not None:
            self._ordered[len(net)].remove(net)

    def _covered(self, net: bytes) -> bool:
        length = net[-1]
        return any(shorter < length and masked(net, shorter) in self._counts for shorter in self._shorter[len(net)])

    def _outermost_inside(self, net: bytes) -> Iterator[bytes]:
        if self._ordered is None or net[-1] == (len(net) - 1) * 8:
            return
        ordered, end = self._ordered[len(net)], last_of(net)
        inner = ordered.first_after(net)
        while inner is not None and inner < end:
            yield inner
            inner = ordered.first_after(last_of(inner))
