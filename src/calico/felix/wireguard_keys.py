"""Tells other hosts this host's public keys, in its Node, and takes back what is true no more.

Felix may, where etcd has users, not write Nodes: then what is missing is said, with what to write.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec
import structlog

from calico.dataplane.encap.wireguard import WireguardManager
from calico.datastore.api import Backend
from calico.datastore.typed.store import Store
from calico.errors import CalicoError, Conflict
from calico.felix.inputs import Inputs
from calico.felix.settling import Settling, retry_after_s
from calico.model.node import Node, NodeStatus
from calico.obs.conditions import Conditions

__all__ = ["WireguardKeys", "with_keys"]

log = structlog.get_logger(__name__)


def with_keys(node: Node, keys: Mapping[Literal[4, 6], str]) -> Node:
    """The Node that says these keys and no others."""
    status = msgspec.structs.replace(
        node.status or NodeStatus(), wireguard_public_key=keys.get(4, ""), wireguard_public_key_v6=keys.get(6, "")
    )
    return msgspec.structs.replace(node, status=None if status == NodeStatus() else status)


class WireguardKeys(Settling):
    """Always true when it rests: the Node says the keys that the device has, or a condition says why not."""

    def __init__(
        self, backend: Backend, node: str, inputs: Inputs, conditions: Conditions, wireguard: WireguardManager
    ) -> None:
        super().__init__()
        self._node, self._inputs, self._conditions, self._wireguard = node, inputs, conditions, wireguard
        self._store = Store(backend)
        wireguard.on_keys = self.on_change

    async def _settle(self) -> float | None:
        seen, keys = self._inputs.own_node, dict(self._wireguard.public_keys)
        if not (self._inputs.in_sync and self._wireguard.settled):
            return None
        if seen is None or with_keys(seen, keys) == with_keys(seen, _said(seen)):
            missing = bool(keys) and seen is None
            self._tell("there is no such Node that could say it" if missing else "")
            return None
        try:
            node = await self._store.get("Node", self._node)
            assert isinstance(node, Node)
            await self._store.replace(with_keys(node, keys))
        except Conflict as error:
            return retry_after_s(error)
        except CalicoError as error:
            wanted = ", ".join(keys.values()) or "none"
            self._tell(f"{error}; status.wireguardPublicKey of the Node should say: {wanted}")
            return retry_after_s(error)
        log.info("public keys published", keys=list(keys.values()))
        self._tell("")
        return None

    def _tell(self, fault: str) -> None:
        if fault:
            self._conditions.set("encryption-key-unpublished", self._node, fault)
        else:
            self._conditions.clear("encryption-key-unpublished", self._node)


def _said(node: Node) -> Mapping[Literal[4, 6], str]:
    status = node.status or NodeStatus()
    return {4: status.wireguard_public_key, 6: status.wireguard_public_key_v6}
