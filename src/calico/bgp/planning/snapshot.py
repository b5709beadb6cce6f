"""The part of the datastore that BGP on one host depends on, typed; built from raw keys and values as they change."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import TypeVar

import msgspec

from calico.bgp.planning.localendpoints import LocalEndpoint, is_local_key, local_endpoint
from calico.bgp.planning.ownership import Owned
from calico.bgp.planning.serviceroutes import ServiceRoutes
from calico.bgp.problem import Problem
from calico.bgp.secret import SECRETS_PREFIX, PasswordRef, Refused, Secret, SecretRef, Secrets, secret_of_key
from calico.datastore.api import Update
from calico.errors import InvalidInput
from calico.ipam.stored.affinity import decode_affinity
from calico.ipam.stored.keys import HOST_PREFIX, parse_affinity_key
from calico.model.bgp import BGPConfiguration, BGPPeer
from calico.model.bgpfilter import BGPFilter
from calico.model.codec import decode
from calico.model.ippool import IPPool
from calico.model.keys import ResourceKey, kind_prefix, parse_key
from calico.model.meta import Resource
from calico.model.node import Node
from calico.model.workload import WorkloadEndpoint

__all__ = ["BGPSnapshot", "SnapshotStore", "affinity_prefix", "named_secrets", "watched_prefixes"]

_R = TypeVar("_R", bound=Resource)
_KINDS = ("BGPConfiguration", "BGPFilter", "BGPPeer", "IPPool", "Node")


class BGPSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """One state of the datastore, by name. ``unreadable`` are resources that exist but could not be decoded.

    ``blocks`` are the host's confirmed block affinities as the datastore spells them (``10.65.1.0/26``). ``services``
    is None where nothing knows of services. ``endpoints`` are the host's own. ``owned``: by host, what is its own.
    """

    nodes: Mapping[str, Node] = {}
    configs: Mapping[str, BGPConfiguration] = {}
    peers: Mapping[str, BGPPeer] = {}
    filters: Mapping[str, BGPFilter] = {}
    pools: Mapping[str, IPPool] = {}
    blocks: tuple[str, ...] = ()
    secrets: Secrets = {}
    endpoints: Mapping[ResourceKey, LocalEndpoint] = {}
    services: ServiceRoutes | None = None
    owned: Mapping[str, Owned] = {}
    unreadable: frozenset[ResourceKey] = frozenset()
    problems: tuple[Problem, ...] = ()


def affinity_prefix(host: str) -> str:
    """Where IPAM records the blocks of a host (data model 9.1)."""
    return f"{HOST_PREFIX}{host}/"


def watched_prefixes(host: str) -> tuple[str, ...]:
    """What a syncer must follow for this host; ClusterInformation says whether the rest may be followed."""
    kinds = ("ClusterInformation", *_KINDS)
    return (*(kind_prefix(kind) for kind in kinds), affinity_prefix(host), SECRETS_PREFIX)


def named_secrets(snapshot: BGPSnapshot) -> frozenset[SecretRef]:
    """The secrets that any peering names, whether or not this host takes part in it."""
    default = snapshot.configs.get("default")
    passwords = [peer.spec.password for peer in snapshot.peers.values()]
    passwords.append(default.spec.node_mesh_password if default is not None else None)
    found = set()
    for password in passwords:
        if password is not None:
            with suppress(InvalidInput):  # the plan says what is wrong with it
                found.add(PasswordRef.of_spec(password, "").secret)
    return frozenset(found)


class SnapshotStore:
    """The last value of every key of interest. Never raises on what the datastore holds: it is recorded instead."""

    def __init__(self, host: str) -> None:
        self._host = host
        self._affinities = affinity_prefix(host)
        self._resources: dict[ResourceKey, Resource] = {}
        self._unreadable: set[ResourceKey] = set()
        self._problems: dict[str, tuple[Problem, ...]] = {}
        self._blocks: dict[str, str] = {}
        self._secrets: dict[SecretRef, Secret | Refused] = {}
        self._endpoints: dict[ResourceKey, LocalEndpoint] = {}
        self.services: ServiceRoutes | None = None

    def apply(self, updates: Iterable[Update]) -> None:
        """Take in changes; a later one of the same key wins."""
        for update in updates:
            self._problems.pop(update.key, None)
            if update.key.startswith(self._affinities):
                self._on_affinity(update.key, update.value)
            elif (secret := secret_of_key(update.key)) is not None:
                self._on_secret(secret, update.value)
            elif is_local_key(update.key, self._host):
                self._on_endpoint(update)
            elif (key := parse_key(update.key)) is not None and key.kind in _KINDS:
                self._on_resource(update.key, key, update.value, update.mod_revision)

    def forget_endpoints(self) -> None:
        """They are no longer followed."""
        self._endpoints.clear()

    def view(self) -> BGPSnapshot:
        """The state now."""
        return BGPSnapshot(
            nodes=self._of_kind(Node),
            configs=self._of_kind(BGPConfiguration),
            peers=self._of_kind(BGPPeer),
            filters=self._of_kind(BGPFilter),
            pools=self._of_kind(IPPool),
            blocks=tuple(sorted(self._blocks.values())),
            secrets=dict(self._secrets),
            endpoints=dict(self._endpoints),
            services=self.services,
            unreadable=frozenset(self._unreadable),
            problems=tuple(problem for found in self._problems.values() for problem in found),
        )

    def _of_kind(self, cls: type[_R]) -> dict[str, _R]:
        return {key.name: resource for key, resource in self._resources.items() if isinstance(resource, cls)}

    def _on_resource(self, path: str, key: ResourceKey, raw: bytes | None, mod_revision: int) -> None:
        self._resources.pop(key, None)
        self._unreadable.discard(key)
        if raw is None:
            return
        decoded = decode(key, raw, mod_revision)
        self._problems[path] = tuple(Problem("bgp-resource-invalid", str(key), text) for text in decoded.problems)
        if decoded.resource is None:
            self._unreadable.add(key)
        else:
            self._resources[key] = decoded.resource

    def _on_secret(self, secret: SecretRef, raw: bytes | None) -> None:
        self._secrets.pop(secret, None)
        if raw is not None:
            try:
                self._secrets[secret] = Secret.of_bytes(raw)
            except InvalidInput as error:
                self._secrets[secret] = Refused(f"it {error.message}")

    def _on_endpoint(self, update: Update) -> None:
        key = parse_key(update.key)
        assert key is not None
        self._endpoints.pop(key, None)
        decoded = decode(key, update.value).resource if update.value is not None else None
        if isinstance(decoded, WorkloadEndpoint) and (endpoint := local_endpoint(decoded, self._host)) is not None:
            self._endpoints[key] = endpoint

    def _on_affinity(self, path: str, raw: bytes | None) -> None:
        self._blocks.pop(path, None)
        key = parse_affinity_key(path)
        if raw is None or key is None:
            return
        try:
            affinity = decode_affinity(path, raw)
        except InvalidInput as error:
            self._problems[path] = (Problem("bgp-resource-invalid", f"BlockAffinity {key.cidr}", error.message),)
            return
        if affinity.holds:
            self._blocks[path] = key.cidr
