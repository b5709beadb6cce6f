"""A plain client of the API server for tests, none of the product's: one connection, JSON in and out."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from calico.dataplane.netns import in_netns

__all__ = ["Api", "Refused"]

_TIMEOUT_S = 60.0


class Refused(Exception):
    """The API server says no: ``status`` is HTTP's, ``reason`` Kubernetes'."""

    def __init__(self, status: int, document: Mapping[str, Any]) -> None:
        self.status, self.reason = status, str(document.get("reason", ""))
        super().__init__(f"{status} {self.reason}: {document.get('message', '')}")


class Api:
    """Requests of one user, made from a network namespace. Threads wait for one another."""

    def __init__(self, netns: str, address: str, port: int, authority: Path, token: str) -> None:
        self._netns, self._where, self._token = netns, (address, port), token
        self._tls = ssl.create_default_context(cafile=str(authority))
        self._connection: http.client.HTTPSConnection | None = None
        self._lock = threading.Lock()

    def request(self, method: str, path: str, body: Any = None, content: str = "application/json") -> dict[str, Any]:
        """The answer as JSON ({} if it is no object's); Refused for 4xx and 5xx, OSError while nobody answers."""
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": content, "Accept": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        with self._lock:
            answer, text = self._exchange(method, path, data, headers)
        document = json.loads(text) if text.startswith(b"{") else {"message": text.decode(errors="replace")}
        if answer.status >= 400:
            raise Refused(answer.status, document)
        return dict(document)

    def _exchange(
        self, method: str, path: str, data: bytes | None, headers: Mapping[str, str]
    ) -> tuple[http.client.HTTPResponse, bytes]:
        kept = self._connection is not None
        try:
            connection = self._connection = self._connection or self._connect()
            connection.request(method, path, data, dict(headers))
            answer = connection.getresponse()
            return answer, answer.read()
        except (OSError, http.client.HTTPException) as error:
            self.close()
            if kept and isinstance(error, ConnectionError | http.client.RemoteDisconnected):  # an idle one was closed
                return self._exchange(method, path, data, headers)
            raise error if isinstance(error, OSError) else ConnectionError(str(error)) from error

    def _connect(self) -> http.client.HTTPSConnection:
        connection = http.client.HTTPSConnection(*self._where, context=self._tls, timeout=_TIMEOUT_S)
        plain = in_netns(self._netns, lambda: socket.create_connection(self._where, _TIMEOUT_S))
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sock = self._tls.wrap_socket(plain, server_hostname=self._where[0])
        return connection

    def close(self) -> None:
        """A later request connects again."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def get(self, path: str) -> dict[str, Any]:
        return self.request("GET", path)

    def list(self, path: str) -> list[dict[str, Any]]:
        return list(self.get(path)["items"])

    def create(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """POST to a collection."""
        return self.request("POST", path, body)

    def put(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Make the object of this collection equal to ``body``, whether it is there or not."""
        try:
            return self.create(path, body)
        except Refused as refusal:
            if refusal.reason != "AlreadyExists":
                raise
        name = f"{path}/{body['metadata']['name']}"
        version = self.get(name)["metadata"]["resourceVersion"]
        return self.request("PUT", name, {**body, "metadata": {**body["metadata"], "resourceVersion": version}})

    def patch(self, path: str, body: Any, kind: str = "merge") -> dict[str, Any]:
        """``kind``: merge, json or strategic-merge."""
        return self.request("PATCH", path, body, f"application/{kind}-patch+json")

    def set_labels(self, path: str, labels: Mapping[str, str]) -> None:
        """These labels and no others."""
        self.patch(path, [{"op": "add", "path": "/metadata/labels", "value": dict(labels)}], "json")

    def delete(self, path: str, *, grace_s: int | None = None) -> None:
        """Nothing happens where nothing is."""
        options = {"kind": "DeleteOptions", "apiVersion": "v1"}
        try:
            self.request("DELETE", path, options if grace_s is None else {**options, "gracePeriodSeconds": grace_s})
        except Refused as refusal:
            if refusal.status != 404:
                raise
