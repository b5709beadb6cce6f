"""Subnets to the records that hosts serve DHCP from, and to pools."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from calico.errors import InvalidInput
from calico.model.defaults import DEFAULT_BLOCK_SIZE
from calico.model.ippool import IPPool, IPPoolSpec
from calico.model.keys import ResourceKey
from calico.orchestrators.openstack import naming, records
from calico.orchestrators.openstack.convert.documents import (
    Converted,
    Document,
    Options,
    Problem,
    finished,
    metadata_of,
)
from calico.orchestrators.openstack.facts import Network, Router, Subnet

__all__ = ["convert_subnet"]


def convert_subnet(subnet: Subnet, network: Network, routers: Iterable[Router], options: Options) -> Converted:
    """The record of a subnet with DHCP and, when the operator wants pools, its pool.

    ``routers`` are those with an interface in the subnet: one with a gateway that translates makes the pool
    ``natOutgoing``, so that hosts translate themselves.
    """
    if network.id != subnet.network_id:
        raise InvalidInput(f"{network.id} is not the network of subnet {subnet.id}", field="network.id")
    try:
        net = ipaddress.ip_network(subnet.cidr, strict=False)
    except ValueError:
        text = f"subnet {subnet.id}: {subnet.cidr!r} is no prefix; it is not served"
        return Converted(problems=(Problem(code="prefix-invalid", kind="subnet", id=subnet.id, text=text),))
    documents: list[Document] = []
    if subnet.enable_dhcp:
        path = naming.subnet_key(options.region, subnet.id)
        record = _record(subnet, str(net), network)
        documents.append(Document(path=path, revision=subnet.revision_number, record=record))
    if not options.pools:
        return Converted(documents=tuple(documents))
    key = naming.pool_key(options.region, subnet.id)
    pooled = finished(
        [(key, _pool(key, subnet, net, routers), {})],
        (),
        revision=subnet.revision_number,
        subject=("subnet", subnet.id),
    )
    return Converted(documents=(*documents, *pooled.documents), problems=pooled.problems)


def _record(subnet: Subnet, cidr: str, network: Network) -> records.SubnetRecord:
    domain = network.dns_domain.rstrip(".")
    return records.SubnetRecord(
        network_id=subnet.network_id,
        cidr=cidr,
        host_routes=tuple(sorted(subnet.host_routes, key=lambda route: (route.destination, route.nexthop))),
        gateway_ip=subnet.gateway_ip or None,
        dns_servers=subnet.dns_nameservers,
        ipv6_ra_mode=subnet.ipv6_ra_mode or None,
        ipv6_address_mode=subnet.ipv6_address_mode or None,
        mtu=network.mtu,
        dns_search=(domain,) if domain else (),
        neutron_revision=subnet.revision_number,
    )


def _pool(
    key: ResourceKey, subnet: Subnet, net: ipaddress.IPv4Network | ipaddress.IPv6Network, routers: Iterable[Router]
) -> IPPool:
    """A pool that Neutron allocates from, never Calico's IPAM. Routers translate IPv4 only."""
    translated = net.version == 4 and any(
        router.gateway_network_id and router.enable_snat and subnet.id in router.subnet_ids for router in routers
    )
    spec = IPPoolSpec(
        cidr=str(net),
        ipip_mode="Never",
        vxlan_mode="Never",
        nat_outgoing=translated,
        block_size=max(DEFAULT_BLOCK_SIZE[net.version], net.prefixlen),
        node_selector="all()",
        allowed_uses=("Workload",),
        assignment_mode="Manual",
    )
    return IPPool(metadata=metadata_of(key, subnet.revision_number, {}, {}), spec=spec)
