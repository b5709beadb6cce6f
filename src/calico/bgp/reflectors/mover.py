"""Carries out a move step by step: waits until a step is safe, writes it, and waits until every host has followed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec

from calico.bgp.planning.snapshot import BGPSnapshot, SnapshotStore, watched_prefixes
from calico.bgp.reflectors.evidence import Reports, open_points, unlearned
from calico.bgp.reflectors.fleet import REFLECTOR_LABEL, Fleet, peering_name, peering_of, read_fleet
from calico.bgp.reflectors.steps import Step
from calico.datastore.api import Backend, Update
from calico.datastore.typed.store import Store
from calico.errors import InvalidInput, NotFound, Transient
from calico.model.bgp import BGPConfiguration, BGPConfigurationSpec, BGPPeer
from calico.model.meta import Metadata, Resource
from calico.model.node import Node

__all__ = ["Mover", "NotSafe", "read_snapshot"]

_LOOK_EVERY_S = 0.5
_DEFAULT = "default"


class NotSafe(Transient):
    """A step was not taken, or not seen to be followed, in time. What was done stays and can be gone on from."""


async def read_snapshot(backend: Backend) -> BGPSnapshot:
    """What the datastore says about BGP now, but for what concerns one host alone."""
    store = SnapshotStore("")
    for prefix in watched_prefixes("")[:-2]:  # without a host's affinities and the passwords
        listing = await backend.list(prefix)
        store.apply(Update(item.key, item.value, item.mod_revision) for item in listing.items)
    return store.view()


class Mover:
    """``ignored`` are nodes known to be down, for which nothing waits."""

    def __init__(
        self,
        store: Store,
        reports: Reports,
        *,
        ignored: frozenset[str] = frozenset(),
        patience_s: float = 300.0,
        tell: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._store, self._reports = store, reports
        self._ignored, self._patience_s, self._tell = ignored, patience_s, tell

    async def fleet(self) -> Fleet:
        """The fleet now."""
        return read_fleet(await read_snapshot(self._store.backend))

    async def obstacles(self, fleet: Fleet, step: Step, revision: int = 0) -> list[str]:
        """What stands against a step, as sentences. Steps that change no session have no obstacles."""
        if not step.changes_sessions:
            return []
        reports = await self._reports.read(fleet.hosts.keys() - self._ignored)
        found = open_points(fleet, reports, fleet.pairs(mesh=fleet.mesh), revision=revision, ignored=self._ignored)
        if step.kind == "mesh-off":
            found += unlearned(fleet, reports, ignored=self._ignored)
        if step.kind in ("stop-reflecting", "leave") and not fleet.mesh:
            leaves = step.kind == "leave"
            found += unlearned(fleet, reports, ignored=self._ignored, without=step.node, leaves=leaves)
        return found

    async def run(self, derive: Callable[[Fleet], list[Step]]) -> list[Step]:
        """Take the first step that ``derive`` finds until it finds none; those that were taken.

        NotSafe when hosts do not follow in time. Whatever interrupts this: the next run goes on from there.
        """
        taken: list[Step] = []
        revision = 0
        while True:
            fleet = await self.fleet()
            steps = derive(fleet)
            if not steps:
                if any(step.changes_sessions for step in taken):
                    await self._settled(fleet, revision)
                return taken
            await self._safe(fleet, steps[0], revision)
            self._tell(steps[0].what)
            revision = max(revision, await self._write(steps[0], fleet))
            taken.append(steps[0])

    async def _safe(self, fleet: Fleet, step: Step, revision: int) -> None:
        async def look() -> list[str]:
            return await self.obstacles(fleet, step, revision)

        await self._until_none(look, f"not done: {step.what}")

    async def _settled(self, fleet: Fleet, revision: int) -> None:
        async def look() -> list[str]:
            reports = await self._reports.read(fleet.hosts.keys() - self._ignored)
            return open_points(fleet, reports, fleet.pairs(mesh=fleet.mesh), revision=revision, ignored=self._ignored)

        await self._until_none(look, "all is written, but not all hosts have followed")

    async def _until_none(self, look: Callable[[], object], failure: str) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._patience_s
        while found := await look():  # type: ignore[misc]
            if loop.time() >= deadline:
                more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
                raise NotSafe(f"{failure}: {found[0]}{more}")
            await asyncio.sleep(_LOOK_EVERY_S)

    async def _write(self, step: Step, fleet: Fleet) -> int:
        """The revision of the step's write. Conflict when somebody else changed the object meanwhile."""
        name = peering_name(step.cluster_id)
        match step.kind:
            case "create-peering":
                return _revision(await self._store.create(peering_of(step.cluster_id, step.clients, fleet.default)))
            case "delete-peering":
                found = await self._store.get("BGPPeer", name)
                assert isinstance(found, BGPPeer)
                return await self._store.delete("BGPPeer", name, resource_version=found.metadata.resource_version)
            case "mesh-on" | "mesh-off":
                return await self._set_mesh(step.kind == "mesh-on")
            case "join":
                return await self._set_node(step.node, label=step.cluster_id)
            case "reflect":
                return await self._set_node(step.node, label=step.cluster_id, cluster_id=step.cluster_id)
            case "stop-reflecting":
                return await self._set_node(step.node, label=step.cluster_id)
            case "leave":
                return await self._set_node(step.node, label="")

    async def _set_node(self, name: str, *, label: str, cluster_id: str = "") -> int:
        node = await self._store.get("Node", name)
        assert isinstance(node, Node)
        if node.spec.bgp is None:
            raise InvalidInput("is gone", subject=f"Node {name}", field="spec.bgp")
        labels = {key: value for key, value in node.metadata.labels.items() if key != REFLECTOR_LABEL}
        if label:
            labels[REFLECTOR_LABEL] = label
        bgp = msgspec.structs.replace(node.spec.bgp, route_reflector_cluster_id=cluster_id)
        wanted = msgspec.structs.replace(
            node,
            metadata=msgspec.structs.replace(node.metadata, labels=labels),
            spec=msgspec.structs.replace(node.spec, bgp=bgp),
        )
        return _revision(await self._store.apply(wanted))

    async def _set_mesh(self, wanted: bool) -> int:
        try:
            found = await self._store.get("BGPConfiguration", _DEFAULT)
        except NotFound:
            spec = BGPConfigurationSpec(node_to_node_mesh_enabled=wanted)
            fresh = BGPConfiguration(kind="BGPConfiguration", metadata=Metadata(name=_DEFAULT), spec=spec)
            return _revision(await self._store.create(fresh))
        assert isinstance(found, BGPConfiguration)
        spec = msgspec.structs.replace(found.spec, node_to_node_mesh_enabled=wanted)
        return _revision(await self._store.apply(msgspec.structs.replace(found, spec=spec)))


def _revision(written: Resource) -> int:
    return int(written.metadata.resource_version)
