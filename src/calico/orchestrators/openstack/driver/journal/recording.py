"""Writing to the journal, in the transaction of whoever changes Neutron's database."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import msgspec
from neutron_lib import context as n_context
from neutron_lib.db import api as db_api

from calico.orchestrators.openstack.driver.journal.table import JournalEntry

__all__ = [
    "ADDRESS_GROUP",
    "FORWARDED_WITH",
    "FORWARDING_PORTS",
    "GROUP_PORTS",
    "ISOLATED_NETWORK",
    "ISOLATED_PROJECT",
    "ISOLATION",
    "MIRRORED",
    "NETWORK",
    "OTHERS",
    "PAIRED_PORTS",
    "PORT",
    "QOS_POLICY",
    "ROUTER",
    "SECURITY_GROUP",
    "SUBNET",
    "SUBNET_PORTS",
    "Place",
    "Work",
    "record",
    "record_works",
]

ADDRESS_GROUP = "address_group"
SECURITY_GROUP = "security_group"
SUBNET = "subnet"
PORT = "port"
ISOLATION = "isolation"
"""The tier of isolation and the region's policy that denies; its one id is ``OTHERS``."""
OTHERS = "others"
ISOLATED_NETWORK = "isolated_network"
"""The policy that lets the peers of a network pass."""
ISOLATED_PROJECT = "isolated_project"
"""The policy that lets the endpoints of a project pass to each other."""
MIRRORED = (ADDRESS_GROUP, SECURITY_GROUP, ISOLATION, ISOLATED_NETWORK, ISOLATED_PROJECT, SUBNET, PORT)
"""Kinds of objects that have documents in etcd, in the order to write them: what is referred to comes first."""

GROUP_PORTS = "group_ports"
"""The ports of a security group, for they carry its name."""
SUBNET_PORTS = "subnet_ports"
"""The ports of a subnet, for they carry its gateway."""
FORWARDING_PORTS = "forwarding_ports"
"""The ports that a floating address, some of whose ports are forwarded, leads to."""
FORWARDED_WITH = "forwarded_with"
"""The ports that share a floating address with a port, by their forwards."""
PAIRED_PORTS = "paired_ports"
"""The ports of a network that have address pairs, for which of these are routed its subnets say."""
NETWORK = "network"
"""The ports and subnets of a network."""
QOS_POLICY = "qos_policy"
"""The ports that a QoS policy limits."""
ROUTER = "router"
"""The networks that a router joins, and its subnets."""

Place = tuple[str, str]
"""A host and the device id that a port had there."""


class Work(msgspec.Struct, frozen=True):
    """An object to mirror again, with the places that its entries name."""

    kind: str
    identifier: str
    places: frozenset[Place] = frozenset()
    attempts: int = 0


def record(session: Any, kind: str, identifiers: Iterable[str], places: Iterable[Place] = ()) -> None:
    """Add an entry per identifier to the journal; it counts when ``session``'s transaction commits."""
    there = frozenset(places)
    _insert(session, [Work(kind, each, there) for each in dict.fromkeys(identifiers) if each])


def record_works(works: Iterable[Work]) -> None:
    """Add entries in a transaction of their own: for what is to be mirrored again without having changed."""
    with db_api.CONTEXT_WRITER.using(n_context.get_admin_context()) as session:
        _insert(session, works)


def _insert(session: Any, works: Iterable[Work]) -> None:
    rows = [
        {"kind": work.kind, "object_id": work.identifier, "places": json.dumps(sorted(work.places))} for work in works
    ]
    if rows:
        session.execute(JournalEntry.__table__.insert(), rows)
