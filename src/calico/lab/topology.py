"""The topology file of a lab: one YAML document, parsed strictly into frozen structs.

Knows what may be written and what must agree within the file; knows nothing about how addresses that were left out
are chosen (``addressing``) or how anything is built. Every error names the field, as in ``hosts[2].rack``.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from typing import Any, Literal

import msgspec
import yaml

from calico.errors import InvalidInput

__all__ = [
    "Etcd",
    "External",
    "Fabric",
    "Host",
    "OpenStack",
    "Pool",
    "Port",
    "Topology",
    "Workload",
    "check_topology",
    "parse_topology",
    "to_document",
]

LAB_NAME = re.compile(r"[a-z][a-z0-9]{0,15}")
NODE_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,30}[a-z0-9])?")
RESERVED_NAMES = frozenset({"fabric", "gw", "root"})
_RESERVED_PREFIXES = ("etcd", "tor-")


class _Strict(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """Base: immutable, and a field that nobody reads is an error rather than a surprise."""


class Fabric(_Strict, frozen=True, kw_only=True):
    """How hosts are joined: one L2 segment with a router, or racks routed by a ToR each and a spine router."""

    type: Literal["l2", "routed"] = "l2"
    subnet: str = "10.240.0.0/16"
    subnet6: str = "fd00:240::/48"
    router_as: int = 65000


class Etcd(_Strict, frozen=True, kw_only=True):
    """The core of the datastore: one member, or three for fault tolerance."""

    members: Literal[1, 3] = 1


class Pool(_Strict, frozen=True, kw_only=True):
    """An IPPool. Host number *n* of the file owns block number *n* of each pool."""

    cidr: str
    block_size: int = 0  # 0: 26 for IPv4, 122 for IPv6
    name: str = ""
    vxlan_mode: Literal["Never", "Always", "CrossSubnet"] = "Never"
    allowed_uses: tuple[Literal["Workload", "Tunnel", "LoadBalancer"], ...] = ()


class Host(_Strict, frozen=True, kw_only=True):
    """A host: Felix, BIRD and an etcd proxy in one namespace. ``reflector`` makes it a route reflector."""

    name: str
    as_number: int | None = msgspec.field(default=None, name="as")
    reflector: bool = False
    rack: str = ""
    labels: dict[str, str] = {}


class Port(_Strict, frozen=True, kw_only=True):
    """A named port of a workload."""

    name: str
    port: int
    protocol: Literal["TCP", "UDP", "SCTP"] = "TCP"


class Workload(_Strict, frozen=True, kw_only=True):
    """A workload: a namespace with one interface. ``addresses`` empty means one automatic address a family."""

    name: str
    host: str
    namespace: str = "default"
    labels: dict[str, str] = {}
    addresses: tuple[str, ...] = ()
    profiles: tuple[str, ...] = ("lab-open",)
    ports: tuple[Port, ...] = ()
    orchestrator: Literal["cni", "k8s"] = "cni"


class External(_Strict, frozen=True, kw_only=True):
    """A machine outside Calico, reached through the router; with ``as`` it runs BIRD and peers with the router."""

    name: str
    addresses: tuple[str, ...] = ()
    as_number: int | None = msgspec.field(default=None, name="as")


class OpenStack(_Strict, frozen=True, kw_only=True):
    """A cloud: a machine ``controller`` with the real Neutron, and every host with an agent that answers instances.

    ``environment`` is the folder of Neutron's virtual environment, found by itself when empty. ``settings`` are
    options of the driver's section ``[calico]`` of Neutron's configuration.
    """

    environment: str = ""
    metadata_secret: str = "lab"
    settings: dict[str, str | int | float | bool] = {}


class Topology(_Strict, frozen=True, kw_only=True):
    """A whole lab. ``resources`` are Calico resources, applied once the datastore is up. Without ``bgp`` no host speaks
    it: the fabric knows hosts only, and workloads of others are reached through tunnels."""

    name: str
    fabric: Fabric = Fabric()
    etcd: Etcd = Etcd()
    as_number: int = msgspec.field(default=64512, name="as")
    bgp: bool = True
    pools: tuple[Pool, ...] = (Pool(cidr="10.65.0.0/16"), Pool(cidr="fd65::/64"))
    hosts: tuple[Host, ...]
    workloads: tuple[Workload, ...] = ()
    externals: tuple[External, ...] = ()
    openstack: OpenStack | None = None
    resources: tuple[dict[str, Any], ...] = ()

    @property
    def reflectors(self) -> tuple[str, ...]:
        """Names of the hosts that are route reflectors; empty means a full mesh (or ToRs, when routed)."""
        return tuple(host.name for host in self.hosts if host.reflector)

    @property
    def racks(self) -> tuple[str, ...]:
        """Rack names in the order of first use; empty for an L2 fabric."""
        return tuple(dict.fromkeys(host.rack for host in self.hosts)) if self.fabric.type == "routed" else ()


def parse_topology(text: str | bytes, *, name: str | None = None) -> Topology:
    """The topology in a YAML document; ``name`` replaces the lab name of the file. InvalidInput names the field."""
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InvalidInput(f"not YAML: {error}", subject="topology") from error
    if not isinstance(document, dict):
        raise InvalidInput("must be a mapping with name, hosts, workloads, ...", subject="topology")
    if name is not None:
        document = {**document, "name": name}
    try:
        topology = msgspec.convert(document, Topology)
    except msgspec.ValidationError as error:
        message, _, path = str(error).partition(" - at `$")
        raise InvalidInput(message, subject="topology", field=path.rstrip("`").lstrip(".")) from error
    return check_topology(topology)


def to_document(topology: Topology) -> dict[str, Any]:
    """The plain mapping that ``msgspec.convert`` reads back to an equal topology."""
    document: dict[str, Any] = msgspec.to_builtins(topology)
    return document


def check_topology(topology: Topology) -> Topology:
    """The topology itself, when its parts agree with one another; else InvalidInput naming the first field at fault."""
    if not LAB_NAME.fullmatch(topology.name):
        # a dash would let two labs share a namespace name: lab a, host b-c and lab a-b, host c
        raise _bad("name", f"{topology.name!r} must be 1-16 lower-case letters and digits, starting with a letter")
    if not topology.hosts:
        raise _bad("hosts", "at least one host is needed")
    _check_names(topology)
    _check_fabric(topology)
    for index, pool in enumerate(topology.pools):
        _network(pool.cidr, f"pools[{index}].cidr")
    hosts = {host.name for host in topology.hosts}
    taken: dict[str, str] = {}
    for index, workload in enumerate(topology.workloads):
        where = f"workloads[{index}]"
        if workload.host not in hosts:
            raise _bad(f"{where}.host", f"{workload.host!r} is not a host of this topology")
        _check_addresses(workload.name, workload.addresses, f"{where}.addresses", taken)
        for number, port in enumerate(workload.ports):
            if not 0 < port.port < 65536:
                raise _bad(f"{where}.ports[{number}].port", f"{port.port} is not a port number")
    for index, external in enumerate(topology.externals):
        _check_addresses(external.name, external.addresses, f"externals[{index}].addresses", taken)
    for index, resource in enumerate(topology.resources):
        if not isinstance(resource.get("kind"), str):
            raise _bad(f"resources[{index}].kind", "a Calico resource needs a kind")
    return topology


def _check_names(topology: Topology) -> None:
    seen: dict[str, str] = {}
    named: Iterable[tuple[str, str]] = (
        [(f"hosts[{i}].name", host.name) for i, host in enumerate(topology.hosts)]
        + [(f"workloads[{i}].name", workload.name) for i, workload in enumerate(topology.workloads)]
        + [(f"externals[{i}].name", external.name) for i, external in enumerate(topology.externals)]
    )
    for where, name in named:
        if not NODE_NAME.fullmatch(name):
            raise _bad(where, f"{name!r} must be 1-32 lower-case letters, digits and inner dashes")
        if (
            name in RESERVED_NAMES
            or (topology.openstack is not None and name == "controller")
            or name.startswith(_RESERVED_PREFIXES)
        ):
            raise _bad(where, f"{name!r} is reserved for the lab's own namespaces")
        if name in seen:
            raise _bad(where, f"{name!r} is taken by {seen[name]}: hosts, workloads and externals share their names")
        seen[name] = where


def _check_fabric(topology: Topology) -> None:
    if _network(topology.fabric.subnet, "fabric.subnet").version != 4:
        raise _bad("fabric.subnet", "must be IPv4; IPv6 goes to fabric.subnet6")
    if _network(topology.fabric.subnet6, "fabric.subnet6").version != 6:
        raise _bad("fabric.subnet6", "must be IPv6")
    for index, host in enumerate(topology.hosts):
        if topology.fabric.type == "routed" and not NODE_NAME.fullmatch(host.rack):
            raise _bad(f"hosts[{index}].rack", "a routed fabric needs every host in a rack (letters, digits, dashes)")
        if topology.fabric.type == "routed" and host.reflector:
            raise _bad(f"hosts[{index}].reflector", "in a routed fabric the ToR distributes routes")


def _check_addresses(owner: str, addresses: tuple[str, ...], where: str, taken: dict[str, str]) -> None:
    for index, text in enumerate(addresses):
        try:
            address = str(ipaddress.ip_address(text))
        except ValueError:
            raise _bad(f"{where}[{index}]", f"{text!r} is not an IP address") from None
        if address in taken:
            raise _bad(f"{where}[{index}]", f"{address} is already used by {taken[address]}")
        taken[address] = owner


def _network(text: str, where: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    try:
        return ipaddress.ip_network(text)
    except ValueError as error:
        raise _bad(where, str(error)) from None


def _bad(where: str, message: str) -> InvalidInput:
    return InvalidInput(message, subject="topology", field=where)
