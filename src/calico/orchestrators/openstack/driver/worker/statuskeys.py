"""Keys under which Felix reports, read back: whose status a key is, and what it says (data model §10). Pure."""

from __future__ import annotations

import re

import msgspec

from calico.datastore.barrier import Answer
from calico.orchestrators.openstack.naming import region_segment

__all__ = ["Alive", "Applied", "EndpointStatus", "Report", "read_report", "status_prefix"]

_KEY = re.compile(
    r"(?P<host>[^/]+)/(?:(?P<what>status|applied)|workload/openstack/(?P<workload>[^/]+)/endpoint/(?P<ep>[^/]+))"
)


class Alive(msgspec.Struct, frozen=True):
    """Felix of a host runs (``alive``), or its lease expired."""

    host: str
    alive: bool


class Applied(msgspec.Struct, frozen=True):
    """How far a host's kernel follows the datastore; None when it does not say (any more)."""

    host: str
    answer: Answer | None


class EndpointStatus(msgspec.Struct, frozen=True):
    """What a host says of an endpoint: ``up``, ``down``, ``error``, or nothing (empty).

    ``revision`` of the datastore that its kernel followed at that time; 0 when it does not say.
    """

    host: str
    device_id: str
    port_id: str
    status: str
    revision: int = 0


Report = Alive | Applied | EndpointStatus


class _Document(msgspec.Struct):
    status: str = ""
    revision: int = 0


def status_prefix(region: str = "") -> str:
    """Prefix of all that hosts of a region report."""
    return f"/calico/felix/v2/{region_segment(region)}/host/"


def read_report(prefix: str, key: str, value: bytes | None) -> Report | None:
    """What a key says, ``value`` None: it was deleted. None for keys that concern others, or cannot be read."""
    match = _KEY.fullmatch(key.removeprefix(prefix))
    if match is None:
        return None
    host = match["host"]
    try:
        if match["what"] == "status":
            return Alive(host, value is not None)
        if match["what"] == "applied":
            return Applied(host, msgspec.json.decode(value, type=Answer) if value is not None else None)
        document = msgspec.json.decode(value, type=_Document) if value is not None else _Document()
    except msgspec.MsgspecError:
        return None
    workload, port = (_unescape(match[name]) for name in ("workload", "ep"))
    return EndpointStatus(host, workload.rpartition("/")[2], port, document.status, document.revision)


def _unescape(segment: str) -> str:
    return segment.replace("%2f", "/").replace("%25", "%")
