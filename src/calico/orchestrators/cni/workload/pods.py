"""Where the facts of pods come from. Kubernetes is asked through a PodSource; without an API server nothing is known
but the names that the runtime tells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import msgspec

__all__ = ["NoKubernetes", "PodFacts", "PodSource", "pod_facts"]


class PodFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What the plugin needs to know of a pod and of its namespace; ``spec`` is the pod's."""

    labels: Mapping[str, str] = {}
    annotations: Mapping[str, str] = {}
    service_account: str = ""
    spec: Mapping[str, Any] = {}
    namespace_labels: Mapping[str, str] = {}
    namespace_annotations: Mapping[str, str] = {}


class PodSource(Protocol):
    """Something that knows pods."""

    async def pod(self, namespace: str, name: str, uid: str = "") -> PodFacts:
        """PluginError 11 when there is no such pod, when it is another one than ``uid`` (if that is told), and when
        nobody can say now."""
        ...

    async def attached(self, namespace: str, name: str, addresses: Sequence[str], container_id: str) -> None:
        """Tell the pod its addresses and its sandbox; without addresses, that this sandbox (no other) is detached.

        Never raises, and never takes long: the network of a pod does not depend on what is said about it."""
        ...


class NoKubernetes:
    """No API server is configured."""

    async def pod(self, namespace: str, name: str, uid: str = "") -> PodFacts:
        return PodFacts()

    async def attached(self, namespace: str, name: str, addresses: Sequence[str], container_id: str) -> None:
        return None


def pod_facts(pod: Mapping[str, Any], namespace: Mapping[str, Any]) -> PodFacts:
    """The facts in the API's objects. Pure."""
    spec = pod.get("spec") or {}
    return PodFacts(
        labels=_texts(pod, "labels"),
        annotations=_texts(pod, "annotations"),
        service_account=spec.get("serviceAccountName") or spec.get("serviceAccount") or "",
        spec=spec,
        namespace_labels=_texts(namespace, "labels"),
        namespace_annotations=_texts(namespace, "annotations"),
    )


def _texts(found: Mapping[str, Any], member: str) -> Mapping[str, str]:
    return (found.get("metadata") or {}).get(member) or {}
