"""etcd against Neutron's database: which objects are not mirrored as they should be, and in what they differ.

The number of queries is the same for ten objects and for a million. What is written meanwhile is no difference: after
the database, the journal is read, and then etcd again.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping

import msgspec

from calico.datastore.api import Backend, Query
from calico.model.keys import key_path, kind_prefix, parse_key
from calico.model.names import parse_workload_endpoint_name
from calico.orchestrators.openstack import naming
from calico.orchestrators.openstack.convert import Change, Converted, Options, compare_all
from calico.orchestrators.openstack.driver import desired
from calico.orchestrators.openstack.driver.desired import Key
from calico.orchestrators.openstack.driver.journal.claims import journalled
from calico.orchestrators.openstack.driver.journal.recording import ISOLATION, MIRRORED, OTHERS, Place, Work

__all__ = ["Drift", "Scope", "find_drift"]

_KINDS = ("NetworkSet", "NetworkPolicy", "WorkloadEndpoint", "LiveMigration")


class Drift(msgspec.Struct, frozen=True):
    """An object that is not in etcd as it should be, and what would have to be done about each of its keys."""

    kind: str
    identifier: str
    changes: tuple[Change, ...]

    @property
    def key(self) -> Key:
        return self.kind, self.identifier

    def work(self) -> Work:
        """To mirror it again, at the places where etcd has it."""
        return Work(self.kind, self.identifier, frozenset(_places(self.changes)))


Scope = Collection[Key] | None
"""The objects to compare; None: all."""


async def find_drift(backend: Backend, options: Options, scope: Scope = None) -> tuple[list[Drift], int]:
    """What differs, and how many objects were compared. What is in the journal is on its way and does not count.

    A change between both reads is in the journal until it is in etcd: what the journal has no more by the time that the
    database has been read is in etcd by then, and so its keys are no longer as they were read.
    """
    stored = await _stored(backend, options)
    found, compared = await asyncio.to_thread(_compare, stored, options, scope)
    if not found:
        return [], compared
    waiting = await asyncio.to_thread(journalled)
    again = await _stored(backend, options)
    still = [drift for drift in found if again.get(drift.key, {}) == stored.get(drift.key, {})]
    return [drift for drift in still if drift.key not in waiting], compared


def _compare(stored: Mapping[Key, dict[str, bytes]], options: Options, scope: Scope) -> tuple[list[Drift], int]:
    paths = {path for of_one in stored.values() for path in of_one}
    wanted = desired.everything(options, paths) if scope is None else desired.converted(scope, options, paths).items()
    found: list[Drift] = []
    seen: set[Key] = set()
    for key, converted in wanted:
        seen.add(key)
        found += _drift(key, converted, stored, options)
    if scope is None:
        for key in stored.keys() - seen:
            seen.add(key)
            found += _drift(key, Converted(), stored, options)
    return sorted(found, key=lambda drift: (MIRRORED.index(drift.kind), drift.identifier)), len(seen)


def _drift(key: Key, converted: Converted, stored: Mapping[Key, dict[str, bytes]], options: Options) -> Iterator[Drift]:
    changes = compare_all(converted.documents, stored.get(key, {}), options.region)
    wrong = tuple(each for each in changes if each.verdict != "unchanged" and not each.only_revision)
    if wrong:
        yield Drift(*key, wrong)


async def _stored(backend: Backend, options: Options) -> Mapping[Key, dict[str, bytes]]:
    """What etcd has of each object, by path."""
    region = options.region
    found: dict[Key, dict[str, bytes]] = defaultdict(dict)
    prefixes = [kind_prefix(kind, naming.namespace(region)) for kind in _KINDS]
    prefixes += [naming.subnet_prefix(region), key_path(naming.pool_key(region, ""))]
    if options.isolation != "none":  # another region may want the tier when this one does not
        for tier in (await backend.read([Query(key_path(naming.TIER_KEY))]))[0]:
            found[ISOLATION, OTHERS][tier.key] = tier.value
    for prefix in prefixes:
        for item in (await backend.list(prefix)).items:
            mirrored = naming.identify(item.key, region)
            if mirrored is not None and mirrored.kind in MIRRORED:
                found[mirrored.kind, mirrored.id][item.key] = item.value
    return found


def _places(changes: Iterable[Change]) -> Iterator[Place]:
    for change in changes:
        key = parse_key(change.path)
        if key is not None and key.kind in ("WorkloadEndpoint", "LiveMigration"):
            parts = parse_workload_endpoint_name(key.name)
            yield parts.node, parts.workload
