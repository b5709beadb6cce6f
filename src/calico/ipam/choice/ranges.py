"""Sets of addresses as ranges of numbers that do not touch. Pure."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable

from calico.ipam.stored.keys import Network

__all__ = ["Ranges"]


class Ranges:
    """Addresses of one IP version."""

    def __init__(self, networks: Iterable[Network]) -> None:
        self._ranges: list[tuple[int, int]] = []
        for first, last in sorted((int(net.network_address), int(net.broadcast_address)) for net in networks):
            if self._ranges and first <= self._ranges[-1][1] + 1:
                self._ranges[-1] = (self._ranges[-1][0], max(last, self._ranges[-1][1]))
            else:
                self._ranges.append((first, last))

    def end_of(self, address: int) -> int | None:
        """The last address of the range in which an address lies; None when it lies in none."""
        index = bisect_right(self._ranges, address, key=lambda pair: pair[0])
        if index and address <= self._ranges[index - 1][1]:
            return self._ranges[index - 1][1]
        return None

    def next_within(self, first: int, last: int) -> int | None:
        """The end of the last range that begins within, or reaches into, first to last; None when none does."""
        index = bisect_right(self._ranges, last, key=lambda pair: pair[0])
        if index and self._ranges[index - 1][1] >= first:
            return self._ranges[index - 1][1]
        return None

    def __contains__(self, address: int) -> bool:
        return self.end_of(address) is not None
