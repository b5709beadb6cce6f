"""Where networks are: blocks of hosts, and addresses that workloads, or hosts themselves, have. What is within what.

Knows nothing of tunnels. Cost of a change, and of a question, is the number of networks that it concerns.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from calico.calc.endpoints import node_of
from calico.calc.net_cover import last_of, masked
from calico.lib.ref_counts import RefCounts
from calico.lib.sorted_list import SortedList
from calico.model.keys import ResourceKey

__all__ = ["Nets", "Whereabouts"]


class Nets:
    """Networks, and which is the smallest around another. Cost is that of the number of different lengths."""

    def __init__(self) -> None:
        self._nets: RefCounts[bytes] = RefCounts()
        self._lengths: dict[int, RefCounts[int]] = {5: RefCounts(), 17: RefCounts()}

    def __contains__(self, net: bytes) -> bool:
        return net in self._nets

    def add(self, net: bytes) -> None:
        if self._nets.acquire(net):
            self._lengths[len(net)].acquire(net[-1])

    def remove(self, net: bytes) -> None:
        if self._nets.release(net):
            self._lengths[len(net)].release(net[-1])

    def around(self, net: bytes, *, other: bool = False) -> bytes | None:
        """The smallest that holds all of ``net``, which may be itself unless another is asked for."""
        for length in sorted(self._lengths[len(net)], reverse=True):
            if length < net[-1] + (not other) and masked(net, length) in self._nets:
                return masked(net, length)
        return None


class Whereabouts:
    """Always true: who has a network is a function of what was told last. Methods that tell something return the
    networks that it may concern."""

    def __init__(self, hostname: str) -> None:
        self._hostname = hostname
        self._blocks: dict[bytes, set[str]] = {}
        self._block_nets = Nets()
        self._holders: dict[bytes, tuple[ResourceKey, ...]] = {}
        self._nets: dict[ResourceKey, tuple[bytes, ...]] = {}
        self._of: dict[str, RefCounts[bytes]] = {}
        self._known: RefCounts[bytes] = RefCounts()
        self._ordered: dict[int, SortedList] = {5: SortedList(), 17: SortedList()}

    def on_block(self, net: bytes, node: str, present: bool) -> list[bytes]:
        """A block is a host's, or is not."""
        owners = self._blocks.get(net, set())
        if present == (node in owners):
            return []
        if present:
            self._blocks.setdefault(net, set()).add(node)
            self._block_nets.add(net)
            self._claim(net, node)
            return [net, *self.inside(net)]
        touched = [net, *self.inside(net)]
        self._unclaim(net, node)
        self._block_nets.remove(net)
        owners.discard(node)
        if not owners:
            del self._blocks[net]
        return touched

    def hold(self, key: ResourceKey, nets: tuple[bytes, ...]) -> Iterator[bytes]:
        """The addresses (as nets) that an endpoint anywhere, or a Node, has; none: it is gone."""
        old = self._nets.pop(key, ())
        if nets:
            self._nets[key] = nets
        node = _node(key)
        changed = set(nets) ^ set(old)
        for net in set(nets) - set(old):
            self._holders[net] = tuple(sorted((*self._holders.get(net, ()), key), key=_precedence))
            self._claim(net, node)
        for net in set(old) - set(nets):
            left = tuple(holder for holder in self._holders.pop(net) if holder != key)
            if left:
                self._holders[net] = left
            self._unclaim(net, node)
        return iter(changed)

    def holders(self) -> list[ResourceKey]:
        """Everybody who has addresses."""
        return list(self._nets)

    def of(self, node: str) -> Iterable[bytes]:
        """What a host, or what is on it, has or says to have."""
        return self._of.get(node, ())

    def known(self) -> Iterable[bytes]:
        """All networks."""
        return self._known

    def inside(self, net: bytes) -> Iterator[bytes]:
        """What is known within a network, but for itself."""
        ordered, end = self._ordered[len(net)], last_of(net)
        inner = ordered.first_after(net)
        while inner is not None and inner < end:
            yield inner
            inner = ordered.first_after(inner)

    def is_block(self, net: bytes) -> bool:
        """Whether a network is a block of somebody."""
        return net in self._blocks

    def block_around(self, net: bytes, *, other: bool = False) -> bytes | None:
        """The smallest block around a network, which may be itself unless another is asked for."""
        return self._block_nets.around(net, other=other)

    def owner(self, net: bytes) -> str | None:
        """Who has a network: who holds the address, else whose block it is; this host first, then by name."""
        nodes = [_node(key) for key in self._holders.get(net, ())] or sorted(self._blocks.get(net, ()))
        return self._hostname if self._hostname in nodes else nodes[0] if nodes else None

    def _claim(self, net: bytes, node: str) -> None:
        self._of.setdefault(node, RefCounts()).acquire(net)
        if self._known.acquire(net):
            self._ordered[len(net)].add(net)

    def _unclaim(self, net: bytes, node: str) -> None:
        if self._of[node].release(net) and not len(self._of[node]):
            del self._of[node]
        if self._known.release(net):
            self._ordered[len(net)].remove(net)


def _precedence(holder: ResourceKey) -> tuple[bool, ResourceKey]:
    """Who has an address that several say they have: a workload before a tunnel's end, then by key."""
    return holder.kind == "Node", holder


def _node(key: ResourceKey) -> str:
    return key.name if key.kind == "Node" else node_of(key)
