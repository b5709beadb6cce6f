"""Services as one host's routes depend on them, built from raw keys and values as they change. Pure.

Of an EndpointSlice only that it has a ready endpoint on this host is remembered, so a change costs what changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from calico.bgp.planning.serviceroutes import ServiceAddress, ServiceRoutes
from calico.bgp.problem import Problem
from calico.datastore.api import Update
from calico.errors import InvalidInput
from calico.lib.ref_counts import RefCounts
from calico.model.kubernetes.services import (
    SOURCE_KEY,
    ServiceKey,
    ServiceRecord,
    SliceKey,
    decode_service,
    decode_slice,
    parse_service_key,
)

__all__ = ["ServiceView"]


class ServiceView:
    """The last value of every key about services. A value that cannot be read is as if it were not there."""

    def __init__(self, host: str) -> None:
        self._host = host
        self._source = False
        self._services: dict[ServiceKey, ServiceRecord] = {}
        self._here: set[SliceKey] = set()
        self._ready: RefCounts[ServiceKey] = RefCounts()
        self._addresses: dict[ServiceKey, tuple[ServiceAddress, ...]] = {}
        self._problems: dict[str, Problem] = {}

    def apply(self, updates: Iterable[Update]) -> None:
        """Take in changes; a later one of the same key wins."""
        for update in updates:
            key = parse_service_key(update.key)
            self._problems.pop(update.key, None)
            try:
                if update.key == SOURCE_KEY:
                    self._source = update.value is not None
                elif isinstance(key, ServiceKey):
                    self._on_service(key, update.value)
                elif key is not None:
                    self._on_slice(key, update.value)
            except InvalidInput as error:
                message = f"{error.field or 'value'}: {error.message}; it is taken as absent"
                self._problems[update.key] = Problem("bgp-resource-invalid", error.subject, message)

    def routes(self) -> ServiceRoutes | None:
        """What is known now; None while nobody tells services."""
        if not self._source:
            return None
        addresses = tuple(address for key in sorted(self._addresses) for address in self._addresses[key])
        return ServiceRoutes(addresses=addresses, problems=tuple(self._problems[key] for key in sorted(self._problems)))

    def _on_service(self, key: ServiceKey, raw: bytes | None) -> None:
        self._services.pop(key, None)
        try:
            if raw is not None:
                self._services[key] = decode_service(key, raw)
        finally:
            self._refresh(key)

    def _on_slice(self, key: SliceKey, raw: bytes | None) -> None:
        service = ServiceKey(key.namespace, key.service)
        here = False
        try:
            if raw is not None:
                found = decode_slice(key, raw).endpoints
                here = any(endpoint.ready and endpoint.node == self._host for endpoint in found)
        finally:
            if here and key not in self._here:
                self._here.add(key)
                if self._ready.acquire(service):
                    self._refresh(service)
            elif not here and key in self._here:
                self._here.discard(key)
                if self._ready.release(service):
                    self._refresh(service)

    def _refresh(self, key: ServiceKey) -> None:
        self._addresses.pop(key, None)
        service = self._services.get(key)
        if service is not None:
            self._addresses[key] = tuple(_addresses(service, here=key in self._ready))


def _addresses(service: ServiceRecord, *, here: bool) -> Iterator[ServiceAddress]:
    for text in service.cluster_ips:
        yield ServiceAddress(kind="cluster", address=text, local_only=service.local_only, here=here)
    for text in service.external_ips:
        yield ServiceAddress(kind="external", address=text, local_only=service.local_only, here=here)
    for text in service.load_balancer_ips:
        yield ServiceAddress(kind="load-balancer", address=text, local_only=service.local_only, here=here)
