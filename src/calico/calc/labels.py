"""Label inheritance: the labels an endpoint or network set really has, computed once for all that are alike.

Items with the same own labels, parents and named ports form one *group*. A group's effective labels are its own, then
those of its parents (profiles) in order: own labels win, then the first parent that has the label (datamodel §14). The
label that says which namespace something is in is never inherited: nobody gets into a namespace by naming a profile.
"""

from __future__ import annotations

from collections.abc import Mapping
from sys import intern
from typing import Generic, Protocol, TypeAlias, TypeVar

from calico.lib.small_set import SmallSet, with_item, without_item
from calico.model.effective import NAMESPACE_LABEL

__all__ = ["GroupSink", "LabelGroup", "LabelInheritance", "Labels", "NamedPort", "pack_labels", "unpack_labels"]

Labels: TypeAlias = tuple[str, ...]
"""Labels as ``(name, value, name, value, ...)``, sorted by name: a quarter of the size of a dict, and hashable."""

NamedPort: TypeAlias = tuple[str, int, int]
"""(name, protocol number, port)."""

K = TypeVar("K")
S = TypeVar("S")


def pack_labels(labels: Mapping[str, str]) -> Labels:
    """Labels in their packed form; strings are interned, since a cluster repeats few of them a million times."""
    packed: list[str] = []
    for name in sorted(labels):
        packed += (intern(name), intern(labels[name]))
    return tuple(packed)


def unpack_labels(packed: Labels) -> dict[str, str]:
    """Packed labels as a map."""
    return dict(zip(packed[::2], packed[1::2], strict=True))


class LabelGroup(Generic[K, S]):
    """Items that no selector and no named port can tell apart.

    ``labels`` are the effective ones; ``items`` the keys of the members; ``matches`` the selectors that match, kept
    by the selector index.
    """

    __slots__ = ("items", "labels", "matches", "own", "parents", "ports")

    def __init__(self, own: Labels, parents: tuple[str, ...], ports: tuple[NamedPort, ...]) -> None:
        self.own = own
        self.parents = parents
        self.ports = ports
        self.labels = own
        self.items: SmallSet[K] = ()
        self.matches: SmallSet[S] = ()


class GroupSink(Protocol[K, S]):
    """Who wants to know the groups (the selector index)."""

    def on_group(self, group: LabelGroup[K, S], labels: Labels | None) -> None:
        """The group is new or its effective labels change to ``labels``; None: it is gone."""
        ...


class LabelInheritance(Generic[K, S]):
    """Always true: a group exists exactly while it has items, and its labels follow its parents'."""

    def __init__(self, sink: GroupSink[K, S]) -> None:
        self._sink = sink
        self._groups: dict[tuple[Labels, tuple[str, ...], tuple[NamedPort, ...]], LabelGroup[K, S]] = {}
        self._parents: dict[str, dict[str, str]] = {}
        self._children: dict[str, SmallSet[LabelGroup[K, S]]] = {}

    def join(self, key: K, own: Labels, parents: tuple[str, ...], ports: tuple[NamedPort, ...]) -> LabelGroup[K, S]:
        """Put an item into the group of its kind and return that. Its matches are known on return."""
        kind = (own, parents, ports)
        group = self._groups.get(kind)
        if group is None:
            group = self._groups[kind] = LabelGroup(own, parents, ports)
            for parent in parents:
                self._children[parent] = with_item(self._children.get(parent, ()), group)
            self._sink.on_group(group, self._effective(group))
        group.items = with_item(group.items, key)
        return group

    def leave(self, key: K, group: LabelGroup[K, S]) -> None:
        """Take an item out of its group."""
        group.items = without_item(group.items, key)
        if group.items:
            return
        del self._groups[group.own, group.parents, group.ports]
        for parent in group.parents:
            self._children[parent] = without_item(self._children.get(parent, ()), group)
            if not self._children[parent]:
                del self._children[parent]
        self._sink.on_group(group, None)

    def on_parent(self, name: str, labels: Mapping[str, str] | None) -> None:
        """The labels that children of ``name`` inherit; None: it does not exist, so they inherit nothing."""
        lent = {intern(label): intern(value) for label, value in (labels or {}).items() if label != NAMESPACE_LABEL}
        if lent == self._parents.get(name, {}):
            return
        if lent:
            self._parents[name] = lent
        else:
            del self._parents[name]
        for group in tuple(self._children.get(name, ())):
            effective = self._effective(group)
            if effective != group.labels:
                self._sink.on_group(group, effective)

    def _effective(self, group: LabelGroup[K, S]) -> Labels:
        inherited = [labels for parent in group.parents if (labels := self._parents.get(parent))]
        if not inherited:
            return group.own
        merged: dict[str, str] = {}
        for labels in reversed(inherited):
            merged.update(labels)
        merged.update(unpack_labels(group.own))
        return pack_labels(merged)
