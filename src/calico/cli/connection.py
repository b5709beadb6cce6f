"""How the command line reaches the datastore: environment first, then a CalicoAPIConfig file (data model §1)."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from calico.datastore.connection import Connection, connect
from calico.datastore.connection import load_connection as _load
from calico.datastore.store import Store
from calico.obs.log import configure_logging

__all__ = ["DEFAULT_CONFIG", "Connection", "load_connection", "open_store"]

DEFAULT_CONFIG = "/etc/calico/calicoctl.cfg"


def load_connection(config: str | None, environment: Mapping[str, str] = os.environ) -> Connection:
    """Settings from the environment (``CALICO_ETCD_...`` before ``ETCD_...``), else from a file.

    InvalidInput names the setting that is wrong. Without any setting: http://127.0.0.1:2379.
    """
    return _load(config or (DEFAULT_CONFIG if Path(DEFAULT_CONFIG).exists() else None), environment)


@asynccontextmanager
async def open_store(connection: Connection) -> AsyncIterator[Store]:
    """A store on a live connection, closed at the end. What it has to warn of goes to standard error."""
    configure_logging(level="warning", json=False)
    backend = connect(connection)
    try:
        yield Store(backend)
    finally:
        await backend.close()
