"""DEL: endpoint, veth and addresses go, in that order; what is gone already is no error.

An endpoint or veth of another sandbox of the same pod stays, and so do the addresses of the container's other
interfaces. While the datastore cannot be asked nothing is touched, and the runtime tries again.
"""

from __future__ import annotations

import asyncio

from calico.errors import CalicoError
from calico.orchestrators.cni.addresses.source import AddressSource
from calico.orchestrators.cni.commands.agent import Agent, Call
from calico.orchestrators.cni.host.wiring import Cable, unwire
from calico.orchestrators.cni.protocol.netconf import NetConf
from calico.orchestrators.cni.workload.known import delete_endpoint, look_up
from calico.orchestrators.cni.workload.names import Attached
from calico.orchestrators.cni.workload.pods import NoKubernetes, PodSource

__all__ = ["detach", "pods_for_removal", "remove"]


async def detach(agent: Agent, call: Call) -> None:
    """Whatever ADD made of this attachment is gone afterwards."""
    request = call.request
    attached = agent.attached(request)
    attached.require_endpoint_name()
    host_interface = agent.host_interface(call, attached)
    await remove(
        agent,
        attached,
        "" if call.tap else host_interface,
        agent.addresses(request),
        pods_for_removal(agent, request.config),
    )


async def remove(
    agent: Agent,
    attached: Attached,
    host_interface: str,
    source: AddressSource,
    pods: PodSource,
    *,
    even_locked: bool = False,
) -> None:
    """The steps of DEL. Transient, and nothing is touched, while the datastore is locked, unless that does not matter.
    An error of the addresses' source is raised after all else is done. Without a host interface none is deleted: a
    device that somebody else made is theirs."""
    known = await look_up(agent.store, attached, even_locked=even_locked)
    was_ours = known.is_of(attached) and known.endpoint is not None
    await delete_endpoint(agent.store, attached, known)
    agent.on_step("endpoint deleted")
    if host_interface:
        cable = Cable(netns="", interface=attached.interface, host_interface=host_interface, alias=attached.alias)
        await asyncio.to_thread(unwire, cable)
    agent.on_step("unwired")
    await source.release(attached, known.kept_addresses)
    agent.on_step("released")
    agent.records.forget(attached)
    agent.on_step("forgotten")
    if attached.pod and was_ours:
        await pods.attached(attached.namespace, attached.pod, (), attached.container_id)


def pods_for_removal(agent: Agent, config: NetConf) -> PodSource:
    """Whom to tell; nobody where that cannot be found out: what is removed does not depend on it."""
    try:
        return agent.pods(config)
    except CalicoError:
        return NoKubernetes()
