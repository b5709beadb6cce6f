"""etcd keys under which Felix reports (data model §2.2, §10). Pure."""

from __future__ import annotations

from calico.calc.messages import EndpointId

__all__ = [
    "endpoint_status_key",
    "endpoint_status_prefix",
    "host_endpoint_status_key",
    "host_endpoint_status_prefix",
    "host_status_keys",
]


def _region(region: str) -> str:
    return f"region-{region}" if region else "no-region"


def _escape(segment: str) -> str:
    return segment.replace("%", "%25").replace("/", "%2f")


def host_status_keys(host: str, region: str = "") -> tuple[str, str]:
    """(leased status key, last reported status key) of a host."""
    base = f"/calico/felix/v2/{_region(region)}/host/{host}/"
    return base + "status", base + "last_reported_status"


def endpoint_status_prefix(host: str, region: str = "") -> str:
    """Prefix of all workload endpoint status keys of a host."""
    return f"/calico/felix/v2/{_region(region)}/host/{host}/workload/"


def endpoint_status_key(host: str, endpoint: EndpointId, region: str = "") -> str:
    """Key of one workload endpoint's status."""
    return (
        endpoint_status_prefix(host, region)
        + f"{_escape(endpoint.orchestrator)}/{_escape(endpoint.workload)}/endpoint/{_escape(endpoint.endpoint)}"
    )


def host_endpoint_status_prefix(host: str) -> str:
    """Prefix of all host endpoint status keys of a host; they know no region."""
    return f"/calico/felix/v1/host/{host}/endpoint/"


def host_endpoint_status_key(host: str, name: str) -> str:
    """Key of one host endpoint's status."""
    return host_endpoint_status_prefix(host) + _escape(name)
