"""Facts for tests: ids that look like Neutron's, and objects with what most tests do not care about filled in."""

from __future__ import annotations

import uuid
from typing import Any

from calico.orchestrators.openstack.facts import (
    Binding,
    FixedIp,
    GroupRef,
    Network,
    Port,
    PortView,
    Project,
    SecurityGroup,
    SecurityGroupRule,
    Subnet,
)

__all__ = ["HOST", "NETWORK", "PROJECT", "group", "ident", "port", "rule", "view"]

HOST = "compute-01"


def ident(name: str) -> str:
    """The id of whatever has this name in a test, always the same."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, name))


NETWORK = Network(id=ident("net"), name="net", project_id=ident("project").replace("-", ""), mtu=1450)
PROJECT = Project(id=ident("project").replace("-", ""), name="acme", parent_id="default")
SUBNETS = (
    Subnet(id=ident("v4"), network_id=NETWORK.id, cidr="10.65.0.0/16", gateway_ip="10.65.255.254"),
    Subnet(id=ident("v6"), network_id=NETWORK.id, cidr="fd00:65::/64", gateway_ip="fd00:65::ffff", ip_version=6),
)


def rule(direction: str, ethertype: str = "IPv4", **more: Any) -> SecurityGroupRule:
    """A rule."""
    return SecurityGroupRule(
        id=ident(repr((direction, ethertype, more))), direction=direction, ethertype=ethertype, **more
    )


def group(name: str, *rules: SecurityGroupRule, **more: Any) -> SecurityGroup:
    """A group with these rules only."""
    return SecurityGroup(**{"id": ident(name), "name": name, "rules": rules, "revision_number": 3, **more})


def port(name: str, *addresses: str, groups: tuple[SecurityGroup, ...] = (), **more: Any) -> Port:
    """A bound port of an instance with these fixed addresses."""
    fixed = tuple(
        FixedIp(subnet_id=SUBNETS[":" in address].id, ip_address=address) for address in (addresses or ("10.65.0.1",))
    )
    facts: dict[str, Any] = {
        "id": ident(f"port {name}"),
        "network_id": NETWORK.id,
        "project_id": PROJECT.id,
        "device_id": ident(f"device {name}"),
        "device_owner": "compute:nova",
        "mac_address": "fa:16:3e:00:00:01",
        "fixed_ips": fixed,
        "security_groups": tuple(one.id for one in groups),
        "bindings": (Binding(host=HOST, vif_type="tap"),),
        "revision_number": 7,
    }
    return Port(**{**facts, **more})


def view(of: Port, *groups: SecurityGroup, **more: Any) -> PortView:
    """A port with its surroundings."""
    refs = tuple(GroupRef(id=one.id, name=one.name, stateful=one.stateful) for one in groups)
    facts: dict[str, Any] = {"port": of, "network": NETWORK, "subnets": SUBNETS, "groups": refs, "project": PROJECT}
    return PortView(**{**facts, **more})
