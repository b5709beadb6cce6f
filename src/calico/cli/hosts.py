"""What hosts reported of themselves in the datastore (data model §10)."""

from __future__ import annotations

import json
import re
from typing import Any

from calico.datastore.api import Backend

__all__ = ["last_reports", "status_reports"]

_PREFIX = "/calico/felix/v2/"
_KEY = re.compile(r"/calico/felix/v2/[^/]+/host/([^/]+)/(status|last_reported_status)")


async def status_reports(backend: Backend) -> tuple[dict[str, dict[str, Any]], dict[str, dict[str, Any]]]:
    """By host: reports that are still valid, and the last ever written. What cannot be read is left out."""
    alive: dict[str, dict[str, Any]] = {}
    last: dict[str, dict[str, Any]] = {}
    for item in (await backend.list(_PREFIX)).items:
        match = _KEY.fullmatch(item.key)
        if match is None:
            continue
        try:
            report = json.loads(item.value)
        except ValueError:
            continue
        if isinstance(report, dict):
            (alive if match[2] == "status" else last)[match[1]] = report
    return alive, last


async def last_reports(backend: Backend) -> dict[str, str]:
    """By host, the time of its last report."""
    _, last = await status_reports(backend)
    return {host: str(report.get("time", "?")) for host, report in last.items()}
