"""Which service addresses one host advertises (design 1.4). Pure; whoever knows of services gives ``ServiceRoutes``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from types import MappingProxyType
from typing import Literal, Protocol

import msgspec

from calico.bgp.planning.birdplan import BlockPlan
from calico.bgp.planning.networks import Network, is_single, parse_network
from calico.bgp.problem import Problem
from calico.errors import InvalidInput
from calico.model.bgp import BGPConfigurationSpec, ServiceBlock

__all__ = [
    "EXCLUDED_LABEL",
    "ServiceAddress",
    "ServicePlan",
    "ServiceRoutes",
    "ServiceSink",
    "ServiceSource",
    "needs_services",
    "plan_services",
]

ServiceKind = Literal["cluster", "external", "load-balancer"]
SUBJECT = "BGPConfiguration default"
EXCLUDED_LABEL = "node.kubernetes.io/exclude-from-external-load-balancers"
_NO_LABELS: Mapping[str, str] = MappingProxyType({})


class ServiceAddress(msgspec.Struct, frozen=True, kw_only=True):
    """An address of a service. ``here``: the service has a ready endpoint on this host.

    ``local_only``: traffic from outside must not change hosts (externalTrafficPolicy Local).
    """

    kind: ServiceKind
    address: str
    local_only: bool = False
    here: bool = False


class ServiceRoutes(msgspec.Struct, frozen=True, kw_only=True):
    """What a source of services says for this host, and what it could not read. ``excluded``: the host takes no load
    balancers' traffic."""

    addresses: tuple[ServiceAddress, ...] = ()
    excluded: bool = False
    problems: tuple[Problem, ...] = ()


class ServiceSink(Protocol):
    """Who takes in what a source of services says; None while nobody tells services. Forgotten: what was said is void
    until the source speaks again."""

    def on_services(self, services: ServiceRoutes | None) -> None: ...

    def on_services_forgotten(self) -> None: ...


class ServiceSource(Protocol):
    """Who knows of services. ``run`` tells the sink, at first and whenever something changes, for ever."""

    async def run(self, sink: ServiceSink) -> None: ...


class ServicePlan(msgspec.Struct, frozen=True, kw_only=True):
    """``advertised`` from here; ``ranges`` whose routes never enter the kernel; ``reflected`` by a reflector."""

    advertised: tuple[BlockPlan, ...] = ()
    ranges: tuple[BlockPlan, ...] = ()
    reflected: tuple[BlockPlan, ...] = ()


def needs_services(spec: BGPConfigurationSpec) -> bool:
    """Whether the plan depends on which services there are."""
    return bool(spec.service_cluster_ips or spec.service_external_ips or spec.service_load_balancer_ips)


def plan_services(
    spec: BGPConfigurationSpec,
    services: ServiceRoutes | None,
    report: Callable[[Problem], None],
    labels: Mapping[str, str] = _NO_LABELS,
) -> ServicePlan:
    """The prefixes. Without a source nothing is advertised: a range would draw traffic that nobody here takes.

    ``labels`` are the Node's: with ``EXCLUDED_LABEL: "true"`` only cluster addresses are advertised from it.
    """
    for problem in services.problems if services is not None else ():
        report(problem)
    excluded = labels.get(EXCLUDED_LABEL) == "true" or (services is not None and services.excluded)
    fields: tuple[tuple[ServiceKind, str, tuple[ServiceBlock, ...]], ...] = (
        ("cluster", "serviceClusterIPs", spec.service_cluster_ips),
        ("external", "serviceExternalIPs", spec.service_external_ips),
        ("load-balancer", "serviceLoadBalancerIPs", spec.service_load_balancer_ips),
    )
    ranges: dict[ServiceKind, list[Network]] = {}
    for kind, name, blocks in fields:
        ranges[kind] = list(_networks(blocks, f"spec.{name}", report))
        if ranges[kind] and services is None:
            message = f"spec.{name}: nothing on this host knows of services; their addresses are not advertised"
            report(Problem("bgp-no-service-source", SUBJECT, message))
    whole = spec.service_load_balancer_aggregation != "Disabled"
    advertised: set[Network] = set()
    if services is not None:
        for kind, networks in ranges.items():
            if not (excluded and kind != "cluster"):
                as_range = kind != "load-balancer" or whole
                advertised.update(_advertised(kind, networks, services.addresses, as_range=as_range))
    outside = [*ranges["external"], *ranges["load-balancer"]]
    return ServicePlan(
        advertised=_blocks(advertised),
        ranges=_blocks([*ranges["cluster"], *outside]),
        reflected=_blocks(outside),
    )


def _networks(blocks: Iterable[ServiceBlock], where: str, report: Callable[[Problem], None]) -> Iterator[Network]:
    for block in blocks:
        try:
            yield parse_network(block.cidr)
        except InvalidInput as error:
            message = f"{where}: {error.message}; it is not advertised"
            report(Problem("bgp-resource-invalid", SUBJECT, message))


def _advertised(
    kind: ServiceKind, networks: Iterable[Network], addresses: Iterable[ServiceAddress], *, as_range: bool
) -> Iterator[Network]:
    """A range as one route, from every host; single addresses from the hosts that can take their traffic."""
    for network in networks:
        single = is_single(network)
        if as_range and not single:
            yield network
        for service in addresses:
            with suppress(InvalidInput):
                address = parse_network(service.address)
                if service.kind != kind or not is_single(address) or address.network_address not in network:
                    continue
                everywhere = not as_range and not single and not service.local_only
                if everywhere or (service.here and (service.local_only or single)):
                    yield address


def _blocks(networks: Iterable[Network]) -> tuple[BlockPlan, ...]:
    return tuple(sorted({BlockPlan(6 if network.version == 6 else 4, str(network)) for network in networks}))
