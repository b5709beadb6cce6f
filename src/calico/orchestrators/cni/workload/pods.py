"""Where the facts of pods come from. Kubernetes is asked through a PodSource; without an API server nothing is known
but the names that the runtime tells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import msgspec

__all__ = ["NoKubernetes", "PodFacts", "PodSource"]


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

    async def pod(self, namespace: str, name: str) -> PodFacts:
        """NotFound when there is no such pod; Transient when nobody can say now."""
        ...

    async def attached(self, namespace: str, name: str, addresses: Sequence[str], container_id: str) -> None:
        """Tell the pod its addresses (none when it was detached) and its sandbox."""
        ...


class NoKubernetes:
    """No API server is configured."""

    async def pod(self, namespace: str, name: str) -> PodFacts:
        return PodFacts()

    async def attached(self, namespace: str, name: str, addresses: Sequence[str], container_id: str) -> None:
        return None
