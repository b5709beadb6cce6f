"""Ports with all that their endpoints are made of."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from neutron.db import models_v2
from neutron.db.extra_dhcp_opt import models as dhcp_models
from neutron.db.models import allowed_address_pair
from neutron.db.models import dns as dns_models
from neutron.db.models import l3 as l3_models
from neutron.db.models import port_forwarding as forwarding_models
from neutron.db.models import securitygroup as group_models
from neutron.db.port_security import models as security_models
from neutron.db.qos import models as qos_models
from neutron.plugins.ml2 import models as ml2_models
from oslo_config import cfg

from calico.orchestrators.openstack.driver.reading import networks as network_reading
from calico.orchestrators.openstack.driver.reading import qos
from calico.orchestrators.openstack.driver.reading.rows import EVERY, Wanted, every_or, grouped, revised, where_in
from calico.orchestrators.openstack.facts import (
    AddressPair,
    Binding,
    DhcpOption,
    DnsAssignment,
    FixedIp,
    FloatingIp,
    GroupRef,
    Network,
    Port,
    PortForwarding,
    PortView,
    Project,
    QosPolicy,
    Subnet,
)

__all__ = ["ports"]

_NO_DOMAIN = "openstacklocal"
"""Neutron's default, which means that nobody has set one."""

Rows = Mapping[str, list[Any]]


def ports(session: Any, identifiers: Wanted) -> dict[str, PortView]:
    """Views by id; an id that is missing is of a port that is gone."""
    wanted = every_or(identifiers)
    rows = revised(session, models_v2.Port.__table__, wanted)

    def of(model: Any, column: str = "port_id") -> Rows:
        return grouped(where_in(session, model.__table__, column, wanted), column)

    parts = {
        "fixed": of(models_v2.IPAllocation),
        "bindings": of(ml2_models.PortBinding),
        "pairs": of(allowed_address_pair.AllowedAddressPair),
        "options": of(dhcp_models.ExtraDhcpOpt),
        "security": of(security_models.PortSecurityBinding),
        "names": of(dns_models.PortDNS),
        "limits": of(qos_models.QosPortPolicyBinding),
        "groups": of(group_models.SecurityGroupPortBinding),
    }
    networks = network_reading.networks(session, _of(wanted, (row.network_id for row in rows)))
    subnets = network_reading.subnets_of_networks(session, _of(wanted, networks))
    members = (each.security_group_id for found in parts["groups"].values() for each in found)
    groups = _groups(session, _of(wanted, members))
    floating = _floating(session, wanted)
    forwarded = _forwarded(session, wanted)
    views = [_view(row, parts, networks, subnets, groups, floating, forwarded) for row in rows]
    policies = qos.policies(session, _of(wanted, (each for view in views for each in _policy_ids(view))))
    return {view.port.id: _with_policies(view, policies) for view in views}


def _of(wanted: Wanted, parts: Iterable[str]) -> Wanted:
    """What objects are made of; for all of them everything, so that the number of queries is the same for any."""
    return EVERY if wanted is EVERY else set(parts)


def _view(
    row: Any,
    parts: Mapping[str, Rows],
    networks: Mapping[str, Network],
    subnets: Mapping[str, tuple[Subnet, ...]],
    groups: Mapping[str, GroupRef],
    floating: Mapping[str, list[FloatingIp]],
    forwarded: Mapping[str, list[PortForwarding]],
) -> PortView:
    port = _port(row, {name: found.get(row.id, []) for name, found in parts.items()})
    return PortView(
        port=port,
        network=networks[row.network_id],
        subnets=subnets.get(row.network_id, ()),
        groups=tuple(groups[each] for each in port.security_groups if each in groups),
        project=Project(id=port.project_id) if port.project_id else None,
        floating_ips=tuple(floating.get(port.id, [])),
        port_forwardings=tuple(forwarded.get(port.id, [])),
    )


def _port(row: Any, parts: Mapping[str, list[Any]]) -> Port:
    name = next(iter(parts["names"]), None)
    fixed = tuple(
        FixedIp(subnet_id=each.subnet_id, ip_address=each.ip_address)
        for each in sorted(parts["fixed"], key=lambda each: (str(each.subnet_id), str(each.ip_address)))
    )
    hostname, domain = _dns(name)
    return Port(
        id=row.id,
        network_id=row.network_id,
        name=row.name or "",
        project_id=row.project_id or "",
        device_id=row.device_id or "",
        device_owner=row.device_owner or "",
        mac_address=row.mac_address,
        fixed_ips=fixed,
        allowed_address_pairs=tuple(
            AddressPair(
                ip_address=str(each.ip_address),
                mac_address="" if each.mac_address == row.mac_address else str(each.mac_address),
            )
            for each in sorted(parts["pairs"], key=lambda each: (str(each.ip_address), str(each.mac_address)))
        ),
        security_groups=tuple(sorted(each.security_group_id for each in parts["groups"])),
        port_security_enabled=all(each.port_security_enabled for each in parts["security"]),
        bindings=tuple(_binding(each) for each in sorted(parts["bindings"], key=_binding_order)),
        status=row.status or "",
        admin_state_up=bool(row.admin_state_up),
        dns_name=name.dns_name or "" if name is not None else "",
        dns_domain=name.dns_domain or "" if name is not None else "",
        dns_assignment=tuple(_assignment(each.ip_address, hostname, domain) for each in fixed),
        extra_dhcp_opts=tuple(
            DhcpOption(opt_name=each.opt_name, opt_value=each.opt_value, ip_version=int(each.ip_version))
            for each in sorted(parts["options"], key=lambda each: (int(each.ip_version), str(each.opt_name)))
        ),
        qos_policy_id=next((each.policy_id for each in parts["limits"]), ""),
        revision_number=row.revision_number,
    )


def _binding_order(row: Any) -> tuple[bool, str]:
    return row.status != "ACTIVE", row.host


def _binding(row: Any) -> Binding:
    return Binding(
        host=row.host or "",
        vif_type=row.vif_type or "",
        vnic_type=row.vnic_type or "",
        profile=_object(row.profile),
        vif_details=_object(row.vif_details),
        status=row.status or "",
    )


def _object(text: str | None) -> dict[str, Any]:
    """A JSON object of a text column; whatever else is there counts as none, as for Neutron."""
    try:
        found = json.loads(text or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _dns(row: Any) -> tuple[str, str]:
    """The host name and domain that ``dns_assignment`` is made of, by Neutron's rule: names only in a domain of one's
    own."""
    domain = cfg.CONF.dns_domain or ""
    if row is None or not domain or domain.rstrip(".") == _NO_DOMAIN:
        return "", domain
    return row.dns_name or "", row.current_dns_domain or domain


def _assignment(address: str, hostname: str, domain: str) -> DnsAssignment:
    """The name that Neutron shows: the port's, or one made of its address."""
    host = hostname or "host-" + address.replace(".", "-").replace(":", "-")
    full = host if host.endswith(".") or not domain else f"{host}.{domain.rstrip('.')}."
    return DnsAssignment(ip_address=address, hostname=host, fqdn=full)


def _groups(session: Any, identifiers: Wanted) -> dict[str, GroupRef]:
    rows = where_in(session, group_models.SecurityGroup.__table__, "id", identifiers)
    return {row.id: GroupRef(id=row.id, name=row.name or "", stateful=bool(row.stateful)) for row in rows}


def _floating(session: Any, identifiers: Wanted) -> dict[str, list[FloatingIp]]:
    rows = where_in(session, l3_models.FloatingIP.__table__, "fixed_port_id", identifiers)
    limits = {
        row.fip_id: row.policy_id
        for row in where_in(
            session, qos_models.QosFIPPolicyBinding.__table__, "fip_id", _of(identifiers, (row.id for row in rows))
        )
    }
    found: dict[str, list[FloatingIp]] = {}
    for row in sorted(rows, key=lambda row: str(row.floating_ip_address)):
        found.setdefault(row.fixed_port_id, []).append(
            FloatingIp(
                id=row.id,
                floating_ip_address=str(row.floating_ip_address),
                floating_network_id=row.floating_network_id,
                project_id=row.project_id or "",
                port_id=row.fixed_port_id,
                fixed_ip_address=str(row.fixed_ip_address or ""),
                router_id=row.router_id or "",
                qos_policy_id=limits.get(row.id, ""),
            )
        )
    return found


def _forwarded(session: Any, identifiers: Wanted) -> dict[str, list[PortForwarding]]:
    rows = where_in(session, forwarding_models.PortForwarding.__table__, "internal_neutron_port_id", identifiers)
    owners = where_in(
        session, l3_models.FloatingIP.__table__, "id", _of(identifiers, (row.floatingip_id for row in rows))
    )
    addresses = {row.id: str(row.floating_ip_address) for row in owners}
    hosts = _forwarding_hosts(session, addresses)
    found: dict[str, list[PortForwarding]] = {}
    for row in sorted(rows, key=lambda row: str(row.id)):
        found.setdefault(row.internal_neutron_port_id, []).append(
            PortForwarding(
                id=row.id,
                floating_ip_id=row.floatingip_id,
                floating_ip_address=addresses.get(row.floatingip_id, ""),
                protocol=row.protocol,
                external_port=_ports(row.external_port_start, row.external_port_end),
                internal_port_id=row.internal_neutron_port_id,
                internal_ip_address=str(row.internal_ip_address),
                internal_port=_ports(row.internal_port_start, row.internal_port_end),
                host=hosts.get(row.floatingip_id, ""),
            )
        )
    return found


def _forwarding_hosts(session: Any, floating: Iterable[str]) -> dict[str, str]:
    """Where each floating address is: at the host of the first forward, by id, to a port that has one."""
    forwards = where_in(session, forwarding_models.PortForwarding.__table__, "floatingip_id", floating)
    bindings = ml2_models.PortBinding.__table__
    ports = {row.internal_neutron_port_id for row in forwards}
    bound = {
        row.port_id: row.host
        for row in where_in(session, bindings, "port_id", ports)
        if row.status == "ACTIVE" and row.host
    }
    found: dict[str, str] = {}
    for row in sorted(forwards, key=lambda row: str(row.id)):
        if row.internal_neutron_port_id in bound:
            found.setdefault(row.floatingip_id, bound[row.internal_neutron_port_id])
    return found


def _ports(first: int, last: int) -> str:
    return str(first) if first == last else f"{first}:{last}"


def _policy_ids(view: PortView) -> list[str]:
    own = view.port.qos_policy_id or view.network.qos_policy_id
    return [each for each in (own, *(floating.qos_policy_id for floating in view.floating_ips)) if each]


def _with_policies(view: PortView, policies: Mapping[str, QosPolicy]) -> PortView:
    own = view.port.qos_policy_id or view.network.qos_policy_id
    floating = {each.id: policies[each.qos_policy_id] for each in view.floating_ips if each.qos_policy_id in policies}
    return PortView(
        port=view.port,
        network=view.network,
        subnets=view.subnets,
        groups=view.groups,
        project=view.project,
        floating_ips=view.floating_ips,
        port_forwardings=view.port_forwardings,
        qos=policies.get(own),
        floating_qos=floating,
    )
