"""Requests to the API server: raw dicts in and out, every failure as one of our errors. Paths are the API's own."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Literal, Self

import aiohttp
import msgspec

from calico.errors import CalicoError, Transient, Uncertain
from calico.orchestrators.kubernetes.api.connection import APIConnection, TokenFile, tls_context
from calico.orchestrators.kubernetes.api.refusals import Unauthorized, refusal

__all__ = ["Client", "Event", "PatchKind"]

PatchKind = Literal["merge", "json", "strategic", "apply"]

_TYPES: dict[PatchKind, str] = {
    "merge": "application/merge-patch+json",
    "json": "application/json-patch+json",
    "strategic": "application/strategic-merge-patch+json",
    "apply": "application/apply-patch+yaml",
}
_PAGE = 500
_LINE_MAX = 16 << 20


class Event(msgspec.Struct, frozen=True):
    """One message of a watch: ``type`` is ADDED, MODIFIED, DELETED or BOOKMARK."""

    type: str
    object: dict[str, Any]


class Client:
    """One API server. Usable as ``async with``; nothing connects before the first request.

    ``field_manager`` names us in ``managedFields``. A request that is not answered within ``timeout_s`` is Transient;
    a write whose answer was lost is Uncertain.
    """

    def __init__(
        self, connection: APIConnection, *, field_manager: str = "calico", timeout_s: float = 30.0, page: int = _PAGE
    ) -> None:
        self._connection, self._manager, self._timeout_s, self._page = connection, field_manager, timeout_s, page
        self._token = TokenFile(connection.token_file) if connection.token_file else None
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections; running requests end as Transient."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    # ---- reading

    async def get(self, path: str, *, query: Mapping[str, str] | None = None) -> dict[str, Any]:
        """One object, or whatever is at ``path``; NotFound when absent."""
        return await self._request("GET", path, query=query)

    async def list(
        self, path: str, *, field_selector: str = "", label_selector: str = ""
    ) -> tuple[list[dict[str, Any]], str]:
        """All objects of a collection and its resourceVersion, in pages; Expired when it changed too much meanwhile.

        ``kind`` and ``apiVersion``, which a list gives once, are put into every item.
        """
        items: list[dict[str, Any]] = []
        query = _selectors(field_selector, label_selector) | {"limit": str(self._page)}
        while True:
            answer = await self._request("GET", path, query=query)
            items.extend(_typed(answer))
            metadata = answer.get("metadata") or {}
            if not metadata.get("continue"):
                return items, str(metadata.get("resourceVersion") or "")
            query["continue"] = metadata["continue"]

    async def watch(
        self,
        path: str,
        resource_version: str,
        *,
        field_selector: str = "",
        label_selector: str = "",
        timeout_s: int = 300,
        initial_events: bool = False,
    ) -> AsyncIterator[Event]:
        """Changes after ``resource_version``, with bookmarks; ends when the server says so, after ``timeout_s``.

        Expired: list again. Transient: the connection broke. ``initial_events`` asks for everything that is there first
        (watch-list); its end is a BOOKMARK with the annotation ``k8s.io/initial-events-end``.
        """
        query = _selectors(field_selector, label_selector)
        query |= {"watch": "true", "allowWatchBookmarks": "true", "timeoutSeconds": str(timeout_s)}
        if resource_version:
            query["resourceVersion"] = resource_version
        if initial_events:
            query |= {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan"}
        what = f"WATCH {path}"
        limits = aiohttp.ClientTimeout(total=None, connect=self._timeout_s, sock_read=timeout_s + 30)
        try:
            async with self._open().get(
                self._connection.server + path,
                params=query,
                headers=self._headers(),
                timeout=limits,
                server_hostname=self._connection.server_name or None,
            ) as answer:
                if answer.status >= 400:
                    raise self._refused(answer, await answer.read(), what)
                async for line in _lines(answer.content):
                    yield _event(line, what)
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            raise Transient(f"{what}: {_said(error)}") from error

    # ---- writing

    async def create(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """POST to a collection (or to a subresource such as ``…/token``); AlreadyExists when there is one."""
        return await self._request("POST", path, body=body, query={"fieldManager": self._manager})

    async def replace(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """PUT; Conflict when ``metadata.resourceVersion`` is not the stored one."""
        return await self._request("PUT", path, body=body, query={"fieldManager": self._manager})

    async def delete(self, path: str, *, uid: str = "", resource_version: str = "", grace_s: int | None = None) -> None:
        """DELETE; NotFound when absent, Conflict when ``uid`` or ``resource_version`` is not the stored one."""
        wanted = {"uid": uid, "resourceVersion": resource_version}
        body: dict[str, Any] = {"kind": "DeleteOptions", "apiVersion": "v1"}
        body["preconditions"] = {name: value for name, value in wanted.items() if value}
        if grace_s is not None:
            body["gracePeriodSeconds"] = grace_s
        await self._request("DELETE", path, body=body)

    async def patch(
        self,
        path: str,
        body: Mapping[str, Any] | Sequence[Mapping[str, Any]],
        *,
        kind: PatchKind = "merge",
        force: bool = False,
    ) -> dict[str, Any]:
        """PATCH; ``apply`` is server-side apply, ``force`` then takes fields from other managers."""
        query = {"fieldManager": self._manager} | ({"force": "true"} if force and kind == "apply" else {})
        return await self._request("PATCH", path, body=body, query=query, content=_TYPES[kind])

    # ---- the steps of a request

    async def _request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None,
        content: str = "application/json",
    ) -> dict[str, Any]:
        what = f"{method} {path}"
        data = None if body is None else msgspec.json.encode(body)
        for last in (False, True):
            headers = self._headers() | ({"Content-Type": content} if data is not None else {})
            try:
                async with self._open().request(
                    method,
                    self._connection.server + path,
                    params=query,
                    data=data,
                    headers=headers,
                    server_hostname=self._connection.server_name or None,
                ) as answer:
                    raw = await answer.read()
            except aiohttp.ClientConnectorError as error:
                raise Transient(f"{what}: {_said(error)}") from error
            except (aiohttp.ClientError, OSError, TimeoutError) as error:
                lost = Transient if method == "GET" else Uncertain
                raise lost(f"{what}: {_said(error)}") from error
            if answer.status < 400:
                return _object(raw, what)
            refused = self._refused(answer, raw, what)
            if isinstance(refused, Unauthorized) and self._token is not None and not last:
                continue  # the file may hold a newer token by now
            raise refused
        raise AssertionError("unreachable")

    def _refused(self, answer: aiohttp.ClientResponse, raw: bytes, what: str) -> CalicoError:
        error = refusal(answer.status, raw, what, answer.headers.get("Retry-After", ""))
        if isinstance(error, Unauthorized) and self._token is not None:
            self._token.forget()
        return error

    def _headers(self) -> dict[str, str]:
        headers = {"Accept": "application/json", "User-Agent": "calico-network"}
        token = self._token.read() if self._token is not None else self._connection.token
        if token:
            headers["Authorization"] = f"Bearer {token}"
        elif self._connection.username:
            headers["Authorization"] = aiohttp.BasicAuth(self._connection.username, self._connection.password).encode()
        return headers

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(ssl=tls_context(self._connection) or True, limit=0),
                timeout=aiohttp.ClientTimeout(total=self._timeout_s),
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        return self._session


def _selectors(fields: str, labels: str) -> dict[str, str]:
    given = {"fieldSelector": fields, "labelSelector": labels}
    return {name: value for name, value in given.items() if value}


def _typed(answer: Mapping[str, Any]) -> list[dict[str, Any]]:
    kind = str(answer.get("kind") or "").removesuffix("List")
    version = answer.get("apiVersion") or ""
    return [{"apiVersion": version, "kind": kind} | item for item in answer.get("items") or ()]


def _object(raw: bytes, what: str) -> dict[str, Any]:
    try:
        found = msgspec.json.decode(raw)
    except msgspec.DecodeError as error:
        raise Transient(f"{what}: the answer is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise Transient(f"{what}: the answer is not an object")
    return found


async def _lines(stream: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """JSON lines of any length up to 16 MiB; an unfinished one at the end is dropped: it comes again."""
    rest = bytearray()
    async for chunk in stream.iter_any():
        rest += chunk
        if b"\n" not in chunk:
            if len(rest) > _LINE_MAX:
                raise Transient(f"a watched object is larger than {_LINE_MAX} bytes")
            continue
        *lines, last = bytes(rest).split(b"\n")
        rest = bytearray(last)
        for line in lines:
            if line:
                yield line


def _event(line: bytes, what: str) -> Event:
    found = json.loads(line)
    kind, told = found.get("type"), found.get("object")
    if kind == "ERROR" and isinstance(told, dict):
        raise refusal(int(told.get("code") or 500), told, what)
    if not isinstance(kind, str) or not isinstance(told, dict):
        raise Transient(f"{what}: a message without type or object")
    return Event(kind, told)


def _said(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return str(error) or type(error).__name__
