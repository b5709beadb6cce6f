"""What an allocation must know before it looks at blocks, read in one go: settings, pools, reservations, node."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TypeVar

import msgspec

from calico.errors import InvalidInput, NotFound
from calico.ipam.affinity import Affinity, decode_affinity
from calico.ipam.config import IPAMSettings, decode_settings
from calico.ipam.keys import CONFIG_KEY, affinities_prefix, parse_affinity_key
from calico.ipam.patience import PatientBackend
from calico.ipam.pools import reserved_ranges
from calico.ipam.ranges import Ranges
from calico.model.codec import decode
from calico.model.ipam import IPReservation
from calico.model.ippool import IPPool
from calico.model.keys import ResourceKey, key_path, kind_prefix, parse_key
from calico.model.meta import Resource
from calico.model.node import Node

__all__ = ["View", "node_labels", "read_affinities", "read_kind", "read_view"]

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
    (settings, pools, reservations, labels), affinities = await asyncio.gather(
        asyncio.gather(
            backend.get(CONFIG_KEY),
            read_kind(backend, IPPool),
            read_kind(backend, IPReservation),
            node_labels(backend, hostname, needed=owner.startswith("host:")),
        ),
        asyncio.gather(*(read_affinities(backend, owner, version) for version in versions)),
    )
    return View(
        settings=decode_settings(settings.value if settings is not None else None),
        pools=pools,
        reserved={version: reserved_ranges(reservations, version) for version in versions},
        node_labels=labels,
        affinities=dict(zip(versions, affinities, strict=True)),
    )


async def read_kind(backend: PatientBackend, cls: type[_R]) -> tuple[_R, ...]:
    """All resources of a kind that can be read."""
    found = []
    for kv in (await backend.list(kind_prefix(cls.__name__))).items:
        key = parse_key(kv.key)
        resource = decode(key, kv.value, kv.mod_revision).resource if key is not None else None
        if isinstance(resource, cls):
            found.append(resource)
    return tuple(found)


async def node_labels(backend: PatientBackend, hostname: str, *, needed: bool = True) -> Mapping[str, str]:
    """The labels of a host's Node."""
    if not needed and not hostname:
        return {}
    key = ResourceKey("Node", "", hostname)
    kv = await backend.get(key_path(key))
    node = decode(key, kv.value).resource if kv is not None else None
    if isinstance(node, Node):
        return node.metadata.labels
    if needed:
        state = "does not exist" if kv is None else "cannot be read"
        raise NotFound(f"Node {hostname} {state}: a host must be registered before it is given addresses")
    return {}


async def read_affinities(backend: PatientBackend, owner: str, version: int) -> dict[str, Affinity]:
    """The owner's claims by CIDR; one that cannot be read counts as one that was not finished."""
    found = {}
    for kv in (await backend.list(affinities_prefix(owner, version))).items:
        key = parse_affinity_key(kv.key)
        if key is not None:
            try:
                found[key.cidr] = decode_affinity(kv.key, kv.value)
            except InvalidInput:
                found[key.cidr] = Affinity("pending")
    return found
