"""The outermost networks of a set of networks, kept up to date one change at a time.

Networks nest or are disjoint, never anything else; the kernel's interval sets refuse nested ones. What this keeps
contains the same addresses and never overlaps. A set of single addresses only costs O(1) per change; a network costs
O(log n) plus what it hides or uncovers.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Iterable, Iterator

from calico.lib.packed import is_host, prefix_len

__all__ = ["NetCover", "last_address", "outermost"]


def last_address(net: bytes) -> bytes:
    """The last address of a packed net."""
    size = len(net) - 1
    host_bits = size * 8 - net[-1]
    return (int.from_bytes(net[:-1], "big") | ((1 << host_bits) - 1)).to_bytes(size, "big")


def outermost(nets: Iterable[bytes]) -> list[bytes]:
    """The nets of one family that no other of them contains, in order."""
    kept: list[bytes] = []
    end = b""
    for net in sorted(set(nets)):
        if net[:-1] > end:
            kept.append(net)
            end = last_address(net)
    return kept


class NetCover:
    """Members of one family and, always, the outermost of them (``shown``)."""

    def __init__(self, v6: bool, members: Iterable[bytes] = ()) -> None:
        self._host_length = 128 if v6 else 32
        self.members: set[bytes] = set(members)
        self._lengths: Counter[int] = Counter(prefix_len(net) for net in self.members)
        self._sorted: list[bytes] | None = None
        self.shown: set[bytes] = set(outermost(self.members)) if self.has_cidrs else set(self.members)

    @property
    def has_cidrs(self) -> bool:
        """Whether a member is more than one address."""
        return any(length != self._host_length for length in self._lengths)

    def add(self, net: bytes) -> tuple[list[bytes], list[bytes]]:
        """Add a member; what is shown from now on and what is no more."""
        if net in self.members:
            return [], []
        self.members.add(net)
        self._lengths[prefix_len(net)] += 1
        if self._sorted is not None:
            insort(self._sorted, net)
        if self._covered(net):
            return [], []
        hidden = [] if is_host(net) else [inner for inner in self._inside(net) if inner in self.shown]
        self.shown.difference_update(hidden)
        self.shown.add(net)
        return [net], hidden

    def remove(self, net: bytes) -> tuple[list[bytes], list[bytes]]:
        """Remove a member; what is shown from now on and what is no more."""
        if net not in self.members:
            return [], []
        inside = [] if is_host(net) else [inner for inner in self._inside(net) if inner != net]
        self.members.remove(net)
        self._lengths[prefix_len(net)] -= 1
        if not self._lengths[prefix_len(net)]:
            del self._lengths[prefix_len(net)]
        if self._sorted is not None:
            del self._sorted[bisect_left(self._sorted, net)]
        if net not in self.shown:
            return [], []
        uncovered = outermost(inside)
        self.shown.remove(net)
        self.shown.update(uncovered)
        return uncovered, [net]

    def _covered(self, net: bytes) -> bool:
        """Whether another member contains ``net``."""
        size = len(net) - 1
        value = int.from_bytes(net[:-1], "big")
        for length in self._lengths:
            if length < net[-1]:
                shift = size * 8 - length
                if (value >> shift << shift).to_bytes(size, "big") + bytes((length,)) in self.members:
                    return True
        return False

    def _inside(self, net: bytes) -> Iterator[bytes]:
        """Members within ``net``, itself included, in order."""
        if self._sorted is None:
            self._sorted = sorted(self.members)
        end = last_address(net)
        for place in range(bisect_left(self._sorted, net), len(self._sorted)):
            inner = self._sorted[place]
            if inner[:-1] > end:
                return
            yield inner
