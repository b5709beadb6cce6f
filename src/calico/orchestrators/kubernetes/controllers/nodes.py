"""Calico's Nodes follow Kubernetes': labels are copied, and a Node goes with the Kubernetes node that it refers to.

Nodes that refer to none (OpenStack's, bare metal) are never touched. Whoever starts the agents makes Nodes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from calico.datastore.typed.store import Store
from calico.errors import Conflict, NotFound, Transient
from calico.model.keys import ResourceKey
from calico.model.meta import Resource
from calico.model.node import Node
from calico.obs.logger import Logger
from calico.orchestrators.kubernetes.api.client import Client
from calico.orchestrators.kubernetes.api.events import Reporter
from calico.orchestrators.kubernetes.api.informer import Key
from calico.orchestrators.kubernetes.controllers.controller import Controller
from calico.orchestrators.kubernetes.controllers.node_settings import kubernetes_name, read_node_settings

__all__ = ["COPIED", "NodeLabels", "Nodes", "with_labels_of"]

log = Logger(__name__)

COPIED: Final = "projectcalico.org/kube-labels"
"""The annotation that remembers, as JSON, which labels a Node has from Kubernetes."""


class NodeLabels(msgspec.Struct, frozen=True):
    """What of a Node follows Kubernetes: its labels, and the memory of where they came from."""

    kubernetes: str
    labels: dict[str, str]
    copied: str


class Nodes(Controller[NodeLabels]):
    """Nodes with an ``orchRef`` of Kubernetes are followed."""

    def __init__(self, client: Client, store: Store, reporter: Reporter, **options: Any) -> None:
        super().__init__("nodes", "Node", store, reporter, **options)
        self._client = client
        self._nodes = self.follow(client, "/api/v1/nodes", keep=_needed)
        self._stored: dict[ResourceKey, NodeLabels] = {}
        self._keys: dict[str, set[ResourceKey]] = {}

    def reconcile(self, key: Key) -> None:
        found = self._nodes.objects.get(key)
        for node in self._keys.get(key[1], ()):
            if found is None:
                self.reconciler.unwant(node)
            else:
                self.reconciler.want(node, with_labels_of(self._stored[node], found["metadata"].get("labels") or {}))

    def content(self, key: ResourceKey, resource: Resource) -> NodeLabels | None:
        if not isinstance(resource, Node) or not (name := kubernetes_name(resource)):
            return None
        metadata = resource.metadata
        return NodeLabels(name, dict(metadata.labels or {}), (metadata.annotations or {}).get(COPIED, ""))

    def on_stored(self, key: ResourceKey, value: NodeLabels | None) -> None:
        old = self._stored.pop(key, None)
        if old is not None:
            self._keys[old.kubernetes].discard(key)
        if value is None:
            self.reconciler.unwant(key)
            return
        self._stored[key] = value
        self._keys.setdefault(value.kubernetes, set()).add(key)
        self.look_at(("", value.kubernetes))

    async def put(self, key: ResourceKey, value: NodeLabels) -> None:
        if not (await read_node_settings(self._store)).sync_labels:
            return
        try:
            stored = await self._store.get(key.kind, key.name)
        except NotFound:
            return
        if not isinstance(stored, Node) or self.content(key, stored) in (None, value):
            return
        if self.content(key, stored) != self._stored.get(key):
            self.look_at(("", value.kubernetes))
            raise Conflict(f"{key} changed meanwhile")
        annotations = {**(stored.metadata.annotations or {}), COPIED: value.copied}
        await self._store.update(
            replace(stored, metadata=replace(stored.metadata, labels=value.labels, annotations=annotations))
        )

    async def remove(self, key: ResourceKey) -> None:
        """The Node, its addresses and its blocks, once the API itself says that the Kubernetes node is not there."""
        stored = self._stored.get(key)
        if stored is None:
            return
        try:
            await self._client.get(f"/api/v1/nodes/{stored.kubernetes}")
        except NotFound:
            await super().remove(key)
            log.info("kubernetes_node_gone", node=key.name)
            return
        self.look_at(("", stored.kubernetes))
        raise Transient(f"Kubernetes has a node {stored.kubernetes} (again)")

    def source_of(self, key: ResourceKey) -> Key | None:
        stored = self._stored.get(key)
        return ("", stored.kubernetes) if stored is not None else None


def with_labels_of(stored: NodeLabels, given: Mapping[str, str]) -> NodeLabels:
    """The node with Kubernetes' labels: those that it had from there and has there no more go, others stay; where both
    say something Kubernetes is right. Pure."""
    try:
        before = msgspec.json.decode(stored.copied, type=dict[str, str]) if stored.copied else {}
    except msgspec.MsgspecError:
        before = {}
    kept = {key: value for key, value in stored.labels.items() if key not in before}
    copied = msgspec.json.encode(dict(sorted(given.items()))).decode()
    return NodeLabels(stored.kubernetes, {**kept, **given}, copied)


def _needed(node: dict[str, Any]) -> dict[str, Any]:
    metadata = {name: node["metadata"].get(name) for name in ("name", "uid", "labels")}
    return {"apiVersion": "v1", "kind": "Node", "metadata": metadata}
