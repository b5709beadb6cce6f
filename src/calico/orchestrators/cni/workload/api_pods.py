"""Pods as the API server knows them. DEL works without it, ADD does not: without labels and namespace nobody could say
which policies apply to a pod, or which addresses it may have."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final

from calico.errors import CalicoError, NotFound
from calico.obs.logger import Logger
from calico.orchestrators.cni.protocol.fault import TRY_AGAIN, PluginError
from calico.orchestrators.cni.workload.annotations import PREFIX
from calico.orchestrators.cni.workload.pods import PodFacts, pod_facts
from calico.orchestrators.kubernetes.api.client import Client

__all__ = ["ApiPods", "is_pod", "told_attached", "told_detached"]

log = Logger(__name__)

_ASK_S: Final = 5.0
_TELL_S: Final = 2.0
_MIRROR: Final = "kubernetes.io/config.mirror"


class ApiPods:
    """A PodSource on an API server."""

    def __init__(self, client: Client, *, ask_s: float = _ASK_S, tell_s: float = _TELL_S) -> None:
        self._client, self._ask_s, self._tell_s = client, ask_s, tell_s

    async def pod(self, namespace: str, name: str, uid: str = "") -> PodFacts:
        """The pod and its namespace, read at once."""
        try:
            async with asyncio.timeout(self._ask_s):
                found, around = await asyncio.gather(
                    self._client.get(_path(namespace, name)), self._client.get(f"/api/v1/namespaces/{namespace}")
                )
        except NotFound as error:
            raise PluginError(TRY_AGAIN, f"the Kubernetes API has no pod {namespace}/{name}", str(error)) from None
        except TimeoutError:
            message = f"the Kubernetes API does not answer within {self._ask_s:g} s"
            raise PluginError(TRY_AGAIN, f"pod {namespace}/{name}: {message}") from None
        except CalicoError as error:
            raise PluginError(TRY_AGAIN, f"pod {namespace}/{name}: the Kubernetes API: {error}") from None
        if uid and not is_pod(found, uid):
            raise PluginError(TRY_AGAIN, f"pod {namespace}/{name} is another one by now than {uid}")
        return pod_facts(found, around)

    async def attached(self, namespace: str, name: str, addresses: Sequence[str], container_id: str) -> None:
        """Annotations podIP, podIPs and containerID, through ``pods/status``."""
        path = f"{_path(namespace, name)}/status"
        try:
            async with asyncio.timeout(self._tell_s):
                if addresses:
                    await self._client.patch(path, told_attached(addresses, container_id))
                else:
                    await self._client.patch(path, told_detached(container_id), kind="json")
        except (CalicoError, TimeoutError) as error:
            what = "the Kubernetes API was not told of a pod's addresses"
            if addresses:
                log.warning(what, pod=f"{namespace}/{name}", error=str(error) or "no answer in time")
            else:  # mostly the pod is gone, or has another sandbox
                log.debug(what, pod=f"{namespace}/{name}", error=str(error) or "no answer in time")


def is_pod(found: dict[str, Any], uid: str) -> bool:
    """Whether the object is the pod of that uid; the kubelet's own pods have the uid of their mirror's annotation."""
    metadata = found.get("metadata") or {}
    return uid in (metadata.get("uid"), (metadata.get("annotations") or {}).get(_MIRROR))


def told_attached(addresses: Sequence[str], container_id: str) -> dict[str, Any]:
    """The merge patch that says what a pod has."""
    nets = [one if "/" in one else f"{one}/{128 if ':' in one else 32}" for one in addresses]
    told = {"podIP": nets[0], "podIPs": ",".join(nets), "containerID": container_id}
    return {"metadata": {"annotations": {f"{PREFIX}{key}": value for key, value in told.items()}}}


def told_detached(container_id: str) -> list[dict[str, str]]:
    """The JSON patch that says that a sandbox has no address any more; refused when the pod has another sandbox."""
    base = f"/metadata/annotations/{PREFIX.replace('/', '~1')}"
    mine = {"op": "test", "path": f"{base}containerID", "value": container_id}
    return [mine, *({"op": "add", "path": f"{base}{key}", "value": ""} for key in ("podIP", "podIPs"))]


def _path(namespace: str, name: str) -> str:
    return f"/api/v1/namespaces/{namespace}/pods/{name}"
