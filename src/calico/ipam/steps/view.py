"""What an allocation must know before it looks at blocks, read in one go: settings, pools, reservations, node."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

import msgspec

from calico.datastore.api import KeyValue, Query
from calico.errors import InvalidInput, NotFound
from calico.ipam.choice.pools import reserved_ranges
from calico.ipam.choice.ranges import Ranges
from calico.ipam.steps.patience import PatientBackend
from calico.ipam.stored.affinity import Affinity, decode_affinity
from calico.ipam.stored.config import IPAMSettings, decode_settings
from calico.ipam.stored.keys import CONFIG_KEY, affinities_prefix, parse_affinity_key
from calico.model.codec import decode
from calico.model.ipam import IPReservation
from calico.model.ippool import IPPool
from calico.model.keys import ResourceKey, key_path, kind_prefix, parse_key
from calico.model.meta import Resource
from calico.model.node import Node

__all__ = ["View", "read_affinities", "read_kind", "read_view"]

_R = TypeVar("_R", bound=Resource)


class View(msgspec.Struct, frozen=True):
    """One reading. ``affinities``: by IP version, the owner's blocks and how far each claim is."""

    settings: IPAMSettings
    pools: tuple[IPPool, ...]
    reserved: Mapping[int, Ranges]
    node_labels: Mapping[str, str]
    affinities: Mapping[int, Mapping[str, Affinity]]


async def read_view(backend: PatientBackend, owner: str, hostname: str, versions: tuple[int, ...]) -> View:
    """Read all at once. NotFound when the host has no Node, unless the owner is no host."""
    node = ResourceKey("Node", "", hostname)
    settings, pools, reservations, nodes, *affinities = await backend.read(
        [
            Query(CONFIG_KEY),
            Query(kind_prefix("IPPool"), prefix=True),
            Query(kind_prefix("IPReservation"), prefix=True),
            Query(key_path(node) if hostname else kind_prefix("Node")),
            *(Query(affinities_prefix(owner, version), prefix=True) for version in versions),
        ]
    )
    reserved = _of_kind(reservations, IPReservation)
    return View(
        settings=decode_settings(settings[0].value if settings else None),
        pools=_of_kind(pools, IPPool),
        reserved={version: reserved_ranges(reserved, version) for version in versions},
        node_labels=_labels(node, nodes, needed=owner.startswith("host:")),
        affinities={version: _affinities(found) for version, found in zip(versions, affinities, strict=True)},
    )


async def read_kind(backend: PatientBackend, cls: type[_R]) -> tuple[_R, ...]:
    """All resources of a kind that can be read."""
    return _of_kind((await backend.list(kind_prefix(cls.__name__))).items, cls)


async def read_affinities(backend: PatientBackend, owner: str, version: int) -> dict[str, Affinity]:
    """The owner's claims by CIDR; one that cannot be read counts as one that was not finished."""
    return _affinities((await backend.list(affinities_prefix(owner, version))).items)


def _of_kind(items: Iterable[KeyValue], cls: type[_R]) -> tuple[_R, ...]:
    found = []
    for kv in items:
        key = parse_key(kv.key)
        resource = decode(key, kv.value, kv.mod_revision).resource if key is not None else None
        if isinstance(resource, cls):
            found.append(resource)
    return tuple(found)


def _labels(key: ResourceKey, stored: Sequence[KeyValue], *, needed: bool) -> Mapping[str, str]:
    node = decode(key, stored[0].value).resource if stored else None
    if isinstance(node, Node):
        return node.metadata.labels
    if needed:
        state = "cannot be read" if stored else "does not exist"
        raise NotFound(f"Node {key.name} {state}: a host must be registered before it is given addresses")
    return {}


def _affinities(items: Iterable[KeyValue]) -> dict[str, Affinity]:
    found = {}
    for kv in items:
        key = parse_affinity_key(kv.key)
        if key is not None:
            try:
                found[key.cidr] = decode_affinity(kv.key, kv.value)
            except InvalidInput:
                found[key.cidr] = Affinity("pending")
    return found
