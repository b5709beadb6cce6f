"""Which selectors match which label groups, both ways round, without ever trying every selector on every group.

Each selector is filed under one label (and values) that it requires, its *anchor*; a changed group is tried on the
selectors filed under its labels. Groups are filed under all their labels; a new selector is tried on the fewest
groups that any of its requirements leaves. Only selectors that require nothing are tried on everything.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Generic, Protocol, TypeVar

from calico.calc.labels import LabelGroup, Labels, unpack_labels
from calico.lib.small_set import SmallSet, with_item, without_item
from calico.model.selector import Restriction, Selector

__all__ = ["MatchSink", "SelectorIndex"]

K = TypeVar("K")
S = TypeVar("S")


class MatchSink(Protocol[K, S]):
    """Who wants to know of matches."""

    def on_match(self, selector_id: S, group: LabelGroup[K, S], matched: bool) -> None:
        """The selector begins (or ceases) to match the group; called once per change."""
        ...


class _Filed(Generic[K, S]):
    """A selector as filed. ``values`` None: under any value of ``label``; ``label`` empty: it has no anchor."""

    __slots__ = ("groups", "id", "label", "matches", "values")

    def __init__(self, selector_id: S, selector: Selector, label: str, values: frozenset[str] | None) -> None:
        self.id = selector_id
        self.matches = selector.matches
        self.label = label
        self.values = values
        self.groups: set[LabelGroup[K, S]] = set()


class _Drawer(Generic[K, S]):
    """Everything filed under one label."""

    __slots__ = ("any_value", "by_value", "groups", "size")

    def __init__(self) -> None:
        self.by_value: dict[str, set[_Filed[K, S]]] = {}
        self.any_value: set[_Filed[K, S]] = set()
        self.groups: dict[str, SmallSet[LabelGroup[K, S]]] = {}
        self.size = 0  # groups that have the label


class SelectorIndex(Generic[K, S]):
    """Always true: ``group.matches`` holds exactly the ids of the present selectors that match ``group.labels``."""

    def __init__(self, sink: MatchSink[K, S]) -> None:
        self._sink = sink
        self._selectors: dict[S, _Filed[K, S]] = {}
        self._drawers: dict[str, _Drawer[K, S]] = {}
        self._without_anchor: set[_Filed[K, S]] = set()
        self._groups: set[LabelGroup[K, S]] = set()

    def groups_of(self, selector_id: S) -> Iterable[LabelGroup[K, S]]:
        """The groups a selector matches; none if it is unknown."""
        filed = self._selectors.get(selector_id)
        return filed.groups if filed else ()

    def on_selector(self, selector_id: S, selector: Selector | None) -> None:
        """A selector is new or changed; None: gone."""
        old = self._selectors.pop(selector_id, None)
        if old is not None:
            self._unfile(old)
        before = old.groups if old else set()
        after: set[LabelGroup[K, S]] = set()
        if selector is not None:
            requirements = selector.restrictions()
            filed = self._file(selector_id, selector, requirements)
            matches = selector.matches
            after = {group for group in self._candidates(requirements) if matches(unpack_labels(group.labels))}
            filed.groups = after
        for group in before - after:
            group.matches = without_item(group.matches, selector_id)
            self._sink.on_match(selector_id, group, False)
        for group in after - before:
            group.matches = with_item(group.matches, selector_id)
            self._sink.on_match(selector_id, group, True)

    def on_group(self, group: LabelGroup[K, S], labels: Labels | None) -> None:
        """See ``GroupSink``."""
        if group in self._groups:
            self._unfile_group(group)
        before = set(group.matches)
        after: dict[S, _Filed[K, S]] = {}
        if labels is not None:
            group.labels = labels
            self._file_group(group)
            after = {filed.id: filed for filed in self._matching(unpack_labels(labels))}
        for selector_id in before - after.keys():
            self._selectors[selector_id].groups.discard(group)
            group.matches = without_item(group.matches, selector_id)
            self._sink.on_match(selector_id, group, False)
        for selector_id in after.keys() - before:
            after[selector_id].groups.add(group)
            group.matches = with_item(group.matches, selector_id)
            self._sink.on_match(selector_id, group, True)

    def _matching(self, labels: Mapping[str, str]) -> Iterator[_Filed[K, S]]:
        for filed in self._without_anchor:
            if filed.matches(labels):
                yield filed
        for name, value in labels.items():
            drawer = self._drawers[name]
            for filed in drawer.any_value:
                if filed.matches(labels):
                    yield filed
            for filed in drawer.by_value.get(value, ()):
                if filed.matches(labels):
                    yield filed

    def _candidates(self, requirements: Mapping[str, Restriction]) -> Iterable[LabelGroup[K, S]]:
        best: tuple[int, str, frozenset[str] | None] | None = None
        for label, requirement in requirements.items():
            if not requirement.must_be_present:
                continue
            drawer = self._drawers.get(label)
            if drawer is None:
                return ()
            if requirement.values is None:
                size = drawer.size
            else:
                size = sum(len(drawer.groups.get(value, ())) for value in requirement.values)
            if best is None or size < best[0]:
                best = (size, label, requirement.values)
        if best is None:
            return self._groups
        _, label, values = best
        by_value = self._drawers[label].groups
        return (group for value in (by_value if values is None else values) for group in by_value.get(value, ()))

    def _file(self, selector_id: S, selector: Selector, requirements: Mapping[str, Restriction]) -> _Filed[K, S]:
        best: tuple[float, str, frozenset[str] | None] | None = None
        for label, requirement in requirements.items():
            if not requirement.must_be_present:
                continue
            cost = self._crowd(label, requirement.values)
            if best is None or cost < best[0]:
                best = (cost, label, requirement.values)
        impossible = any(requirement.values == frozenset() for requirement in requirements.values())
        filed: _Filed[K, S] = _Filed(selector_id, selector, *(best[1:] if best and not impossible else ("", None)))
        self._selectors[selector_id] = filed
        if impossible:
            return filed  # filed nowhere, so it is never tried
        if best is None:
            self._without_anchor.add(filed)
            return filed
        drawer = self._drawers.setdefault(filed.label, _Drawer())
        if filed.values is None:
            drawer.any_value.add(filed)
        else:
            for value in filed.values:
                drawer.by_value.setdefault(value, set()).add(filed)
        return filed

    def _crowd(self, label: str, values: frozenset[str] | None) -> float:
        """How much worse all updates get if one more selector is filed here: prefer single, unused values."""
        drawer = self._drawers.get(label)
        if values is None:
            return 1000 + (len(drawer.any_value) if drawer else 0)
        if drawer is None:
            return len(values) / 1000
        return sum(len(drawer.by_value.get(value, ())) + 0.001 for value in values)

    def _unfile(self, filed: _Filed[K, S]) -> None:
        if not filed.label:
            self._without_anchor.discard(filed)
            return
        drawer = self._drawers[filed.label]
        if filed.values is None:
            drawer.any_value.discard(filed)
        else:
            for value in filed.values:
                drawer.by_value[value].discard(filed)
                if not drawer.by_value[value]:
                    del drawer.by_value[value]
        self._drop_empty(filed.label, drawer)

    def _file_group(self, group: LabelGroup[K, S]) -> None:
        self._groups.add(group)
        names = iter(group.labels)
        for name, value in zip(names, names, strict=True):
            drawer = self._drawers.get(name)
            if drawer is None:
                drawer = self._drawers[name] = _Drawer()
            drawer.groups[value] = with_item(drawer.groups.get(value, ()), group)
            drawer.size += 1

    def _unfile_group(self, group: LabelGroup[K, S]) -> None:
        self._groups.discard(group)
        names = iter(group.labels)
        for name, value in zip(names, names, strict=True):
            drawer = self._drawers[name]
            drawer.size -= 1
            drawer.groups[value] = without_item(drawer.groups[value], group)
            if not drawer.groups[value]:
                del drawer.groups[value]
            self._drop_empty(name, drawer)

    def _drop_empty(self, label: str, drawer: _Drawer[K, S]) -> None:
        if not (drawer.size or drawer.any_value or drawer.by_value):
            del self._drawers[label]
