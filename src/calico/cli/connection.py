"""How the command line reaches the datastore: environment first, then a CalicoAPIConfig file (data model §1)."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import yaml

from calico.errors import InvalidInput

if TYPE_CHECKING:
    from calico.datastore.store import Store

__all__ = ["DEFAULT_CONFIG", "Connection", "load_connection", "open_store"]

DEFAULT_CONFIG = "/etc/calico/calicoctl.cfg"

_FIELDS = {
    "ETCD_ENDPOINTS": "etcdEndpoints",
    "ETCD_USERNAME": "etcdUsername",
    "ETCD_PASSWORD": "etcdPassword",
    "ETCD_KEY_FILE": "etcdKeyFile",
    "ETCD_CERT_FILE": "etcdCertFile",
    "ETCD_CA_CERT_FILE": "etcdCACertFile",
    "DATASTORE_TYPE": "datastoreType",
}


class Connection(msgspec.Struct, frozen=True):
    """Where etcd is and how to prove who we are."""

    endpoints: tuple[str, ...]
    username: str = ""
    password: str = ""
    key_file: str = ""
    cert_file: str = ""
    ca_file: str = ""

    def __repr__(self) -> str:
        return f"Connection(endpoints={self.endpoints!r}, username={self.username!r})"


def load_connection(config: str | None, environment: Mapping[str, str] = os.environ) -> Connection:
    """Settings from the environment (``CALICO_ETCD_...`` before ``ETCD_...``), else from a file.

    InvalidInput names the setting that is wrong. Without any setting: http://127.0.0.1:2379.
    """
    values = _from_file(config)
    for name, field in _FIELDS.items():
        given = environment.get(f"CALICO_{name}") or environment.get(name)
        if given:
            values[field] = given
    if values.get("datastoreType", "etcdv3") != "etcdv3":
        raise InvalidInput(f"only etcdv3 is supported, not {values['datastoreType']!r}", field="datastoreType")
    endpoints = tuple(part.strip() for part in values.get("etcdEndpoints", "").split(",") if part.strip())
    return Connection(
        endpoints=endpoints or ("http://127.0.0.1:2379",),
        username=values.get("etcdUsername", ""),
        password=values.get("etcdPassword", ""),
        key_file=values.get("etcdKeyFile", ""),
        cert_file=values.get("etcdCertFile", ""),
        ca_file=values.get("etcdCACertFile", ""),
    )


@asynccontextmanager
async def open_store(connection: Connection) -> AsyncIterator[Store]:
    """A store on a live connection, closed at the end."""
    from calico.datastore.etcd import EtcdBackend, TLSFiles
    from calico.datastore.store import Store

    tls = None
    if connection.ca_file or connection.cert_file:
        tls = TLSFiles(ca=_path(connection.ca_file), cert=_path(connection.cert_file), key=_path(connection.key_file))
    backend = EtcdBackend(connection.endpoints, tls=tls, username=connection.username, password=connection.password)
    try:
        yield Store(backend)
    finally:
        await backend.close()


def _path(name: str) -> Path | None:
    return Path(name) if name else None


def _from_file(config: str | None) -> dict[str, str]:
    path = Path(config or DEFAULT_CONFIG)
    if not path.exists():
        if config:
            raise InvalidInput("the file does not exist", subject=str(path))
        return {}
    try:
        document = yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise InvalidInput(f"cannot be read: {error}", subject=str(path)) from error
    if not isinstance(document, dict) or document.get("kind") != "CalicoAPIConfig":
        raise InvalidInput("is not a CalicoAPIConfig", subject=str(path), field="kind")
    spec = document.get("spec") or {}
    unknown = sorted(set(spec) - set(_FIELDS.values()))
    if unknown:
        raise InvalidInput(f"unknown field; known: {', '.join(_FIELDS.values())}", subject=str(path), field=unknown[0])
    return {key: str(value) for key, value in spec.items()}
