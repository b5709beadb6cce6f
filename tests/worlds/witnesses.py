"""Two of the three witnesses: the executable specification, and the rendered rules as an evaluator runs them.

The model recomputes everything from the resources and reads the result for every packet. The evaluator gets there as
the product does: by changes to a graph whose messages change a ruleset. The third witness is the kernel (``kernel``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random
from typing import NamedTuple, Protocol

from calico.calc.graph import Graph
from calico.calc.messages import IPSetUpdate, Message
from calico.calc.spec import DataplaneState, recompute
from calico.lib.packed import addr_bytes
from calico.model.keys import ResourceKey
from calico.model.meta import Resource
from calico.rules.config import RulesConfig
from calico.rules.evaluator.evaluate import Outcome, Packet, forward, from_host, to_host
from calico.rules.reference.verdict import Reference
from calico.rules.ruleset import Ruleset
from calico.rules.table import TableState
from worlds.scene import CALC, HOST, HOST_ADDRESSES, UPLINK
from worlds.world import Probe, Resources, Way, World, by_key

__all__ = ["WAYS", "Evaluator", "Model", "Product", "Witness", "disagreements"]


_OWN = frozenset(map(addr_bytes, HOST_ADDRESSES))


class _WayThrough(NamedTuple):
    """How each witness follows a packet on one way; another way of packets is another entry of ``WAYS``."""

    model: Callable[[Reference, Probe], bool]
    evaluator: Callable[[TableState, Packet], Outcome]


WAYS: dict[Way, _WayThrough] = {
    "forward": _WayThrough(lambda r, probe: r.forwards(probe.source, probe.target, probe.flow), forward),
    "to-host": _WayThrough(lambda r, probe: r.reaches_host(probe.source, probe.flow), to_host),
    "from-host": _WayThrough(lambda r, probe: r.leaves_host(probe.target, probe.flow), from_host),
}


class Witness(Protocol):
    """Whoever says of a packet whether it passes."""

    def passes(self, probe: Probe) -> bool: ...


class Model:
    """What the specification says of a world."""

    def __init__(self, world: World) -> None:
        self._reference = Reference(world.settings)
        self._reference.on_host_interface(UPLINK, _OWN)
        for message in _told(recompute(HOST, by_key(world.resources), settings=CALC)):
            self._reference.on_message(message)

    def passes(self, probe: Probe) -> bool:
        return WAYS[probe.way].model(self._reference, probe)


def _told(state: DataplaneState) -> Iterator[Message]:
    for set_id, content in state.ip_sets.items():
        yield IPSetUpdate(id=set_id, kind=content.kind, members=content.members)
    yield from state.policies.values()
    yield from state.profiles.values()
    yield from state.endpoints.values()
    yield from state.host_endpoints.values()


class Product:
    """The way from resources to a table, as Felix goes it: by changes. ``table`` is what the kernel should have."""

    def __init__(self, settings: RulesConfig) -> None:
        self.table = TableState()
        self._graph = Graph(HOST, CALC)
        self._ruleset = Ruleset(self.table, settings)
        self._ruleset.on_host_interface(UPLINK, _OWN)
        self._has: dict[ResourceKey, Resource] = {}

    def become(self, resources: Resources, chance: Random | None = None) -> None:
        """Change what there is into ``resources``; with ``chance`` in any order, and flushed at any moment."""
        wanted = by_key(resources)
        changes: list[tuple[ResourceKey, Resource | None]] = [(key, None) for key in self._has if key not in wanted]
        changes += [(key, value) for key, value in wanted.items() if self._has.get(key) != value]
        if chance is not None:
            chance.shuffle(changes)
        for key, value in changes:
            self._graph.on_resource(key, value)
            if chance is not None and chance.random() < 0.1:
                self._ruleset.on_host_interface(UPLINK, None)
            if chance is not None and chance.random() < 0.1:
                self._flush()
        self._has = wanted
        self._ruleset.on_host_interface(UPLINK, _OWN)
        self._graph.on_in_sync()
        self._flush()

    def _flush(self) -> None:
        for message in self._graph.flush():
            self._ruleset.on_message(message)


class Evaluator:
    """What the rules that the product renders do to a packet."""

    def __init__(self, product: Product) -> None:
        self._table = product.table

    @classmethod
    def of(cls, world: World) -> Evaluator:
        """Of a world alone: everything anew."""
        product = Product(world.settings)
        if world.before:
            product.become(world.before)
        product.become(world.resources)
        return cls(product)

    def passes(self, probe: Probe) -> bool:
        return self.outcome(probe).verdict == "accept"

    def outcome(self, probe: Probe) -> Outcome:
        """The verdict with the rules that led to it. A mark that others left must not matter."""
        packet = Packet(
            data=probe.flow.data(), iifname=probe.source, oifname=probe.target, mark=0xFFFFFFFF, local_addresses=_OWN
        )
        return WAYS[probe.way].evaluator(self._table, packet)


def disagreements(one: Witness, other: Witness, probes: list[Probe]) -> list[Probe]:
    """The packets of which two witnesses say different things."""
    return [probe for probe in probes if one.passes(probe) != other.passes(probe)]
