"""Workload endpoints on this host: everything but their policy.

``EndpointManager`` owns, for every local workload endpoint, the routes to its addresses, its neighbour entries, the
sysctls of its interface, the answer for its gateway, and the end of its flows when an address leaves. It is told of
endpoints and of interfaces in any order; ``apply`` does what the difference needs, at a cost of what changed.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Final, Literal

import msgspec
import structlog

from calico.calc.messages import EndpointId, EndpointUpdate
from calico.dataplane.bandwidth.qdiscs import QdiscTable
from calico.dataplane.bandwidth.shaping import UNSHAPED
from calico.dataplane.claims import Claims
from calico.dataplane.drift import Kind, OnDrift, at_once
from calico.dataplane.flows.conntrack import Conntrack
from calico.dataplane.interfaces import Interface
from calico.dataplane.migration import Priorities, Stage
from calico.dataplane.routing.gateways import GatewayTable
from calico.dataplane.routing.neighbours import NeighbourTable
from calico.dataplane.routing.routes import OUR_PROTOCOL, RouteTable
from calico.dataplane.sysctl import Sysctls
from calico.dataplane.wiring import NO_SOURCES, NOTHING, Sources, Wiring, wiring_of
from calico.errors import CalicoError, InvalidInput, Transient
from calico.lib.packed import is_v6, net_of_host
from calico.netlink.rtnetlink.event import GROUP_NEIGHBOUR, GROUP_TRAFFIC_CONTROL
from calico.netlink.rtnetlink.neighbour import RTM_DELNEIGH, RTM_NEWNEIGH, decode_neighbour
from calico.netlink.rtnetlink.netconf import ALL, GROUP_NETCONF4, GROUP_NETCONF6, RTM_NEWNETCONF, decode_netconf
from calico.netlink.rtnetlink.qdisc import RTM_DELQDISC, RTM_NEWQDISC
from calico.netlink.rtnetlink.redirect import RTM_DELTFILTER, RTM_NEWTFILTER
from calico.netlink.rtnetlink.route import KernelRoute
from calico.netlink.socket import NETLINK_NETFILTER, NETLINK_ROUTE, NetlinkSocket
from calico.netlink.wire import Message

__all__ = ["GROUPS", "EndpointManager", "EndpointStatus", "OnStatus", "OnStep"]

log = structlog.get_logger(__name__)


GROUPS: Final = (GROUP_NEIGHBOUR, GROUP_TRAFFIC_CONTROL, GROUP_NETCONF4, GROUP_NETCONF6)
"""Groups of kernel events that ``on_other`` understands."""

_TRAFFIC_CONTROL: Final = frozenset({RTM_NEWQDISC, RTM_DELQDISC, RTM_NEWTFILTER, RTM_DELTFILTER})


MOVING: Final = Priorities()


class EndpointStatus(msgspec.Struct, frozen=True):
    """``up``: everything is in the kernel and the interface carries packets. ``reasons`` say why it is not so."""

    state: Literal["up", "down", "error"]
    reasons: tuple[str, ...] = ()


OnStep = Callable[
    [Literal["withdrawn", "flows", "laid", "sysctls", "qdiscs", "gateways", "neighbours", "routes"]], None
]
"""Told the steps of an apply, in this order; the first two only when addresses leave or move."""

OnStatus = Callable[[EndpointId, EndpointStatus | None], None]
"""Told every change of an endpoint's status; None when the endpoint is gone."""


class EndpointManager:
    """The dataplane of workload endpoints. Lives in the namespace of the thread that makes it."""

    def __init__(
        self,
        *,
        protocol: int = OUR_PROTOCOL,
        metric: int = 0,
        priorities: Priorities = MOVING,
        sources: Sources = NO_SOURCES,
        forwarding: bool = True,
        prefixes: tuple[str, ...] = ("cali",),
        sysctls: Sysctls | None = None,
        on_status_change: OnStatus = lambda endpoint, status: None,
        wake: Callable[[], None] = lambda: None,
        on_step: OnStep = lambda step: None,
        on_drift: OnDrift = at_once,
    ) -> None:
        """``wake``: the kernel changed behind our back, call ``apply`` soon. ``metric`` is that of the routes,
        ``priorities`` those of routes to workloads that migrate, ``sources`` the addresses the host uses on them,
        ``forwarding`` whether to turn that on for the whole host; ``prefixes`` are those of workload interfaces.
        ``on_step`` is told when each step of an apply is done, ``on_drift`` what somebody else changed of ours."""
        self._sock = NetlinkSocket(NETLINK_ROUTE)
        self._netfilter = NetlinkSocket(NETLINK_NETFILTER)
        self.routes = RouteTable(self._sock, protocol=protocol, on_dirty=self._on_route_dirty, on_drift=on_drift)
        self.neighbours = NeighbourTable(self._sock, protocol=protocol, on_drift=on_drift)
        self.gateways = GatewayTable(self._sock, protocol=protocol, on_drift=on_drift)
        self.qdiscs = QdiscTable(self._sock, prefixes=prefixes, on_drift=on_drift)
        self.sysctls = sysctls or Sysctls(on_drift=on_drift)
        self._conntrack = Conntrack(self._netfilter)
        self._metric = metric
        self._priorities = priorities
        self._stages: dict[EndpointId, Stage] = {}
        self._sources = sources
        self._on_status_change = on_status_change
        self._wake = wake
        self._on_step = on_step
        self._claims = Claims()
        self._interfaces: dict[str, Interface] = {}
        self._names: dict[int, str] = {ALL: "all"}
        self._wirings: dict[EndpointId, Wiring] = {}
        self._statuses: dict[EndpointId, EndpointStatus] = {}
        self._dirty: set[EndpointId] = set()
        self._failing: set[EndpointId] = set()
        self._to_forget: set[bytes] = set()
        if forwarding:
            self.sysctls.want_host()

    def close(self) -> None:
        """Close the sockets; the kernel keeps everything."""
        self._sock.close()
        self._netfilter.close()

    def on_endpoint(self, update: EndpointUpdate) -> None:
        """An endpoint is new or changed."""
        self._dirty |= self._claims.put(update)

    def on_endpoint_removed(self, endpoint: EndpointId) -> None:
        """An endpoint has left this host."""
        self._dirty |= self._claims.remove(endpoint)
        if endpoint in self._wirings or endpoint in self._statuses:
            self._dirty.add(endpoint)

    def on_stage(self, endpoint: EndpointId, stage: Stage) -> None:
        """An endpoint, which may come later, is about to move to or from this host, or has."""
        if stage == "settled":
            self._stages.pop(endpoint, None)
        else:
            self._stages[endpoint] = stage
        if endpoint in self._claims:
            self._dirty.add(endpoint)
        if stage == "arrived" and endpoint in self._wirings:  # what is sent meanwhile goes to where it was
            for route in self._wiring(endpoint).routes:
                self.routes.hasten(route)

    def on_interface(self, name: str, interface: Interface | None) -> None:
        """An interface changed, appeared or (None) went."""
        old = self._interfaces.pop(name, None)
        if old is not None:
            self._names.pop(old.index, None)
        if interface is not None:
            self._interfaces[name] = interface
            self._names[interface.index] = name
        self.routes.on_interface(name, interface)
        replaced = old is not None and (interface is None or interface.index != old.index)
        if old is not None and (replaced or (interface is not None and not interface.up)):
            self._on_flushed(name, old.index)
        if replaced:
            self.sysctls.unwant_interface(name)
        self._dirty |= self._claims.on_interface(name)

    def on_route(self, route: KernelRoute, gone: bool, port: int = 0) -> None:
        """A route event of the kernel, caused through a netlink port."""
        self.routes.on_route(route, gone, port)
        if self.gateways.on_route(route, gone):
            self._wake()

    def on_other(self, message: Message) -> None:
        """A message of ``GROUPS``. The cheap look first: most are about interfaces that are none of ours."""
        index = int.from_bytes(message.payload[4:8], sys.byteorder, signed=True)
        try:
            if message.type == RTM_NEWNETCONF:
                conf = decode_netconf(message.payload)
                if conf.index in self._names:
                    self.sysctls.on_netconf(self._names[conf.index], conf)
            elif message.type in _TRAFFIC_CONTROL:
                self.qdiscs.on_traffic_control(index, message.pid)
            elif message.type in (RTM_NEWNEIGH, RTM_DELNEIGH) and index in self._names:
                gone = message.type == RTM_DELNEIGH
                self.neighbours.on_entry(decode_neighbour(message.payload), gone, message.pid)
        except InvalidInput as error:
            log.warning("kernel event not understood", error=str(error))

    @property
    def repaired(self) -> dict[Kind, set[str]]:
        """What the last apply put right that others had changed."""
        return {
            "routes": self.routes.repaired,
            "neighbours": self.neighbours.repaired,
            "sysctls": self.sysctls.repaired,
            "gateways": self.gateways.repaired,
            "qdiscs": self.qdiscs.repaired,
        }

    def resync(self) -> None:
        """Trust nothing that is remembered of the kernel: the next apply reads and compares all."""
        for table in (self.routes, self.neighbours, self.gateways, self.qdiscs, self.sysctls):
            table.resync()
        self._dirty.update(self._claims.ids())

    @property
    def pending(self) -> bool:
        """Whether ``apply`` has something to do or to try again."""
        return bool(self._dirty or self._failing or self._to_forget)

    async def apply(self) -> None:
        """Bring the kernel to what the endpoints need. Call it only when the datastore and interfaces are in sync.

        What an earlier run left is removed by the first call. What fails is named in the status of its endpoint and
        tried again at the next call. Transient when the kernel could not be asked at all: everything stays dirty.
        """
        dirty, self._dirty = self._dirty, set()
        try:
            failures = await self._apply(dirty)
        except CalicoError:
            self.resync()
            self._dirty |= dirty
            raise
        self._failing = self._settle(dirty | self._failing | failures.keys(), failures)

    def status(self, endpoint: EndpointId) -> EndpointStatus | None:
        """What the last apply made of an endpoint; None for one it has not seen."""
        return self._statuses.get(endpoint)

    def interface_of(self, address: bytes) -> str | None:
        """The interface of the endpoint that gets a packed address; None when none does."""
        owner = self._claims.net_owner(net_of_host(address))
        update = self._claims.get(owner) if owner is not None else None
        return update.interface if update is not None else None

    async def _apply(self, dirty: set[EndpointId]) -> dict[EndpointId, list[str]]:
        """Order matters: an address that moves loses its old route, then its flows, and only then gets the new one."""
        wanted = {endpoint: self._wiring(endpoint) for endpoint in dirty}
        self._to_forget |= self._lost(wanted)
        for endpoint, wiring in wanted.items():
            self._withdraw(endpoint, wiring)
        if self._to_forget:
            await self.routes.apply()
            self._on_step("withdrawn")
            self._forget_flows()
            self._on_step("flows")
        for endpoint, wiring in wanted.items():
            self._lay(endpoint, wiring)
        self._on_step("laid")
        sysctls = await self.sysctls.apply()
        self._on_step("sysctls")
        qdiscs = await self.qdiscs.apply()
        self._on_step("qdiscs")
        gateways = await self.gateways.apply()
        self._on_step("gateways")
        neighbours = await self.neighbours.apply()
        self._on_step("neighbours")
        routes = await self.routes.apply()
        self._on_step("routes")
        self._to_forget |= {dst[:-1] for dst in self.routes.removed}
        self._forget_flows()
        failures: dict[EndpointId, list[str]] = {}
        for name, text in (*sysctls.items(), *qdiscs.items()):
            owner = self._claims.interface_owner(name)
            self._blame(failures, (owner,) if owner else (), text)
        for gateway, text in gateways.items():
            self._blame(failures, (e for e, w in self._wirings.items() if w.gateway == gateway), text)
        for key, text in neighbours.items():
            self._blame(failures, (e for e, w in self._wirings.items() if key in w.neighbours), text)
        for dst, _ in routes:
            owner = self._claims.net_owner(dst)
            if owner is not None:
                failures.setdefault(owner, [])  # the sentence comes from RouteTable.problem
        return failures

    def _wiring(self, endpoint: EndpointId) -> Wiring:
        """What the endpoint should have, given who else claims the same and what its interface is."""
        update = self._claims.get(endpoint)
        if update is None:
            return NOTHING
        share = self._claims.share(endpoint)
        if not share.interface:
            return NOTHING
        interface = self._interfaces.get(update.interface)
        return wiring_of(update, share.nets, interface, metrics=self._metrics_of(endpoint), sources=self._sources)

    def _metrics_of(self, endpoint: EndpointId) -> tuple[int, int] | None:
        return self._priorities.of(self._stages.get(endpoint, "settled"), self._metric)

    def _lost(self, wanted: Mapping[EndpointId, Wiring]) -> set[bytes]:
        """Addresses that an endpoint has and will not have at the same interface, or not translated to the same own
        address: their flows must end."""
        lost: set[bytes] = set()
        for endpoint, wiring in wanted.items():
            old = self._wirings.get(endpoint, NOTHING)
            stays = {(route.dst, route.interface, route.source) for route in wiring.routes}
            left = (route for route in old.routes if (route.dst, route.interface, route.source) not in stays)
            lost.update(route.dst[:-1] for route in left)
            lost.update(external for _, external in old.nats - wiring.nats)
        return lost

    def _withdraw(self, endpoint: EndpointId, wiring: Wiring) -> None:
        """Take out of the tables what the endpoint has and should not have."""
        old = self._wirings.get(endpoint, NOTHING)
        same_interface = (old.interface, old.index) == (wiring.interface, wiring.index)
        for route in old.routes - wiring.routes:
            self.routes.unwant(route.dst, route.metric)
        for key in old.neighbours.keys() - wiring.neighbours.keys():
            self.neighbours.unwant(key)
        if old.sysctls and not same_interface:
            self.sysctls.unwant_interface(old.interface)
        if old.shape and not same_interface:
            self.qdiscs.unwant(old.interface, old.index)
        if old.gateway and old.gateway != wiring.gateway:
            self.gateways.unwant(old.gateway)
        self._wirings[endpoint] = Wiring(
            interface=wiring.interface,
            index=wiring.index,
            sysctls=old.sysctls if same_interface else None,
            routes=old.routes & wiring.routes,
            neighbours={key: mac for key, mac in old.neighbours.items() if key in wiring.neighbours},
            gateway=old.gateway if old.gateway == wiring.gateway else b"",
            shape=old.shape if same_interface else UNSHAPED,
            nats=old.nats & wiring.nats,
        )

    def _lay(self, endpoint: EndpointId, wiring: Wiring) -> None:
        """Put into the tables what the endpoint should have."""
        old = self._wirings[endpoint]
        if wiring.sysctls:
            self.sysctls.want_interface(wiring.interface, any_source=wiring.sysctls == "any-source")
        for key, mac in wiring.neighbours.items():
            if key.proxy:
                self.neighbours.want_proxy(key.index, key.address)
            else:
                self.neighbours.want(key.index, key.address, mac)
        for route in wiring.routes:
            self.routes.want(route)
        if wiring.shape or old.shape:
            self.qdiscs.want(wiring.interface, wiring.index, wiring.shape)
        if wiring.gateway and not old.gateway:
            self.gateways.want(wiring.gateway)
        if wiring is NOTHING:
            del self._wirings[endpoint]
        else:
            self._wirings[endpoint] = wiring

    def _forget_flows(self) -> None:
        """End the flows of addresses that moved or left; tried again at the next apply if the kernel refuses."""
        if not self._to_forget:
            return
        try:
            ended = self._conntrack.forget(self._to_forget)
        except Transient as error:
            log.warning("flows not ended", addresses=len(self._to_forget), error=str(error))
            return
        if ended:
            log.info("flows ended", addresses=len(self._to_forget), flows=ended)
        self._to_forget.clear()

    def _settle(self, endpoints: Iterable[EndpointId], failures: Mapping[EndpointId, list[str]]) -> set[EndpointId]:
        """Work out and report statuses; returns the endpoints in error, which are looked at again next time."""
        failing: set[EndpointId] = set()
        for endpoint in sorted(endpoints):
            status = self._judge(endpoint, failures.get(endpoint, ()))
            if status is not None and status.state == "error":
                failing.add(endpoint)
            if status == self._statuses.get(endpoint):
                continue
            if status is None:
                del self._statuses[endpoint]
            else:
                self._statuses[endpoint] = status
            self._on_status_change(endpoint, status)
        return failing

    def _judge(self, endpoint: EndpointId, failures: Iterable[str]) -> EndpointStatus | None:
        update = self._claims.get(endpoint)
        if update is None:
            return None
        share = self._claims.share(endpoint)
        problems = [*share.problems, *failures]
        metrics = self._metrics_of(endpoint)
        if metrics is not None and self._stages.get(endpoint) != "leaving":  # then another route may be better
            problems += filter(None, (self.routes.problem(net, metrics[is_v6(net)]) for net in share.nets))
        interface = self._interfaces.get(update.interface)
        if interface is None:
            waiting = f"interface {update.interface} does not exist"
        else:
            waiting = "" if interface.oper_up else f"interface {update.interface} is not up"
        reasons = (*dict.fromkeys(problems), waiting) if waiting else tuple(dict.fromkeys(problems))
        if problems:
            return EndpointStatus("error", reasons)
        return EndpointStatus("down" if waiting else "up", reasons)

    def _on_flushed(self, name: str, index: int) -> None:
        """The kernel has dropped the neighbours of an interface."""
        for endpoint in self._claims.on_interface(name):
            for key in self._wirings.get(endpoint, NOTHING).neighbours:
                if key.index == index:
                    self.neighbours.flushed(key)

    def _on_route_dirty(self, dst: bytes) -> None:
        owner = self._claims.net_owner(dst)
        if owner is not None:
            self._dirty.add(owner)
        self._wake()

    @staticmethod
    def _blame(failures: dict[EndpointId, list[str]], endpoints: Iterable[EndpointId], text: str) -> None:
        for endpoint in endpoints:
            failures.setdefault(endpoint, []).append(text)
