"""Who gives a container its addresses: our own IPAM, asked in this process, or another plugin, executed."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Final, Protocol

import msgspec

from calico.errors import AlreadyExists, CalicoError, InvalidInput, NotFound
from calico.ipam.allocator import Allocator
from calico.ipam.requests import AssignRequest, ReleaseRequest
from calico.model.workload import WorkloadEndpoint
from calico.orchestrators.cni.addresses.delegate import call_plugin
from calico.orchestrators.cni.protocol.fault import NO_ADDRESS, PluginError
from calico.orchestrators.cni.protocol.netconf import NetConf
from calico.orchestrators.cni.protocol.request import Request
from calico.orchestrators.cni.protocol.result import IPConfig, Result, Route, parse_result
from calico.orchestrators.cni.workload.annotations import Asked
from calico.orchestrators.cni.workload.names import Attached
from calico.orchestrators.cni.workload.pods import PodFacts

__all__ = ["AddressSource", "DelegatedAddresses", "OwnAddresses", "Wish", "asked_addresses", "bare_all", "wish_of"]

_ALL: Final = {4: "0.0.0.0/0", 6: "::/0"}


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """How many addresses of each family, from which pools, or exactly which ones."""

    v4: int = 1
    v6: int = 0
    pools_v4: tuple[str, ...] = ()
    pools_v6: tuple[str, ...] = ()
    exactly: tuple[str, ...] = ()
    attrs: dict[str, str] = {}
    namespace_labels: dict[str, str] | None = None


class AddressSource(Protocol):
    """Gives and takes back the addresses of an attachment."""

    async def assign(self, attached: Attached, wish: Wish) -> Result:
        """``ips`` with their lengths, and the routes that the container is to have."""
        ...

    async def release(self, attached: Attached, keep: Collection[str] = ()) -> None:
        """Take back all addresses of the attachment but those kept; none is no error."""
        ...

    async def take_over(self, attached: Attached, before: WorkloadEndpoint | None, addresses: Collection[str]) -> None:
        """Take those of the addresses back that an earlier sandbox of the same pod has: they are asked for anew."""
        ...

    async def held(self, attached: Attached) -> frozenset[str] | None:
        """The addresses that the attachment has; None when only the plugin itself could say."""
        ...


class OwnAddresses:
    """Calico's IPAM. Both families or none: what was half given is taken back."""

    def __init__(self, allocator: Allocator) -> None:
        self._allocator = allocator

    async def assign(self, attached: Attached, wish: Wish) -> Result:
        found = await (self._exactly(attached, wish) if wish.exactly else self._some(attached, wish))
        versions = sorted({ipaddress.ip_interface(text).version for text in found})
        return Result(
            ips=tuple(IPConfig(address=text) for text in found),
            routes=tuple(Route(dst=_ALL[version]) for version in versions),
        )

    async def release(self, attached: Attached, keep: Collection[str] = ()) -> None:
        if not keep:
            await self._allocator.release_by_handle(attached.handle)
            return
        extra = (await self.held(attached) or frozenset()) - frozenset(keep)
        if extra:
            requests = [ReleaseRequest(address=address, handle=attached.handle) for address in sorted(extra)]
            await self._allocator.release_ips(requests)

    async def take_over(self, attached: Attached, before: WorkloadEndpoint | None, addresses: Collection[str]) -> None:
        if before is None or before.spec.container_id in ("", attached.stored_id):
            return
        handle = msgspec.structs.replace(attached, container_id=before.spec.container_id).handle
        for address in sorted(bare_all(before.spec.ip_networks) & bare_all(tuple(addresses))):
            await self._allocator.release_ips([ReleaseRequest(address=address, handle=handle)])

    async def held(self, attached: Attached) -> frozenset[str] | None:
        try:
            return frozenset(_bare(address) for address in await self._allocator.ips_by_handle(attached.handle))
        except NotFound:
            return frozenset()

    async def _exactly(self, attached: Attached, wish: Wish) -> list[str]:
        given: list[str] = []
        for address in wish.exactly:
            try:
                await self._allocator.assign_ip(
                    address, hostname=attached.node, handle=attached.handle, attrs=wish.attrs, use="Workload"
                )
            except CalicoError as error:
                await self._take_back(attached, given)
                if isinstance(error, AlreadyExists):
                    raise PluginError(NO_ADDRESS, f"address {address} was asked for: {error}") from None
                raise
            given.append(address)
        return [f"{address}/{ipaddress.ip_address(address).max_prefixlen}" for address in wish.exactly]

    async def _some(self, attached: Attached, wish: Wish) -> list[str]:
        assignment = await self._allocator.auto_assign(
            AssignRequest(
                hostname=attached.node,
                v4=wish.v4,
                v6=wish.v6,
                handle=attached.handle,
                attrs=wish.attrs,
                pools_v4=wish.pools_v4,
                pools_v6=wish.pools_v6,
                namespace_labels=wish.namespace_labels,
            )
        )
        if (len(assignment.v4), len(assignment.v6)) != (wish.v4, wish.v6):
            await self._take_back(
                attached, [*(str(one.ip) for one in assignment.v4), *(str(one.ip) for one in assignment.v6)]
            )
            wanted = " and ".join(f"{n} IPv{family}" for family, n in ((4, wish.v4), (6, wish.v6)) if n)
            raise PluginError(NO_ADDRESS, f"{wanted} address: {assignment.reason}")
        return [*(f"{found.ip}/32" for found in assignment.v4), *(f"{found.ip}/128" for found in assignment.v6)]

    async def _take_back(self, attached: Attached, given: Collection[str]) -> None:
        """Only what this attempt was given: the handle is also that of the container's other interfaces."""
        with suppress(CalicoError):
            await self._allocator.release_ips(ReleaseRequest(address=one, handle=attached.handle) for one in given)


class DelegatedAddresses:
    """Another IPAM plugin; each call is a process. It keeps its own books by container and interface."""

    def __init__(self, request: Request) -> None:
        self._request = request

    async def assign(self, attached: Attached, wish: Wish) -> Result:
        try:
            document = await call_plugin(self._request.config.ipam.type, self._request, "ADD")
            found = parse_result(document, self._request.version)
            if not found.ips:
                raise PluginError(NO_ADDRESS, f"plugin {self._request.config.ipam.type} gave no address")
        except BaseException:
            with suppress(CalicoError):
                await self.release(attached)
            raise
        ips = tuple(IPConfig(address=_host_net(ip.address)) for ip in found.ips)
        versions = sorted({6 if ":" in ip.address else 4 for ip in ips})
        routes = tuple(Route(dst=route.dst) for route in found.routes)
        return Result(ips=ips, routes=routes or tuple(Route(dst=_ALL[v]) for v in versions), dns=found.dns)

    async def take_over(self, attached: Attached, before: WorkloadEndpoint | None, addresses: Collection[str]) -> None:
        return None

    async def release(self, attached: Attached, keep: Collection[str] = ()) -> None:
        await call_plugin(self._request.config.ipam.type, self._request, "DEL")

    async def held(self, attached: Attached) -> frozenset[str] | None:
        return None


def asked_addresses(request: Request, asked: Asked) -> tuple[str, ...]:
    """Addresses that somebody wants by name: annotation, then ``IP=`` in CNI_ARGS, then the configuration."""
    if asked.addresses:
        return asked.addresses
    argument = request.arguments.get("IP", "")
    texts = tuple(part for part in argument.split(",") if part) or request.config.asked_addresses
    found: list[str] = []
    for text in texts:
        try:
            found.append(str(ipaddress.ip_address(text.partition("/")[0])))
        except ValueError:
            raise InvalidInput(f"{text!r} is not an IP address", field="CNI_ARGS IP" if argument else "ips") from None
    return tuple(found)


def wish_of(attached: Attached, request: Request, asked: Asked, facts: PodFacts) -> Wish:
    """What the configuration says, unless the pod or its namespace says otherwise."""
    config: NetConf = request.config
    families = asked.families or ()
    attrs = {"node": attached.node, "timestamp": str(datetime.now(UTC))}
    if attached.pod:
        attrs |= {"pod": attached.pod, "namespace": attached.namespace}
    return Wish(
        v4=int(4 in families if families else config.ipam.wants_v4),
        v6=int(6 in families if families else config.ipam.wants_v6),
        pools_v4=asked.ipv4_pools if asked.ipv4_pools is not None else config.ipam.ipv4_pools,
        pools_v6=asked.ipv6_pools if asked.ipv6_pools is not None else config.ipam.ipv6_pools,
        exactly=asked_addresses(request, asked),
        attrs=attrs,
        namespace_labels=dict(facts.namespace_labels) if attached.pod else None,
    )


def _bare(address: object) -> str:
    """An address in one spelling, without a length."""
    return str(ipaddress.ip_interface(str(address)).ip)


def _host_net(text: str) -> str:
    """An address as one host's: a foreign IPAM says how large its subnet is, but here nobody shares one."""
    address = ipaddress.ip_interface(text).ip
    return f"{address}/{address.max_prefixlen}"


def bare_all(texts: Sequence[str]) -> frozenset[str]:
    """Addresses without their lengths; InvalidInput naming what is none."""
    try:
        return frozenset(_bare(text) for text in texts)
    except ValueError as error:
        raise InvalidInput(str(error), field="ipNetworks") from None
