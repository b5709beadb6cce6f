"""What an attachment is called everywhere: endpoint, host interface, address handle (data model §8, §9). Pure."""

from __future__ import annotations

import hashlib
import re
from typing import Final

import msgspec

from calico.errors import InvalidInput
from calico.model.keys import ResourceKey
from calico.model.names import WorkloadEndpointIdentifiers
from calico.orchestrators.cni.protocol.fault import INVALID_CONFIG, NothingToRemove

__all__ = ["DEFAULT_PREFIX", "Attached", "host_interface_name"]

DEFAULT_PREFIX: Final = "cali"
_HASHED: Final = 11
"""Characters of a host interface after its prefix of four: the kernel takes fifteen in all."""
_STORABLE: Final = re.compile(r"[a-z0-9](?:[-a-z0-9]{0,62}[a-z0-9])?")
"""What an endpoint's name can hold. CNI allows capitals, dots, underscores and dashes anywhere, and ctr uses them."""
_RANDOM: Final = re.compile(r"[0-9a-f]{16,}")
"""Ids of which the first characters tell them apart: those that podman and containerd draw."""


class Attached(msgspec.Struct, frozen=True, kw_only=True):
    """One interface of one container in one network. ``pod`` is set in Kubernetes, and the namespace is then the
    pod's."""

    network: str
    container_id: str
    interface: str
    node: str
    namespace: str = "default"
    pod: str = ""

    @property
    def orchestrator(self) -> str:
        return "k8s" if self.pod else "cni"

    @property
    def stored_id(self) -> str:
        """The container's id as an endpoint can have it: another one for an id that no endpoint may have."""
        return self.container_id if _STORABLE.fullmatch(self.container_id) else _hash(self.container_id)

    @property
    def endpoint_name(self) -> str:
        """The name of its WorkloadEndpoint; InvalidInput naming the part that cannot be in one."""
        identifiers = WorkloadEndpointIdentifiers(
            node=self.node,
            orchestrator=self.orchestrator,
            pod=self.pod,
            container_id=self.stored_id,
            endpoint=self.interface,
        )
        return identifiers.name()

    def require_endpoint_name(self) -> None:
        """NothingToRemove when the names, the node's apart, are such that no endpoint can have them."""
        WorkloadEndpointIdentifiers(node=self.node).prefix()
        try:
            _ = self.endpoint_name
        except InvalidInput as error:
            raise NothingToRemove(INVALID_CONFIG, str(error)) from None

    @property
    def key(self) -> ResourceKey:
        return ResourceKey("WorkloadEndpoint", self.namespace, self.endpoint_name)

    @property
    def siblings(self) -> WorkloadEndpointIdentifiers:
        """The endpoints of the same workload on this node, whatever their interface."""
        return WorkloadEndpointIdentifiers(
            node=self.node, orchestrator=self.orchestrator, pod=self.pod, container_id=self.stored_id
        )

    @property
    def handle(self) -> str:
        """Under what its addresses are allocated: by container, so that an old sandbox never frees a new one's.

        An id that a person chose (``web``) may be another host's as well, so the node is part of its handle; "@" is
        in none of the three names.
        """
        if self.pod or _RANDOM.fullmatch(self.container_id):
            return f"{self.network}.{self.container_id}"
        return f"{self.network}@{self.container_id}@{self.node}"

    def network_of(self, handle: str) -> str:
        """The network in whose name this container has a handle; empty for another's handle."""
        for ending in (f"@{self.container_id}@{self.node}", f".{self.container_id}"):
            if handle.endswith(ending):
                return handle.removesuffix(ending)
        return ""

    @property
    def alias(self) -> str:
        """Written on the host interface: whose it is, without asking the datastore."""
        return f"calico {self.container_id} {self.interface}"

    def host_interface(self, prefix: str = DEFAULT_PREFIX) -> str:
        """The host's end: the same for every sandbox of a pod."""
        return host_interface_name(prefix, self.namespace, self.pod, self.container_id, self.interface)


def host_interface_name(prefix: str, namespace: str, pod: str, container_id: str, interface: str = "eth0") -> str:
    """``cali`` and 11 characters: of the pod's hash; of a random container id, as Calico has it; else of the hash of id
    and interface.

    Ids that people choose (ctr's ``default-web1``) begin alike, and the id alone is taken by eth0.
    """
    if len(prefix) > len(DEFAULT_PREFIX):
        raise InvalidInput(f"{prefix!r} is longer than {len(DEFAULT_PREFIX)} characters", field="InterfacePrefix")
    if pod:
        return prefix + _hash(f"{namespace}.{pod}")[:_HASHED]
    if interface == "eth0" and _RANDOM.fullmatch(container_id):
        return prefix + container_id[:_HASHED]
    return prefix + _hash(f"{container_id}.{interface}")[:_HASHED]


def _hash(text: str) -> str:
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
