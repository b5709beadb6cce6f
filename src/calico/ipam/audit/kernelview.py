"""Whether a host's kernel agrees with its endpoints about addresses: *address, endpoint, route, interface*. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping

import msgspec

from calico.errors import InvalidInput
from calico.ipam.audit.consistency import Finding
from calico.ipam.audit.state import IPAMState
from calico.ipam.choice.pools import pool_around
from calico.ipam.stored.keys import parse_address

__all__ = ["KernelView", "in_kernel", "kernel_findings"]


class KernelView(msgspec.Struct, frozen=True):
    """What one host's kernel has: ``local`` addresses of its interfaces, ``routes`` to single addresses (by device)."""

    host: str
    local: frozenset[str]
    routes: Mapping[str, str]


def kernel_findings(state: IPAMState, kernel: KernelView, prefix: str = "cali") -> Iterator[Finding]:
    """Where endpoints and tunnels of the host, and its kernel, differ. ``prefix``: of workload interfaces."""
    here: dict[str, list[str]] = defaultdict(list)
    for user in state.users:
        if user.node == kernel.host:
            here[user.address].append(user.who)
    for address, who in sorted(here.items()):
        tunnel = who[0].find(" tunnel of ") > 0
        if tunnel and address not in kernel.local:
            text = f"is of the {who[0]}, and no interface of this host has it"
            yield Finding("address-not-local", address, text, "look at `calico node status`", address=address)
        if not tunnel and address not in kernel.routes:
            text = f"is of {who[0]}, and the kernel has no route to it"
            proposal = "look at `calico node status`: Felix makes the route when the interface is there"
            yield Finding("address-without-route", address, text, proposal, address=address, node=kernel.host)
    for address, device in sorted(kernel.routes.items()):
        if device.startswith(prefix) and address not in here and _in_pool(state, address):
            text = f"has a route to {device} on this host, and no endpoint of this host has the address"
            proposal = "delete the interface when its workload is gone, else create the endpoint"
            yield Finding("route-without-endpoint", address, text, proposal, address=address, node=kernel.host)


def in_kernel(kernel: KernelView | None, address: str) -> str:
    """What the kernel has of an address; empty when nothing."""
    if kernel is None:
        return ""
    if address in kernel.local:
        return f"an interface of {kernel.host} has it"
    device = kernel.routes.get(address)
    return f"{kernel.host} has a route to it, dev {device}" if device is not None else ""


def _in_pool(state: IPAMState, address: str) -> bool:
    try:
        return pool_around(state.pools, parse_address(address))[0] is not None
    except InvalidInput:
        return False
