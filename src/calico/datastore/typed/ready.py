"""The flag that makes everybody wait: ClusterInformation/default says whether the datastore may be used.

While it is false ("locked"), agents keep what they have and follow nothing, and whoever would write on behalf of a
workload (a CNI plugin, an orchestrator) calls ``require_ready`` first and has its caller try again later.
"""

from __future__ import annotations

import msgspec

from calico.datastore.api import Backend
from calico.datastore.sync.plausibility import CLUSTER_INFO_KEY, cluster_facts, not_ready
from calico.datastore.typed.store import Store
from calico.errors import Conflict, NotFound, Transient
from calico.model.node import ClusterInformation

__all__ = ["require_ready", "set_ready"]

_ATTEMPTS = 5


async def require_ready(backend: Backend) -> None:
    """Transient, with the reason, while nothing may be written on behalf of workloads."""
    kv = await backend.get(CLUSTER_INFO_KEY)
    reason = not_ready(cluster_facts(kv.value) if kv is not None else None)
    if reason:
        raise Transient(reason)


async def set_ready(store: Store, ready: bool) -> bool:
    """Unlock or lock; whether that changed anything. NotFound when the datastore has not been initialised."""
    for attempt in range(_ATTEMPTS):
        try:
            info = await store.get("ClusterInformation", "default")
        except NotFound:
            raise NotFound("the datastore has not been initialised; first `calico datastore init`") from None
        assert isinstance(info, ClusterInformation)
        if info.spec.datastore_ready is ready:
            return False
        spec = msgspec.structs.replace(info.spec, datastore_ready=ready)
        try:
            await store.replace(msgspec.structs.replace(info, spec=spec))
        except Conflict:
            if attempt == _ATTEMPTS - 1:
                raise
            continue
        return True
    raise AssertionError("unreachable")
