"""GC: what this host attached to a network and no container has any more is taken away, going on over errors."""

from __future__ import annotations

import msgspec

from calico.datastore.typed.ready import require_ready
from calico.errors import CalicoError
from calico.orchestrators.cni.agent import Agent, Call
from calico.orchestrators.cni.delegate import call_plugin
from calico.orchestrators.cni.detach import remove
from calico.orchestrators.cni.fault import INVALID_CONFIG, PluginError, fault_of
from calico.orchestrators.cni.netconf import NetConf, decode_config
from calico.orchestrators.cni.protocol import Request
from calico.orchestrators.cni.records import Record

__all__ = ["collect", "deletion_of"]


async def collect(agent: Agent, call: Call) -> None:
    """Removes the attachments of the network that are not among the valid ones; PluginError naming all that stay."""
    request = call.request
    valid = request.config.valid_attachments
    if valid is None:
        raise PluginError(INVALID_CONFIG, "cni.dev/valid-attachments: GC needs the attachments that are to stay")
    await require_ready(agent.store.backend)
    kept = {(one.container_id, one.interface) for one in valid}
    failed: list[str] = []
    for record in agent.records.all():
        attached = record.attached
        if attached.network != request.config.name or attached.node != (request.config.nodename or agent.settings.node):
            continue
        if (attached.container_id, attached.interface) in kept:
            continue
        try:
            async with agent.alone(attached.container_id):
                await remove(agent, attached, record.host_interface, agent.addresses(deletion_of(request, record)))
        except (CalicoError, OSError) as error:
            failed.append(f"{attached.container_id} {attached.interface}: {fault_of(error).message}")
    if not request.config.is_own_ipam:
        try:
            await call_plugin(request.config.ipam.type, request, "GC")
        except CalicoError as error:
            failed.append(str(error))
    if failed:
        raise PluginError(fault_of(CalicoError()).code, "not all could be removed: " + "; ".join(failed))


def deletion_of(request: Request, record: Record) -> Request:
    """The DEL that nobody sent; with the configuration of its ADD, if that can still be read."""
    config: NetConf = request.config
    raw = record.config.encode()
    try:
        config = decode_config(raw)
    except PluginError:
        raw = request.raw
    return msgspec.structs.replace(
        request,
        command="DEL",
        container_id=record.attached.container_id,
        interface=record.attached.interface,
        netns=record.netns,
        config=config,
        raw=raw,
    )
