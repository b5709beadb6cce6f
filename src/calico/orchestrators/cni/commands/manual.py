"""Endpoints that people plug in, by the path of the plugin: any network namespace, or a device of a hypervisor."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import msgspec

from calico.dataplane.links import Links
from calico.errors import InvalidInput, NotFound
from calico.model.decoding import decode
from calico.model.keys import kind_prefix, parse_key
from calico.model.names import WorkloadEndpointIdentifiers
from calico.model.workload import WorkloadEndpoint
from calico.orchestrators.cni.addresses.source import bare_all
from calico.orchestrators.cni.commands.agent import Agent, Call
from calico.orchestrators.cni.commands.attach import attach
from calico.orchestrators.cni.commands.detach import detach
from calico.orchestrators.cni.host.place import place_at
from calico.orchestrators.cni.protocol.fault import EXISTS, PluginError
from calico.orchestrators.cni.protocol.netconf import decode_config
from calico.orchestrators.cni.protocol.request import NEWEST, Request
from calico.orchestrators.cni.protocol.result import Result
from calico.orchestrators.cni.workload.known import look_up
from calico.orchestrators.cni.workload.names import Attached

__all__ = ["Plug", "list_plugged", "netns_path", "plug", "unplug"]

_HASHED = 11


class Plug(msgspec.Struct, frozen=True, kw_only=True):
    """What to plug in under ``name``: the namespace at ``netns``, or the device ``tap``."""

    name: str
    netns: str = ""
    tap: str = ""
    interface: str = "eth0"
    network: str = "default"
    ips: Sequence[str] = ()
    pools: Sequence[str] = ()
    ipv4: bool = True
    ipv6: bool = False
    mac: str = ""
    mtu: int = 0
    labels: Mapping[str, str] = {}


def netns_path(name: str) -> str:
    """``ip netns``'s name, a path, or ``pid:N``, as a path."""
    if name.startswith("pid:"):
        number = name.removeprefix("pid:")
        if not number.isdigit():
            raise InvalidInput(f"{name!r} is not pid:NUMBER", field="--netns")
        return f"/proc/{number}/ns/net"
    return name if name.startswith("/") else f"/run/netns/{name}"


async def plug(agent: Agent, asked: Plug) -> Result:
    """Attach it; the result says addresses and gateways, which behind a tap are for the guest to set."""
    if asked.tap:
        _check_tap(asked.tap, agent.settings.interface_prefix)
    call = _call(agent, asked, "ADD")
    async with agent.alone(asked.name):
        known = await look_up(agent.store, agent.attached(call.request))
        if known.endpoint is not None and await asyncio.to_thread(_is_there, known.endpoint.spec.interface_name):
            message = f"{asked.name} is attached already, by host interface {known.endpoint.spec.interface_name}"
            raise PluginError(EXISTS, message, "take it out first, or give another name")
        return await attach(agent, call)


async def unplug(agent: Agent, name: str, interface: str = "eth0") -> None:
    """Take it out of the network; NotFound when nothing is known of it. A tap stays, unplugged."""
    asked = Plug(name=name, interface=interface)
    attached = agent.attached(_call(agent, asked, "DEL").request)
    known = await look_up(agent.store, attached, even_locked=True)
    if known.endpoint is None:
        raise NotFound(f"there is no endpoint {name} with interface {interface} on {agent.settings.node}")
    network = await _network_of(agent, attached, known.endpoint)
    call = _call(agent, msgspec.structs.replace(asked, network=network), "DEL")
    host_interface = known.endpoint.spec.interface_name
    own = (call.host_interface, attached.host_interface(agent.settings.interface_prefix))
    tap = host_interface if host_interface not in own else ""
    async with agent.alone(name):
        await detach(agent, msgspec.structs.replace(call, host_interface=host_interface, tap=tap))


async def _network_of(agent: Agent, attached: Attached, endpoint: WorkloadEndpoint) -> str:
    """By the handle of its addresses, for profiles may be changed; by its first profile when it has no address."""
    for address in sorted(bare_all(endpoint.spec.ip_networks)):
        recorded = await agent.allocator.get_attributes(address)
        if recorded is not None and (network := attached.network_of(recorded.handle or "")):
            return network
    return endpoint.spec.profiles[0] if endpoint.spec.profiles else "default"


def _is_there(host_interface: str) -> bool:
    with suppress(NotFound), Links() as host:
        host.get(host_interface)
        return True
    return False


async def list_plugged(agent: Agent) -> list[WorkloadEndpoint]:
    """The endpoints of this host that are no pods, containers included, by name."""
    identifiers = WorkloadEndpointIdentifiers(node=agent.settings.node, orchestrator="cni")
    listing = await agent.store.backend.list(kind_prefix("WorkloadEndpoint", "default") + identifiers.prefix())
    found = []
    for item in listing.items:
        key = parse_key(item.key)
        resource = decode(key, item.value, item.mod_revision).resource if key is not None else None
        if isinstance(resource, WorkloadEndpoint) and identifiers.matches(resource.metadata.name):
            found.append(resource)
    return found


def _call(agent: Agent, asked: Plug, command: Any) -> Call:
    pools = {
        f"ipv{family}_pools": [pool for pool in asked.pools if (":" in pool) is colon]
        for family, colon in ((4, False), (6, True))
    }
    document = {
        "cniVersion": NEWEST,
        "name": asked.network,
        "mtu": asked.mtu,
        "ipam": {"type": "calico-ipam", "assign_ipv4": asked.ipv4, "assign_ipv6": asked.ipv6, **pools},
        "runtimeConfig": {"ips": list(asked.ips), "mac": asked.mac},
    }
    raw = msgspec.json.encode(document)
    request = Request(
        command=command,
        container_id=asked.name,
        netns=asked.netns,
        interface=asked.interface,
        config=decode_config(raw),
        raw=raw,
    )
    call = place_at(request, os.path.abspath(asked.netns)) if asked.netns else Call(request=request)
    hashed = hashlib.sha1(f"{asked.name}.{asked.interface}".encode(), usedforsecurity=False).hexdigest()[:_HASHED]
    return msgspec.structs.replace(
        call,
        by_hand=True,
        labels=asked.labels,
        tap=asked.tap,
        host_interface=agent.settings.interface_prefix + hashed,
    )


def _check_tap(name: str, prefix: str) -> None:
    """Felix looks after interfaces with its prefix, and denies nothing of others."""
    if not name.startswith(prefix):
        message = f"{name!r} must begin with {prefix!r}, Felix's InterfacePrefix: name the device so in the hypervisor"
        raise InvalidInput(message, field="--tap")
    with Links() as links:
        if links.get(name).master:
            raise InvalidInput(f"{name} is a port of a bridge; take it out first", field="--tap")
