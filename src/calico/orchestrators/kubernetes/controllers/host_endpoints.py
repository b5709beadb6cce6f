"""Every Node of Kubernetes has a HostEndpoint ``<node>-auto-hep`` on all its interfaces, where that is asked for
(KubeControllersConfiguration, ``controllers.node.hostEndpoint.autoCreate``), so that policies can select hosts."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import Any, Final

from msgspec.structs import replace

from calico.datastore.typed.store import Store
from calico.errors import AlreadyExists, Conflict, NotFound
from calico.model.hostendpoint import HostEndpoint, HostEndpointSpec
from calico.model.keys import kind_prefix
from calico.model.meta import Metadata
from calico.model.node import Node, tunnel_addresses
from calico.obs.logger import Logger
from calico.orchestrators.kubernetes.controllers.node_settings import kubernetes_name, read_node_settings
from calico.orchestrators.kubernetes.controllers.rounds import Rounds

__all__ = ["CREATED_BY", "HostEndpoints", "auto_host_endpoint", "is_auto"]

log = Logger(__name__)

CREATED_BY: Final = {"projectcalico.org/created-by": "calico-kube-controllers"}
_PROFILE: Final = "projectcalico-default-allow"


class HostEndpoints(Rounds):
    """Endpoints with the label ``created-by`` are ours; one of the same name without it is somebody's, and stays."""

    def __init__(self, store: Store, **options: Any) -> None:
        kinds = ("Node", "HostEndpoint", "KubeControllersConfiguration")
        super().__init__("hostendpoints", store, prefixes=[kind_prefix(kind) for kind in kinds], **options)

    async def look(self) -> None:
        settings = await read_node_settings(self._store)
        nodes = [node for node in await self._store.list("Node") if isinstance(node, Node)]
        there = {one.metadata.name: one for one in await self._store.list("HostEndpoint")}
        wanted = {one.metadata.name: one for one in _wanted(nodes)} if settings.auto_host_endpoints else {}
        for name, endpoint in wanted.items():
            await self._put(endpoint, there.get(name))
        for name, stored in there.items():
            if name not in wanted and isinstance(stored, HostEndpoint) and is_auto(stored):
                try:
                    await self._store.delete("HostEndpoint", name, resource_version=stored.metadata.resource_version)
                except (NotFound, Conflict):
                    self.wake()

    async def _put(self, endpoint: HostEndpoint, stored: object) -> None:
        name = endpoint.metadata.name
        try:
            if stored is None:
                await self._store.create(endpoint)
            elif not isinstance(stored, HostEndpoint) or not is_auto(stored):
                log.warning("kubernetes_host_endpoint_of_others", endpoint=name)
            elif (stored.spec, stored.metadata.labels) != (endpoint.spec, endpoint.metadata.labels):
                metadata = replace(stored.metadata, labels=endpoint.metadata.labels)
                await self._store.update(replace(stored, metadata=metadata, spec=endpoint.spec))
        except (AlreadyExists, Conflict, NotFound):
            self.wake()  # it changed meanwhile


def _wanted(nodes: Iterable[Node]) -> Iterable[HostEndpoint]:
    return (auto_host_endpoint(node) for node in nodes if kubernetes_name(node))


def is_auto(endpoint: HostEndpoint) -> bool:
    """Whether we made it."""
    return (endpoint.metadata.labels or {}).items() >= CREATED_BY.items()


def auto_host_endpoint(node: Node) -> HostEndpoint:
    """All interfaces of the node, with its labels and every address that it is known by; open where no policy selects
    it. Pure."""
    name = node.metadata.name
    bgp = node.spec.bgp
    texts = [*((bgp.ipv4_address, bgp.ipv6_address) if bgp is not None else ()), *tunnel_addresses(node).values()]
    addresses = {str(ipaddress.ip_interface(text).ip) for text in texts if text}
    spec = HostEndpointSpec(node=name, interface_name="*", expected_ips=tuple(sorted(addresses)), profiles=(_PROFILE,))
    labels = {**(node.metadata.labels or {}), **CREATED_BY}
    return HostEndpoint(kind="HostEndpoint", metadata=Metadata(name=f"{name}-auto-hep", labels=labels), spec=spec)
