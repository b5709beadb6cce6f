"""Endpoints that may send from networks which are not theirs: a map from interfaces to chains shared by content."""

from __future__ import annotations

import hashlib
from collections import Counter

from calico.calc.messages import EndpointUpdate
from calico.netlink.nftables.expr import Verdict
from calico.rules.antispoof import FOREIGN_SOURCES, foreign_sources_chain
from calico.rules.cover import outermost
from calico.rules.names import ifname_key
from calico.rules.room import make_room
from calico.rules.table import TableState

__all__ = ["ForeignSources"]


class ForeignSources:
    """Always true: an interface is in the map iff its endpoint may send from such networks, and a chain is in the table
    iff an interface leads to it."""

    def __init__(self, state: TableState) -> None:
        self._state = state
        self._users: Counter[str] = Counter()

    def change(self, interface: str, before: EndpointUpdate | None, after: EndpointUpdate | None) -> None:
        """The endpoint of an interface comes, changes or goes. Cost O(its networks)."""
        old, new = (endpoint.spoofed if endpoint else () for endpoint in (before, after))
        if old == new:
            return
        key = ifname_key(interface)
        if new:
            chain = self._acquire(new)
            self._state.want_element(FOREIGN_SOURCES, key, Verdict("goto", chain))
            make_room(self._state, FOREIGN_SOURCES)
        else:
            self._state.unwant_element(FOREIGN_SOURCES, key)
        if old:
            self._release(_chain(old))

    def _acquire(self, nets: tuple[bytes, ...]) -> str:
        name = _chain(nets)
        self._users[name] += 1
        if self._users[name] == 1:
            self._state.want_chain(foreign_sources_chain(name, _outermost(nets)))
        return name

    def _release(self, name: str) -> None:
        self._users[name] -= 1
        if not self._users[name]:
            del self._users[name]
            self._state.unwant_chain(name)


def _outermost(nets: tuple[bytes, ...]) -> list[bytes]:
    return [net for size in (5, 17) for net in outermost(one for one in nets if len(one) == size)]


def _chain(nets: tuple[bytes, ...]) -> str:
    return f"foreign-{hashlib.sha256(b''.join(_outermost(nets))).hexdigest()[:24]}"
