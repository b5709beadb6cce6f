"""The sets that rules refer to, as kernel sets: a hash of exact addresses, and an interval set of networks.

Both families have a hash from the beginning; an interval set exists only while the set has a network that is more
than one address, so that in the common case one lookup decides. The two never hold the same address, but for the
moment of a move (``calico.dataplane.nft.moves``).
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Literal

from calico.calc.messages import IPSetDelta, IPSetUpdate
from calico.lib.packed import is_host, is_v6
from calico.netlink.nftables.objects import KeyField, SetDecl
from calico.rules.cover import NetCover
from calico.rules.names import object_name
from calico.rules.room import make_room, size_for
from calico.rules.table import TableState

__all__ = ["IPSets"]

FAMILIES = (False, True)


class IPSets:
    """Kernel sets of the sets that the calculation has announced, written into a ``TableState``."""

    def __init__(self, state: TableState) -> None:
        self._state = state
        self._kinds: dict[str, Literal["nets", "ports"]] = {}
        self._covers: dict[tuple[str, bool], NetCover] = {}

    def address_parts(self, set_id: str, v6: bool) -> tuple[str, ...]:
        """The kernel sets of which one holds an address iff the set does; none for a set that does not exist."""
        if self._kinds.get(set_id) != "nets":
            return ()
        names = (_name("h", set_id, v6), _name("n", set_id, v6))
        return names if self._covers[set_id, v6].has_cidrs else names[:1]

    def has_nets(self, set_id: str) -> bool:
        """Whether a set of addresses has been announced by that id."""
        return self._kinds.get(set_id) == "nets"

    def port_parts(self, set_id: str, v6: bool) -> tuple[str, ...]:
        """As ``address_parts`` for a ports set, whose keys are address, protocol, port."""
        return (_name("hp", set_id, v6),) if self._kinds.get(set_id) == "ports" else ()

    def members(self, set_id: str) -> set[bytes]:
        """The members of a set; none of one that does not exist."""
        return self._members(set_id) if set_id in self._kinds else set()

    def replace(self, message: IPSetUpdate) -> bool:
        """Create a set or replace its members; whether its parts are others than before."""
        before = self._parts(message.id)
        if self._kinds.get(message.id, message.kind) != message.kind:
            self.remove(message.id)
        if message.id in self._kinds:
            present = self._members(message.id)
            self._change(message.id, message.members - present, present - message.members)
        else:
            self._create(message)
        return self._parts(message.id) != before

    def change(self, message: IPSetDelta) -> bool:
        """Add and remove members; whether the set's parts are others than before. Cost O(change)."""
        before = self._parts(message.id)
        if message.id in self._kinds:
            self._change(message.id, message.added, message.removed)
        return self._parts(message.id) != before

    def remove(self, set_id: str) -> None:
        """Forget the set."""
        self._kinds.pop(set_id, None)
        for v6 in FAMILIES:
            self._covers.pop((set_id, v6), None)
            self._state.unpair(_name("n", set_id, v6))
            for form in ("h", "n", "hp"):
                self._state.unwant_set(_name(form, set_id, v6))

    def _parts(self, set_id: str) -> tuple[tuple[str, ...], ...]:
        return tuple(part(set_id, v6) for part in (self.address_parts, self.port_parts) for v6 in FAMILIES)

    def _members(self, set_id: str) -> set[bytes]:
        if self._kinds[set_id] == "nets":
            return self._covers[set_id, False].members | self._covers[set_id, True].members
        return {_unpadded(key) for v6 in FAMILIES for key in self._state.elements(_name("hp", set_id, v6))}

    def _create(self, message: IPSetUpdate) -> None:
        self._kinds[message.id] = message.kind
        for v6 in FAMILIES:
            mine = [member for member in message.members if is_v6(member) == v6]
            if message.kind == "ports":
                self._declare("hp", message.id, v6, len(mine))
                self._want(_name("hp", message.id, v6), map(_padded, mine))
            else:
                cover = self._covers[message.id, v6] = NetCover(v6, mine)
                self._declare("h", message.id, v6, len(mine))
                self._state.pair(_name("h", message.id, v6), _name("n", message.id, v6))
                self._show(message.id, v6, cover.shown, ())

    def _change(self, set_id: str, added: Iterable[bytes], removed: Iterable[bytes]) -> None:
        for member in removed:
            v6 = is_v6(member)
            if self._kinds[set_id] == "ports":
                self._state.unwant_element(_name("hp", set_id, v6), _padded(member))
            else:
                self._show(set_id, v6, *self._covers[set_id, v6].remove(member))
        for member in added:
            v6 = is_v6(member)
            if self._kinds[set_id] == "ports":
                self._want(_name("hp", set_id, v6), (_padded(member),))
            else:
                self._show(set_id, v6, *self._covers[set_id, v6].add(member))

    def _show(self, set_id: str, v6: bool, shown: Iterable[bytes], hidden: Iterable[bytes]) -> None:
        """Bring the kernel sets of one family from what the cover showed to what it shows."""
        exact, nets = _name("h", set_id, v6), _name("n", set_id, v6)
        for net in hidden:
            if is_host(net):
                self._state.unwant_element(exact, net[:-1])
            else:
                self._state.unwant_element(nets, net)
        if self._covers[set_id, v6].has_cidrs:
            self._state.want_set(SetDecl(nets, (_address_field(v6),), interval=True))
        else:
            self._state.unwant_set(nets)
        for net in shown:
            if is_host(net):
                self._state.want_element(exact, net[:-1])
            else:
                self._state.want_element(nets, net)
        make_room(self._state, exact)

    def _declare(self, form: str, set_id: str, v6: bool, count: int) -> None:
        key: tuple[KeyField, ...] = (_address_field(v6),)
        if form == "hp":
            key = (*key, "inet_proto", "inet_service")
        self._state.want_set(SetDecl(_name(form, set_id, v6), key, size=size_for(count)))

    def _want(self, name: str, keys: Iterable[bytes]) -> None:
        for key in keys:
            self._state.want_element(name, key)
        make_room(self._state, name)


@lru_cache(maxsize=1 << 16)
def _name(form: str, set_id: str, v6: bool) -> str:
    return object_name(f"{form}{6 if v6 else 4}", set_id)


def _address_field(v6: bool) -> KeyField:
    return "ipv6_addr" if v6 else "ipv4_addr"


def _padded(address_port: bytes) -> bytes:
    """A packed address port as the key of a concatenation: every field a multiple of 4 bytes."""
    return address_port[:-2] + b"\0\0\0" + address_port[-2:] + b"\0\0"


def _unpadded(key: bytes) -> bytes:
    return key[:-7] + key[-4:-2]
