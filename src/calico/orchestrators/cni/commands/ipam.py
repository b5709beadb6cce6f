"""``calico-ipam`` as a plugin of its own, for main plugins that are not ours: addresses, and nothing else.

Addresses are under the container's handle, as ever; which interface each is for stands in its attributes, so that the
DEL of one interface leaves the others theirs. Records of their own help GC, for there is no endpoint that could.
"""

from __future__ import annotations

from contextlib import suppress

import msgspec

from calico.datastore.typed.ready import require_ready
from calico.errors import CalicoError
from calico.ipam.requests import INTERFACE_ATTRIBUTE, Recorded
from calico.orchestrators.cni.addresses.source import OwnAddresses, wish_of
from calico.orchestrators.cni.commands.agent import Agent, Call
from calico.orchestrators.cni.commands.collect import require_valid, unlisted
from calico.orchestrators.cni.host.records import Record
from calico.orchestrators.cni.protocol.fault import DIFFERS, INTERNAL, PluginError, fault_of
from calico.orchestrators.cni.protocol.result import Result
from calico.orchestrators.cni.workload.annotations import read_annotations
from calico.orchestrators.cni.workload.names import Attached
from calico.orchestrators.cni.workload.pods import NoKubernetes

__all__ = ["check_addresses", "collect_addresses", "give", "take_back"]


async def give(agent: Agent, call: Call) -> Result:
    """One address of each family that is wanted, as /32 and /128, with a default route each."""
    request = call.request
    attached = agent.attached(request)
    await require_ready(agent.store.backend)
    pods = agent.pods(request.config) if attached.pod else NoKubernetes()
    facts = await pods.pod(attached.namespace, attached.pod, request.arguments.get("K8S_POD_UID", ""))
    asked = read_annotations(facts.annotations, facts.namespace_annotations, request.config.feature_control)
    source = OwnAddresses(agent.allocator)
    before = await source.held(attached) or frozenset()
    wish = wish_of(attached, request, asked, facts)
    agent.address_records.write(Record(attached=attached, host_interface="", netns=request.netns))
    try:
        given = await source.assign(
            attached, msgspec.structs.replace(wish, attrs={**wish.attrs, INTERFACE_ATTRIBUTE: attached.interface})
        )
        await agent.address_records.settle()
    except BaseException:
        with suppress(CalicoError):
            await source.release(attached, before)
            if not await _of_interface(agent, attached):
                agent.address_records.forget(attached)
        raise
    return given


async def take_back(agent: Agent, call: Call) -> None:
    """The addresses of the container's interface in this network; none is no error."""
    await require_ready(agent.store.backend)
    await _release(agent, agent.attached(call.request))


async def check_addresses(agent: Agent, call: Call) -> None:
    """PluginError when the container's interface has no address any more."""
    attached = agent.attached(call.request)
    if not await _of_interface(agent, attached):
        raise PluginError(DIFFERS, f"no address is allocated under {attached.handle} for {attached.interface}")


async def collect_addresses(agent: Agent, call: Call) -> None:
    """Take back what this host was given in the network for containers that the runtime does not list."""
    valid = require_valid(call.request)
    await require_ready(agent.store.backend)
    failed: list[str] = []
    for record in unlisted(agent, call.request, agent.address_records, valid):
        attached = record.attached
        try:
            async with agent.alone(attached.container_id):
                await _release(agent, attached)
        except (CalicoError, OSError) as error:
            failed.append(f"{attached.container_id} {attached.interface}: {fault_of(error).message}")
    if failed:
        raise PluginError(INTERNAL, "not all could be removed: " + "; ".join(failed))


async def _release(agent: Agent, attached: Attached) -> None:
    recorded = await agent.allocator.recorded_under(attached.handle)
    others = {one.address for one in recorded if not _is_for(one, attached.interface)}
    await OwnAddresses(agent.allocator).release(attached, others)
    agent.address_records.forget(attached)


async def _of_interface(agent: Agent, attached: Attached) -> bool:
    recorded = await agent.allocator.recorded_under(attached.handle)
    return any(_is_for(one, attached.interface) for one in recorded)


def _is_for(recorded: Recorded, interface: str) -> bool:
    """Addresses that older versions gave say no interface: they are for each."""
    return recorded.attrs.get(INTERFACE_ATTRIBUTE, interface) == interface
