"""Neutron's API over plain HTTP, in the name of a project; every answer is checked for its status."""

from __future__ import annotations

import http.client
import json
import uuid
from typing import Any

__all__ = ["ApiError", "Neutron"]


class ApiError(Exception):
    """An answer that is no success; ``status`` is its code."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"{status}: {text}")
        self.status, self.text = status, text


class Neutron:
    """One caller. ``roles`` decide what it may do: everything by default."""

    def __init__(
        self, host: str, port: int, project: str = "", roles: str = "admin,member,reader,service", timeout_s: float = 60
    ) -> None:
        self._host, self._port, self._timeout_s = host, port, timeout_s
        self.project = project or uuid.uuid4().hex
        self._roles = roles

    def call(self, method: str, path: str, body: object = None) -> Any:
        """The document that ``/v2.0/<path>`` answers, None when there is none; ApiError."""
        connection = http.client.HTTPConnection(self._host, self._port, timeout=self._timeout_s)
        headers = {
            "Content-Type": "application/json",
            "X-User-Id": "tester",
            "X-Project-Id": self.project,
            "X-Roles": self._roles,
            "X-Auth-Token": "none",
        }
        try:
            connection.request(method, f"/v2.0/{path}", json.dumps(body) if body is not None else None, headers)
            answer = connection.getresponse()
            text = answer.read().decode()
        finally:
            connection.close()
        if answer.status >= 300:
            raise ApiError(answer.status, text)
        return json.loads(text) if text else None

    def create(self, kind: str, **fields: Any) -> dict[str, Any]:
        """``kind`` in the singular, as the API spells it; also ``routers/<id>/...`` with a singular behind a colon."""
        path, _, single = kind.rpartition(":")
        answer = self.call("POST", path or _collection(single), {single: fields})
        found: dict[str, Any] = answer[single]
        return found

    def update(self, kind: str, identifier: str, **fields: Any) -> dict[str, Any]:
        found: dict[str, Any] = self.call("PUT", f"{_collection(kind)}/{identifier}", {kind: fields})[kind]
        return found

    def show(self, kind: str, identifier: str) -> dict[str, Any]:
        found: dict[str, Any] = self.call("GET", f"{_collection(kind)}/{identifier}")[kind]
        return found

    def list(self, kind: str, query: str = "") -> list[dict[str, Any]]:
        collection = _collection(kind)
        answer = self.call("GET", collection + (f"?{query}" if query else ""))
        found: list[dict[str, Any]] = answer[collection.replace("-", "_").rpartition("/")[2]]
        return found

    def delete(self, kind: str, identifier: str) -> None:
        self.call("DELETE", f"{_collection(kind)}/{identifier}")


def _collection(kind: str) -> str:
    special = {"policy": "qos/policies"}
    return special.get(kind, (kind[:-1] + "ies" if kind.endswith("y") else kind + "s").replace("_", "-"))
