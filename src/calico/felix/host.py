"""The host as Felix programs it: messages of the calculation in, one apply of packet filters, routes and the rest.

Order of an apply: packet filters first, then tunnels (those that go, before), interfaces, neighbours and routes, so
that an endpoint is reachable only when its own policy is in the kernel. What policy forbids of established flows is
ended beside, soon after.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import msgspec
import structlog

from calico.calc.messages import (
    EndpointId,
    EndpointRemove,
    EndpointUpdate,
    HostEndpointRemove,
    HostEndpointUpdate,
    Message,
)
from calico.calc.settings import CalcSettings
from calico.dataplane.bandwidth.redirectdriver import IFB_PREFIX
from calico.dataplane.drift import Drift
from calico.dataplane.encap.tunnels import TunnelManager, TunnelSettings, tunnel_protocol
from calico.dataplane.encap.wireguard import WireguardManager, WireguardSettings
from calico.dataplane.endpoints import GROUPS, EndpointManager, EndpointStatus
from calico.dataplane.flows.established import EstablishedFlows
from calico.dataplane.interfaces import Interface, InterfaceMonitor
from calico.dataplane.migration import Priorities, Stage
from calico.dataplane.nft.own_table import TABLE
from calico.dataplane.nft.reading import NftSocket
from calico.dataplane.nft.table import ApplyResult, NftDataplane
from calico.dataplane.settings_record import SettingsRecord
from calico.dataplane.sysctl import Sysctls
from calico.errors import CalicoError
from calico.felix.config.settings import FelixConfig
from calico.felix.drift import DriftWatch
from calico.felix.host_endpoints import HostEndpointStates, OnHostEndpointStatus
from calico.felix.migrations import Migrations
from calico.felix.steps import OnStep, unwatched
from calico.lib import packed
from calico.model.keys import ResourceKey
from calico.netlink.rtnetlink.route import KernelRoute
from calico.obs.conditions import Conditions
from calico.rules.config import RulesConfig
from calico.rules.ended import ENDED_SETS
from calico.rules.layout import LAYOUT_CHAIN
from calico.rules.ruleset import Ruleset
from calico.rules.table import TableState

__all__ = ["TABLE", "Host", "OnEndpointStatus", "calc_settings", "rules_config"]

log = structlog.get_logger(__name__)


_NAMED = 5
_SECONDS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400}

OnEndpointStatus = Callable[[EndpointId, str | None, tuple[str, ...]], None]
"""Told the status (None: the endpoint is gone) and why it is not up."""


def calc_settings(config: FelixConfig) -> CalcSettings:
    """What of Felix's settings the calculation depends on."""
    return CalcSettings(
        floating_ips=config.floating_ips == "enabled" or config.openstack_cluster,
        nat_excludes_hosts=config.nat_outgoing_exclusions == "ippoolsandhostips",
        source_spoofing=config.source_spoofing == "any",
        vxlan={"true": True, "false": False, "": None}[config.vxlan_enabled],
        ipip=config.ipip_enabled != "false",
        wireguard=encrypted_versions(config),
        wireguard_hosts=config.wireguard_hosts,
    )


def tunnel_settings(config: FelixConfig) -> TunnelSettings:
    """What of Felix's settings shapes the tunnels."""
    return TunnelSettings(
        vni=config.vxlan_vni,
        port=config.vxlan_port,
        mtu_v4=config.vxlan_mtu_v4,
        mtu_v6=config.vxlan_mtu_v6,
        mtu_ipip=config.ipip_mtu,
        mtu_pattern=config.mtu_pattern,
        protocol=tunnel_protocol(config.device_route_protocol),
    )


def encrypted_versions(config: FelixConfig) -> frozenset[Literal[4, 6]]:
    """The IP versions in which packets between hosts are encrypted."""
    wanted: tuple[tuple[Literal[4, 6], bool], ...] = ((4, config.wireguard_v4), (6, config.wireguard_v6))
    return frozenset(version for version, enabled in wanted if enabled)


def wireguard_settings(config: FelixConfig, key_directory: Path) -> WireguardSettings:
    """What of Felix's settings shapes encryption."""
    return WireguardSettings(
        versions=encrypted_versions(config),
        names={4: config.wireguard_name_v4, 6: config.wireguard_name_v6},
        ports={4: config.wireguard_port_v4, 6: config.wireguard_port_v6},
        mtus={4: config.wireguard_mtu_v4, 6: config.wireguard_mtu_v6},
        keepalive_s=round(config.wireguard_keepalive_s),
        mark=config.encryption_mark,
        priority=config.wireguard_rule_priority,
        protocol=tunnel_protocol(config.device_route_protocol),
        key_directory=key_directory,
    )


def rules_config(config: FelixConfig, flow_log_group: int | None = None) -> RulesConfig:
    """What of Felix's settings shapes the ruleset; the two lowest bits of the mark mask are its marks. Flow logs only
    with a reader of their group."""
    low = config.mark_mask & -config.mark_mask
    others = config.mark_mask ^ low
    own_address, metadata = config.nat_outgoing_address, config.metadata_addr
    return RulesConfig(
        interface_prefixes=config.interface_prefixes,
        endpoint_to_host=config.endpoint_to_host,
        deny=config.deny_action,
        log_prefix=config.log_prefix,
        log_rate=_rate(config.log_rate_limit),
        log_burst=config.log_rate_limit_burst,
        allow_vxlan=config.allow_vxlan_from_workloads,
        vxlan_port=config.vxlan_port,
        allow_ipip=config.allow_ipip_from_workloads,
        drop_invalid=not config.disable_conntrack_invalid_check,
        pass_mark=low,
        accept_mark=others & -others,
        failsafe_in=config.failsafe_in,
        failsafe_out=config.failsafe_out,
        openstack=config.openstack,
        metadata_v4=packed.addr_bytes(metadata) if metadata != "none" else b"",
        metadata_port=config.metadata_port,
        nat_ports=(config.nat_port_range[0], config.nat_port_range[1]) if config.nat_port_range else None,
        nat_address_v4=_address(own_address),
        nat_excludes_hosts=config.nat_outgoing_exclusions == "ippoolsandhostips",
        nat_interface=config.nat_outgoing_interface,
        flow_log_group=flow_log_group,
        encrypted_ports=tuple(
            (version, config.wireguard_port_v4 if version == 4 else config.wireguard_port_v6)
            for version in sorted(encrypted_versions(config))
        ),
    )


def _address(text: str) -> bytes:
    return packed.addr_bytes(text) if text else b""


def _rate(limit: str) -> tuple[int, int] | None:
    """Packets in so many seconds."""
    number, _, unit = limit.partition("/")
    return (int(number), _SECONDS[unit]) if number else None


class Host:
    """Everything of this host that Felix changes. Made anew (with the process) when a setting needs it."""

    def __init__(
        self,
        node: str,
        config: FelixConfig,
        conditions: Conditions,
        wake: Callable[[], None],
        on_status: OnEndpointStatus,
        on_host_endpoint_status: OnHostEndpointStatus,
        *,
        on_step: OnStep = unwatched,
        nft_socket: Callable[[], NftSocket] | None = None,
        settings_record: Path | None = None,
        flow_log_group: int | None = None,
        key_directory: Path = Path("/run/calico"),
    ) -> None:
        """``flow_log_group``: where rules log what they decide. ``key_directory``: for this host's private keys.
        ``nft_socket`` makes the socket to nf_tables, if it is to be another than the usual. ``settings_record``: the
        file that remembers what kernel settings were before."""
        self._conditions = conditions
        self._on_status = on_status
        self._known: dict[EndpointId, EndpointUpdate] = {}
        self._rewritten: set[EndpointId] = set()
        self._statuses: dict[EndpointId, EndpointStatus] = {}
        state = TableState()
        self._rules_config = rules_config(config, flow_log_group)
        self._ruleset = Ruleset(state, self._rules_config)
        self._addresses: dict[str, frozenset[bytes]] = {}
        self._nft = NftDataplane(TABLE, state, inherit=ENDED_SETS, layout=LAYOUT_CHAIN, socket_factory=nft_socket)
        self.drift = DriftWatch(conditions, wake)
        remember = SettingsRecord(settings_record).before_write if settings_record else lambda paths: None
        self._endpoints = EndpointManager(
            protocol=config.device_route_protocol,
            priorities=Priorities(
                (config.normal_priority_v4, config.normal_priority_v6),
                (config.elevated_priority_v4, config.elevated_priority_v6),
            ),
            sources=(_address(config.route_source_v4), _address(config.route_source_v6)),
            forwarding=config.ip_forwarding,
            prefixes=config.interface_prefixes,
            sysctls=Sysctls(on_drift=self.drift.noticed, before_write=remember),
            on_status_change=self._on_endpoint_status,
            wake=wake,
            on_step=on_step,
            on_drift=self.drift.noticed,
        )
        self.tunnels = TunnelManager(node, tunnel_settings(config), self.drift.noticed)
        self.wireguard = WireguardManager(wireguard_settings(config, key_directory))
        self._migration_hold_s = config.migration_hold_s
        self.migrations = Migrations(node, lambda: self._migration_hold_s, self._on_stage)
        self._on_step = on_step
        self._policed: set[EndpointId] = set()
        self.established = EstablishedFlows(
            state,
            commit=self._commit_filters,
            interface_of=self._interface_of,
            name_of=self._endpoint_at,
            on_problems=lambda problems: conditions.replace("flows-not-rechecked", problems),
            recheck=config.established_flows == "recheck",
        )
        self.table = state
        self._wake = wake
        self.interfaces = InterfaceMonitor(
            self._on_interface,
            prefixes=("",),
            on_route=self._on_route,
            on_resync=self._on_events_lost,
            on_other=self._endpoints.on_other,
            more_groups=GROUPS,
        )
        self.endpoint_states: dict[str, str] = {}
        self.host_endpoints = HostEndpointStates(conditions, on_host_endpoint_status)

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
        self._choose_limiter(message)
        self._ruleset.on_message(message)
        self.tunnels.on_message(message)
        self.wireguard.on_message(message)
        if isinstance(message, EndpointUpdate):
            self._known[message.id] = message
            self._rewritten.add(message.id)
            self.migrations.on_endpoint(message.id, message)
            self._endpoints.on_endpoint(message)
        elif isinstance(message, EndpointRemove):
            self.migrations.on_endpoint(message.id, None)
            self._endpoints.on_endpoint_removed(message.id)
        elif isinstance(message, HostEndpointUpdate | HostEndpointRemove):
            self.host_endpoints.on_message(message)

    async def apply(self) -> bool:
        """Bring the kernel to what the messages said; false when something failed and is to be tried again."""
        if self.tunnels.leaving:
            await self._apply_tunnels()
        try:
            result = self._commit_filters()
        except CalicoError:
            self.established.on_failed()
            raise
        if result.changed:
            log.info("ruleset applied", messages=result.messages, bytes=result.bytes, took_ms=round(result.took_ms, 2))
        self._on_step("filters")
        self.host_endpoints.refresh(self._ruleset.host_endpoint_interfaces)
        self.established.on_applied(self._ruleset.take_affected())
        tunnelled = await self._apply_tunnels()
        tunnelled = await self._apply_encryption() and tunnelled
        await self._endpoints.apply()
        for kind, names in self._endpoints.repaired.items():
            self.drift.repaired(kind, sorted(names))
        self._tell_rewritten()
        self._on_step("done")
        return not self._nft.failed and not self._endpoints.pending and tunnelled

    def staged_counts(self) -> list[dict[str, Any]]:
        """By staged policy and direction, how many packets of new connections it would have allowed, denied or passed,
        or not decided, since its chain was last written. Read from the kernel: O(size of the staged chains)."""
        found: dict[tuple[str, str], dict[str, Any]] = {}
        for staged in self._ruleset.staged_chains():
            title = {"policy": str(staged.key), "direction": staged.direction}
            counted = found.setdefault(
                (title["policy"], title["direction"]), {**title, "allow": 0, "deny": 0, "pass": 0, "undecided": 0}
            )
            for outcome, packets in zip(staged.counts, self._nft.counts(staged.chain), strict=False):
                counted[outcome] += packets
        return list(found.values())

    def decided_by(self, chain: str) -> tuple[ResourceKey, str] | None:
        """The policy or profile that flow logs name by its chain, and its tier."""
        return self._ruleset.decided_by(chain)

    def look(self, *, filters: bool, budget_s: float) -> None:
        """Look whether others changed what events do not tell of; it is put right by the next apply. ``budget_s``: how
        long settings may be read. Transient when the kernel could not be asked."""
        self.drift.expire()
        self._endpoints.sysctls.audit(budget_s)
        if filters and self._nft.tampered():
            self.drift.noticed(Drift("ruleset", TABLE.name, "perhaps changed"), self._read_filters_back)

    def _read_filters_back(self) -> None:
        self._nft.resync()

    @property
    def conflicts(self) -> int:
        """Transactions that were planned again because somebody else wrote nftables meanwhile."""
        return self._nft.conflicts

    def route_count(self) -> int:
        """Routes to workloads that are wanted."""
        return len(self._endpoints.routes.desired)

    def refresh_routes(self) -> None:
        """Read routes, neighbours and sysctls back at the next apply."""
        self._endpoints.resync()
        self.tunnels.resync()
        self.wireguard.resync()

    @property
    def mtu(self) -> int:
        """The longest packet that workloads may send: it fits every tunnel that there is."""
        return min(self.tunnels.mtu, self.wireguard.mtu(self.tunnels.host_mtu))

    def on_config(self, config: FelixConfig) -> None:
        """Settings changed that need no new start."""
        self._migration_hold_s = config.migration_hold_s
        if self.established.switch(config.established_flows == "recheck"):
            self._ruleset.affect_everything()
            self._wake()

    def close(self) -> None:
        """Close the sockets; the kernel keeps everything."""
        self.migrations.close()
        self.drift.close()
        self.established.close()
        self.tunnels.close()
        self.wireguard.close()
        self._endpoints.close()
        self._nft.close()

    async def _apply_tunnels(self) -> bool:
        """What goes wrong with tunnels keeps no endpoint from being set up."""
        try:
            done = await self.tunnels.apply()
        except CalicoError as error:
            self.tunnels.resync()
            self._conditions.set("tunnel-incomplete", "tunnels", str(error))
            return False
        self._conditions.replace("tunnel-incomplete", dict(self.tunnels.failed))
        for name, wrong in self.tunnels.repaired.items():
            self.drift.repaired("tunnels", [name], wrong)
        return done

    async def _apply_encryption(self) -> bool:
        """What goes wrong here keeps no endpoint from being set up, either."""
        try:
            done = await self.wireguard.apply(self.tunnels.host_mtu)
        except CalicoError as error:
            self.wireguard.resync()
            self._conditions.set("encryption-incomplete", "WireGuard", str(error))
            return False
        self._conditions.replace("encryption-incomplete", dict(self.wireguard.failed))
        self._conditions.replace("encryption-unavailable", dict(self.wireguard.refused))
        return done

    def _choose_limiter(self, message: Message) -> None:
        """Bandwidth from workloads is shaped where the kernel can do that, tried when it is first asked for."""
        if isinstance(message, EndpointRemove):
            self._policed.discard(message.id)
        elif isinstance(message, EndpointUpdate):
            self._policed.discard(message.id)
            if message.qos is not None and message.qos.egress_bandwidth:
                shaped = self._endpoints.qdiscs.can_shape_egress()
                self._ruleset.police_bandwidth(not shaped)
                if not shaped:
                    self._policed.add(message.id)

    def _on_route(self, route: KernelRoute, gone: bool, port: int) -> None:
        self._endpoints.on_route(route, gone, port)
        self.tunnels.on_route(route, gone, port)

    def _on_stage(self, endpoint: EndpointId, stage: Stage) -> None:
        self._endpoints.on_stage(endpoint, stage)
        self._wake()

    def _on_interface(self, name: str, interface: Interface | None) -> None:
        if self._rules_config.is_workload(name):
            self.migrations.on_interface(name, interface)
            self._endpoints.on_interface(name, interface)
        else:
            if name.startswith(IFB_PREFIX):
                self._endpoints.qdiscs.on_ifb(name, interface)
            elif name == "lo" and interface is not None:
                self._endpoints.gateways.on_addresses(interface.addresses)
            self._on_host_interface(name, interface)
        self._wake()

    def _on_host_interface(self, name: str, interface: Interface | None) -> None:
        """One of the host's own: it may be a host endpoint, by its name or its addresses."""
        self.host_endpoints.on_interface(name, interface)
        self.tunnels.on_interface(name, interface)
        self.wireguard.on_interface(name, interface)
        addresses = interface.addresses if interface is not None else None
        if self._addresses.get(name) != addresses:
            self._ruleset.on_host_interface(name, addresses)
        if addresses is None:
            self._addresses.pop(name, None)
        else:
            self._addresses[name] = addresses

    def _on_events_lost(self) -> None:
        self._endpoints.resync()
        self.tunnels.resync()
        self.wireguard.resync()
        self._wake()

    def _commit_filters(self) -> ApplyResult:
        result = self._nft.apply()
        self._note_failures()
        if self._nft.repaired:
            self._ruleset.affect_everything()
            names = self._nft.repaired
            more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
            self.drift.repaired("ruleset", [TABLE.name], f"changed: {', '.join(names[:_NAMED])}{more}")
        return result

    def _interface_of(self, address: bytes) -> str | None:
        """The interface of the endpoint that has an address; none of the host's own, whatever endpoints claim."""
        interface = self._endpoints.interface_of(address)
        is_own = interface is not None and any(address in addresses for addresses in self._addresses.values())
        return None if is_own else interface

    def _endpoint_at(self, interface: str) -> str:
        """The name of the endpoint at an interface, else that of the interface."""
        endpoint = self._ruleset.endpoint_at(interface)
        return f"{endpoint.key.namespace}/{endpoint.key.name}" if endpoint else interface

    def _note_failures(self) -> None:
        failed = {item.name: f"{item.kind}: {item.reason} {item.effect}".strip() for item in self._nft.failed}
        self._conditions.replace("dataplane-rejected", failed)
        missing = {} if self._nft.owned else {"nftables": "tables cannot be owned: others may change ours"}
        if self._policed:
            missing["bandwidth"] = "bandwidth from workloads is policed, not shaped"
        self._conditions.replace("feature-missing", missing)

    def endpoint(self, endpoint: EndpointId) -> EndpointUpdate | None:
        """A local endpoint as it was last told."""
        return self._known.get(endpoint)

    def _tell_rewritten(self) -> None:
        """Endpoints that are another now, though their status may be the same."""
        rewritten, self._rewritten = self._rewritten, set()
        for endpoint in rewritten & self._statuses.keys():
            status = self._statuses[endpoint]
            self._on_status(endpoint, status.state, status.reasons)

    def _name_of(self, endpoint: EndpointId) -> str:
        known = self._known.get(endpoint)
        return f"{known.key.namespace}/{known.key.name}" if known else str(endpoint)

    def _on_endpoint_status(self, endpoint: EndpointId, status: EndpointStatus | None) -> None:
        name = self._name_of(endpoint)
        if status is None:
            self._known.pop(endpoint, None)
            self._statuses.pop(endpoint, None)
            self.endpoint_states.pop(name, None)
            self._conditions.clear("endpoint-error", name)
            self._on_status(endpoint, None, ())
            return
        self._statuses[endpoint] = status
        self.endpoint_states[name] = status.state
        if status.state == "error":
            self._conditions.set("endpoint-error", name, "; ".join(status.reasons))
        else:
            self._conditions.clear("endpoint-error", name)
        self._on_status(endpoint, status.state, status.reasons)
        log.info("endpoint status changed", endpoint=name, status=status.state, reasons=status.reasons)


class Progress(msgspec.Struct):
    """How far the kernel follows the datastore."""

    applied_revision: int = 0
    applies: int = 0
    failures: int = 0
    last_took_ms: float = 0.0
