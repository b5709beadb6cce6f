"""What an answer of the API server means for the caller: its status as one of our errors."""

from __future__ import annotations

import json
from typing import Any

from calico.errors import AlreadyExists, CalicoError, Conflict, InvalidInput, NotFound, ResyncRequired, Transient

__all__ = ["Expired", "Forbidden", "TooManyRequests", "Unauthorized", "refusal"]


class Expired(ResyncRequired):
    """410: the resource version asked for is no longer kept. List again."""


class Forbidden(Transient):
    """403: this verb is not in our role. Others may grant it, so it is tried again, slowly."""


class Unauthorized(Transient):
    """401: the token is not valid (any more). Its file is read again."""


class TooManyRequests(Transient):
    """429: come back after ``after_s`` seconds."""

    def __init__(self, message: str, after_s: float = 1.0) -> None:
        super().__init__(message)
        self.after_s = after_s


def refusal(status: int, body: bytes | dict[str, Any], what: str, retry_after: str = "") -> CalicoError:
    """The error of an answer >= 400; ``what`` names the request, such as ``PUT /api/v1/nodes/a``."""
    told = body if isinstance(body, dict) else _decoded(body)
    reason = str(told.get("reason") or "")
    text = f"{what}: {told.get('message') or reason or status}"
    if status == 404:
        return NotFound(text)
    if status == 409:
        return AlreadyExists(text) if reason == "AlreadyExists" else Conflict(text)
    if status == 410 or reason == "Expired":
        return Expired(text)
    if status == 401:
        return Unauthorized(text)
    if status == 403:
        return Forbidden(text)
    if status == 429:
        return TooManyRequests(text, float(retry_after) if retry_after.isdigit() else 1.0)
    if status >= 500 or status == 408:
        return Transient(text)
    return InvalidInput(text)


def _decoded(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except ValueError:
        return {"message": body[:200].decode(errors="replace").strip()}
    return found if isinstance(found, dict) else {}
