"""Names of WorkloadEndpoints: node, orchestrator, workload and endpoint joined by ``-``, dashes inside doubled (§8)."""

from __future__ import annotations

import msgspec

from calico.errors import InvalidInput

__all__ = ["WorkloadEndpointIdentifiers", "parse_workload_endpoint_name"]

_WORKLOAD_FIELD = {"k8s": "pod", "cni": "container_id"}
_LIBNETWORK = "libnetwork"
_JSON_NAMES = {"container_id": "containerID"}


class WorkloadEndpointIdentifiers(msgspec.Struct, frozen=True, kw_only=True):
    """The parts of a name; which of ``pod``, ``container_id`` and ``workload`` counts depends on the orchestrator."""

    node: str = ""
    orchestrator: str = ""
    workload: str = ""
    pod: str = ""
    container_id: str = ""
    endpoint: str = ""

    def name(self) -> str:
        """The full name; InvalidInput naming the identifier that is missing or begins or ends with a dash."""
        parts = self._parts()
        for field, value in parts:
            if not value:
                raise InvalidInput("is required to name a workload endpoint", field=_json_name(field))
        return "-".join(_escape(field, value) for field, value in parts)

    def prefix(self) -> str:
        """The longest name prefix the given identifiers allow; the whole name when all are given.

        Matches of a prefix must be checked again with ``matches``, for ``pod-`` is also a prefix of ``pod--1``.
        """
        if not self.node:
            raise InvalidInput("is required to name a workload endpoint", field="node")
        parts = self._parts() if self.orchestrator else [("node", self.node)]
        segments: list[str] = []
        for field, value in parts:
            if not value:
                break
            segments.append(_escape(field, value))
        complete = len(segments) == 4
        return "-".join(segments) + ("" if complete else "-")

    def matches(self, name: str) -> bool:
        """Whether a full name agrees with all identifiers given here; InvalidInput when the node is not given."""
        if not self.node:
            raise InvalidInput("is required to match workload endpoint names", field="node")
        segments = _split(name)
        if not self.orchestrator or len(segments) != 4:
            return False
        return all(not value or value == segment for (_, value), segment in zip(self._parts(), segments, strict=True))

    def _parts(self) -> list[tuple[str, str]]:
        """Field and value of the four segments, in order."""
        workload_field = _WORKLOAD_FIELD.get(self.orchestrator, "workload")
        workload = _LIBNETWORK if self.orchestrator == _LIBNETWORK else getattr(self, workload_field)
        return [
            ("node", self.node),
            ("orchestrator", self.orchestrator),
            (workload_field, workload),
            ("endpoint", self.endpoint),
        ]


def parse_workload_endpoint_name(name: str) -> WorkloadEndpointIdentifiers:
    """The identifiers in a full name or in a prefix that ends with ``-``; InvalidInput when it is neither."""
    if not name:
        raise InvalidInput("the name of a workload endpoint is empty", field="name")
    segments = _split(name)
    if segments and not segments[-1]:
        segments.pop()
    if not 1 <= len(segments) <= 4 or not all(segments):
        raise InvalidInput(f"{name!r} is no name of a workload endpoint", field="name")
    node, orchestrator, workload, endpoint = segments + [""] * (4 - len(segments))
    found = {"node": node, "orchestrator": orchestrator, "endpoint": endpoint}
    if orchestrator != _LIBNETWORK:
        found[_WORKLOAD_FIELD.get(orchestrator, "workload")] = workload
    return WorkloadEndpointIdentifiers(**found)


def _escape(field: str, value: str) -> str:
    if value.startswith("-") or value.endswith("-"):
        raise InvalidInput(f"{value!r} must not begin or end with a dash", field=_json_name(field))
    return value.replace("-", "--")


def _json_name(field: str) -> str:
    return _JSON_NAMES.get(field, field)


def _split(name: str) -> list[str]:
    """Segments with dashes undoubled. The first character never separates, as no segment is empty."""
    segments: list[str] = []
    start = 0
    position = 1
    while (position := name.find("-", position)) >= 0:
        if name.startswith("-", position + 1):
            position += 2
            continue
        segments.append(name[start:position].replace("--", "-"))
        start = position + 1
        position += 1
    segments.append(name[start:].replace("--", "-"))
    return segments
