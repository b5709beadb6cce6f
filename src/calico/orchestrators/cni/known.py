"""What the datastore has of an attachment and of its siblings: the other interfaces of the same container."""

from __future__ import annotations

import msgspec

from calico.datastore.typed.store import Store
from calico.errors import Conflict, InvalidInput, NotFound
from calico.model.decoding import decode
from calico.model.keys import kind_prefix, parse_key
from calico.model.workload import WorkloadEndpoint
from calico.orchestrators.cni.addresses import bare_all
from calico.orchestrators.cni.names import Attached

__all__ = ["Known", "delete_endpoint", "look_up"]

_ATTEMPTS = 5


class Known(msgspec.Struct, frozen=True):
    """``endpoint``: of the attachment's name, whosesoever it is; ``siblings``: of this container, under other names."""

    endpoint: WorkloadEndpoint | None
    siblings: tuple[WorkloadEndpoint, ...]

    def is_of(self, attached: Attached) -> bool:
        """Whether the endpoint is this container's: not that of an older or newer sandbox of the same pod."""
        return self.endpoint is not None and self.endpoint.spec.container_id in ("", attached.stored_id)

    @property
    def kept_addresses(self) -> frozenset[str]:
        """What stays with the siblings when the attachment goes."""
        return frozenset().union(*(bare_all(sibling.spec.ip_networks) for sibling in self.siblings))


async def look_up(store: Store, attached: Attached) -> Known:
    """One list of the few keys that begin with the workload's name. InvalidInput naming one that cannot be read: its
    addresses could be freed under it, or it would stay behind."""
    identifiers = attached.siblings
    listing = await store.backend.list(kind_prefix("WorkloadEndpoint", attached.namespace) + identifiers.prefix())
    own: WorkloadEndpoint | None = None
    siblings: list[WorkloadEndpoint] = []
    name = attached.endpoint_name
    for item in listing.items:
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
    return Known(own, tuple(siblings))


async def delete_endpoint(store: Store, attached: Attached, known: Known) -> None:
    """Delete the attachment's endpoint, if it still is this container's."""
    for _ in range(_ATTEMPTS):
        if not known.is_of(attached) or known.endpoint is None:
            return
        metadata = known.endpoint.metadata
        try:
            await store.delete(
                "WorkloadEndpoint", metadata.name, metadata.namespace, resource_version=metadata.resource_version
            )
        except NotFound:
            return
        except Conflict:
            known = await look_up(store, attached)
            continue
        return
    raise Conflict(f"WorkloadEndpoint {attached.endpoint_name} keeps changing")
