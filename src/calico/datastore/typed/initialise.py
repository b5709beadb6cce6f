"""Making a datastore usable: ClusterInformation and the built-in tiers (data model, section 7; repeatable).

``initialise_defaults`` adds, when asked for, what a calico/node container makes at its start for the whole cluster.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from calico.errors import AlreadyExists, Conflict, NotFound
from calico.model.bgp import BGPConfiguration
from calico.model.defaults import PREDEFINED_TIERS
from calico.model.felixconfig import FelixConfiguration, FelixConfigurationSpec
from calico.model.ipam import IPAMConfiguration, IPAMConfigurationSpec
from calico.model.ippool import IPPool, IPPoolSpec
from calico.model.meta import Metadata, Resource
from calico.model.node import ClusterInformation, ClusterInformationSpec
from calico.model.policy import Tier, TierSpec

if TYPE_CHECKING:
    from calico.datastore.typed.store import Store

__all__ = ["BUILT_IN_TIERS", "initialise", "initialise_defaults"]

BUILT_IN_TIERS = {
    name: TierSpec(order=order, default_action=action) for name, (order, action) in PREDEFINED_TIERS.items()
}
_ATTEMPTS = 5
_RETRY_S = 1.0


async def initialise(store: Store, version: str = "", cluster_type: str = "") -> ClusterInformation:
    """Create what is missing, complete what is there; never unlocks a datastore that was locked.

    ``cluster_type`` is a comma list whose items are added to those recorded.
    """
    info = await _ensure_cluster_information(store, version, cluster_type)
    for name, spec in BUILT_IN_TIERS.items():
        await _ensure_tier(store, name, spec)
    return info


async def _ensure_cluster_information(store: Store, version: str, cluster_type: str) -> ClusterInformation:
    for attempt in range(_ATTEMPTS):
        try:
            return await _create_or_complete(store, version, cluster_type)
        except Conflict:  # somebody else is at it, too
            if attempt == _ATTEMPTS - 1:
                raise
            await store.sleep(_RETRY_S)
    raise AssertionError("unreachable")


async def _create_or_complete(store: Store, version: str, cluster_type: str) -> ClusterInformation:
    try:
        found = await store.get("ClusterInformation", "default")
    except NotFound:
        found = ClusterInformation(kind="ClusterInformation", metadata=Metadata(name="default"))
    assert isinstance(found, ClusterInformation)
    spec = completed(found.spec, version, cluster_type)
    if not found.metadata.resource_version:
        stored = await store.create(msgspec.structs.replace(found, spec=spec))
    elif spec != found.spec:
        stored = await store.replace(msgspec.structs.replace(found, spec=spec))
    else:
        stored = found
    assert isinstance(stored, ClusterInformation)
    return stored


def completed(spec: ClusterInformationSpec, version: str, cluster_type: str) -> ClusterInformationSpec:
    """``spec`` with what it lacks."""
    types = [item for item in spec.cluster_type.split(",") if item]
    types += [item for item in cluster_type.split(",") if item and item not in types]
    return msgspec.structs.replace(
        spec,
        calico_version=version or spec.calico_version,
        cluster_guid=spec.cluster_guid or uuid.uuid4().hex,
        datastore_ready=True if spec.datastore_ready is None else spec.datastore_ready,
        cluster_type=",".join(types),
    )


async def _ensure_tier(store: Store, name: str, spec: TierSpec) -> None:
    """Created when missing, left alone when there."""
    try:
        await store.get("Tier", name)
    except NotFound:
        await _created(store, Tier(kind="Tier", metadata=Metadata(name=name), spec=spec))


async def initialise_defaults(store: Store, pools: Sequence[str] = (), *, configurations: bool = True) -> list[str]:
    """Create the cluster's configurations and a pool per network of ``pools`` where they are missing; what was made.

    A pool is made only when there is none of its family yet.
    """
    metadata = Metadata(name="default")
    wanted: list[Resource] = []
    if configurations:
        wanted += [
            FelixConfiguration(metadata=metadata, spec=FelixConfigurationSpec(log_severity_screen="Info")),
            BGPConfiguration(metadata=metadata),
            IPAMConfiguration(metadata=metadata, spec=_IPAM),
        ]
    families = {":" in pool.spec.cidr for pool in await store.list("IPPool") if isinstance(pool, IPPool)}
    wanted += [_pool(cidr) for cidr in pools if (":" in cidr) not in families]
    return [f"{type(item).__name__} {item.metadata.name}" for item in wanted if await _created(store, item)]


_IPAM = IPAMConfigurationSpec(kube_virt_vm_address_persistence="Enabled")


def _pool(cidr: str) -> IPPool:
    """Workloads' IPv4 is for inside, so it is translated on the way out; IPv6 is not."""
    version = 6 if ":" in cidr else 4
    spec = IPPoolSpec(cidr=cidr, nat_outgoing=version == 4)
    return IPPool(metadata=Metadata(name=f"default-ipv{version}-ippool"), spec=spec)


async def _created(store: Store, resource: Resource) -> bool:
    """False when somebody has made it already."""
    try:
        await store.create(resource)
    except AlreadyExists:
        return False
    return True
