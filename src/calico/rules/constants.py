"""Sets whose content is part of a rule: shared by content, and there only while a chain uses them.

Few values stand in a rule itself; many are one lookup in a constant set named by the hash of what it holds.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable

import msgspec

from calico.lib.packed import is_host
from calico.netlink.nftables.objects import KeyField, SetDecl
from calico.rules.cover import outermost
from calico.rules.room import size_for
from calico.rules.table import TableState

__all__ = ["ConstantSet", "ConstantSets", "constant_nets", "constant_ports", "constant_protocols"]


class ConstantSet(msgspec.Struct, frozen=True):
    """A declaration and its elements, which never change; equal content has an equal name."""

    decl: SetDecl
    elements: tuple[bytes, ...]


def constant_nets(v6: bool, nets: Iterable[bytes]) -> ConstantSet:
    """The union of packed nets of one family: a hash when all are single addresses, else intervals."""
    outer = outermost(nets)
    field: KeyField = "ipv6_addr" if v6 else "ipv4_addr"
    if all(map(is_host, outer)):
        return _constant("c", field, [net[:-1] for net in outer], interval=False)
    return _constant("c", field, outer, interval=True)


def constant_ports(ports: Iterable[int]) -> ConstantSet:
    """Port numbers."""
    return _constant("cp", "inet_service", [port.to_bytes(2, "big") + b"\0\0" for port in ports], interval=False)


def constant_protocols(protocols: Iterable[int]) -> ConstantSet:
    """IP protocol numbers."""
    return _constant("cl", "inet_proto", [bytes((number, 0, 0, 0)) for number in protocols], interval=False)


def _constant(prefix: str, field: KeyField, keys: list[bytes], *, interval: bool) -> ConstantSet:
    elements = tuple(sorted(set(keys)))
    content = msgspec.msgpack.encode((field, interval, elements))
    name = f"{prefix}-{hashlib.sha256(content).hexdigest()[:24]}"
    return ConstantSet(
        SetDecl(name, (field,), interval=interval, size=0 if interval else size_for(len(elements))), elements
    )


class ConstantSets:
    """Which chain uses which constant set; a set is in the table iff a chain uses it."""

    def __init__(self, state: TableState) -> None:
        self._state = state
        self._used: dict[str, tuple[str, ...]] = {}
        self._users: Counter[str] = Counter()

    def use(self, chain: str, constants: Iterable[ConstantSet]) -> None:
        """From now on ``chain`` uses exactly these."""
        wanted = {constant.decl.name: constant for constant in constants}
        for name, constant in wanted.items():
            if not self._users[name]:
                self._state.want_set(constant.decl)
                for key in constant.elements:
                    self._state.want_element(name, key)
            self._users[name] += 1
        for name in self._used.pop(chain, ()):
            self._users[name] -= 1
            if not self._users[name]:
                del self._users[name]
                self._state.unwant_set(name)
        if wanted:
            self._used[chain] = tuple(wanted)
