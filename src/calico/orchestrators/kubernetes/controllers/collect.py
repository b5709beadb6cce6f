"""Addresses that pods left behind are released: seen without a user, marked with the evidence, seen so again after the
grace, asked for once more of the API, then released.

Only addresses that a pod or a tunnel got are judged here; those of others are left to ``calico ipam gc``. While an
endpoint has an address it is never released, whatever the API says: its host still lets the address's packets pass.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from calico.datastore.typed.store import Store
from calico.errors import NotFound
from calico.ipam.allocator import Allocator
from calico.ipam.audit.consistency import Finding, misuse
from calico.ipam.audit.garbage import GarbagePlan, Mark, carry_out, plan_garbage, read_marks
from calico.ipam.audit.state import IPAMState, read_state
from calico.ipam.stored.block import address_at, is_empty
from calico.model.node import Node
from calico.obs.logger import Logger
from calico.orchestrators.kubernetes.api.client import Client
from calico.orchestrators.kubernetes.api.informer import Informer, Key
from calico.orchestrators.kubernetes.controllers.node_settings import kubernetes_name, read_node_settings
from calico.orchestrators.kubernetes.controllers.rounds import Rounds

__all__ = ["BY", "Collector", "Holder", "evidence_of", "holders_of", "whole_handles"]

log = Logger(__name__)

BY: Final = "calico-kube-controllers"
_ANNOTATED: Final = "cni.projectcalico.org/podIPs"


class Holder(msgspec.Struct, frozen=True):
    """Who an address was given to, as IPAM recorded it: a pod (key), or a tunnel of the node."""

    node: str
    pod: Key | None = None


class Collector(Rounds):
    """Looks every five minutes, and at once when a node went."""

    def __init__(
        self,
        client: Client,
        store: Store,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        **options: Any,
    ) -> None:
        super().__init__("ipamgc", store, **options)
        self._client, self._now = client, now
        self._allocator = Allocator(store.backend, clock=now)
        self._pods: Informer = self.follow(client, "/api/v1/pods", keep=_needed)
        self._nodes: Informer = self.follow(client, "/api/v1/nodes", keep=_name_only)
        self._empty_since: dict[str, datetime] = {}

    def on_object(self, key: Key) -> None:
        """Pods come and go all the time; only a node that went is worth a look of its own."""
        if not key[0] and key not in self._nodes.objects:
            self.wake()

    async def look(self) -> None:
        settings = await read_node_settings(self._store)
        if not settings.leak_grace_s:
            return
        state = await read_state(self._store.backend)
        if state.unreadable:
            log.warning("kubernetes_ipamgc_waits", reason=f"{state.unreadable[0]} cannot be read, and may have any")
            return
        names = await self._kubernetes_names()
        leaks = self._leaks(state, names)
        marks = await read_marks(self._store.backend)
        gone = [leak for leak in leaks if leak.node not in state.nodes]
        kept = [leak for leak in leaks if leak.node in state.nodes]
        of_gone = [mark for mark in marks if _is_of(mark, gone)]
        of_others = [mark for mark in marks if mark not in of_gone and (mark.by == BY or _is_of(mark, kept))]
        for part, known, grace_s in ((gone, of_gone, 0.0), (kept, of_others, settings.leak_grace_s)):
            plan = await self._confirmed(self._plan(part, known, grace_s), state, names)
            for address in await carry_out(self._store.backend, self._allocator, plan):
                log.info("kubernetes_address_released", address=address)
            if part is gone and plan.mark:
                self.wake()  # the second look
        await self._give_up_empty(state, settings.leak_grace_s)

    async def _kubernetes_names(self) -> Mapping[str, str]:
        """What Kubernetes calls each Node."""
        nodes = [node for node in await self._store.list("Node") if isinstance(node, Node)]
        return {node.metadata.name: kubernetes_name(node) for node in nodes}

    def _leaks(self, state: IPAMState, names: Mapping[str, str]) -> list[Finding]:
        holders = holders_of(state)
        found = []
        for leak in misuse(state):
            if leak.code != "address-leaked" or leak.address not in holders:
                continue
            holder = holders[leak.address]
            pod = self._pods.objects.get(holder.pod) if holder.pod is not None else None
            why = evidence_of(leak.address, holder, pod, names)
            if why:
                found.append(msgspec.structs.replace(leak, explanation=why, node=holder.node))
        return whole_handles(found, state)

    def _plan(self, leaks: Iterable[Finding], marks: Iterable[Mark], grace_s: float) -> GarbagePlan:
        return plan_garbage(leaks, marks, alive={}, unseen={}, now=self._now(), by=BY, grace_s=int(grace_s))

    async def _confirmed(self, plan: GarbagePlan, state: IPAMState, names: Mapping[str, str]) -> GarbagePlan:
        """The releases that the API itself agrees with now: what informers hold may be old."""
        holders = holders_of(state)
        sure = []
        for mark in plan.release:
            holder = holders[mark.address]
            pod = await self._ask(holder.pod) if holder.pod is not None else None
            if evidence_of(mark.address, holder, pod, names):
                sure.append(mark)
        return msgspec.structs.replace(plan, release=tuple(sure))

    async def _ask(self, key: Key) -> Mapping[str, Any] | None:
        try:
            return await self._client.get(f"/api/v1/namespaces/{key[0]}/pods/{key[1]}")
        except NotFound:
            return None

    async def _give_up_empty(self, state: IPAMState, grace_s: float) -> None:
        """Blocks that were empty for the time of grace, of hosts that have another one of the same family."""
        now = self._now()
        mine: dict[tuple[str, bool], list[str]] = defaultdict(list)
        for cidr, block in sorted(state.blocks.items()):
            kind, _, host = (block.affinity or "").partition(":")
            if kind == "host" and host in state.nodes:
                mine[host, ":" in cidr].append(cidr)
        empty = {cidr for cidrs in mine.values() for cidr in cidrs if is_empty(state.blocks[cidr])}
        self._empty_since = {cidr: self._empty_since.get(cidr, now) for cidr in empty}
        for (host, _), cidrs in mine.items():
            for cidr in cidrs:
                since = self._empty_since.get(cidr)
                if since is None or len(cidrs) < 2 or (now - since).total_seconds() < grace_s:
                    continue
                if not await self._allocator.release_affinity(host, cidr, only_empty=True):
                    log.info("kubernetes_block_released", block=cidr, node=host)
                break  # one at a time: the host keeps at least one


def holders_of(state: IPAMState) -> dict[str, Holder]:
    """The addresses that pods and tunnels were given. Pure."""
    found = {}
    for block in state.blocks.values():
        for ordinal, attribute in block.held():
            said = attribute.secondary
            node = said.get("node", "")
            if said.get("pod") and said.get("namespace"):
                found[str(address_at(block, ordinal))] = Holder(node, (said["namespace"], said["pod"]))
            elif said.get("type", "").endswith("TunnelAddress") and node:
                found[str(address_at(block, ordinal))] = Holder(node)
    return found


def evidence_of(address: str, holder: Holder, pod: Mapping[str, Any] | None, names: Mapping[str, str]) -> str:
    """Why nobody can be using the address, for all that Kubernetes says; empty when somebody may. Pure.

    ``names``: what Kubernetes calls each Node there is. A pod that has no address yet is being attached.
    """
    if holder.pod is None:
        return "" if holder.node in names else f"it was for a tunnel of Node {holder.node}, which does not exist"
    name = "/".join(holder.pod)
    if pod is None:
        return f"there is no pod {name}"
    node = (pod.get("spec") or {}).get("nodeName") or ""
    if node and holder.node and node != (names.get(holder.node) or holder.node):
        return f"pod {name} is on node {node}, and the address was given on {holder.node}"
    status = pod.get("status") or {}
    if status.get("phase") in ("Succeeded", "Failed"):
        return f"pod {name} has finished ({status['phase']})"
    has = _addresses(pod, status)
    if has and address not in has:
        return f"pod {name} has {', '.join(sorted(has))}"
    return ""


def _addresses(pod: Mapping[str, Any], status: Mapping[str, Any]) -> set[str]:
    told = (pod.get("metadata") or {}).get("annotations") or {}
    found = {one.get("ip") for one in status.get("podIPs") or ()} | {status.get("podIP")}
    found |= {net.partition("/")[0] for net in told.get(_ANNOTATED, "").split(",")}
    return {one for one in found if one}


def whole_handles(leaks: Collection[Finding], state: IPAMState) -> list[Finding]:
    """The leaks of handles of which every address is one. Pure."""
    leaked = {leak.address for leak in leaks}
    in_use = {
        attribute.handle
        for block in state.blocks.values()
        for ordinal, attribute in block.held()
        if str(address_at(block, ordinal)) not in leaked
    }
    return [leak for leak in leaks if leak.handle not in in_use]


def _is_of(mark: Mark, leaks: Iterable[Finding]) -> bool:
    """Whether it marks one of the allocations, whoever wrote it."""
    return any(mark.is_of(leak) for leak in leaks)


def _needed(pod: dict[str, Any]) -> dict[str, Any]:
    """All that evidence can come from."""
    metadata = pod["metadata"]
    told = {key: value for key, value in (metadata.get("annotations") or {}).items() if key == _ANNOTATED}
    status = {name: (pod.get("status") or {}).get(name) for name in ("phase", "podIP", "podIPs")}
    return {
        "metadata": {"name": metadata["name"], "namespace": metadata.get("namespace"), "annotations": told},
        "spec": {"nodeName": (pod.get("spec") or {}).get("nodeName")},
        "status": status,
    }


def _name_only(node: dict[str, Any]) -> dict[str, Any]:
    return {"metadata": {"name": node["metadata"]["name"]}}
