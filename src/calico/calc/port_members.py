"""The address ports of an IP set with how often each is contributed."""

from __future__ import annotations

from calico.lib.delta import Delta
from calico.lib.ref_counts import RefCounts

__all__ = ["PortMembers"]


class PortMembers:
    """The same shape as ``NetCover``, for members that never contain one another."""

    __slots__ = ("_counts", "delta")

    def __init__(self) -> None:
        self._counts: RefCounts[bytes] = RefCounts()
        self.delta: Delta[bytes] = Delta()

    def add(self, member: bytes) -> None:
        """One more contributes ``member``."""
        if self._counts.acquire(member):
            self.delta.add(member)

    def remove(self, member: bytes) -> None:
        """One less contributes ``member``; KeyError if none did."""
        if self._counts.release(member):
            self.delta.remove(member)

    def members(self) -> frozenset[bytes]:
        """The members now."""
        return frozenset(self._counts)
