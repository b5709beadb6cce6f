"""Follows a prefix through the cluster: reads whose it is, asks the hosts concerned, puts their answers together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

import msgspec

from calico.bgp.explain.chain import Link, Speaker, Verdict, chain, verdict_of
from calico.bgp.explain.owners import Owner, owners_of
from calico.bgp.remote.asking import ask
from calico.datastore.api import Backend
from calico.datastore.typed.store import Store
from calico.errors import NotFound
from calico.ipam.stored.keys import HOST_PREFIX, parse_affinity_key
from calico.model.codec import decode
from calico.model.ippool import IPPool
from calico.model.keys import kind_prefix, parse_key
from calico.model.node import Node
from calico.model.workload import WorkloadEndpoint

__all__ = ["Trace", "trace"]

_MOST_REFLECTORS = 32


class Trace(msgspec.Struct, frozen=True):
    """The way of a prefix to a host."""

    prefix: str
    host: str
    links: tuple[Link, ...]
    verdict: Verdict


async def trace(store: Store, prefix: str, host: str, *, timeout_s: float) -> Trace:
    """NotFound when there is no Node of that name; ``prefix`` is canonical.

    Reads the WorkloadEndpoints, and asks the host, those that own the prefix, and the reflectors.
    """
    nodes = {node.metadata.name: node for node in await store.list("Node") if isinstance(node, Node)}
    if host not in nodes:
        raise NotFound(f"there is no Node {host}; there are {', '.join(sorted(nodes)[:10]) or 'none'}")
    owners = await _owners(store, prefix)
    reflectors = [name for name, node in sorted(nodes.items()) if _is_reflector(node)][:_MOST_REFLECTORS]
    asked = dict.fromkeys([host, *(owner.host for owner in owners if owner.host in nodes), *reflectors])
    answers = await ask(store.backend, tuple(asked), "why", prefix=prefix, timeout_s=timeout_s)
    speakers = {
        name: Speaker(
            name=name,
            addresses=_addresses(nodes[name]),
            reflector=_is_reflector(nodes[name]),
            facts=answer.facts,
            error=answer.error or "it answered something else",
        )
        for name, answer in answers.items()
    }
    links = chain(host, owners, speakers)
    return Trace(prefix, host, links, verdict_of(links, host))


async def _owners(store: Store, prefix: str) -> tuple[Owner, ...]:
    pools = [pool for pool in await store.list("IPPool") if isinstance(pool, IPPool)]
    return owners_of(prefix, await _endpoints(store.backend, prefix), await _blocks(store.backend), pools)


async def _endpoints(backend: Backend, prefix: str) -> list[WorkloadEndpoint]:
    """Those that may have the prefix: only where its address appears is the rest read."""
    address = prefix.partition("/")[0].encode()
    found = []
    for item in (await backend.list(kind_prefix("WorkloadEndpoint"))).items:
        key = parse_key(item.key)
        if key is not None and address in item.value:
            resource = decode(key, item.value).resource
            if isinstance(resource, WorkloadEndpoint):
                found.append(resource)
    return found


async def _blocks(backend: Backend) -> Mapping[str, list[str]]:
    """The blocks by host (data model 9.1)."""
    found: dict[str, list[str]] = defaultdict(list)
    for item in (await backend.list(HOST_PREFIX)).items:
        key = parse_affinity_key(item.key)
        if key is not None:
            found[key.owner.removeprefix("host:")].append(key.cidr)
    return found


def _addresses(node: Node) -> tuple[str, ...]:
    bgp = node.spec.bgp
    texts = (bgp.ipv4_address, bgp.ipv6_address) if bgp is not None else ()
    return tuple(text.partition("/")[0] for text in texts if text)


def _is_reflector(node: Node) -> bool:
    return node.spec.bgp is not None and bool(node.spec.bgp.route_reflector_cluster_id)
