"""Calico for scripts: ``calico.connect()``, and ``calico.connect_async()`` for asyncio.

Resources are the typed values of ``calico.model``; the operations are those of the command line.
"""

from __future__ import annotations

from calico.client.aio import AsyncClient
from calico.client.collection import AsyncCollection
from calico.client.comparing import Change, Difference
from calico.client.sync import Client
from calico.client.sync_collection import Collection
from calico.client.watching import Event
from calico.datastore.barrier import Realisation
from calico.datastore.connection import load_connection, open_backend
from calico.errors import InvalidInput

__all__ = [
    "AsyncClient",
    "AsyncCollection",
    "Change",
    "Client",
    "Collection",
    "Difference",
    "Event",
    "Realisation",
    "connect",
    "connect_async",
]


def connect_async(*endpoints: str, config: str | None = None) -> AsyncClient:
    """A client for asyncio. Without ``endpoints`` (``http(s)://host:port``) the datastore is found as by the command
    line: ``CALICO_ETCD_…`` and ``ETCD_…`` in the environment, then the CalicoAPIConfig file ``config``.

    User, password and TLS files come from there in any case. Nothing connects before the first call.
    """
    _check_endpoints(endpoints)
    connection = load_connection(config)
    if endpoints:
        connection = connection.at(endpoints)
    return AsyncClient(open_backend(connection))


def connect(*endpoints: str, config: str | None = None) -> Client:
    """A client whose methods wait; arguments as for ``connect_async``."""
    return Client(connect_async(*endpoints, config=config))


def _check_endpoints(endpoints: tuple[object, ...]) -> None:
    for endpoint in endpoints:
        if not isinstance(endpoint, str):
            message = (
                f"must be a str, not a {type(endpoint).__name__}; several are given one by one: connect(*endpoints)"
            )
            raise InvalidInput(message, subject="connect", field="endpoints")
