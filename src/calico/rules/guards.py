"""What every workload may never send, and what it may always ask of its own host, whatever policies say.

Sources: datamodel 15.2 (encapsulation), 15.5 (ICMPv6, OpenStack services); requirements S8 and S9.
"""

from __future__ import annotations

from collections.abc import Iterable

from calico.lib.packed import net
from calico.netlink.nftables.expr import Cmp, Payload, Rule
from calico.netlink.nftables.objects import Chain
from calico.rules.config import RulesConfig
from calico.rules.loads import (
    ACCEPT,
    DROP,
    HOST_SERVICE_TYPES,
    ICMPV6,
    IPIP,
    RETURN,
    TCP,
    UDP,
    Exprs,
    family,
    header,
    net_is,
    protocol,
)

__all__ = ["HOST_SERVICES", "WORKLOAD_GUARD", "dhcp", "guard_chains", "metadata_v6"]

WORKLOAD_GUARD, HOST_SERVICES = "workload-guard", "host-services"
_DHCP_PORTS = {4: (b"\0\x44", b"\0\x43"), 6: (b"\x02\x22", b"\x02\x23")}
"""By IP version: the port of clients (68, 546) and of servers (67, 547)."""
_METADATA_V6, _HTTP = net("fe80::a9fe:a9fe/128"), (80).to_bytes(2, "big")
"""Where OpenStack's instances ask by IPv6; the host has that address on each of their interfaces."""


def guard_chains(config: RulesConfig) -> list[Chain]:
    """The two chains: one drops or returns, the other accepts or returns."""
    return [
        Chain(WORKLOAD_GUARD, tuple(_never(config))),
        Chain(HOST_SERVICES, tuple(_always(config))),
    ]


def dhcp(version: int) -> Exprs:
    """DHCP messages of clients by their ports; DHCPv6 for IP version 6. The destination
    comes first, so that the source port of hardly any packet matters."""
    client, server = _DHCP_PORTS[version]
    return (*protocol(UDP), *header(2, server), *header(0, client))


def metadata_v6() -> Exprs:
    """To the metadata service at the link-local address that instances know it by, which no header stands before."""
    no_extension = (Payload("network", 6, 1), Cmp("eq", bytes((TCP,))))
    return (*family(6), *net_is("dst", _METADATA_V6), *no_extension, *protocol(TCP), *header(2, _HTTP))


def _never(config: RulesConfig) -> Iterable[Rule]:
    if not config.allow_ipip:
        yield Rule((*protocol(IPIP), DROP), "IP in IP from a workload")
    yield Rule((*protocol(UDP, "neq"), RETURN), "no UDP")
    if not config.allow_vxlan:
        port = config.vxlan_port.to_bytes(2, "big")
        yield Rule((*header(2, port), DROP), "VXLAN from a workload")
    for version, (client, server) in _DHCP_PORTS.items():
        yield Rule((*header(2, client), *header(0, server), *family(version), DROP), "DHCP server in a workload")


def _always(config: RulesConfig) -> Iterable[Rule]:
    for kind in HOST_SERVICE_TYPES:
        matches = (*family(6), *protocol(ICMPV6), *header(0, bytes((kind,))))
        yield Rule((*matches, ACCEPT), "neighbour discovery, MLD")
    if config.openstack:
        for version in (4, 6):
            yield Rule((*family(version), *dhcp(version), ACCEPT), "DHCP")
        yield Rule((*protocol(UDP), *header(2, (53).to_bytes(2, "big")), ACCEPT), "DNS")
    if config.has_metadata:
        yield Rule((*metadata_v6(), ACCEPT), "metadata service")
        address = net_is("dst", config.metadata_v4 + b"\x20")
        port = header(2, config.metadata_port.to_bytes(2, "big"))
        yield Rule((*family(4), *address, *protocol(TCP), *port, ACCEPT), "metadata service")
