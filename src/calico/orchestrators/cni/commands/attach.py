"""ADD: from a container without a network to one whose policy is in the kernel.

The order is such that whatever is left by a process that dies is found again: the record first, then addresses under
the container's handle, then the veth with the container's alias, and the endpoint last.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from typing import Final

from calico.dataplane.links import Links
from calico.dataplane.nft.own_table import is_filtering
from calico.errors import AlreadyExists, CalicoError, Conflict, InvalidInput, NotFound
from calico.model.meta import Resource
from calico.model.workload import WorkloadEndpoint
from calico.obs.logger import Logger
from calico.obs.programmed import SOCKET, Question, await_programmed
from calico.orchestrators.cni.addresses.delegate import find_plugin
from calico.orchestrators.cni.addresses.source import AddressSource, Wish, wish_of
from calico.orchestrators.cni.commands.agent import Agent, Call
from calico.orchestrators.cni.commands.detach import remove
from calico.orchestrators.cni.commands.gates import require_gates
from calico.orchestrators.cni.host.hostfiles import mtu_of
from calico.orchestrators.cni.host.records import Record
from calico.orchestrators.cni.host.wiring import GATEWAY_V4, HOST_MAC, Cable, Wired, adopt, mac_text, wire
from calico.orchestrators.cni.protocol.fault import EXISTS, TRY_AGAIN, UNKNOWN_CONTAINER, WRONG_NAMESPACE, PluginError
from calico.orchestrators.cni.protocol.result import Interface, IPConfig, Result, Route, extend, parse_result
from calico.orchestrators.cni.workload.annotations import Asked, read_annotations
from calico.orchestrators.cni.workload.endpoint import build_endpoint, network_profile
from calico.orchestrators.cni.workload.known import Known, look_up
from calico.orchestrators.cni.workload.names import Attached
from calico.orchestrators.cni.workload.pods import NoKubernetes, PodSource
from calico.orchestrators.kubernetes.convert.pod import pod_qos

__all__ = ["attach", "await_policy", "put_profile"]

log = Logger(__name__)

_NO_FILTERS: Final = "Felix has not run on this host since it started, so nothing would judge the container's packets"
_NO_FILTERS_HINT: Final = "start calico-felix; calico-boot-guard closes workloads until then, from the next boot on"


async def attach(agent: Agent, call: Call) -> Result:
    """The result of ADD, once the container's policy is programmed. After an error nothing is left."""
    request = call.request
    attached = agent.attached(request)
    attached.require_endpoint_name()
    key = attached.key
    host_interface = agent.host_interface(call, attached)
    _check_namespace(call)
    mtu = mtu_of(request.config, agent.settings.mtu_file)
    agent.tell_unheeded(request.config)
    if request.config.readiness_gates:
        await require_gates(request.config.readiness_gates)
    if not request.config.is_own_ipam:
        find_plugin(request.config.ipam.type, request.path)
    pods = agent.pods(request.config) if attached.pod else NoKubernetes()
    facts = await pods.pod(attached.namespace, attached.pod, request.arguments.get("K8S_POD_UID", ""))
    for problem in pod_qos(facts.annotations)[1]:
        log.warning("a limit of a pod is left out", pod=f"{attached.namespace}/{attached.pod}", problem=problem)
    asked = read_annotations(facts.annotations, facts.namespace_annotations, request.config.feature_control)
    wish = wish_of(attached, request, asked, facts)
    known, filtering = await asyncio.gather(look_up(agent.store, attached), asyncio.to_thread(is_filtering))
    if not filtering:
        raise PluginError(TRY_AGAIN, _NO_FILTERS, _NO_FILTERS_HINT)
    if known.is_of(attached) and (call.tap or await asyncio.to_thread(_has_interface, call.netns, attached.interface)):
        raise PluginError(EXISTS, f"{attached.container_id} is attached already, by interface {attached.interface}")
    source = agent.addresses(request)
    record = Record(
        attached=attached,
        host_interface=host_interface,
        netns=request.netns,
        inode=os.stat(call.netns).st_ino if call.netns else 0,
        config=request.raw.decode(),
    )
    if not call.by_hand:
        agent.records.write(record)
    agent.on_step("recorded")
    kept = asyncio.create_task(agent.records.settle())  # beside all that comes before the endpoint
    try:
        profiles = await _profiles(agent, call, attached, known)
        addresses = await _assign(agent, source, attached, known, asked, wish)
        agent.on_step("allocated")
        cable = _cable(call, attached, host_interface, addresses, asked, mtu)
        wired = (
            await asyncio.to_thread(adopt, cable) if call.tap else await asyncio.to_thread(wire, cable, agent.on_step)
        )
        agent.on_step("wired")
        endpoint = build_endpoint(
            attached,
            host_interface=host_interface,
            mac=wired.mac,
            addresses=cable.addresses,
            profiles=profiles,
            labels=dict(call.labels),
            facts=facts,
            asked=asked,
        )
        await kept
        stored = await (agent.store.apply(endpoint) if known.endpoint else _create(agent, endpoint))
        agent.on_step("endpoint written")
        await await_policy(agent, stored, request.config.policy_setup_timeout_seconds)
        if attached.pod:
            await pods.attached(attached.namespace, attached.pod, cable.addresses, attached.container_id)
        agent.on_step("programmed")
    except BaseException as error:
        await asyncio.gather(kept, return_exceptions=True)
        log.warning("an attachment failed and is undone", endpoint=str(key), error=str(error))
        await _undo(agent, attached, "" if call.tap else host_interface, source, pods)
        raise
    ours = _result(call, attached, host_interface, addresses, wired)
    previous = request.config.prev_result
    return extend(parse_result(previous, request.version), ours) if previous else ours


async def put_profile(agent: Agent, network: str, *, kubernetes: bool = False) -> None:
    """Make the network's profile, unless there is one: it may have been changed by hand."""
    try:
        await agent.store.get("Profile", network)
    except NotFound:
        with suppress(AlreadyExists):
            await agent.store.create(network_profile(network, kubernetes=kubernetes))


async def await_policy(agent: Agent, stored: WorkloadEndpoint | object, timeout_s: float | None) -> None:
    """Return when Felix has programmed the endpoint. Without an answer in time it goes on: such an endpoint is closed
    until Felix opens it. What Felix cannot program is an error."""
    if not isinstance(stored, WorkloadEndpoint):
        return
    limit = agent.settings.policy_setup_timeout_s if timeout_s is None else timeout_s
    if limit <= 0:
        return
    metadata = stored.metadata
    name = f"{metadata.namespace}/{metadata.name}"
    path = f"{agent.settings.felix_run_dir}/{SOCKET}"
    answer = await await_programmed(path, Question(name, int(metadata.resource_version)), limit)
    if answer.error:
        raise PluginError(TRY_AGAIN, f"Felix cannot program endpoint {name}: {answer.why}")
    if not answer.done:
        log.warning("policy was not programmed in time; the endpoint is closed until it is", endpoint=name,
                    why=answer.why, waited_s=limit)  # fmt: skip


def _check_namespace(call: Call) -> None:
    if call.tap:
        return
    if call.netns_is_host:
        raise PluginError(WRONG_NAMESPACE, f"CNI_NETNS {call.request.netns} is the host's own network namespace")
    if not call.netns:
        raise PluginError(UNKNOWN_CONTAINER, f"CNI_NETNS {call.request.netns} is not a network namespace")


def _has_interface(netns: str, name: str) -> bool:
    with suppress(NotFound), Links(netns) as inside:
        inside.get(name)
        return True
    return False


async def _create(agent: Agent, endpoint: WorkloadEndpoint) -> Resource:
    """Written at once, for there was none a moment ago; if there is one now, or nobody can tell, it is looked at."""
    try:
        return await agent.store.create(endpoint)
    except (AlreadyExists, Conflict):
        return await agent.store.apply(endpoint)


async def _profiles(agent: Agent, call: Call, attached: Attached, known: Known) -> tuple[str, ...]:
    """The profiles to name: none where those of the pod's namespace and account apply."""
    if attached.pod and call.request.config.is_kubernetes_policy:
        return ()
    if not known.has_profile:
        await put_profile(agent, attached.network, kubernetes=bool(attached.pod))
    agent.on_step("profiled")
    return (attached.network,)


async def _assign(
    agent: Agent, source: AddressSource, attached: Attached, known: Known, asked: Asked, wish: Wish
) -> Result:
    """Addresses anew. What an earlier attempt of the same container left is released first, or nobody would."""
    if asked.addresses_without_ipam:
        nets = [f"{address}/{128 if ':' in address else 32}" for address in asked.addresses_without_ipam]
        return Result(
            ips=tuple(IPConfig(address=net) for net in nets),
            routes=tuple(Route(dst="::/0" if ":" in net else "0.0.0.0/0") for net in nets),
        )
    if attached.pod and asked.addresses:
        await source.take_over(attached, known.endpoint, asked.addresses)
    left = await source.held(attached) if known.has_handle else None
    if left and left - known.kept_addresses:
        await source.release(attached, known.kept_addresses)
    return await source.assign(attached, wish)


def _cable(call: Call, attached: Attached, host_interface: str, addresses: Result, asked: Asked, mtu: int) -> Cable:
    config = call.request.config
    mac = asked.mac or call.request.arguments.get("MAC", "") or config.runtime_config.mac
    return Cable(
        netns=call.netns,
        interface=attached.interface,
        host_interface=host_interface,
        alias=attached.alias,
        addresses=tuple(ip.address for ip in addresses.ips),
        destinations=tuple(route.dst for route in addresses.routes),
        mac=_checked_mac(mac),
        mtu=mtu,
        queues=config.num_queues,
        forwarding=config.container_settings.allow_ip_forwarding,
        replaces_sandbox=bool(attached.pod),
    )


def _checked_mac(text: str) -> str:
    try:
        octets = bytes.fromhex(text.replace(":", ""))
    except ValueError:
        octets = b"\xff"
    if text and (len(octets) != 6 or octets[0] & 1):
        raise InvalidInput(f"{text!r} is not the MAC of one interface", field="mac")
    return text


async def _undo(agent: Agent, attached: Attached, host_interface: str, source: AddressSource, pods: PodSource) -> None:
    """As DEL does; what cannot be undone now is left to the DEL that the runtime sends, or to a GC."""
    try:
        await remove(agent, attached, host_interface, source, pods, even_locked=True)
    except CalicoError as error:
        log.warning("a failed attachment could not be undone", container=attached.container_id, error=str(error))


def _result(call: Call, attached: Attached, host_interface: str, addresses: Result, wired: Wired) -> Result:
    gateways = {True: wired.gateway_v6, False: GATEWAY_V4}
    if call.tap:
        ends: tuple[Interface, ...] = (Interface(name=call.tap, mac=wired.mac, mtu=wired.mtu),)
    else:
        container = Interface(name=attached.interface, mac=wired.mac, mtu=wired.mtu, sandbox=call.request.netns)
        ends = (Interface(name=host_interface, mac=mac_text(HOST_MAC), mtu=wired.mtu), container)
    return Result(
        interfaces=ends,
        ips=tuple(IPConfig(address=ip.address, interface=len(ends) - 1) for ip in addresses.ips),
        routes=tuple(Route(dst=route.dst, gw=gateways[":" in route.dst]) for route in addresses.routes),
        dns=addresses.dns,
    )
