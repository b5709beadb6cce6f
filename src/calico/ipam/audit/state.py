"""All of IPAM, with the resources that use addresses, as of one revision of the datastore."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping

import msgspec

from calico.datastore.api import Backend, KeyValue
from calico.errors import InvalidInput
from calico.ipam.stored.affinity import Affinity, decode_affinity
from calico.ipam.stored.block import Block
from calico.ipam.stored.block_codec import decode_block
from calico.ipam.stored.config import IPAMSettings, decode_settings
from calico.ipam.stored.handle import Handle, decode_handle
from calico.ipam.stored.keys import (
    CONFIG_KEY,
    IPAM_PREFIX,
    AffinityKey,
    parse_affinity_key,
    parse_block_key,
    parse_handle_key,
)
from calico.model.codec import decode
from calico.model.ippool import IPPool
from calico.model.keys import kind_prefix, parse_key
from calico.model.node import Node, tunnel_addresses
from calico.model.workload import WorkloadEndpoint

__all__ = ["IPAMState", "User", "decode_ipam", "read_state"]


class User(msgspec.Struct, frozen=True, order=True):
    """Who uses an address: an endpoint, or the tunnel of a node."""

    address: str
    who: str
    node: str


class IPAMState(msgspec.Struct, frozen=True, kw_only=True):
    """``damaged``: keys that cannot be read, and why. ``users``: every address that an endpoint or a tunnel has.

    ``unreadable``: endpoints and nodes of which not all can be read, so that any address may be theirs.
    """

    revision: int = 0
    settings: IPAMSettings = IPAMSettings()
    blocks: Mapping[str, Block] = {}
    affinities: Mapping[AffinityKey, Affinity] = {}
    handles: Mapping[str, Handle] = {}
    damaged: Mapping[str, str] = {}
    pools: tuple[IPPool, ...] = ()
    nodes: frozenset[str] = frozenset()
    users: tuple[User, ...] = ()
    unreadable: tuple[str, ...] = ()


def decode_ipam(items: Iterable[KeyValue]) -> IPAMState:
    """The part of the state that is under IPAM's own keys. Never raises: what cannot be read is named."""
    blocks: dict[str, Block] = {}
    affinities: dict[AffinityKey, Affinity] = {}
    handles: dict[str, Handle] = {}
    damaged: dict[str, str] = {}
    settings = IPAMSettings()
    for kv in items:
        try:
            if cidr := parse_block_key(kv.key):
                blocks[cidr] = decode_block(kv.key, kv.value)
            elif key := parse_affinity_key(kv.key):
                affinities[key] = decode_affinity(kv.key, kv.value)
            elif handle := parse_handle_key(kv.key):
                handles[handle] = decode_handle(kv.key, kv.value)
            elif kv.key == CONFIG_KEY:
                settings = decode_settings(kv.value)
            elif "/block/" in kv.key:
                damaged[kv.key] = "its key names no CIDR"
        except InvalidInput as error:
            damaged[kv.key] = str(error)
    return IPAMState(settings=settings, blocks=blocks, affinities=affinities, handles=handles, damaged=damaged)


async def read_state(backend: Backend) -> IPAMState:
    """Everything, all of one revision: what changes meanwhile cannot look like an inconsistency."""
    listing = await backend.list(IPAM_PREFIX)
    at = listing.revision
    state = decode_ipam(listing.items)
    damaged = dict(state.damaged)
    pools, nodes, users, unreadable = [], set(), [], []
    for kind in ("IPPool", "Node", "WorkloadEndpoint"):
        for kv in (await backend.list(kind_prefix(kind), revision=at)).items:
            key = parse_key(kv.key)
            if key is None:
                continue
            found = decode(key, kv.value, kv.mod_revision)
            resource = found.resource
            if found.problems:
                damaged[kv.key] = "; ".join(found.problems)
                unreadable += [str(key)] if kind != "IPPool" else []
            if isinstance(resource, IPPool):
                pools.append(resource)
            elif isinstance(resource, Node):
                nodes.add(resource.metadata.name)
                users += [
                    User(_plain(address), f"{what} tunnel of Node {resource.metadata.name}", resource.metadata.name)
                    for what, address in tunnel_addresses(resource).items()
                ]
            elif isinstance(resource, WorkloadEndpoint):
                users += _of_endpoint(resource)
    return msgspec.structs.replace(
        state,
        revision=at,
        damaged=damaged,
        pools=tuple(pools),
        nodes=frozenset(nodes),
        users=tuple(sorted(users)),
        unreadable=tuple(unreadable),
    )


def _of_endpoint(endpoint: WorkloadEndpoint) -> list[User]:
    name = f"WorkloadEndpoint {endpoint.metadata.namespace}/{endpoint.metadata.name}"
    return [User(_plain(net), name, endpoint.spec.node) for net in endpoint.spec.ip_networks]


def _plain(text: str) -> str:
    """An address as text in canonical form; what is none stays as it is."""
    try:
        return str(ipaddress.ip_address(text.partition("/")[0]))
    except ValueError:
        return text
