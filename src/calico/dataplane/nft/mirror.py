"""What the kernel has of our table, as far as we know: what a plan starts from and what a successful one changes."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping

import msgspec

from calico.netlink.nftables.codec import KernelRule
from calico.netlink.nftables.objects import ElementValue, Hook
from calico.netlink.nftables.set_codec import KernelSet

__all__ = ["KernelChain", "Mirror"]


class KernelChain(msgspec.Struct, frozen=True, gc=False):
    """A chain in the kernel: its hook, how many rules, their fingerprint, and the sets (own names) they look up.

    ``read`` are its rules if they came from the kernel and were not yet compared with ours.
    """

    hook: Hook | None
    fingerprint: bytes
    count: int
    sets: frozenset[str] = frozenset()
    read: tuple[KernelRule, ...] = ()


class Mirror:
    """Chains by name, sets and their elements by own name, named counters.

    Always true: ``elements`` has an entry for each set; ``renamed`` has the kernel name of each set for which it
    differs from the own name; ``kernel_names`` are all names taken.
    """

    def __init__(self) -> None:
        self.chains: dict[str, KernelChain] = {}
        self.sets: dict[str, KernelSet] = {}
        self.counters: set[str] = set()
        self.elements: dict[str, dict[bytes, ElementValue]] = {}
        self.renamed: dict[str, str] = {}
        self.kernel_names: set[str] = set()
        self._users: dict[str, set[str]] = {}

    def users(self, set_name: str) -> Iterable[str]:
        """Chains that look a set up."""
        return self._users.get(set_name, ())

    def put_chain(self, name: str, chain: KernelChain) -> None:
        """The kernel now has this chain."""
        before = self.chains.get(name)
        if before is not None and before.sets != chain.sets:
            self._forget_users(name, before.sets - chain.sets)
        for set_name in chain.sets:
            self._users.setdefault(set_name, set()).add(name)
        self.chains[name] = chain

    def drop_chain(self, name: str) -> None:
        """The kernel no longer has this chain."""
        chain = self.chains.pop(name, None)
        if chain is not None:
            self._forget_users(name, chain.sets)

    def put_set(self, kernel_set: KernelSet) -> None:
        """The kernel now has this set, empty, in place of any other of the same own name."""
        self.drop_set(kernel_set.name)
        self.sets[kernel_set.name] = kernel_set
        self.elements[kernel_set.name] = {}
        self.kernel_names.add(kernel_set.kernel_name)
        if kernel_set.kernel_name != kernel_set.name:
            self.renamed[kernel_set.name] = kernel_set.kernel_name

    def drop_set(self, name: str) -> None:
        """The kernel no longer has this set."""
        kernel_set = self.sets.pop(name, None)
        if kernel_set is not None:
            self.kernel_names.discard(kernel_set.kernel_name)
            self.renamed.pop(name, None)
            del self.elements[name]

    def change_elements(self, name: str, gone: Iterable[bytes], put: Mapping[bytes, ElementValue]) -> None:
        """Elements left and entered a set."""
        elements = self.elements[name]
        for key in gone:
            del elements[key]
        elements.update(put)

    def free_kernel_name(self, name: str, taken: Container[str] = ()) -> str:
        """A kernel name for a new set: its own, or that with a number; none of those ``taken``."""
        candidate, number = name, 0
        while candidate in self.kernel_names or candidate in taken:
            number += 1
            candidate = f"{name}.{number}"
        return candidate

    def _forget_users(self, chain: str, sets: Iterable[str]) -> None:
        for set_name in sets:
            users = self._users.get(set_name)
            if users is not None:
                users.discard(chain)
                if not users:
                    del self._users[set_name]
