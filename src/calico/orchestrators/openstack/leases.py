"""From what the datastore says of a port and its subnets to what the port is told. Pure.

Whatever cannot be followed is left out and named; the rest of the lease stands. Without the record of an address's
subnet nothing is said of that address: the subnet has no DHCP, or is not known yet.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Mapping
from typing import Final, get_args

import msgspec

from calico.errors import InvalidInput
from calico.lib import packed
from calico.orchestrators.openstack.answers.extra import NEXT_SERVER, extra_option
from calico.orchestrators.openstack.answers.lease import INFINITE, Lease, Lease4, Lease6, Mode, Route
from calico.orchestrators.openstack.answers.names import domain_bytes
from calico.orchestrators.openstack.facts import FixedIp, HostRoute
from calico.orchestrators.openstack.records import EndpointRecord, SubnetRecord

__all__ = ["METADATA_V4", "Offers", "lease_of", "mac_bytes"]

METADATA_V4: Final = packed.addr_bytes("169.254.169.254")

_LINK_GATEWAY: Final = packed.addr_bytes("169.254.1.1")
"""What Felix makes every host answer for when an endpoint names no gateway."""

_NO_DNS: Final = frozenset({"0.0.0.0", "::"})
"""What Neutron's users write for: tell of no server."""

_ON_LINK: Final = b"\0\0\0\0"
_DEFAULT4, _DEFAULT6 = packed.net("0.0.0.0/0"), packed.net("::/0")
_MANY_DNS, _MANY_SEARCH, _MANY_ROUTES, _MANY_ROUTES6, _MANY_OPTIONS, _MANY_V6 = 8, 8, 64, 16, 32, 8
_MODES: Final = frozenset(get_args(Mode))
_MTU_MIN, _MTU_MAX = 576, 65535


class Offers(msgspec.Struct, frozen=True, kw_only=True):
    """What the operator of a host says for all ports: servers for subnets that name none, the domain of instances
    without a name, seconds that a lease lasts, and whether there is a metadata service."""

    dns: tuple[str, ...] = ()
    domain: str = ""
    lease_s: int = 86400
    metadata: bool = True


def mac_bytes(text: str) -> bytes:
    """Six bytes; InvalidInput when the text is no MAC of one station."""
    parts = text.split(":")
    try:
        raw = bytes(int(part, 16) for part in parts if 0 < len(part) <= 2)
    except ValueError:
        raw = b""
    if len(parts) != 6 or len(raw) != 6 or raw[0] & 1:
        raise InvalidInput(f"{text!r} is no MAC of an interface", field="spec.mac")
    return raw


def lease_of(
    port: EndpointRecord, subnets: Mapping[str, SubnetRecord], offers: Offers, link_mtu: int = 0
) -> tuple[Lease | None, tuple[str, ...]]:
    """The lease, and a sentence for each thing that is not as asked. ``subnets``: those of the port's network, by id;
    ``link_mtu``: of its interface, which no instance may exceed (0: unknown). None: nothing can be told."""
    builder = _Builder(port, offers)
    return builder.build(subnets, link_mtu), tuple(builder.problems)


class _Builder:
    def __init__(self, port: EndpointRecord, offers: Offers) -> None:
        self.port = port
        self.offers = offers
        self.problems: list[str] = []

    def build(self, subnets: Mapping[str, SubnetRecord], link_mtu: int) -> Lease | None:
        try:
            mac = mac_bytes(self.port.mac)
        except InvalidInput as error:
            self.problems.append(str(error))
            return None
        found = list(self._addresses(subnets))
        four = [(address, record) for address, record in found if address.version == 4]
        six = [(address, record) for address, record in found if address.version == 6]
        if len(six) > _MANY_V6:
            self.problems.append(f"only the first {_MANY_V6} of {len(six)} IPv6 addresses are given")
        hostname, domain = self._names(found)
        extra4, next_server = self._extra(4)
        return Lease(
            interface=self.port.interface,
            mac=mac,
            v4=self._v4(four[0][0].packed, four[0][1]) if four else None,
            v6=tuple(self._v6(address.packed, record) for address, record in six[:_MANY_V6]),
            dns6=self._dns((record for _, record in six), 6) if six else (),
            mtu=self._mtu((record for _, record in found), link_mtu),
            hostname=hostname,
            domain=domain,
            search=self._search((record for _, record in found), domain),
            extra4=extra4,
            extra6=self._extra(6)[0],
            next_server=next_server,
            lease_s=min(self.offers.lease_s, INFINITE),
        )

    def _addresses(
        self, subnets: Mapping[str, SubnetRecord]
    ) -> Iterator[tuple[ipaddress.IPv4Address | ipaddress.IPv6Address, SubnetRecord]]:
        """The fixed addresses with a subnet that has DHCP, in Neutron's order."""
        fixed = self.port.fixed_ips
        if fixed is None:
            fixed = tuple(FixedIp(subnet_id="", ip_address=text) for text in self.port.addresses)
        for one in fixed:
            try:
                address = ipaddress.ip_address(one.ip_address)
            except ValueError as error:
                self.problems.append(f"fixed address: {error}")
                continue
            if one.subnet_id:
                record = subnets.get(one.subnet_id)
                if record is not None and address not in record.network:
                    self.problems.append(f"fixed address {address} is not in its subnet {record.cidr}")
                    continue
            else:
                record = next((record for record in subnets.values() if address in record.network), None)
            if record is not None:
                yield address, record

    def _v4(self, address: bytes, record: SubnetRecord) -> Lease4:
        gateway = self._gateway(record)
        if gateway == address:
            gateway = b""  # the instance is its subnet's router
        server = gateway or _LINK_GATEWAY
        return Lease4(
            address=address,
            prefix_len=record.network.prefixlen,
            server=server,
            gateway=gateway,
            dns=self._dns((record,), 4),
            routes=tuple(self._routes(record, gateway, server)),
        )

    def _gateway(self, record: SubnetRecord) -> bytes:
        if not record.gateway_ip:
            return b""
        try:
            return ipaddress.IPv4Address(record.gateway_ip).packed
        except ValueError as error:
            self.problems.append(f"gateway of subnet {record.cidr}: {error}")
            return b""

    def _routes(self, record: SubnetRecord, gateway: bytes, server: bytes) -> Iterator[Route]:
        """Who is told of routes does not look at the router (RFC 3442), so the default route is one of them."""
        if ipaddress.IPv4Address(server) not in record.network:
            yield Route(packed.net_of_host(server), _ON_LINK)
        if self.offers.metadata:
            yield Route(packed.net_of_host(METADATA_V4), server)
        given = list(self._host_routes(record.host_routes, 4))
        if len(given) > _MANY_ROUTES:
            self.problems.append(f"only the first {_MANY_ROUTES} of {len(given)} host routes are given")
        yield from given[:_MANY_ROUTES]
        if gateway and all(route.net != _DEFAULT4 for route in given):
            yield Route(_DEFAULT4, gateway)

    def _host_routes(self, routes: Iterable[HostRoute], version: int) -> Iterator[Route]:
        for route in routes:
            try:
                net = packed.net(route.destination)
                nexthop = packed.addr_bytes(route.nexthop)
                if {len(net) - 1, len(nexthop)} != {4 if version == 4 else 16}:
                    raise ValueError(f"is not of IPv{version}")
            except ValueError as error:
                self.problems.append(f"host route {route.destination} via {route.nexthop}: {error}")
                continue
            yield Route(net, nexthop)

    def _v6(self, address: bytes, record: SubnetRecord) -> Lease6:
        mode = record.ipv6_ra_mode or record.ipv6_address_mode or "dhcpv6-stateful"
        if mode not in _MODES:
            self.problems.append(f"subnet {record.cidr}: {mode!r} is no mode of IPv6; taken as dhcpv6-stateful")
            mode = "dhcpv6-stateful"
        routes = [route.net for route in self._host_routes(record.host_routes, 6) if route.net != _DEFAULT6]
        if len(routes) > _MANY_ROUTES6:
            self.problems.append(f"only the first {_MANY_ROUTES6} of {len(routes)} host routes are given")
        return Lease6(
            address=address,
            net=packed.net(record.cidr),
            mode=mode,  # type: ignore[arg-type]
            routes=tuple(routes[:_MANY_ROUTES6]),
        )

    def _dns(self, records: Iterable[SubnetRecord], version: int) -> tuple[bytes, ...]:
        named = list(dict.fromkeys(text for record in records for text in record.dns_servers))
        found: list[bytes] = []
        for text in named or self.offers.dns:
            try:
                address = ipaddress.ip_address(text)
            except ValueError as error:
                self.problems.append(f"DNS server: {error}")
                continue
            if address.version == version and text not in _NO_DNS:
                found.append(address.packed)
        return tuple(found[:_MANY_DNS])

    def _mtu(self, records: Iterable[SubnetRecord], link_mtu: int) -> int:
        said = [mtu for mtu in (self.port.mtu or max((record.mtu for record in records), default=0), link_mtu) if mtu]
        mtu = min(said, default=0)
        if mtu and not _MTU_MIN <= mtu <= _MTU_MAX:
            self.problems.append(f"an MTU of {mtu} is not given")
            return 0
        return mtu

    def _names(
        self, found: list[tuple[ipaddress.IPv4Address | ipaddress.IPv6Address, SubnetRecord]]
    ) -> tuple[str, str]:
        """Name and domain of the instance; without one the name is made of its address, as Neutron does."""
        name, _, domain = self.port.fqdn.partition(".")
        if not self._is_domain(name):
            name = f"host-{str(found[0][0]).replace('.', '-').replace(':', '-')}" if found else ""
        domain = domain or self.offers.domain
        return name, domain if self._is_domain(domain) else ""

    def _search(self, records: Iterable[SubnetRecord], domain: str) -> tuple[str, ...]:
        said = self.port.dns_search or tuple(dict.fromkeys(name for record in records for name in record.dns_search))
        good = [name.rstrip(".") for name in said or (domain,) if self._is_domain(name)]
        return tuple(good[:_MANY_SEARCH])

    def _is_domain(self, name: str) -> bool:
        if not name:
            return False
        try:
            domain_bytes(name)
        except InvalidInput as error:
            self.problems.append(str(error))
            return False
        return name.isascii()

    def _extra(self, version: int) -> tuple[tuple[tuple[int, bytes], ...], bytes]:
        """Options by code, the last of a code wins; and the next server."""
        found: dict[int, bytes] = {}
        asked = [option for option in self.port.dhcp_options if option.ip_version == version]
        if len(asked) > _MANY_OPTIONS:
            self.problems.append(f"only the first {_MANY_OPTIONS} of {len(asked)} extra DHCP options are given")
        for option in asked[:_MANY_OPTIONS]:
            try:
                code, value = extra_option(option.opt_name, option.opt_value, version)
            except InvalidInput as error:
                self.problems.append(f"extra DHCP option: {error}")
                continue
            found[code] = value
        next_server = found.pop(NEXT_SERVER, b"") if version == 4 else b""
        return tuple(found.items()), next_server
