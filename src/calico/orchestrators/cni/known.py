"""What the datastore has of an attachment and of its siblings (the other interfaces of the same container), read at
once with all else that a command must know before it begins: every round trip counts once per container."""

from __future__ import annotations

import msgspec

from calico.datastore.api import KeyValue, Op, Query
from calico.datastore.sync.plausibility import CLUSTER_INFO_KEY, cluster_facts, not_ready
from calico.datastore.typed.store import Store
from calico.errors import Conflict, InvalidInput, Transient, Uncertain
from calico.ipam.stored.keys import handle_key
from calico.model.decoding import decode
from calico.model.keys import ResourceKey, key_path, kind_prefix, parse_key
from calico.model.workload import WorkloadEndpoint
from calico.orchestrators.cni.addresses import bare_all
from calico.orchestrators.cni.names import Attached

__all__ = ["Known", "delete_endpoint", "look_up"]

_ATTEMPTS = 5


class Known(msgspec.Struct, frozen=True):
    """``endpoint``: of the attachment's name, whosesoever it is; ``siblings``: of this container, under other names;
    and whether the container has a handle in our IPAM, and the network its profile."""

    endpoint: WorkloadEndpoint | None
    siblings: tuple[WorkloadEndpoint, ...]
    has_handle: bool = False
    has_profile: bool = False

    def is_of(self, attached: Attached) -> bool:
        """Whether the endpoint is this container's: not that of an older or newer sandbox of the same pod."""
        return self.endpoint is not None and self.endpoint.spec.container_id in ("", attached.stored_id)

    @property
    def kept_addresses(self) -> frozenset[str]:
        """What stays with the siblings when the attachment goes."""
        return frozenset().union(*(bare_all(sibling.spec.ip_networks) for sibling in self.siblings))


async def look_up(store: Store, attached: Attached, *, even_locked: bool = False) -> Known:
    """One reading, of the few keys that begin with the workload's name and of what else belongs to it.

    Transient while the datastore is locked, unless that is said not to matter. InvalidInput naming an endpoint that
    cannot be read: its addresses could be freed under it, or it would stay behind.
    """
    identifiers = attached.siblings
    info, endpoints, handles, profiles = await store.backend.read(
        [
            Query(CLUSTER_INFO_KEY),
            Query(kind_prefix("WorkloadEndpoint", attached.namespace) + identifiers.prefix(), prefix=True),
            Query(handle_key(attached.handle)),
            Query(key_path(ResourceKey("Profile", "", attached.network))),
        ]
    )
    locked = not_ready(cluster_facts(info[0].value) if info else None)
    if locked and not even_locked:
        raise Transient(locked)
    own, siblings = _sorted(attached, endpoints)
    return Known(own, siblings, has_handle=bool(handles), has_profile=bool(profiles))


def _sorted(
    attached: Attached, stored: tuple[KeyValue, ...]
) -> tuple[WorkloadEndpoint | None, tuple[WorkloadEndpoint, ...]]:
    own: WorkloadEndpoint | None = None
    siblings: list[WorkloadEndpoint] = []
    name, identifiers = attached.endpoint_name, attached.siblings
    for item in stored:
        key = parse_key(item.key)
        if key is None or not identifiers.matches(key.name):
            continue
        decoded = decode(key, item.value, item.mod_revision)
        found = decoded.resource
        if not isinstance(found, WorkloadEndpoint):
            message = f"cannot be read, so nobody can say whose it is; delete it: {'; '.join(decoded.problems)}"
            raise InvalidInput(message, subject=str(key))
        if key.name == name:
            own = found
        elif found.spec.container_id == attached.stored_id:
            siblings.append(found)
    return own, tuple(siblings)


async def delete_endpoint(store: Store, attached: Attached, known: Known) -> None:
    """Delete the attachment's endpoint, if it still is this container's. Nothing else goes along with one, so it is
    deleted as it was read, in one write."""
    for _ in range(_ATTEMPTS):
        if not known.is_of(attached) or known.endpoint is None:
            return
        revision = int(known.endpoint.metadata.resource_version)
        try:
            await store.backend.txn([Op(key_path(attached.key), expect=revision)])
        except (Conflict, Uncertain):
            known = await look_up(store, attached, even_locked=True)
            continue
        return
    raise Conflict(f"WorkloadEndpoint {attached.endpoint_name} keeps changing")
