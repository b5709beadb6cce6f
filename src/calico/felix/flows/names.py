"""Who has an address: workloads, host endpoints and Nodes of the whole cluster, as the datastore says. Pure.

A change costs the addresses of the resource that changed; a question costs one look into a dictionary.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from calico.felix.flows.record import End
from calico.lib import packed
from calico.model.hostendpoint import HostEndpoint
from calico.model.keys import ResourceKey
from calico.model.meta import Resource
from calico.model.node import Node
from calico.model.workload import WorkloadEndpoint

__all__ = ["Names"]

_RANK = {"WorkloadEndpoint": 0, "HostEndpoint": 1, "Node": 2}


class Names:
    """Always true: each address of a known resource leads to all that have it; the first by kind and name answers."""

    def __init__(self) -> None:
        self._owners: dict[bytes, dict[ResourceKey, dict[str, str]]] = {}
        self._addresses: dict[ResourceKey, tuple[bytes, ...]] = {}

    def on_resource(self, key: ResourceKey, resource: Resource | None) -> None:
        """A resource is, or (None) is no longer, in the datastore; other kinds are passed over."""
        if key.kind not in _RANK:
            return
        for address in self._addresses.pop(key, ()):
            owners = self._owners[address]
            del owners[key]
            if not owners:
                del self._owners[address]
        addresses = tuple(dict.fromkeys(_addresses_of(resource)))
        if resource is not None and addresses:
            self._addresses[key] = addresses
            labels = dict(resource.metadata.labels)
            for address in addresses:
                self._owners.setdefault(address, {})[key] = labels

    def end(self, address: bytes, port: int) -> End:
        """An end of a flow."""
        owners = self._owners.get(address)
        text = packed.addr_str(address)
        if not owners:
            return End(text, port)
        key = next(iter(owners)) if len(owners) == 1 else min(owners, key=lambda key: (_RANK[key.kind], key))
        return End(text, port, key.kind, key.namespace, key.name, owners[key])


def _addresses_of(resource: Resource | None) -> Iterator[bytes]:
    texts: Iterable[str] = ()
    if isinstance(resource, WorkloadEndpoint):
        texts = resource.spec.ip_networks
    elif isinstance(resource, HostEndpoint):
        texts = resource.spec.expected_ips
    elif isinstance(resource, Node):
        bgp = resource.spec.bgp
        texts = [text for text in (bgp.ipv4_address, bgp.ipv6_address) if text] if bgp is not None else ()
    for text in texts:
        try:
            yield packed.addr_bytes(text.partition("/")[0])
        except ValueError:
            continue
