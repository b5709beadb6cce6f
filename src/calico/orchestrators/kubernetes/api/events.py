"""Telling people what is wrong with their object: Events, and a condition where the kind has conditions.

Saying the same again counts the same Event up. What cannot be told is tried again; it never stops a controller.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from calico.errors import AlreadyExists, CalicoError, InvalidInput, NotFound
from calico.obs.logger import Logger
from calico.orchestrators.kubernetes.api.client import Client
from calico.orchestrators.kubernetes.api.refusals import Forbidden

__all__ = ["Condition", "Reporter"]

log = Logger(__name__)

_MESSAGE_MAX = 1024
_AGAIN_S = 5.0


class Condition(msgspec.Struct, frozen=True):
    """A condition of ``path`` (of the object, without ``/status``), as of its ``generation``."""

    path: str
    type: str
    good: bool
    reason: str
    message: str
    generation: int


class _Said(msgspec.Struct, frozen=True):
    namespace: str
    name: str
    involved: str
    type: str
    reason: str
    message: str


class Reporter:
    """``warn`` and ``condition`` return at once; ``run`` writes. ``may_write`` says whether we (still) lead."""

    def __init__(self, client: Client, component: str, host: str, may_write: Callable[[], bool]) -> None:
        self._client, self._component, self._host, self._may_write = client, component, host, may_write
        self._events: dict[_Said, None] = {}
        self._conditions: dict[str, tuple[dict[str, Any], Condition]] = {}
        self._wake = asyncio.Event()

    def warn(self, source: Mapping[str, Any], reason: str, message: str) -> None:
        """A warning on ``source``, an object as the API gave it."""
        metadata = source.get("metadata") or {}
        involved = {
            "apiVersion": source.get("apiVersion") or "",
            "kind": source.get("kind") or "",
            "name": metadata.get("name") or "",
            "uid": metadata.get("uid") or "",
        }
        namespace = metadata.get("namespace") or "default"
        if metadata.get("namespace"):
            involved["namespace"] = namespace
        text = message if len(message) <= _MESSAGE_MAX else message[: _MESSAGE_MAX - 1] + "…"
        mark = hashlib.sha256("\0".join((involved["uid"], reason, text)).encode()).hexdigest()[:16]
        name = f"{involved['name'][:200]}.{mark}"
        self._events[_Said(namespace, name, msgspec.json.encode(involved).decode(), "Warning", reason, text)] = None
        self._wake.set()

    def condition(self, source: Mapping[str, Any], condition: Condition) -> None:
        """Set it, unless ``source`` has it so."""
        there = {entry.get("type"): entry for entry in (source.get("status") or {}).get("conditions") or ()}
        entry = _entry(condition)
        if all((there.get(condition.type) or {}).get(name) == value for name, value in entry.items()):
            return
        old = there.get(condition.type) or {}
        since = old.get("lastTransitionTime") if old.get("status") == entry["status"] else None
        body = {name: source[name] for name in ("apiVersion", "kind")}
        body["metadata"] = {"name": source["metadata"]["name"]}
        body["status"] = {"conditions": [{**entry, "lastTransitionTime": since or _now()}]}
        self._conditions[condition.path] = (body, condition)
        self._wake.set()

    async def run(self) -> None:
        """Write what was said until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            if not await self._write_all():
                await asyncio.sleep(_AGAIN_S)
                self._wake.set()

    async def _write_all(self) -> bool:
        done = True
        for said in list(self._events):
            written = await self._try(self._event(said), said.involved)
            if written:
                self._events.pop(said, None)
            done &= written
        for path, (body, condition) in list(self._conditions.items()):
            written = await self._try(self._condition(condition, body), path)
            if written and self._conditions.get(path) == (body, condition):
                del self._conditions[path]
            done &= written
        return done

    async def _try(self, writing: Any, about: str) -> bool:
        if not self._may_write():
            writing.close()
            return False
        try:
            await writing
        except (NotFound, InvalidInput, Forbidden) as error:  # the object or its namespace is gone, or going
            log.info("kubernetes_report_refused", about=about, reason=str(error))
        except CalicoError as error:
            log.warning("kubernetes_report_not_written", about=about, reason=str(error))
            return False
        return True

    async def _event(self, said: _Said) -> None:
        path = f"/api/v1/namespaces/{said.namespace}/events"
        now = _now()
        body = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": said.name, "namespace": said.namespace},
            "involvedObject": msgspec.json.decode(said.involved),
            "reason": said.reason,
            "message": said.message,
            "type": said.type,
            "source": {"component": self._component, "host": self._host},
            "reportingComponent": self._component,
            "reportingInstance": self._host,
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
        }
        try:
            await self._client.create(path, body)
        except AlreadyExists:
            there = await self._client.get(f"{path}/{said.name}")
            count = int(there.get("count") or 1) + 1
            await self._client.patch(f"{path}/{said.name}", {"count": count, "lastTimestamp": now})

    async def _condition(self, condition: Condition, body: dict[str, Any]) -> None:
        await self._client.patch(f"{condition.path}/status", body, kind="apply", force=True)


def _entry(condition: Condition) -> dict[str, Any]:
    return {
        "type": condition.type,
        "status": "True" if condition.good else "False",
        "reason": condition.reason,
        "message": condition.message,
        "observedGeneration": condition.generation,
    }


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
