"""Networks and subnets."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from neutron.db import models_v2
from neutron.db.models import dns as dns_models
from neutron.db.models import external_net
from neutron.db.models import subnet_service_type as service_models
from neutron.db.port_security import models as security_models
from neutron.db.qos import models as qos_models

from calico.orchestrators.openstack.driver.reading.rows import EVERY, Wanted, every_or, grouped, revised, where_in
from calico.orchestrators.openstack.facts import HostRoute, Network, Subnet

__all__ = ["by_network", "networks", "populated_projects", "subnets", "subnets_of_networks"]


def networks(session: Any, identifiers: Wanted) -> dict[str, Network]:
    """By id."""
    wanted = every_or(identifiers)

    def of(model: Any) -> dict[str, Any]:
        return {row.network_id: row for row in where_in(session, model.__table__, "network_id", wanted)}

    external, domains = of(external_net.ExternalNetwork), of(dns_models.NetworkDNSDomain)
    secured, limited = of(security_models.NetworkSecurityBinding), of(qos_models.QosNetworkPolicyBinding)
    return {
        row.id: Network(
            id=row.id,
            name=row.name or "",
            project_id=row.project_id or "",
            mtu=row.mtu or 0,
            external=row.id in external,
            dns_domain=domains[row.id].dns_domain or "" if row.id in domains else "",
            qos_policy_id=limited[row.id].policy_id if row.id in limited else "",
            port_security_enabled=bool(secured[row.id].port_security_enabled) if row.id in secured else True,
            revision_number=row.revision_number,
        )
        for row in revised(session, models_v2.Network.__table__, wanted)
    }


def populated_projects(session: Any, identifiers: Wanted) -> set[str]:
    """Those of the projects that have a port."""
    table = models_v2.Port.__table__
    return {
        row.project_id for row in where_in(session, table, "project_id", identifiers, table.c.project_id.distinct())
    }


def subnets_of_networks(session: Any, networks: Wanted) -> dict[str, tuple[Subnet, ...]]:
    """By id of a network, its subnets by their ids."""
    table = models_v2.Subnet.__table__
    ids = networks if networks is EVERY else [row.id for row in where_in(session, table, "network_id", networks)]
    return by_network(subnets(session, ids).values())


def by_network(subnets: Iterable[Subnet]) -> dict[str, tuple[Subnet, ...]]:
    """Subnets by the id of their network, in the order of their own ids."""
    found: dict[str, list[Subnet]] = {}
    for subnet in sorted(subnets, key=lambda subnet: subnet.id):
        found.setdefault(subnet.network_id, []).append(subnet)
    return {network: tuple(of_it) for network, of_it in found.items()}


def subnets(session: Any, identifiers: Wanted) -> dict[str, Subnet]:
    """By id; name servers in the order that was asked for."""
    wanted = every_or(identifiers)

    def of(model: Any) -> dict[str, list[Any]]:
        return grouped(where_in(session, model.__table__, "subnet_id", wanted), "subnet_id")

    servers, routes = of(models_v2.DNSNameServer), of(models_v2.SubnetRoute)
    types = of(service_models.SubnetServiceType)
    return {
        row.id: Subnet(
            id=row.id,
            network_id=row.network_id,
            cidr=row.cidr,
            name=row.name or "",
            project_id=row.project_id or "",
            ip_version=row.ip_version,
            gateway_ip=row.gateway_ip or "",
            enable_dhcp=bool(row.enable_dhcp),
            ipv6_ra_mode=row.ipv6_ra_mode or "",
            ipv6_address_mode=row.ipv6_address_mode or "",
            dns_nameservers=tuple(
                each.address for each in sorted(servers.get(row.id, []), key=lambda each: int(each.order))
            ),
            host_routes=tuple(
                HostRoute(destination=each.destination, nexthop=each.nexthop)
                for each in sorted(routes.get(row.id, []), key=lambda each: (str(each.destination), str(each.nexthop)))
            ),
            service_types=tuple(sorted(str(each.service_type) for each in types.get(row.id, []))),
            revision_number=row.revision_number,
        )
        for row in revised(session, models_v2.Subnet.__table__, wanted)
    }
