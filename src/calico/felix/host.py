"""The host as Felix programs it: messages of the calculation in, one apply of packet filters, routes and the rest.

Order of an apply: packet filters first, then interfaces, neighbours and routes, so that an endpoint is reachable only
when its own policy is in the kernel.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import structlog

from calico.calc.messages import EndpointId, EndpointRemove, EndpointUpdate, Message
from calico.dataplane.endpoints import EndpointManager, EndpointStatus
from calico.dataplane.interfaces import Interface, InterfaceMonitor
from calico.dataplane.nft import NftDataplane
from calico.dataplane.nft_read import NftSocket
from calico.felix.config import FelixConfig
from calico.felix.steps import OnStep, unwatched
from calico.model.keys import ResourceKey
from calico.netlink.nftables.objects import Table
from calico.obs.conditions import Conditions
from calico.rules.config import RulesConfig
from calico.rules.ruleset import Ruleset
from calico.rules.table import TableState

__all__ = ["TABLE", "Host", "OnEndpointStatus"]

log = structlog.get_logger(__name__)

TABLE = Table("calico")

OnEndpointStatus = Callable[[EndpointId, str | None], None]


def rules_config(config: FelixConfig) -> RulesConfig:
    """What of Felix's settings shapes the ruleset; Pass uses the lowest bit of the mark mask."""
    return RulesConfig(
        interface_prefixes=config.interface_prefixes,
        endpoint_to_host=config.endpoint_to_host,
        deny=config.deny_action,
        log_prefix=config.log_prefix,
        allow_vxlan=config.allow_vxlan_from_workloads,
        vxlan_port=config.vxlan_port,
        allow_ipip=config.allow_ipip_from_workloads,
        drop_invalid=not config.disable_conntrack_invalid_check,
        pass_mark=config.mark_mask & -config.mark_mask,
    )


class Host:
    """Everything of this host that Felix changes. Made anew (with the process) when a setting needs it."""

    def __init__(
        self,
        config: FelixConfig,
        conditions: Conditions,
        wake: Callable[[], None],
        on_status: OnEndpointStatus,
        *,
        on_step: OnStep = unwatched,
        nft_socket: Callable[[], NftSocket] | None = None,
    ) -> None:
        """``nft_socket`` makes the socket to nf_tables, if it is to be another than the usual."""
        self._conditions = conditions
        self._on_status = on_status
        self._keys: dict[EndpointId, ResourceKey] = {}
        state = TableState()
        self._ruleset = Ruleset(state, rules_config(config))
        self._nft = NftDataplane(TABLE, state, socket_factory=nft_socket)
        self._endpoints = EndpointManager(
            protocol=config.device_route_protocol,
            on_status_change=self._on_endpoint_status,
            wake=wake,
            on_step=on_step,
        )
        self._on_step = on_step

        self._wake = wake
        self.interfaces = InterfaceMonitor(
            self._on_interface,
            prefixes=config.interface_prefixes,
            on_route=self._endpoints.on_route,
            on_resync=self._on_events_lost,
        )
        self.endpoint_states: dict[str, str] = {}

    def guard(self) -> None:
        """Before the first sync of a host without a ruleset: nothing to or from workloads passes. A ruleset that an
        earlier run left stays as it is until the datastore is in sync."""
        if self._nft.exists():
            return
        result = self._nft.apply()
        self._note_failures()
        log.info("boot guard was programmed", messages=result.messages)

    def on_message(self, message: Message) -> None:
        """Take one message of the calculation; nothing is written before ``apply``."""
        self._ruleset.on_message(message)
        if isinstance(message, EndpointUpdate):
            self._keys[message.id] = message.key
            self._endpoints.on_endpoint(message)
        elif isinstance(message, EndpointRemove):
            self._endpoints.on_endpoint_removed(message.id)

    async def apply(self) -> bool:
        """Bring the kernel to what the messages said; false when something failed and is to be tried again."""
        result = self._nft.apply()
        if result.changed:
            log.info("ruleset applied", messages=result.messages, bytes=result.bytes, took_ms=round(result.took_ms, 2))
        self._note_failures()
        self._on_step("filters")
        await self._endpoints.apply()
        self._on_step("done")
        return not self._nft.failed and not self._endpoints.pending

    def refresh_filters(self) -> bool:
        """Whether somebody else changed the ruleset since our last commit; it is then read back at the next apply."""
        if not self._nft.generation_changed():
            return False
        self._nft.resync()
        return True

    def refresh_routes(self) -> None:
        """Read routes, neighbours and sysctls back at the next apply."""
        self._endpoints.resync()

    def close(self) -> None:
        """Close the sockets; the kernel keeps everything."""
        self._endpoints.close()
        self._nft.close()

    def _on_interface(self, name: str, interface: Interface | None) -> None:
        self._endpoints.on_interface(name, interface)
        self._wake()

    def _on_events_lost(self) -> None:
        self._endpoints.resync()
        self._wake()

    def _note_failures(self) -> None:
        failed = {item.name: f"{item.kind}: {item.reason} {item.effect}".strip() for item in self._nft.failed}
        self._conditions.replace("dataplane-rejected", failed)
        missing = {} if self._nft.owned else {"nftables": "tables cannot be owned: others may change ours"}
        self._conditions.replace("feature-missing", missing)

    def _on_endpoint_status(self, endpoint: EndpointId, status: EndpointStatus | None) -> None:
        key = self._keys.get(endpoint)
        name = f"{key.namespace}/{key.name}" if key else str(endpoint)
        if status is None:
            self._keys.pop(endpoint, None)
            self.endpoint_states.pop(name, None)
            self._conditions.clear("endpoint-error", name)
            self._on_status(endpoint, None)
            return
        self.endpoint_states[name] = status.state
        if status.state == "error":
            self._conditions.set("endpoint-error", name, "; ".join(status.reasons))
        else:
            self._conditions.clear("endpoint-error", name)
        self._on_status(endpoint, status.state)
        log.info("endpoint status changed", endpoint=name, status=status.state, reasons=status.reasons)


class Progress(msgspec.Struct):
    """How far the kernel follows the datastore."""

    applied_revision: int = 0
    applies: int = 0
    failures: int = 0
    last_took_ms: float = 0.0
