"""IPPool and Node resources, checked and packed: what each brings into the sets of the whole cluster.

A malformed entry is left out and reported; the rest stays.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from calico.calc.encap import PoolEncap, host_ends
from calico.calc.messages import ALL_HOSTS, IPAM_POOLS, IPIP_HOSTS, MASQ_POOLS, VXLAN_HOSTS, EndpointUpdate
from calico.calc.settings import CalcSettings
from calico.calc.wireguard_ends import wireguard_ends
from calico.lib import packed
from calico.model.ippool import IPPool
from calico.model.node import Node
from calico.model.soundness import net_fault

__all__ = ["ClusterNets", "node_addresses", "pool_nets", "sets_of_endpoint", "sets_of_pool"]

_SIZES = {"IPv4": (4,), "IPv6": (16,), "IP": (4, 16)}

ClusterNets = Mapping[str, tuple[bytes, ...]]
"""By set, the packed nets that one resource brings into it."""


def pool_nets(resource: IPPool) -> tuple[ClusterNets, tuple[str, ...]]:
    """What a pool brings, enabled or not, and what is wrong with it (datamodel 16.11)."""
    text = resource.spec.cidr
    if net_fault(text):
        return {}, (f"spec.cidr: {text!r} is no network",)
    nets = (packed.net(text),)
    return ({IPAM_POOLS: nets, MASQ_POOLS: nets} if resource.spec.nat_outgoing else {IPAM_POOLS: nets}), ()


def node_addresses(resource: Node) -> tuple[ClusterNets, tuple[str, ...]]:
    """What a node brings: each of its addresses without the length of its subnet, and what is wrong with it."""
    nets: dict[bytes, None] = {}
    problems: list[str] = []
    for field, text, family in _addresses(resource):
        address = _address(text)
        if len(address) in _SIZES[family]:
            nets[packed.net_of_host(address)] = None
        else:
            problems.append(f"{field}: {text!r} is no {family} address")
    ends, said = host_ends(resource.metadata.name, resource)
    senders = tuple(packed.net_of_host(end.address) for end in ends.values() if end.address)
    ipip = tuple(net for net in senders if not packed.is_v6(net))
    brought = {ALL_HOSTS: tuple(nets), VXLAN_HOSTS: senders, IPIP_HOSTS: ipip}
    return brought, (*problems, *said, *wireguard_ends(resource)[1])


def sets_of_pool(nets: ClusterNets, encap: PoolEncap | None, settings: CalcSettings) -> tuple[str, ...]:
    """The sets that a pool makes necessary: those by which packets from it are masqueraded, and those by which
    packets of a tunnel are told from what only looks like them."""
    masquerading = (MASQ_POOLS, *_inside(settings)) if nets.get(MASQ_POOLS) else ()
    if encap is None or not settings.allows(encap.kind):
        return masquerading
    return (*masquerading, VXLAN_HOSTS if encap.kind == "vxlan" else IPIP_HOSTS)


def sets_of_endpoint(endpoint: EndpointUpdate, settings: CalcSettings) -> tuple[str, ...]:
    """The sets that a local endpoint makes necessary, since something is done to packets that leave the pools."""
    if endpoint.nats:
        return _inside(settings)
    return (IPAM_POOLS,) if endpoint.qos is not None and endpoint.qos.dscp is not None else ()


def _inside(settings: CalcSettings) -> tuple[str, ...]:
    """What NAT takes for inside."""
    return (IPAM_POOLS, ALL_HOSTS) if settings.nat_excludes_hosts else (IPAM_POOLS,)


def _addresses(resource: Node) -> Iterator[tuple[str, str, str]]:
    """(field, text, family) of every address of a node."""
    bgp = resource.spec.bgp
    if bgp is not None and bgp.ipv4_address:
        yield "spec.bgp.ipv4Address", bgp.ipv4_address, "IPv4"
    if bgp is not None and bgp.ipv6_address:
        yield "spec.bgp.ipv6Address", bgp.ipv6_address, "IPv6"
    for position, item in enumerate(resource.spec.addresses):
        yield f"spec.addresses[{position}].address", item.address, "IP"


def _address(text: str) -> bytes:
    return b"" if net_fault(text) else packed.addr_bytes(text.partition("/")[0])
