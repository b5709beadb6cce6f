"""Comparing and mending on demand, outside Neutron's processes; ``calico openstack resync`` prints what this finds.

What is to be mended goes through the journal and is drained here, under the same locks as the workers' own work.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from neutron.common import config as neutron_config
from oslo_config import cfg

from calico.datastore.connection import open_backend
from calico.errors import InvalidInput, Transient
from calico.obs.log import configure_logging
from calico.orchestrators.openstack.driver import settings
from calico.orchestrators.openstack.driver.comparison import Drift, find_drift
from calico.orchestrators.openstack.driver.desired import Key
from calico.orchestrators.openstack.driver.journal.claims import problems_of, waiting
from calico.orchestrators.openstack.driver.journal.recording import (
    ADDRESS_GROUP,
    NETWORK,
    PORT,
    SECURITY_GROUP,
    SUBNET,
    record_works,
)
from calico.orchestrators.openstack.driver.reading.dependents import dependent_ports, dependent_subnets
from calico.orchestrators.openstack.driver.reading.rows import reading
from calico.orchestrators.openstack.driver.worker.drainer import Drainer
from calico.orchestrators.openstack.driver.worker.metrics import WorkerMetrics
from calico.orchestrators.openstack.driver.worker.mirror import Mirror

__all__ = ["resync"]

_TRIES = 200
_PAUSE_S = 0.1


async def resync(files: Sequence[str], scopes: Mapping[str, Collection[str]], *, dry_run: bool) -> dict[str, Any]:
    """The report. ``scopes``: ids by kind (``port``, ``network`` ...); all empty: everything.

    InvalidInput when the configuration is wrong, Transient when etcd does not answer.
    """
    configure_logging(level="warning", json=False)
    _configure(files)
    backend = open_backend(settings.connection())
    started = time.monotonic()
    try:
        scope = await asyncio.to_thread(_keys, scopes) if any(scopes.values()) else None
        found, compared = await find_drift(backend, settings.options(), scope)
        failed = {} if dry_run or not found else await _mend(Mirror(backend, settings.options()), found)
    finally:
        await backend.close()
    return {
        "dryRun": dry_run,
        "seconds": round(time.monotonic() - started, 3),
        "compared": compared,
        "objects": [_object(drift) for drift in found],
        "failed": [{"kind": kind, "id": each, "reason": reason} for (kind, each), reason in sorted(failed.items())],
    }


def _configure(files: Sequence[str]) -> None:
    settings.register()
    try:
        neutron_config.register_common_config_options()
        cfg.CONF([part for name in files for part in ("--config-file", name)], project="neutron")
    except cfg.Error as error:
        raise InvalidInput(str(error), subject="Neutron's configuration") from error


def _keys(scopes: Mapping[str, Collection[str]]) -> set[Key]:
    kinds = {"port": PORT, "security_group": SECURITY_GROUP, "address_group": ADDRESS_GROUP, "subnet": SUBNET}
    found: set[Key] = {(kind, each) for name, kind in kinds.items() for each in scopes.get(name, ())}
    networks = scopes.get("network", ())
    with reading() as session:
        found |= {(PORT, each) for each in dependent_ports(session, NETWORK, networks)}
        found |= {(SUBNET, each) for each in dependent_subnets(session, networks)}
    return found


async def _mend(mirror: Mirror, found: Iterable[Drift]) -> dict[Key, str]:
    """Mirror again; what could not be, with the reason."""
    works = [drift.work() for drift in found]
    await asyncio.to_thread(record_works, works)
    drainer = Drainer(mirror, WorkerMetrics(waiting, with_process=False), batch=500, poll_s=1.0)
    keys = {(work.kind, work.identifier) for work in works}
    for _ in range(_TRIES):
        drained = await drainer.drain()
        left = await asyncio.to_thread(problems_of, keys)
        if not left or all(left.values()):
            return left
        if not drained:
            await asyncio.sleep(_PAUSE_S)
    raise Transient("the workers hold the rest of the journal and do not get on; see their log")


def _object(drift: Drift) -> dict[str, Any]:
    changes = [
        {
            "key": change.path,
            "verdict": change.verdict,
            "fields": [difference.field for difference in change.differences],
            "differences": [
                {"field": difference.field, "stored": difference.stored, "desired": difference.desired}
                for difference in change.differences
            ],
        }
        for change in drift.changes
    ]
    return {"kind": drift.kind, "id": drift.identifier, "changes": changes}
