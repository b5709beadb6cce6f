"""Labels, service account and profiles of pods' endpoints follow their pods. Endpoints are made and deleted by others.

An endpoint whose pod is gone is left as it is: whoever made it (the CNI plugin) takes it away.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec.structs import replace

from calico.datastore.typed.store import Store
from calico.errors import Conflict, NotFound
from calico.model.keys import ResourceKey
from calico.model.meta import Resource
from calico.model.workload import WorkloadEndpoint
from calico.orchestrators.kubernetes.api.client import Client
from calico.orchestrators.kubernetes.api.events import Reporter
from calico.orchestrators.kubernetes.api.informer import Key
from calico.orchestrators.kubernetes.controllers.controller import Controller
from calico.orchestrators.kubernetes.convert import pod_labels, pod_profiles

__all__ = ["Identity", "Pods"]


class Identity(msgspec.Struct, frozen=True):
    """What of an endpoint follows its pod. Of profiles only Kubernetes' own do (``kns.``, ``ksa.``)."""

    pod: str
    labels: dict[str, str]
    account: str
    profiles: tuple[str, ...]


class Pods(Controller[Identity]):
    """Endpoints of the orchestrator ``k8s`` are followed; none is created or deleted here."""

    def __init__(self, client: Client, store: Store, reporter: Reporter, **options: Any) -> None:
        super().__init__("pods", "WorkloadEndpoint", store, reporter, **options)
        self._pods = self.follow(client, "/api/v1/pods", keep=_needed)
        self._endpoints: dict[Key, set[ResourceKey]] = {}
        self._pod_of: dict[ResourceKey, Key] = {}

    def reconcile(self, key: Key) -> None:
        pod = self._pods.objects.get(key)
        for endpoint in self._endpoints.get(key, ()):
            if pod is None:
                self.reconciler.unwant(endpoint)
            else:
                self.reconciler.want(endpoint, identity_of(pod))

    def content(self, key: ResourceKey, resource: Resource) -> Identity | None:
        if not isinstance(resource, WorkloadEndpoint) or resource.spec.orchestrator != "k8s":
            return None
        spec = resource.spec
        return Identity(spec.pod, resource.metadata.labels or {}, spec.service_account_name, spec.profiles)

    def on_stored(self, key: ResourceKey, value: Identity | None) -> None:
        """An endpoint appeared, changed or went: its pod says what it should be."""
        old = self._pod_of.pop(key, None)
        if old is not None:
            self._endpoints[old].discard(key)
            if not self._endpoints[old]:
                del self._endpoints[old]
        if value is None:
            self.reconciler.unwant(key)
            return
        pod = (key.namespace, value.pod)
        self._pod_of[key] = pod
        self._endpoints.setdefault(pod, set()).add(key)
        self.look_at(pod)

    async def put(self, key: ResourceKey, value: Identity) -> None:
        try:
            stored = await self._store.get(key.kind, key.name, key.namespace)
        except NotFound:
            return  # its pod was detached meanwhile
        if not isinstance(stored, WorkloadEndpoint) or self.content(key, stored) in (None, value):
            return
        spec = replace(stored.spec, service_account_name=value.account, profiles=value.profiles)
        metadata = replace(stored.metadata, labels=value.labels)
        try:
            await self._store.update(replace(stored, metadata=metadata, spec=spec))
        except NotFound:
            return
        except Conflict:
            self.look_at((key.namespace, value.pod))
            raise

    async def remove(self, key: ResourceKey) -> None:
        """Not ours to delete."""

    def source_of(self, key: ResourceKey) -> Key | None:
        return self._pod_of.get(key)


def identity_of(pod: dict[str, Any]) -> Identity:
    """What the endpoint of a pod should be."""
    metadata = pod["metadata"]
    account = (pod.get("spec") or {}).get("serviceAccountName") or ""
    labels = pod_labels(metadata["namespace"], metadata.get("labels") or {}, account)
    return Identity(metadata["name"], labels, account, pod_profiles(metadata["namespace"], account))


def _needed(pod: dict[str, Any]) -> dict[str, Any]:
    """Names, labels and account: all that is kept of a pod."""
    metadata = {name: pod["metadata"].get(name) for name in ("name", "namespace", "uid", "labels")}
    spec = {"serviceAccountName": (pod.get("spec") or {}).get("serviceAccountName")}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
