"""CHECK: whether an attachment still is as ADD left it, in the container, on the host, in the datastore, in Felix."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Iterator
from contextlib import suppress

from calico.dataplane.links import Links
from calico.errors import NotFound
from calico.lib import packed
from calico.model.workload import WorkloadEndpoint
from calico.obs.programmed import SOCKET, Question, await_programmed
from calico.orchestrators.cni.addresses.delegate import call_plugin
from calico.orchestrators.cni.addresses.source import bare_all
from calico.orchestrators.cni.commands.agent import Agent, Call
from calico.orchestrators.cni.host.wiring import mac_text
from calico.orchestrators.cni.protocol.fault import DIFFERS, INVALID_CONFIG, UNKNOWN_CONTAINER, PluginError
from calico.orchestrators.cni.protocol.result import Result, parse_result
from calico.orchestrators.cni.workload.known import look_up
from calico.orchestrators.cni.workload.names import Attached

__all__ = ["check"]

_FELIX_S = 2.0


async def check(agent: Agent, call: Call) -> None:
    """PluginError that names every difference. Addresses and routes that the container has besides are its own."""
    request = call.request
    if request.config.prev_result is None:
        raise PluginError(INVALID_CONFIG, "CHECK needs prevResult: the answer of the ADD that it is to compare with")
    if not call.netns:
        raise PluginError(UNKNOWN_CONTAINER, f"CNI_NETNS {request.netns} is not a network namespace of a container")
    attached = agent.attached(request)
    host_interface = agent.host_interface(call, attached)
    result = parse_result(request.config.prev_result, request.version)
    known = await look_up(agent.store, attached)
    found = list(await asyncio.to_thread(lambda: list(_differences(call, attached, host_interface, result))))
    if known.endpoint is None or not known.is_of(attached):
        found.append(f"the datastore has no endpoint {attached.endpoint_name} of this container")
    else:
        found += _endpoint_differences(known.endpoint, host_interface, _own_addresses(result, attached))
        found += await _addresses_lost(agent, call, attached, known.endpoint)
    if not request.config.is_own_ipam:
        await call_plugin(request.config.ipam.type, request, "CHECK")
    if not found:
        found += await _felix_says(agent, attached)
    if found:
        raise PluginError(DIFFERS, "; ".join(found))


def _differences(call: Call, attached: Attached, host_interface: str, result: Result) -> Iterator[str]:
    with Links() as host:
        try:
            outer = host.get(host_interface)
        except NotFound:
            yield f"the host has no interface {host_interface}"
        else:
            if outer.alias != attached.alias:
                yield f"the host's interface {host_interface} belongs to another container"
            if not outer.up:
                yield f"the host's interface {host_interface} is down"
    with Links(call.netns) as inside:
        try:
            inner = inside.get(attached.interface)
        except NotFound:
            yield f"the container has no interface {attached.interface}"
            return
        if not inner.up:
            yield f"the container's interface {attached.interface} is down"
        told = next((i for i in result.interfaces if i.name == attached.interface and i.sandbox), None)
        if told is not None and told.mac and told.mac.lower() != mac_text(inner.mac):
            yield f"the container's interface {attached.interface} has the MAC {mac_text(inner.mac)}, not {told.mac}"
        has = {str(ipaddress.ip_address(one.address)) for one in inside.addresses(attached.interface)}
        for address in sorted(_own_addresses(result, attached) - has):
            yield f"the container's interface {attached.interface} has no address {address}"
        routes = {packed.net_str(route.dst) for route in inside.routes() if route.oif == inner.index}
        for route in result.routes:
            if _spelled(route.dst) not in routes:
                yield f"the container has no route to {route.dst} over {attached.interface}"


def _own_addresses(result: Result, attached: Attached) -> frozenset[str]:
    """Those of our interface: a plugin before us in the list may have made others."""
    ours = {number for number, one in enumerate(result.interfaces) if one.name == attached.interface}
    return bare_all([ip.address for ip in result.ips if ip.interface is None or ip.interface in ours])


def _endpoint_differences(endpoint: WorkloadEndpoint, host_interface: str, addresses: frozenset[str]) -> Iterator[str]:
    stored = bare_all(endpoint.spec.ip_networks)
    if stored != addresses:
        yield f"the endpoint has the addresses {', '.join(sorted(stored))}, not {', '.join(sorted(addresses))}"
    if endpoint.spec.interface_name != host_interface:
        yield f"the endpoint names the interface {endpoint.spec.interface_name}, not {host_interface}"


async def _addresses_lost(agent: Agent, call: Call, attached: Attached, endpoint: WorkloadEndpoint) -> list[str]:
    held = await agent.addresses(call.request).held(attached)
    if not held:
        return [] if held is None else [f"no address is allocated under {attached.handle}"]
    return [
        f"address {one} is not allocated to this container"
        for one in sorted(bare_all(endpoint.spec.ip_networks) - held)
    ]


async def _felix_says(agent: Agent, attached: Attached) -> list[str]:
    path = f"{agent.settings.felix_run_dir}/{SOCKET}"
    question = Question(f"{attached.namespace}/{attached.endpoint_name}")
    answer = await await_programmed(path, question, _FELIX_S)
    return [] if answer.done else [f"its policy is not programmed: {answer.why}"]


def _spelled(dst: str) -> str:
    with suppress(ValueError):
        return str(ipaddress.ip_network(dst, strict=False))
    return dst
