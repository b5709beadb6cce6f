"""Members of the IP sets in use: addresses and named ports of all endpoints, nets of all network sets, services.

A set's members are those of the label groups that its selector matches. What several contribute is counted.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import msgspec

from calico.calc.compile_entity import SetSpec
from calico.calc.labels import LabelGroup, LabelInheritance, Labels, NamedPort
from calico.calc.net_cover import NetCover
from calico.calc.port_members import PortMembers
from calico.calc.selector_index import SelectorIndex
from calico.calc.services import ServiceEndpoints, ServiceName, service_members
from calico.lib import packed
from calico.model.keys import ResourceKey

__all__ = ["Contribution", "MemberIndex", "port_members"]


class Contribution(msgspec.Struct, frozen=True, gc=False):
    """What an endpoint or network set brings into the sets whose selectors match its labels."""

    labels: Labels
    profiles: tuple[str, ...]
    nets: tuple[bytes, ...]
    ports: tuple[NamedPort, ...] = ()


def port_members(spec: SetSpec, nets: tuple[bytes, ...], ports: tuple[NamedPort, ...]) -> Iterator[bytes]:
    """Address ports that an endpoint brings into a ports set."""
    for name, protocol, port in ports:
        if name == spec.port and spec.protocol in (None, protocol):
            for net in nets:
                yield packed.addr_port(net[:-1], protocol, port)


class _Set:
    """One set in use."""

    __slots__ = ("content", "spec")

    def __init__(self, spec: SetSpec) -> None:
        self.spec = spec
        self.content: NetCover | PortMembers = NetCover() if spec.kind == "nets" else PortMembers()


class MemberIndex:
    """Always true: the content of every set is what the items in its matching groups bring, no more and no less."""

    def __init__(self) -> None:
        self._sets: dict[str, _Set] = {}
        self._changed: set[str] = set()
        self._services: dict[ServiceName, dict[str, ServiceEndpoints]] = {}  # by part
        self._by_service: dict[ServiceName, set[str]] = {}
        # An item is its group and its nets, nothing else: there are a hundred thousand of them.
        self._items: dict[ResourceKey, tuple[LabelGroup[ResourceKey, str], tuple[bytes, ...]]] = {}
        self._selectors: SelectorIndex[ResourceKey, str] = SelectorIndex(self)
        self._labels: LabelInheritance[ResourceKey, str] = LabelInheritance(self._selectors)

    def on_profile_labels(self, name: str, labels: dict[str, str] | None) -> None:
        """The labels a profile lends to endpoints and network sets."""
        self._labels.on_parent(name, labels)

    def on_contribution(self, key: ResourceKey, value: Contribution | None) -> None:
        """An endpoint or network set is new or changed; None: absent."""
        old = self._items.get(key)
        if value is None:
            if old is not None:
                del self._items[key]
                self._withdraw(*old)
                self._labels.leave(key, old[0])
            return
        nets = value.nets
        if old is not None and old[1] == nets:
            nets = old[1]
            group = old[0]
            if (group.own, group.parents, group.ports) == (value.labels, value.profiles, value.ports):
                return
        group = self._labels.join(key, value.labels, value.profiles, value.ports)
        self._items[key] = (group, nets)
        self._bring(group, nets)
        if old is not None:  # after bringing the new, so that what stays never leaves a set
            self._withdraw(*old)
            if old[0] is not group:
                self._labels.leave(key, old[0])

    def endpoints(self) -> Iterator[tuple[ResourceKey, tuple[bytes, ...]]]:
        """Every workload endpoint with its nets."""
        return ((key, nets) for key, (_, nets) in self._items.items() if key.kind == "WorkloadEndpoint")

    def on_service(self, name: ServiceName, value: ServiceEndpoints | None, part: str = "") -> None:
        """A part of what is behind a service is new or changed; None: there is no such part."""
        parts = self._services.setdefault(name, {})
        before = parts.pop(part, None)
        if value is not None:
            parts[part] = value
        elif not parts:
            del self._services[name]
        for set_id in self._by_service.get(name, ()):
            target = self._sets[set_id]
            old, new = (service_members(target.spec.kind, which) for which in (before, value))
            for member in new - old:
                target.content.add(member)
            for member in old - new:
                target.content.remove(member)
            self._changed.add(set_id)

    def on_set(self, set_id: str, spec: SetSpec | None) -> None:
        """A set comes into use; None: it is not used any more. Ids are hashes of what a spec means, so never change."""
        if spec is None:
            gone = self._sets.pop(set_id)
            self._changed.discard(set_id)
            self._selectors.on_selector(set_id, None)
            if gone.spec.service is not None:
                self._leave_service(set_id, gone.spec.service)
        elif set_id not in self._sets:
            self._sets[set_id] = _Set(spec)
            self._selectors.on_selector(set_id, spec.selector)
            if spec.service is not None:
                self._by_service.setdefault(spec.service, set()).add(set_id)
                for part in self._services.get(spec.service, {}).values():
                    for member in service_members(spec.kind, part):
                        self._sets[set_id].content.add(member)

    def on_match(self, selector_id: str, group: LabelGroup[ResourceKey, str], matched: bool) -> None:
        """See ``MatchSink``."""
        target = self._sets.get(selector_id)
        if target is None:  # the set is going away as a whole
            return
        for key in group.items:
            self._change(target, group, self._items[key][1], matched)

    def take_changes(self) -> Iterator[tuple[str, frozenset[bytes], frozenset[bytes]]]:
        """(set, added, removed) of every set whose members changed since they were last told."""
        for set_id in self._changed:
            added, removed = self._sets[set_id].content.delta.take()
            if added or removed:
                yield set_id, added, removed
        self._changed = set()

    def tell(self, set_id: str) -> tuple[Literal["nets", "ports"], frozenset[bytes]]:
        """Kind and members of a set; from now on only changes are told."""
        told = self._sets[set_id]
        told.content.delta.take()
        return told.spec.kind, told.content.members()

    def _leave_service(self, set_id: str, service: ServiceName) -> None:
        users = self._by_service[service]
        users.discard(set_id)
        if not users:
            del self._by_service[service]

    def _bring(self, group: LabelGroup[ResourceKey, str], nets: tuple[bytes, ...]) -> None:
        for set_id in group.matches:
            self._change(self._sets[set_id], group, nets, True)

    def _withdraw(self, group: LabelGroup[ResourceKey, str], nets: tuple[bytes, ...]) -> None:
        for set_id in group.matches:
            self._change(self._sets[set_id], group, nets, False)

    def _change(
        self, target: _Set, group: LabelGroup[ResourceKey, str], nets: tuple[bytes, ...], present: bool
    ) -> None:
        spec, content = target.spec, target.content
        change = content.add if present else content.remove
        for member in nets if spec.kind == "nets" else port_members(spec, nets, group.ports):
            change(member)
        self._changed.add(spec.id)
