"""Where what the syncer learns enters Felix: decoded, handed to the calculation, and what is wrong with it noted.

Knows nothing of the kernel. Called from the syncer's task only; each call ends by waking the apply loop.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

import msgspec
import structlog

from calico.calc.graph import Graph
from calico.datastore.api import SyncStatus, Update
from calico.errors import InvalidInput
from calico.ipam.stored.affinity import decode_affinity
from calico.ipam.stored.keys import HOST_PREFIX, parse_affinity_key
from calico.lib import packed
from calico.model.codec import decode
from calico.model.felixconfig import FelixConfiguration
from calico.model.ippool import IPPool
from calico.model.keys import RESOURCE_PREFIX, ResourceKey, parse_key
from calico.model.meta import Resource
from calico.model.node import ClusterInformation, Node
from calico.model.selector import parse
from calico.obs.conditions import Conditions

__all__ = ["Inputs"]

log = structlog.get_logger(__name__)

_DATASTORE_CONDITIONS = {
    SyncStatus.WAITING: "datastore-not-ready",
    SyncStatus.LOCKED: "datastore-locked",
    SyncStatus.HELD: "datastore-held",
}


class Inputs:
    """The sink of Felix's syncer. ``revision`` is the datastore revision the calculation has seen."""

    def __init__(self, node: str, graph: Graph, conditions: Conditions, wake: Callable[[], None]) -> None:
        self._node = node
        self._graph = graph
        self._conditions = conditions
        self._wake = wake
        self._configurations: dict[str, FelixConfiguration] = {}
        self._node_labels: Mapping[str, str] = {}
        self._cluster_type = ""
        self._decode_problems: dict[str, tuple[str, ...]] = {}
        self._graph_problems: dict[str, tuple[str, ...]] = {}
        self.status = SyncStatus.WAITING
        self.reason = "not yet connected"
        self.revision = 0
        self.in_sync = False
        self.config_changes = 0
        """How often anything changed that ``config_sources`` tells."""
        self.resyncs = 0
        self.updates = 0
        self.pools: dict[str, IPPool] = {}
        self.own_node: Node | None = None
        self.on_pools: Callable[[], None] = lambda: None
        """Called when ``pools`` or ``own_node`` changed, or the view became complete."""
        self._known: dict[str, set[ResourceKey]] = {}
        self._pending_since = 0.0
        self.watchers: list[Callable[[ResourceKey, Resource | None], None]] = []
        """Told of every resource beside the calculation."""

    def on_status(self, status: SyncStatus, reason: str = "") -> None:
        """Note how far the view may be trusted; the first IN_SYNC opens the gate to the kernel."""
        self.resyncs += status is SyncStatus.RESYNCING and self.status is not SyncStatus.RESYNCING
        self.status, self.reason = status, reason
        for kind, code in _DATASTORE_CONDITIONS.items():
            if kind is status:
                self._conditions.set(code, "datastore", reason or status.value)
            else:
                self._conditions.clear(code, "datastore")
        if status is SyncStatus.IN_SYNC and not self.in_sync:
            self.in_sync = True
            self._graph.on_in_sync()
            self.on_pools()
        self._wake()

    def on_updates(self, updates: Sequence[Update], revision: int) -> None:
        """Feed changes to the calculation, in order."""
        self.updates += len(updates)
        self._pending_since = self._pending_since or time.monotonic()
        for update in updates:
            self._on_update(update)
        self.revision = revision or self.revision  # lower after the datastore was restored
        self._wake()

    def take_pending_since(self) -> float:
        """When the oldest change came that nobody has taken yet, on the monotonic clock; 0 without one."""
        since, self._pending_since = self._pending_since, 0.0
        return since

    def counts(self) -> dict[str, int]:
        """Resources in the datastore, by kind."""
        return {kind: len(keys) for kind, keys in list(self._known.items())}

    def on_graph_problems(self, key: ResourceKey, problems: tuple[str, ...]) -> None:
        """What the calculation found wrong with a resource that decoded."""
        self._note(self._graph_problems, str(key), problems)

    def config_sources(self) -> list[tuple[str, Mapping[str, object]]]:
        """What the datastore says of this host's settings, lowest priority first, as {json name: value}: the kind of
        cluster, and the FelixConfigurations that apply here."""
        chosen = [name for name in ("default",) if name in self._configurations]
        chosen += sorted(name for name, item in self._configurations.items() if self._selects_us(name, item))
        per_node = f"node.{self._node}"
        chosen += [per_node] if per_node in self._configurations else []
        found = [(f"FelixConfiguration {name}", _spec_data(self._configurations[name])) for name in chosen]
        cluster = {"clusterType": self._cluster_type}
        return [("ClusterInformation default", cluster), *found] if self._cluster_type else found

    def _selects_us(self, name: str, item: FelixConfiguration) -> bool:
        if name == "default" or name.startswith("node."):
            return False
        try:
            return parse(item.spec.node_selector or "").matches(self._node_labels) if item.spec.node_selector else False
        except InvalidInput as error:
            self._note(self._graph_problems, f"FelixConfiguration {name}", (f"spec.nodeSelector: {error}",))
            return False

    def _on_update(self, update: Update) -> None:
        if update.key.startswith(HOST_PREFIX):
            self._on_block(update)
            return
        key = parse_key(update.key)
        if key is None:
            if update.key.startswith(RESOURCE_PREFIX):
                text = ("the key does not name a resource of a known kind",) if update.value is not None else ()
                self._note(self._decode_problems, update.key, text)
            return
        known = self._known.setdefault(key.kind, set())
        (known.discard if update.value is None else known.add)(key)
        resource: Resource | None = None
        problems: tuple[str, ...] = ()
        if update.value is not None:
            decoded = decode(key, update.value, update.mod_revision)
            resource, problems = decoded.resource, decoded.problems
        self._note(self._decode_problems, str(key), problems)
        self.config_changes += key.kind in ("FelixConfiguration", "ClusterInformation") or self._is_us(key)
        if key.kind == "FelixConfiguration":
            self._note(self._graph_problems, str(key), ())  # its selector is judged when it is used
            if isinstance(resource, FelixConfiguration):
                self._configurations[key.name] = resource
            else:
                self._configurations.pop(key.name, None)
        if key.kind == "ClusterInformation" and key.name == "default":
            self._cluster_type = resource.spec.cluster_type if isinstance(resource, ClusterInformation) else ""
        if key.kind == "IPPool" or self._is_us(key):
            self._note_pools(key, resource)
        if self._is_us(key):
            self._node_labels = resource.metadata.labels if isinstance(resource, Node) else {}
        self._graph.on_resource(key, resource)
        for watcher in self.watchers:
            watcher(key, resource)

    def _note_pools(self, key: ResourceKey, resource: Resource | None) -> None:
        if self._is_us(key):
            self.own_node = resource if isinstance(resource, Node) else None
        elif isinstance(resource, IPPool):
            self.pools[key.name] = resource
        else:
            self.pools.pop(key.name, None)
        if self.in_sync:
            self.on_pools()

    def _on_block(self, update: Update) -> None:
        """A block is a host's while the affinity holds; one that cannot be read is nobody's."""
        key = parse_affinity_key(update.key)
        if key is None or not key.owner.startswith("host:"):
            return
        holds = False
        problems: tuple[str, ...] = ()
        if update.value is not None:
            try:
                holds = decode_affinity(update.key, update.value).holds
            except InvalidInput as error:
                problems = (f"{error.field or 'value'}: {error.message}",)
        self._note(self._decode_problems, f"BlockAffinity {key.cidr} of {key.owner}", problems)
        self._graph.on_block(packed.net(key.cidr), key.owner.removeprefix("host:"), holds)

    def _is_us(self, key: ResourceKey) -> bool:
        return key.kind == "Node" and key.name == self._node

    def _note(self, book: dict[str, tuple[str, ...]], subject: str, problems: tuple[str, ...]) -> None:
        if book.get(subject, ()) == problems:
            return
        if problems:
            book[subject] = problems
            log.warning("resource is invalid", resource=subject, problems=problems)
        else:
            del book[subject]
            log.info("resource was mended", resource=subject)
        text = "; ".join(self._decode_problems.get(subject, ()) + self._graph_problems.get(subject, ()))
        if text:
            self._conditions.set("resource-invalid", subject, text)
        else:
            self._conditions.clear("resource-invalid", subject)


def _spec_data(item: FelixConfiguration) -> Mapping[str, object]:
    data: dict[str, object] = msgspec.to_builtins(item.spec)
    overrides = {
        name.removeprefix("config.projectcalico.org/"): value
        for name, value in item.metadata.annotations.items()
        if name.startswith("config.projectcalico.org/")
    }
    return {**data, **overrides}
