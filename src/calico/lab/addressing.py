"""From a topology to a layout: every namespace, address and MAC of a lab, decided before anything is built.

Deterministic: the same file gives the same layout. Host number *n* owns block *n* of each pool; an automatic workload
address is the lowest free one of its host's block, and a full block goes on in the blocks after those of all hosts.
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Iterator

import msgspec

from calico.errors import InvalidInput
from calico.lab.topology import External, Host, Pool, Topology, Workload

__all__ = [
    "Attachment",
    "ExternalPlan",
    "HostPlan",
    "Layout",
    "Rack",
    "WorkloadPlan",
    "link_local",
    "netns_name",
    "plan_layout",
]

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

ETCD_SUBNET, ETCD_SUBNET6 = ipaddress.ip_network("10.250.0.0/24"), ipaddress.ip_network("fd00:250::/64")
SPINE_SUBNET, SPINE_SUBNET6 = ipaddress.ip_network("10.249.0.0/24"), ipaddress.ip_network("fd00:249::/64")
EXTERNAL_SUBNET, EXTERNAL_SUBNET6 = ipaddress.ip_network("203.0.113.0/24"), ipaddress.ip_network("2001:db8:113::/64")
_SPARE_BLOCKS = 64  # how many blocks beyond the hosts' own are tried
_CONTROLLER = 20  # its offset within the subnet of etcd
_FIRST = 10  # offset of the first host, member or external within its subnet; routers are at 1 (ToRs of a spine: 2..)


class Attachment(msgspec.Struct, frozen=True, kw_only=True):
    """One end on a segment: addresses with the segment's prefix lengths, the MAC, and the routers of the segment."""

    ip4: str
    ip6: str
    mac: str
    via4: str = ""
    via6: str = ""

    @property
    def address4(self) -> str:
        """The IPv4 address without its prefix length."""
        return self.ip4.partition("/")[0]

    @property
    def address6(self) -> str:
        """The IPv6 address without its prefix length."""
        return self.ip6.partition("/")[0]


class HostPlan(msgspec.Struct, frozen=True, kw_only=True):
    """A host with its namespace, its uplink and the pool blocks that are its own."""

    host: Host
    netns: str
    uplink: Attachment
    as_number: int
    blocks: tuple[str, ...]


class WorkloadPlan(msgspec.Struct, frozen=True, kw_only=True):
    """A workload with its namespace, host-side interface, MAC and addresses (no prefix lengths)."""

    workload: Workload
    netns: str
    interface: str
    mac: str
    addresses: tuple[str, ...]


class ExternalPlan(msgspec.Struct, frozen=True, kw_only=True):
    """An external with its namespace, the router's interface to it, and addresses (no prefix lengths)."""

    external: External
    netns: str
    interface: str
    addresses: tuple[str, ...]


class Rack(msgspec.Struct, frozen=True, kw_only=True):
    """A rack of a routed fabric: its ToR's namespace and AS, its end on the rack segment and its end on the spine."""

    name: str
    netns: str
    as_number: int
    inside: Attachment
    spine: Attachment


class Layout(msgspec.Struct, frozen=True, kw_only=True):
    """The whole lab with nothing left to choose. ``gateway`` is the router's end on the L2 segment or the spine.

    ``controller`` is that of a cloud, and stands beside etcd.
    """

    topology: Topology
    gateway: Attachment
    etcd: tuple[Attachment, ...]
    etcd_gateway: Attachment
    controller: Attachment | None = None
    racks: tuple[Rack, ...]
    hosts: tuple[HostPlan, ...]
    workloads: tuple[WorkloadPlan, ...]
    externals: tuple[ExternalPlan, ...]

    @property
    def name(self) -> str:
        """The lab's name."""
        return self.topology.name

    def netns(self, role: str) -> str:
        """The namespace of a role or a named machine of this lab."""
        return netns_name(self.name, role)

    @property
    def etcd_endpoints(self) -> tuple[str, ...]:
        """Client ``address:port`` of each etcd member."""
        return tuple(f"{member.address4}:2379" for member in self.etcd)

    def namespaces(self) -> dict[str, str]:
        """role or machine name -> namespace, in the order in which they are made."""
        roles = ["fabric", "gw", *(f"etcd{i + 1}" for i in range(len(self.etcd)))]
        roles += ["controller"] if self.controller is not None else []
        names = {role: self.netns(role) for role in roles}
        names.update({f"tor-{rack.name}": rack.netns for rack in self.racks})
        names.update({plan.host.name: plan.netns for plan in self.hosts})
        names.update({plan.workload.name: plan.netns for plan in self.workloads})
        names.update({plan.external.name: plan.netns for plan in self.externals})
        return names


def netns_name(lab: str, role: str) -> str:
    """``cl-<lab>-<role>``; a lab name has no dash, so no two labs can share one."""
    return f"cl-{lab}-{role}"


def plan_layout(topology: Topology) -> Layout:
    """The layout of a checked topology; InvalidInput when a subnet or pool is too small."""
    fabric4, fabric6 = ipaddress.ip_network(topology.fabric.subnet), ipaddress.ip_network(topology.fabric.subnet6)
    lab = topology.name
    racks: tuple[Rack, ...] = ()
    if topology.fabric.type == "routed":
        gateway = _attach(lab, "gw", SPINE_SUBNET, SPINE_SUBNET6, 1)
        racks = tuple(_plan_racks(topology, fabric4, fabric6))
    else:
        gateway = _attach(lab, "gw", fabric4, _first_64(fabric6), 1)
    return Layout(
        topology=topology,
        gateway=gateway,
        etcd=tuple(
            _attach(lab, f"etcd{i + 1}", ETCD_SUBNET, ETCD_SUBNET6, _FIRST + i, router=1)
            for i in range(topology.etcd.members)
        ),
        etcd_gateway=_attach(lab, "gw-etcd", ETCD_SUBNET, ETCD_SUBNET6, 1),
        controller=_attach(lab, "controller", ETCD_SUBNET, ETCD_SUBNET6, _CONTROLLER, router=1)
        if topology.openstack is not None
        else None,
        racks=racks,
        hosts=tuple(_plan_hosts(topology, fabric4, fabric6)),
        workloads=tuple(_plan_workloads(topology)),
        externals=tuple(_plan_externals(topology)),
    )


def _plan_racks(topology: Topology, fabric4: Network, fabric6: Network) -> Iterator[Rack]:
    for number, name in enumerate(topology.racks):
        inside4, inside6 = _rack_subnets(fabric4, fabric6, number)
        yield Rack(
            name=name,
            netns=netns_name(topology.name, f"tor-{name}"),
            as_number=65001 + number,
            inside=_attach(topology.name, f"tor-{name}", inside4, inside6, 1),
            spine=_attach(topology.name, f"spine-{name}", SPINE_SUBNET, SPINE_SUBNET6, 2 + number, router=1),
        )


def _plan_hosts(topology: Topology, fabric4: Network, fabric6: Network) -> Iterator[HostPlan]:
    in_rack: dict[str, int] = {}
    for number, host in enumerate(topology.hosts):
        place = number
        subnet4, subnet6 = fabric4, _first_64(fabric6)
        # Behind ToRs every host has an AS of its own, else a host would refuse its neighbours' routes as a loop.
        as_number = topology.as_number
        if topology.fabric.type == "routed":
            place = in_rack.get(host.rack, 0)
            in_rack[host.rack] = place + 1
            subnet4, subnet6 = _rack_subnets(fabric4, fabric6, topology.racks.index(host.rack))
            as_number = topology.as_number + number
        yield HostPlan(
            host=host,
            netns=netns_name(topology.name, host.name),
            uplink=_attach(topology.name, host.name, subnet4, subnet6, _FIRST + place, router=1),
            as_number=host.as_number if host.as_number is not None else as_number,
            blocks=tuple(str(_block(pool, number)) for pool in topology.pools),
        )


def _plan_workloads(topology: Topology) -> Iterator[WorkloadPlan]:
    number_of = {host.name: number for number, host in enumerate(topology.hosts)}
    taken = {ipaddress.ip_address(text) for workload in topology.workloads for text in workload.addresses}
    free: dict[tuple[int, str], Iterator[Address]] = {}
    for workload in topology.workloads:
        addresses = [str(ipaddress.ip_address(text)) for text in workload.addresses]
        if not addresses:
            for version in (4, 6):
                pool = next((p for p in topology.pools if ipaddress.ip_network(p.cidr).version == version), None)
                if pool is None:
                    continue
                source = free.setdefault(
                    (version, workload.host), _candidates(pool, number_of[workload.host], len(topology.hosts))
                )
                address = next((candidate for candidate in source if candidate not in taken), None)
                if address is None:
                    message = f"no free address for {workload.name} on {workload.host}"
                    raise InvalidInput(message, subject="topology", field=f"pools ({pool.cidr})")
                taken.add(address)
                addresses.append(str(address))
        digest = hashlib.sha1(f"{workload.namespace}.{workload.name}".encode(), usedforsecurity=False).hexdigest()
        yield WorkloadPlan(
            workload=workload,
            netns=netns_name(topology.name, workload.name),
            interface=f"cali{digest[:11]}",  # as the CNI plugin names it
            mac=_mac(topology.name, workload.name),
            addresses=tuple(addresses),
        )


def _plan_externals(topology: Topology) -> Iterator[ExternalPlan]:
    for number, external in enumerate(topology.externals):
        given = tuple(str(ipaddress.ip_address(text)) for text in external.addresses)
        automatic = (str(EXTERNAL_SUBNET[_FIRST + number]), str(EXTERNAL_SUBNET6[_FIRST + number]))
        yield ExternalPlan(
            external=external,
            netns=netns_name(topology.name, external.name),
            interface=f"ext{number}",
            addresses=given or automatic,
        )


def _candidates(pool: Pool, host: int, hosts: int) -> Iterator[Address]:
    """Addresses of the host's block, then of the blocks beyond all hosts' own; never a block's first address."""
    network = ipaddress.ip_network(pool.cidr)
    blocks = 1 << (_block_length(pool) - network.prefixlen)
    for number in (host, *range(hosts, min(blocks, hosts + _SPARE_BLOCKS))):
        block = _block(pool, number)
        for offset in range(1, min(block.num_addresses, 1 << 16)):
            yield block[offset]


def _block(pool: Pool, number: int) -> Network:
    network = ipaddress.ip_network(pool.cidr)
    length = _block_length(pool)
    if number >> max(0, length - network.prefixlen):
        raise InvalidInput(f"has no block number {number}", subject="topology", field=f"pools ({pool.cidr})")
    base = int(network.network_address) + (number << (network.max_prefixlen - length))
    return ipaddress.ip_network((base, length))


def _block_length(pool: Pool) -> int:
    if pool.block_size:
        return pool.block_size
    return 26 if ipaddress.ip_network(pool.cidr).version == 4 else 122


def _rack_subnets(fabric4: Network, fabric6: Network, number: int) -> tuple[Network, Network]:
    return _nth_subnet(fabric4, 24, number), _nth_subnet(fabric6, 64, number)


def _first_64(network: Network) -> Network:
    return _nth_subnet(network, 64, 0)


def _nth_subnet(network: Network, length: int, number: int) -> Network:
    length = max(length, network.prefixlen)
    if number >> (length - network.prefixlen):
        raise InvalidInput(f"{network} has no /{length} number {number}", subject="topology", field="fabric")
    base = int(network.network_address) + (number << (network.max_prefixlen - length))
    return ipaddress.ip_network((base, length))


def _attach(lab: str, role: str, net4: Network, net6: Network, offset: int, *, router: int = 0) -> Attachment:
    if offset >= net4.num_addresses - 1:
        raise InvalidInput(f"{net4} is too small for {role}", subject="topology", field="fabric.subnet")
    return Attachment(
        ip4=f"{net4[offset]}/{net4.prefixlen}",
        ip6=f"{net6[offset]}/{net6.prefixlen}",
        mac=_mac(lab, role),
        via4=str(net4[router]) if router else "",
        via6=str(net6[router]) if router else "",
    )


def _mac(*parts: str) -> str:
    """A locally administered unicast MAC from names."""
    digest = hashlib.sha256("/".join(parts).encode()).digest()
    return ":".join(f"{byte:02x}" for byte in bytes((0x02, *digest[:5])))


def link_local(mac: str) -> str:
    """The EUI-64 link-local IPv6 address the kernel derives from a MAC."""
    octets = bytes.fromhex(mac.replace(":", ""))
    identifier = bytes((octets[0] ^ 2, *octets[1:3], 0xFF, 0xFE, *octets[3:]))
    return str(ipaddress.IPv6Address(b"\xfe\x80" + bytes(6) + identifier))
