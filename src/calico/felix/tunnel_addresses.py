"""Gives this host its addresses in tunnels, when pools begin to ask for them, and takes them back afterwards.

Felix may read what it needs and, where etcd has users, write none of it: then what is missing is said, and an operator
gives the address by ``calico node tunnels``.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Literal

import structlog

from calico.calc.encap import host_ends
from calico.datastore.api import Backend
from calico.datastore.typed.store import Store
from calico.errors import CalicoError, Conflict
from calico.felix.inputs import Inputs
from calico.felix.settling import REFUSED_RETRY_S, Settling, retry_after_s
from calico.ipam.allocator import Allocator
from calico.ipam.tunnels import TUNNELS, Tunnel, recorded, settle_tunnels, tunnel_name, tunnel_pools
from calico.obs.conditions import Conditions

__all__ = ["TunnelAddresses"]

log = structlog.get_logger(__name__)


class TunnelAddresses(Settling):
    """``enabled``: whether this host is to have a kind of tunnel at all."""

    def __init__(
        self,
        backend: Backend,
        node: str,
        inputs: Inputs,
        conditions: Conditions,
        enabled: Callable[[Literal["vxlan", "ipip"]], bool],
    ) -> None:
        super().__init__()
        self._node, self._inputs, self._conditions, self._enabled = node, inputs, conditions, enabled
        self._store = Store(backend)
        self._allocator = Allocator(backend, clock=lambda: datetime.now(UTC))

    def _is_concerned(self) -> bool:
        """Whether there may be something to do: pools ask for an address, or our Node has one."""
        node = self._inputs.own_node
        if node is None:
            return False
        mine = [tunnel for tunnel in TUNNELS if self._enabled("ipip" if tunnel == "ipip" else "vxlan")]
        has = [recorded(node, tunnel) for tunnel in mine]
        found = [tunnel_pools(self._inputs.pools.values(), node, tunnel) for tunnel in mine]
        wanted = [bool(usable or fault) for usable, fault in found]
        held = any(condition.code == "tunnel-address-missing" for condition in self._conditions)
        return held or any(wanted) or any(has)

    def _has_address(self, tunnel: Tunnel) -> bool:
        node = self._inputs.own_node
        end = host_ends(self._node, node)[0].get(6 if tunnel == 6 else 4) if node is not None else None
        return end is not None and bool(end.address)

    async def _settle(self) -> float | None:
        """Nothing is read while no pool has a tunnel."""
        if not (self._inputs.in_sync and self._is_concerned()):
            return None
        try:
            settled = await settle_tunnels(self._store, self._allocator, self._node, self._inputs.pools.values())
        except Conflict as error:
            return retry_after_s(error)
        except CalicoError as error:
            self._conditions.set("tunnel-address-missing", self._node, str(error))
            return retry_after_s(error)
        if settled.changed:
            log.info("addresses in tunnel networks", addresses=dict(settled.addresses))
        faults = {tunnel: f"{tunnel_name(tunnel)}: {fault}" for tunnel, fault in settled.faults.items()}
        for tunnel in settled.addresses:
            if not self._has_address(tunnel):
                faults[tunnel] = f"{tunnel_name(tunnel)}: the Node has no address of its own that others could send to"
        said = "; ".join(text for text in sorted(faults.values()))
        if said:
            self._conditions.set("tunnel-address-missing", self._node, said)
        else:
            self._conditions.clear("tunnel-address-missing", self._node)
        return REFUSED_RETRY_S if said else None
