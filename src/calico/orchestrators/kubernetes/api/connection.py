"""Where the API server is and who we are there: a kubeconfig file, or what Kubernetes puts into a pod.

Files of tokens and certificates may be replaced at any time: a token is read again when its file changes.
"""

from __future__ import annotations

import base64
import os
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from calico.errors import InvalidInput, Transient

__all__ = ["APIConnection", "TokenFile", "in_cluster", "load_api_connection", "read_kubeconfig", "tls_context"]

_IN_CLUSTER = Path("/var/run/secrets/kubernetes.io/serviceaccount")


class APIConnection(msgspec.Struct, frozen=True, kw_only=True):
    """``server`` is a URL; ``ca``, ``cert`` and ``key`` are PEM or paths. A ``token_file`` wins over a ``token``."""

    server: str
    ca: str | bytes = ""
    insecure: bool = False
    server_name: str = ""
    token: str = ""
    token_file: str = ""
    username: str = ""
    password: str = ""
    cert: str | bytes = ""
    key: str | bytes = ""

    def __repr__(self) -> str:
        return f"APIConnection(server={self.server!r})"


class TokenFile:
    """A bearer token that is read again when its file was replaced or changed."""

    def __init__(self, path: str) -> None:
        self._path, self._seen, self._token = Path(path), (0, 0), ""

    def read(self) -> str:
        """The token now; Transient when the file cannot be read or is empty."""
        try:
            stat = self._path.stat()
            seen = (stat.st_mtime_ns, stat.st_ino)
            if seen != self._seen:
                self._token, self._seen = self._path.read_text().strip(), seen
        except (OSError, ValueError) as error:
            raise Transient(f"the token of the Kubernetes API cannot be read: {error}") from error
        if not self._token:
            raise Transient(f"the token of the Kubernetes API in {self._path} is empty")
        return self._token

    def forget(self) -> None:
        """The server refused it: read the file at the next use, whatever its time says."""
        self._seen = (0, 0)


def load_api_connection(kubeconfig: str = "", environment: Mapping[str, str] = os.environ) -> APIConnection:
    """From ``kubeconfig`` or ``$KUBECONFIG``; without, from the pod we run in."""
    path = kubeconfig or environment.get("KUBECONFIG", "")
    return read_kubeconfig(Path(path)) if path else in_cluster(environment)


def in_cluster(environment: Mapping[str, str] = os.environ, directory: Path = _IN_CLUSTER) -> APIConnection:
    """As a pod's service account; InvalidInput when this is not a pod."""
    host = environment.get("KUBERNETES_SERVICE_HOST", "")
    port = environment.get("KUBERNETES_SERVICE_PORT_HTTPS") or environment.get("KUBERNETES_SERVICE_PORT") or "443"
    if not host or not (directory / "token").exists():
        raise InvalidInput("no kubeconfig is given, and this is not a pod with a service account", field="kubeconfig")
    server = f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
    return APIConnection(server=server, ca=str(directory / "ca.crt"), token_file=str(directory / "token"))


def read_kubeconfig(path: Path) -> APIConnection:
    """The current context of a kubeconfig; InvalidInput names file and field. Programs that give tokens are refused."""
    import yaml

    try:
        document = yaml.safe_load(path.read_text())
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise InvalidInput(f"cannot be read: {error}", subject=str(path)) from error
    if not isinstance(document, dict):
        raise InvalidInput("is not a kubeconfig", subject=str(path))
    current = document.get("current-context") or ""
    context = _named(path, document, "contexts", "context", current)
    cluster = _named(path, document, "clusters", "cluster", context.get("cluster", ""))
    user = _named(path, document, "users", "user", context["user"]) if context.get("user") else {}
    for field in ("exec", "auth-provider"):
        if user.get(field):
            raise InvalidInput(
                "is not supported: use a token, a token file or a certificate",
                subject=str(path),
                field=f"users.user.{field}",
            )
    if not cluster.get("server"):
        raise InvalidInput("is required", subject=str(path), field="clusters.cluster.server")
    return APIConnection(
        server=str(cluster["server"]).rstrip("/"),
        ca=_file_or_data(path, cluster, "certificate-authority"),
        insecure=bool(cluster.get("insecure-skip-tls-verify")),
        server_name=cluster.get("tls-server-name") or "",
        token=user.get("token") or "",
        token_file=str(path.parent / user["tokenFile"]) if user.get("tokenFile") else "",
        username=user.get("username") or "",
        password=user.get("password") or "",
        cert=_file_or_data(path, user, "client-certificate"),
        key=_file_or_data(path, user, "client-key"),
    )


def _named(path: Path, document: Mapping[str, Any], group: str, member: str, name: str) -> dict[str, Any]:
    for entry in document.get(group) or ():
        if isinstance(entry, dict) and entry.get("name") == name and isinstance(entry.get(member), dict):
            found: dict[str, Any] = entry[member]
            return found
    raise InvalidInput(f"there is none of name {name!r}", subject=str(path), field=group)


def _file_or_data(path: Path, values: Mapping[str, Any], name: str) -> str | bytes:
    data = values.get(f"{name}-data")
    if data:
        try:
            return base64.b64decode(data, validate=True)
        except (ValueError, TypeError) as error:
            raise InvalidInput(f"is not base64: {error}", subject=str(path), field=f"{name}-data") from error
    return str(path.parent / values[name]) if values.get(name) else ""


def tls_context(connection: APIConnection) -> ssl.SSLContext | None:
    """None for plain HTTP; InvalidInput when a certificate cannot be used."""
    if not connection.server.startswith("https:"):
        return None
    try:
        ca = connection.ca
        if isinstance(ca, bytes):
            context = ssl.create_default_context(cadata=ca.decode())
        else:
            context = ssl.create_default_context(cafile=ca or None)
        if connection.insecure:
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        if connection.cert:
            _load_client_certificate(context, connection)
    except (OSError, ValueError) as error:
        raise InvalidInput(f"certificates cannot be used: {error}", subject=connection.server) from error
    return context


def _load_client_certificate(context: ssl.SSLContext, connection: APIConnection) -> None:
    """OpenSSL reads files only: data goes through anonymous memory."""
    descriptors = []
    try:
        names = []
        for part in (connection.cert, connection.key or connection.cert):
            if isinstance(part, bytes):
                descriptor = os.memfd_create("certificate")
                descriptors.append(descriptor)
                os.write(descriptor, part)
                names.append(f"/proc/self/fd/{descriptor}")
            else:
                names.append(part)
        context.load_cert_chain(*names)
    finally:
        for descriptor in descriptors:
            os.close(descriptor)
