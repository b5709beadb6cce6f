"""etcd against Neutron's database: which objects are not mirrored as they should be, and in what they differ.

The number of queries is the same for ten objects and for a thousand; memory is that of etcd's side.
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
from calico.orchestrators.openstack.convert import Change, Options, compare_all
from calico.orchestrators.openstack.driver import desired
from calico.orchestrators.openstack.driver.desired import Key
from calico.orchestrators.openstack.driver.journal.claims import journalled
from calico.orchestrators.openstack.driver.journal.recording import (
    ISOLATED_NETWORK,
    ISOLATED_PROJECT,
    ISOLATION,
    MIRRORED,
    OTHERS,
    Place,
    Work,
)
from calico.orchestrators.openstack.driver.reading.dependents import identifiers
from calico.orchestrators.openstack.driver.reading.rows import reading

__all__ = ["Drift", "Scope", "everything", "find_drift"]

_CHUNK = 1000
_KINDS = ("NetworkSet", "NetworkPolicy", "WorkloadEndpoint", "LiveMigration")
_ONLY_WITH = {ISOLATED_NETWORK: "network+router", ISOLATED_PROJECT: "project"}


class Drift(msgspec.Struct, frozen=True):
    """An object that is not in etcd as it should be, and what would have to be done about each of its keys."""

    kind: str
    identifier: str
    changes: tuple[Change, ...]

    def work(self) -> Work:
        """To mirror it again, at the places where etcd has it."""
        return Work(self.kind, self.identifier, frozenset(_places(self.changes)))


Scope = Collection[Key] | None
"""The objects to compare; None: all."""


def everything(options: Options) -> set[Key]:
    """All objects of the database that may have documents; a query for each kind."""
    kinds = [kind for kind in MIRRORED if _ONLY_WITH.get(kind, options.isolation) == options.isolation]
    if options.isolation == "none":
        kinds.remove(ISOLATION)
    with reading() as session:
        return {(kind, each) for kind in kinds for each in identifiers(session, kind)}


async def find_drift(backend: Backend, options: Options, scope: Scope = None) -> tuple[list[Drift], int]:
    """What differs, and how many objects were compared. What is in the journal is on its way and does not count.

    Whatever seems to differ is looked at twice, for it may have been changed between both reads.
    """
    first, compared = await _compare(backend, options, scope)
    if not first:
        return [], compared
    again, _ = await _compare(backend, options, {(drift.kind, drift.identifier) for drift in first})
    waiting = await asyncio.to_thread(journalled)
    return [drift for drift in again if (drift.kind, drift.identifier) not in waiting], compared


async def _compare(backend: Backend, options: Options, scope: Scope) -> tuple[list[Drift], int]:
    stored = await _stored(backend, options)
    keys = set(scope) if scope is not None else await asyncio.to_thread(everything, options) | stored.keys()
    order = sorted(keys, key=lambda key: (MIRRORED.index(key[0]), key[1]))
    paths = {path for of_one in stored.values() for path in of_one}
    found: list[Drift] = []
    for chunk in _chunks(order):
        converted = await asyncio.to_thread(desired.converted, chunk, options, paths)
        for key in chunk:
            changes = compare_all(converted[key].documents, stored.get(key, {}), options.region)
            wrong = tuple(each for each in changes if each.verdict != "unchanged" and not each.only_revision)
            if wrong:
                found.append(Drift(key[0], key[1], wrong))
    return found, len(order)


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


def _chunks(keys: list[Key]) -> Iterator[list[Key]]:
    for start in range(0, len(keys), _CHUNK):
        yield keys[start : start + _CHUNK]
