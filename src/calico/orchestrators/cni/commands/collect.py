"""GC: what this host attached to a network and no container has any more is taken away, going on over errors."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from calico.datastore.typed.ready import require_ready
from calico.errors import CalicoError
from calico.orchestrators.cni.addresses.delegate import call_plugin
from calico.orchestrators.cni.commands.agent import Agent, Call
from calico.orchestrators.cni.commands.detach import pods_for_removal, remove
from calico.orchestrators.cni.host.records import Record, Records
from calico.orchestrators.cni.protocol.fault import INVALID_CONFIG, PluginError, fault_of
from calico.orchestrators.cni.protocol.netconf import NetConf, decode_config
from calico.orchestrators.cni.protocol.request import Request

__all__ = ["collect", "deletion_of", "require_valid", "unlisted"]


async def collect(agent: Agent, call: Call) -> None:
    """Removes the attachments of the network that are not among the valid ones; PluginError naming all that stay."""
    request = call.request
    valid = require_valid(request)
    await require_ready(agent.store.backend)
    failed: list[str] = []
    for record in unlisted(agent, request, agent.records, valid):
        attached = record.attached
        try:
            async with agent.alone(attached.container_id):
                deletion = deletion_of(request, record)
                pods = pods_for_removal(agent, deletion.config)
                await remove(agent, attached, record.host_interface, agent.addresses(deletion), pods)
        except (CalicoError, OSError) as error:
            failed.append(f"{attached.container_id} {attached.interface}: {fault_of(error).message}")
    if not request.config.is_own_ipam:
        try:
            await call_plugin(request.config.ipam.type, request, "GC")
        except CalicoError as error:
            failed.append(str(error))
    if failed:
        raise PluginError(fault_of(CalicoError()).code, "not all could be removed: " + "; ".join(failed))


def require_valid(request: Request) -> frozenset[tuple[str, str]]:
    """Container and interface of each attachment that the runtime lists; PluginError when it lists none at all."""
    valid = request.config.valid_attachments
    if valid is None:
        raise PluginError(INVALID_CONFIG, "cni.dev/valid-attachments: GC needs the attachments that are to stay")
    return frozenset((one.container_id, one.interface) for one in valid)


def unlisted(agent: Agent, request: Request, records: Records, valid: frozenset[tuple[str, str]]) -> Iterator[Record]:
    """The records of this host in the request's network that are not valid."""
    node = agent.node(request.config)
    for record in records.all():
        attached = record.attached
        if (attached.network, attached.node) != (request.config.name, node):
            continue
        if (attached.container_id, attached.interface) not in valid:
            yield record


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
