"""What the compute side reads in etcd: records of subnets, and what annotations of a WorkloadEndpoint tell. Pure.

Who writes is the Neutron side (``convert``); who reads are the DHCP and metadata services of a host, which know no
Neutron. Readers take the absence of everything that networking-calico does not write: ``SubnetRecord`` and
``EndpointRecord`` say which fields are whose.
"""

from __future__ import annotations

import ipaddress
from typing import Any, Final

import msgspec

from calico.errors import InvalidInput
from calico.model.workload import WorkloadEndpoint
from calico.orchestrators.openstack.facts import AddressPair, DhcpOption, FixedIp, HostRoute

__all__ = [
    "ADDRESS_PAIRS",
    "DHCP_OPTIONS",
    "DNS_SEARCH",
    "FIXED_IPS",
    "FQDN",
    "MTU",
    "NETWORK_ID",
    "PORT_SECURITY",
    "PREFIX",
    "PROBLEMS",
    "PROJECT_ID",
    "REVISION",
    "EndpointRecord",
    "SubnetRecord",
    "decode_subnet",
    "encode_subnet",
    "endpoint_annotations",
    "read_endpoint",
    "revision_of",
]

PREFIX: Final = "openstack.projectcalico.org/"
"""Of every annotation here; networking-calico writes ``network-id`` and ``fqdn`` only."""

NETWORK_ID: Final = f"{PREFIX}network-id"
"""Id of the port's network, the same text as ``network_id`` in the records of its subnets."""
FQDN: Final = f"{PREFIX}fqdn"
"""Name of the instance without a final dot, from ``dns_assignment``."""
FIXED_IPS: Final = f"{PREFIX}fixed-ips"
"""JSON list of ``{"subnet_id", "ip_address"}``: which of ``ipNetworks`` DHCP gives out, and of which subnet."""
ADDRESS_PAIRS: Final = f"{PREFIX}address-pairs"
"""JSON list of ``{"ip_address", "mac_address"?}``: all allowed address pairs; no MAC means the port's."""
DHCP_OPTIONS: Final = f"{PREFIX}dhcp-options"
"""JSON list of ``{"opt_name", "opt_value", "ip_version"}``: extra DHCP options, names as dnsmasq's or numbers."""
DNS_SEARCH: Final = f"{PREFIX}dns-search"
"""JSON list of domains without final dots, most wanted first; a reader without it takes what follows the first dot of
``fqdn``."""
MTU: Final = f"{PREFIX}mtu"
"""MTU of the network in bytes, decimal; absent when unknown. The record of a subnet has it too."""
PROJECT_ID: Final = f"{PREFIX}project-id"
"""Project of the port, whole (a label may have had to shorten it): ``X-Tenant-ID`` of metadata requests."""
REVISION: Final = f"{PREFIX}neutron-revision"
"""``revision_number`` of the Neutron object that the document was made of, decimal. On every resource made of one."""
PORT_SECURITY: Final = f"{PREFIX}port-security"
"""``disabled`` on an endpoint whose port security is off; absent otherwise."""
PROBLEMS: Final = f"{PREFIX}problems"
"""JSON list of ``<code>: <sentence>`` about what could not be followed; absent when there is nothing to tell."""

DISABLED: Final = "disabled"
_FQDN_CHARACTERS: Final = 253


class SubnetRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A subnet with DHCP, under ``naming.subnet_key``; JSON names are the fields' names.

    networking-calico writes ``network_id``, ``cidr``, ``host_routes`` and ``gateway_ip`` always (null: no gateway), and
    ``dns_servers``, ``ipv6_ra_mode`` and ``ipv6_address_mode`` when there are any. The others are ours: ``mtu`` in
    bytes (0: unknown), ``dns_search`` domains without final dots, and Neutron's ``neutron_revision``.
    """

    network_id: str
    cidr: str
    host_routes: tuple[HostRoute, ...] = ()
    gateway_ip: str | None = None
    dns_servers: tuple[str, ...] = ()
    ipv6_ra_mode: str | None = None
    ipv6_address_mode: str | None = None
    mtu: int = 0
    dns_search: tuple[str, ...] = ()
    neutron_revision: int = 0

    @property
    def network(self) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
        """``cidr``; ``decode_subnet`` made sure that it is one."""
        return ipaddress.ip_network(self.cidr)


class EndpointRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What a WorkloadEndpoint tells the compute side.

    ``device_id`` (the instance), ``port_id``, ``mac``, ``interface`` and the gateways are of its spec, where
    networking-calico puts them too; of the rest that one writes ``network_id`` and ``fqdn``. ``fixed_ips`` is None in
    documents without the annotation: then ``addresses`` (all of ``ipNetworks``, without prefix lengths) hold the fixed
    ones, and each belongs to the subnet of the network that contains it.
    """

    namespace: str
    host: str
    device_id: str
    port_id: str
    interface: str
    mac: str
    addresses: tuple[str, ...] = ()
    ipv4_gateway: str = ""
    ipv6_gateway: str = ""
    network_id: str = ""
    fqdn: str = ""
    fixed_ips: tuple[FixedIp, ...] | None = None
    address_pairs: tuple[AddressPair, ...] = ()
    dhcp_options: tuple[DhcpOption, ...] = ()
    dns_search: tuple[str, ...] = ()
    mtu: int = 0
    project_id: str = ""
    port_security: bool = True
    revision: int = 0


def encode_subnet(record: SubnetRecord) -> bytes:
    """The JSON to store, with the fields that are always written."""
    tree = msgspec.to_builtins(record)
    always: dict[str, Any] = {
        "network_id": record.network_id,
        "cidr": record.cidr,
        "host_routes": [],
        "gateway_ip": None,
    }
    return msgspec.json.encode({**always, **tree})


def decode_subnet(raw: bytes) -> SubnetRecord:
    """The record; InvalidInput when it is none or its ``cidr`` is no prefix. Unknown fields are ignored."""
    try:
        record = msgspec.json.decode(raw, type=SubnetRecord)
    except (msgspec.MsgspecError, ValueError) as error:
        raise InvalidInput(f"is no record of a subnet: {error}") from None
    try:
        ipaddress.ip_network(record.cidr)
    except ValueError as error:
        raise InvalidInput(str(error), field="cidr") from None
    return record


def endpoint_annotations(
    *,
    network_id: str,
    fixed_ips: tuple[FixedIp, ...],
    fqdn: str = "",
    address_pairs: tuple[AddressPair, ...] = (),
    dhcp_options: tuple[DhcpOption, ...] = (),
    dns_search: tuple[str, ...] = (),
    mtu: int = 0,
    project_id: str = "",
    port_security: bool = True,
) -> dict[str, str]:
    """The annotations that ``read_endpoint`` reads back; nothing is written of what says nothing."""
    texts = {
        NETWORK_ID: network_id,
        FQDN: fqdn,
        MTU: str(mtu) if mtu else "",
        PROJECT_ID: project_id,
        PORT_SECURITY: "" if port_security else DISABLED,
    }
    lists: dict[str, tuple[Any, ...]] = {
        ADDRESS_PAIRS: tuple(_plain(pair, "mac_address") for pair in address_pairs),
        DHCP_OPTIONS: dhcp_options,
        DNS_SEARCH: dns_search,
    }
    found = {name: text for name, text in texts.items() if text}
    found[FIXED_IPS] = msgspec.json.encode(fixed_ips).decode()
    found.update({name: msgspec.json.encode(items).decode() for name, items in lists.items() if items})
    return dict(sorted(found.items()))


def read_endpoint(endpoint: WorkloadEndpoint) -> tuple[EndpointRecord, tuple[str, ...]]:
    """What an endpoint tells, and a sentence naming each annotation that cannot be read (it counts as absent)."""
    spec, annotations = endpoint.spec, endpoint.metadata.annotations
    problems: list[str] = []

    def read(name: str, kind: Any, default: Any) -> Any:
        if name not in annotations:
            return default
        try:
            return msgspec.json.decode(annotations[name].encode(errors="replace"), type=kind)
        except (msgspec.MsgspecError, ValueError) as error:
            problems.append(f"metadata.annotations[{name}]: {error}; ignored")
            return default

    record = EndpointRecord(
        namespace=endpoint.metadata.namespace,
        host=spec.node,
        device_id=spec.workload,
        port_id=spec.endpoint,
        interface=spec.interface_name,
        mac=spec.mac,
        addresses=tuple(text.partition("/")[0] for text in spec.ip_networks),
        ipv4_gateway=spec.ipv4_gateway,
        ipv6_gateway=spec.ipv6_gateway,
        network_id=annotations.get(NETWORK_ID, ""),
        fqdn=annotations.get(FQDN, "")[:_FQDN_CHARACTERS].rstrip("."),
        fixed_ips=read(FIXED_IPS, tuple[FixedIp, ...], None),
        address_pairs=read(ADDRESS_PAIRS, tuple[AddressPair, ...], ()),
        dhcp_options=read(DHCP_OPTIONS, tuple[DhcpOption, ...], ()),
        dns_search=read(DNS_SEARCH, tuple[str, ...], ()),
        mtu=read(MTU, int, 0),
        project_id=annotations.get(PROJECT_ID, ""),
        port_security=annotations.get(PORT_SECURITY) != DISABLED,
        revision=read(REVISION, int, 0),
    )
    return record, tuple(problems)


def revision_of(annotations: dict[str, str]) -> int:
    """Neutron's revision that a document was made of; 0 when it does not tell (networking-calico's do not)."""
    text = annotations.get(REVISION, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else 0


def _plain(value: msgspec.Struct, *optional: str) -> dict[str, Any]:
    """The members of a fact without those that are empty."""
    members: dict[str, Any] = msgspec.to_builtins(value)
    return {name: member for name, member in members.items() if member or name not in optional}
