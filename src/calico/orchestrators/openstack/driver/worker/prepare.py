"""What the cluster's own resources must say before hosts can serve instances (data model §11); repeatable."""

from __future__ import annotations

import asyncio

import msgspec

from calico.datastore.api import Backend
from calico.datastore.typed.initialise import initialise
from calico.datastore.typed.store import Store
from calico.errors import CalicoError, Conflict, NotFound, Transient
from calico.model.felixconfig import FelixConfiguration
from calico.model.meta import Metadata
from calico.obs.logger import Logger
from calico.orchestrators.openstack.convert import CLUSTER_TYPE, completed_felix

__all__ = ["prepare"]

log = Logger(__name__)

_RETRY_S = 2.0


async def prepare(backend: Backend) -> None:
    """Complete ClusterInformation and FelixConfiguration ``default``; what an operator decided stays."""
    store = Store(backend)
    while True:
        try:
            await initialise(store, cluster_type=CLUSTER_TYPE)
            await _felix(store)
            return
        except (Transient, Conflict) as error:
            log.info("calico_cluster_not_prepared", reason=str(error))
            await asyncio.sleep(_RETRY_S)
        except CalicoError as error:  # damaged by somebody, or no right to: mirroring goes on
            log.error("calico_cluster_not_prepared", reason=str(error))
            return


async def _felix(store: Store) -> None:
    try:
        found = await store.get("FelixConfiguration", "default")
    except NotFound:
        found = FelixConfiguration(kind="FelixConfiguration", metadata=Metadata(name="default"))
    assert isinstance(found, FelixConfiguration)
    spec, problems = completed_felix(found.spec)
    for problem in problems:
        log.warning("calico_not_followed", code=problem.code, kind=problem.kind, id=problem.id, text=problem.text)
    if spec == found.spec:
        return
    wanted = msgspec.structs.replace(found, spec=spec)
    await (store.replace(wanted) if found.metadata.resource_version else store.create(wanted))
