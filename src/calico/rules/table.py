"""The table as it should be: chains, sets, elements and counters, and which of them changed since they were last taken.

Pure data. ``calico.rules`` writes into it, the evaluator reads packets' fates from it, and
``calico.dataplane.nft.table`` brings the kernel to it. Cost of any call is O(1) plus the size of its argument.
"""

from __future__ import annotations

from collections.abc import Mapping, Set

from calico.netlink.nftables.objects import Chain, ElementValue, SetDecl

__all__ = ["Changes", "TableState"]


class Changes:
    """Names touched since the last ``take``: what the kernel may not have yet."""

    def __init__(self) -> None:
        self.chains: set[str] = set()
        self.sets: set[str] = set()
        self.elements: dict[str, set[bytes]] = {}
        self.counters: set[str] = set()

    def __bool__(self) -> bool:
        return bool(self.chains or self.sets or self.elements or self.counters)


class TableState:
    """Desired content of one table. Always true: ``elements`` has an entry for each set and no other."""

    def __init__(self) -> None:
        self._chains: dict[str, Chain] = {}
        self._bases: dict[str, Chain] = {}
        self._sets: dict[str, SetDecl] = {}
        self._elements: dict[str, dict[bytes, ElementValue]] = {}
        self._counters: set[str] = set()
        self._changes = Changes()
        self._leaving: dict[str, set[bytes]] = {}
        self._exact_parts: dict[str, str] = {}
        self._needs: dict[str, Set[str]] = {}

    @property
    def chains(self) -> Mapping[str, Chain]:
        return self._chains

    @property
    def base_chains(self) -> Mapping[str, Chain]:
        """The chains that have a hook."""
        return self._bases

    @property
    def sets(self) -> Mapping[str, SetDecl]:
        return self._sets

    @property
    def counters(self) -> Set[str]:
        """Counters by name; they keep what they counted while chains that count in them are rewritten."""
        return self._counters

    def elements(self, set_name: str) -> Mapping[bytes, ElementValue]:
        """Elements of a set or map: key bytes (packed net for interval sets) to value."""
        return self._elements[set_name]

    def exact_part(self, nets: str) -> str | None:
        """The set of single addresses that makes up one set together with this one of networks, if there is one."""
        return self._exact_parts.get(nets)

    def pair(self, exact: str, nets: str) -> None:
        """Two sets are one to those who look it up: addresses that move between them must always be found."""
        self._exact_parts[nets] = exact

    def unpair(self, nets: str) -> None:
        """Forget that a set of networks is a part."""
        self._exact_parts.pop(nets, None)

    def room_needed(self, set_name: str) -> int:
        """How many elements the kernel's set must hold at once: the wanted ones and those being removed.

        A transaction frees the room of what it removes only when it is done (nf_tables_api.c, ``nelems``).
        """
        return len(self._elements[set_name]) + len(self._leaving.get(set_name, ()))

    def needs(self, chain: str) -> Set[str]:
        """The sets without which, or without a member of which, a chain would let more through than it should."""
        return self._needs.get(chain, frozenset())

    def want_chain(self, chain: Chain, needs: Set[str] = frozenset()) -> None:
        if needs:
            self._needs[chain.name] = needs
        else:
            self._needs.pop(chain.name, None)
        if self._chains.get(chain.name) != chain:
            self._chains[chain.name] = chain
            self._bases.pop(chain.name, None)
            if chain.hook is not None:
                self._bases[chain.name] = chain
            self._changes.chains.add(chain.name)

    def unwant_chain(self, name: str) -> None:
        self._needs.pop(name, None)
        if self._chains.pop(name, None) is not None:
            self._bases.pop(name, None)
            self._changes.chains.add(name)

    def want_set(self, decl: SetDecl) -> None:
        """Declare a set; redeclaring it with another shape (a larger size) keeps its elements."""
        if self._sets.get(decl.name) != decl:
            self._sets[decl.name] = decl
            self._elements.setdefault(decl.name, {})
            self._changes.sets.add(decl.name)

    def unwant_set(self, name: str) -> None:
        if self._sets.pop(name, None) is not None:
            del self._elements[name]
            self._changes.sets.add(name)
            self._changes.elements.pop(name, None)
            self._leaving.pop(name, None)

    def want_counter(self, name: str) -> None:
        if name not in self._counters:
            self._counters.add(name)
            self._changes.counters.add(name)

    def want_element(self, set_name: str, key: bytes, value: ElementValue = None) -> None:
        elements = self._elements[set_name]
        if key not in elements or elements[key] != value:
            elements[key] = value
            self._changes.elements.setdefault(set_name, set()).add(key)
            if set_name in self._leaving:
                self._leaving[set_name].discard(key)

    def unwant_element(self, set_name: str, key: bytes) -> None:
        elements = self._elements[set_name]
        if key in elements:
            del elements[key]
            self._changes.elements.setdefault(set_name, set()).add(key)
            self._leaving.setdefault(set_name, set()).add(key)

    def take(self) -> Changes:
        """The names touched since the last call."""
        changes, self._changes = self._changes, Changes()
        self._leaving.clear()
        return changes
