"""A Node as a BGP speaker: addresses, AS number, cluster id and port, checked once. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress

import msgspec

from calico.bgp.planning.birdplan import Family
from calico.bgp.planning.peerannotations import drain
from calico.bgp.problem import Problem
from calico.errors import InvalidInput
from calico.model.node import Node, tunnel_addresses
from calico.model.numorstring import parse_as_number

__all__ = ["BGPHost", "check_as_number", "check_link_local", "check_own_address", "check_peer_address", "host_of_node"]


class BGPHost(msgspec.Struct, frozen=True, kw_only=True):
    """A node that speaks BGP. ``ipv4``/``ipv6`` are canonical text, empty when the node has no such address.

    ``subnets`` are the links that its addresses say they are on; ``encrypts`` the families it has WireGuard for.
    ``drained``: its neighbours shall prefer other ways. ``tunnels``: what its tunnels have, as single addresses.
    """

    name: str
    labels: Mapping[str, str]
    as_number: int
    ipv4: str = ""
    ipv6: str = ""
    cluster_id: str = ""
    listen_port: int | None = None
    subnets: tuple[str, ...] = ()
    encrypts: frozenset[Family] = frozenset()
    drained: bool = False
    tunnels: tuple[str, ...] = ()

    def address(self, family: Family) -> str:
        """The address sessions of a family use; empty when there is none."""
        return self.ipv4 if family == 4 else self.ipv6

    @property
    def addresses(self) -> tuple[tuple[Family, str], ...]:
        """The families this host has, with the address."""
        both: tuple[tuple[Family, str], ...] = ((4, self.ipv4), (6, self.ipv6))
        return tuple((family, address) for family, address in both if address)

    def shares_link_with(self, address: str) -> bool:
        """Whether an address is in a subnet of this node."""
        found = ipaddress.ip_address(address)
        return any(found in ipaddress.ip_network(subnet) for subnet in self.subnets)


def host_of_node(
    node: Node, *, default_as: int, listen_port: int | None, report: Callable[[Problem], None]
) -> BGPHost | None:
    """The speaker behind a Node, or None when it has none (no spec.bgp, or one that cannot be trusted).

    A bad address costs the node that family; a bad AS number or cluster id costs it BGP, because sessions with a
    guessed identity could loop or leak.
    """
    bgp = node.spec.bgp
    if bgp is None:
        return None
    subject = f"Node {node.metadata.name}"
    try:
        as_number = default_as if bgp.as_number is None else check_as_number(bgp.as_number, "spec.bgp.asNumber")
        cluster_id = bgp.route_reflector_cluster_id
        if cluster_id:
            cluster_id = _check_cluster_id(cluster_id)
    except InvalidInput as error:
        report(Problem("bgp-resource-invalid", subject, f"{error}; the node takes no part in BGP"))
        return None
    addresses: dict[Family, str] = {4: "", 6: ""}
    fields: tuple[tuple[Family, str, str], ...] = (
        (4, bgp.ipv4_address, "spec.bgp.ipv4Address"),
        (6, bgp.ipv6_address, "spec.bgp.ipv6Address"),
    )
    for family, text, where in fields:
        if not text:
            continue
        try:
            addresses[family] = check_peer_address(text.partition("/")[0], where, family)
        except InvalidInput as error:
            report(Problem("bgp-resource-invalid", subject, f"{error}; no IPv{family} sessions with this node"))
    return BGPHost(
        name=node.metadata.name,
        labels=node.metadata.labels,
        as_number=as_number,
        ipv4=addresses[4],
        ipv6=addresses[6],
        cluster_id=cluster_id,
        listen_port=listen_port,
        subnets=tuple(_subnet(text) for family, text, _ in fields if addresses[family] and "/" in text),
        encrypts=_encrypts(node),
        drained=_drained(node, report),
        tunnels=tuple(sorted(set(_tunnels(node)))),
    )


def _drained(node: Node, report: Callable[[Problem], None]) -> bool:
    """Whoever wrote something that cannot be read wanted a change: to be drained does no harm."""
    try:
        return drain(node.metadata.annotations)
    except InvalidInput as error:
        message = f"{error}; the node is drained"
        report(Problem("bgp-resource-invalid", f"Node {node.metadata.name}", message))
        return True


def _tunnels(node: Node) -> Iterator[str]:
    for text in tunnel_addresses(node).values():
        with suppress(ValueError):
            if "%" not in text:
                yield str(ipaddress.ip_network(ipaddress.ip_address(text)))


def _subnet(text: str) -> str:
    try:
        return str(ipaddress.ip_interface(text).network)
    except ValueError:
        return str(ipaddress.ip_network(text.partition("/")[0]))


def _encrypts(node: Node) -> frozenset[Family]:
    wireguard = node.spec.wireguard
    if wireguard is None:
        return frozenset()
    both: tuple[tuple[Family, str], ...] = (
        (4, wireguard.interface_ipv4_address),
        (6, wireguard.interface_ipv6_address),
    )
    return frozenset(family for family, address in both if address)


def check_as_number(value: int | str, where: str) -> int:
    """An AS number a session can have (1 to 4294967295); InvalidInput otherwise."""
    try:
        number = parse_as_number(value)
    except InvalidInput as error:
        raise InvalidInput(error.message, field=where) from None
    if not 1 <= number <= 0xFFFFFFFF:
        raise InvalidInput(f"AS number {number} is not between 1 and 4294967295", field=where)
    return number


def check_peer_address(text: str, where: str, family: Family | None = None) -> str:
    """A unicast address in canonical form; InvalidInput for what a session cannot be opened to."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        raise InvalidInput(f"{text[:60]!r} is not an IP address", field=where) from None
    if family is not None and address.version != family:
        raise InvalidInput(f"{address} is not an IPv{family} address", field=where)
    if (
        address.is_multicast
        or address.is_unspecified
        or address.is_loopback
        or address.is_link_local
        or int(address) == 0xFFFFFFFF
        or (isinstance(address, ipaddress.IPv6Address) and (address.scope_id or address.ipv4_mapped))
        or (address.version == 4 and (int(address) >> 24 == 0 or int(address) >> 28 == 15))
    ):
        raise InvalidInput(f"a BGP session with {address} is not possible", field=where)
    return str(address)


def check_own_address(text: str, where: str, family: Family) -> str:
    """An address that workloads find their host at: as that of a peer, or a link-local one of IPv4 (169.254.0.0/16)."""
    if family == 4 and text.startswith("169.254."):
        try:
            return str(ipaddress.IPv4Address(text))
        except ValueError:
            raise InvalidInput(f"{text[:60]!r} is not an IP address", field=where) from None
    return check_peer_address(text, where, family)


def check_link_local(text: str, where: str) -> str:
    """A link-local IPv6 address (fe80::/64, RFC 4291 2.5.6) in canonical form; InvalidInput otherwise."""
    try:
        address = ipaddress.IPv6Address(text)
    except ValueError:
        raise InvalidInput(f"{text[:60]!r} is not an IPv6 address", field=where) from None
    if int(address) >> 64 != 0xFE80 << 48 or address.scope_id or not int(address) & 0xFFFFFFFFFFFFFFFF:
        raise InvalidInput(f"{text[:60]!r} is not a link-local address", field=where)
    return str(address)


def _check_cluster_id(text: str) -> str:
    try:
        return str(ipaddress.IPv4Address(text))
    except ValueError:
        raise InvalidInput(
            f"{text[:60]!r} is not an IPv4 form cluster id", field="spec.bgp.routeReflectorClusterID"
        ) from None
