"""Where etcd is and who we are there: from options, environment and a CalicoAPIConfig file (data model, section 1)."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from calico.errors import InvalidInput

if TYPE_CHECKING:
    from calico.datastore.etcd.backend import EtcdBackend
    from calico.datastore.etcd.channel import TLSFiles
    from calico.datastore.typed.store import Store

__all__ = [
    "DEFAULT_CONFIG",
    "DEFAULT_ENDPOINT",
    "SETTINGS",
    "Connection",
    "load_connection",
    "open_backend",
    "open_store",
    "proof_of",
]

DEFAULT_CONFIG = "/etc/calico/calicoctl.cfg"
DEFAULT_ENDPOINT = "http://127.0.0.1:2379"

SETTINGS = {
    "ETCD_ENDPOINTS": "etcdEndpoints",
    "ETCD_USERNAME": "etcdUsername",
    "ETCD_PASSWORD": "etcdPassword",
    "ETCD_PASSWORD_FILE": "etcdPasswordFile",
    "ETCD_KEY_FILE": "etcdKeyFile",
    "ETCD_CERT_FILE": "etcdCertFile",
    "ETCD_CA_CERT_FILE": "etcdCACertFile",
    "DATASTORE_TYPE": "datastoreType",
}
"""Variable (also with ``CALICO_`` before it, which wins) -> field of the file's ``spec``."""

_INLINE = {"etcdKey": "etcdKeyFile", "etcdCert": "etcdCertFile", "etcdCACert": "etcdCACertFile"}


class Connection(msgspec.Struct, frozen=True):
    """``password_file`` is read at every log-in, the TLS files whenever they change: both can be replaced at any time.

    ``key``, ``cert`` and ``ca`` are paths, or PEM as bytes.
    """

    endpoints: tuple[str, ...] = (DEFAULT_ENDPOINT,)
    username: str = ""
    password: str = ""
    password_file: str = ""
    key: str | bytes = ""
    cert: str | bytes = ""
    ca: str | bytes = ""

    def at(self, endpoints: Sequence[str]) -> Connection:
        """The same proof of who we are, elsewhere."""
        return msgspec.structs.replace(self, endpoints=tuple(endpoints))

    def __repr__(self) -> str:
        return f"Connection(endpoints={self.endpoints!r}, username={self.username!r})"


@asynccontextmanager
async def open_store(connection: Connection) -> AsyncIterator[Store]:
    """A store on a live connection, closed at the end.

    What it has to warn of goes to standard error, unless the process has said where.
    """
    from calico.datastore.typed.store import Store
    from calico.obs.logger import warn_on_stderr

    warn_on_stderr()
    backend = open_backend(connection)
    try:
        yield Store(backend)
    finally:
        await backend.close()


def open_backend(connection: Connection) -> EtcdBackend:
    """The backend of a connection, which its owner closes; nothing connects before the first call."""
    from calico.datastore.etcd.backend import EtcdBackend

    tls, password = proof_of(connection)
    return EtcdBackend(connection.endpoints, tls=tls, username=connection.username, password=password)


def proof_of(connection: Connection) -> tuple[TLSFiles | None, str | Path]:
    """The TLS files of a connection, and its password or the file that has it."""
    from calico.datastore.etcd.channel import TLSFiles

    tls = None
    if connection.ca or connection.cert:
        tls = TLSFiles(ca=_part(connection.ca), cert=_part(connection.cert), key=_part(connection.key))
    return tls, Path(connection.password_file) if connection.password_file else connection.password


def load_connection(
    config: str | None = None,
    environment: Mapping[str, str] = os.environ,
    *,
    given: Mapping[str, str | None] | None = None,
    default: str = DEFAULT_CONFIG,
) -> Connection:
    """Settings by field: ``given`` (options), the environment (``CALICO_ETCD_...`` before ``ETCD_...``), then the file
    ``config``, which must exist, or ``default`` if it exists.

    InvalidInput names the setting that is wrong. Without any setting: http://127.0.0.1:2379, which never leaves the
    host. An endpoint that does not say ``http:`` is reached by TLS, and nothing falls back from that.
    """
    path = config or (default if default and Path(default).exists() else "")
    values = _from_file(Path(path)) if path else {}
    for name, field in SETTINGS.items():
        found = environment.get(f"CALICO_{name}") or environment.get(name)
        if found:
            values[field] = found
    values.update({field: value for field, value in (given or {}).items() if value})
    return _connection(values)


def _connection(values: Mapping[str, str]) -> Connection:
    if values.get("datastoreType", "etcdv3") != "etcdv3":
        raise InvalidInput(f"only etcdv3 is supported, not {values['datastoreType']!r}", field="datastoreType")
    from calico.datastore.etcd.channel import parse_endpoint

    given = (part.strip() for part in values.get("etcdEndpoints", "").split(",") if part.strip())
    endpoints = tuple(part if "://" in part else f"https://{part}" for part in given)
    for endpoint in endpoints:
        parse_endpoint(endpoint)
    key, cert, ca = (_file_or_inline(values, inline) for inline in _INLINE)
    if bool(key) != bool(cert):
        raise InvalidInput("a client certificate and its key are needed together", field="etcdCertFile, etcdKeyFile")
    if (key or ca) and not (endpoints and all(endpoint.startswith("https:") for endpoint in endpoints)):
        raise InvalidInput("certificates are given, so every endpoint must begin with https:", field="etcdEndpoints")
    username, secret = values.get("etcdUsername", ""), values.get("etcdPasswordFile") or values.get("etcdPassword")
    return Connection(
        endpoints=endpoints or (DEFAULT_ENDPOINT,),
        username=username if secret else "",  # as Calico does: both, or none
        password=values.get("etcdPassword", "") if username else "",
        password_file=values.get("etcdPasswordFile", "") if username else "",
        key=key,
        cert=cert,
        ca=ca,
    )


def _file_or_inline(values: Mapping[str, str], inline: str) -> str | bytes:
    path, pem = values.get(_INLINE[inline], ""), values.get(inline, "")
    if pem and any(values.get(name) for name in _INLINE.values()):
        raise InvalidInput("PEM in the file and names of files cannot be mixed", field=inline)
    return pem.encode() if pem else path


def _part(value: str | bytes) -> Path | bytes | None:
    if not value:
        return None
    return value if isinstance(value, bytes) else Path(value)


def _from_file(path: Path) -> dict[str, str]:
    import yaml

    if not path.exists():
        raise InvalidInput("the file does not exist", subject=str(path))
    try:
        document = yaml.safe_load(path.read_text())
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise InvalidInput(f"cannot be read: {error}", subject=str(path)) from error
    if not isinstance(document, dict) or document.get("kind") != "CalicoAPIConfig":
        raise InvalidInput("is not a CalicoAPIConfig", subject=str(path), field="kind")
    spec = document.get("spec") or {}
    if not isinstance(spec, dict):
        raise InvalidInput("must be a mapping", subject=str(path), field="spec")
    known = (*SETTINGS.values(), *_INLINE)
    unknown = sorted(str(name) for name in set(spec) - set(known))
    if unknown:
        raise InvalidInput(f"unknown field; known: {', '.join(known)}", subject=str(path), field=unknown[0])
    return {key: str(value) for key, value in spec.items() if value is not None}
