"""What an object of Neutron should be in etcd: its keys, and its documents as the database has it now."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping

from msgspec.structs import replace
from neutron_lib.api.definitions import portbindings

from calico.errors import InvalidInput
from calico.model.keys import key_path
from calico.orchestrators.openstack import naming
from calico.orchestrators.openstack.convert import (
    Converted,
    Options,
    convert_address_group,
    convert_isolation_tier,
    convert_network_isolation,
    convert_port,
    convert_project_isolation,
    convert_security_group,
    convert_subnet,
)
from calico.orchestrators.openstack.driver.journal.recording import (
    ADDRESS_GROUP,
    ISOLATED_NETWORK,
    ISOLATED_PROJECT,
    ISOLATION,
    MIRRORED,
    NETWORK,
    OTHERS,
    PORT,
    ROUTER,
    SECURITY_GROUP,
    SUBNET,
    Place,
    Work,
)
from calico.orchestrators.openstack.driver.reading import dependents, groups, networks, ports, routers
from calico.orchestrators.openstack.driver.reading.rows import EVERY, Wanted, every_or, reading
from calico.orchestrators.openstack.facts import Binding, PortView

__all__ = ["Key", "converted", "denied_ports", "dependent_works", "everything", "paths_of", "with_places"]

Key = tuple[str, str]
"""Kind and id of an object."""

_ISOLATED = {ISOLATED_NETWORK: "network", ISOLATED_PROJECT: "project"}


def paths_of(work: Work, region: str) -> tuple[str, ...]:
    """The keys that an object may have in etcd; of a port, at the places that ``work`` names."""
    if work.kind == ADDRESS_GROUP:
        return (key_path(naming.address_group_key(region, work.identifier)),)
    if work.kind == SECURITY_GROUP:
        return (key_path(naming.group_key(region, work.identifier)),)
    if work.kind == SUBNET:
        return (naming.subnet_key(region, work.identifier), key_path(naming.pool_key(region, work.identifier)))
    if work.kind in _ISOLATED:
        return (key_path(naming.isolation_key(region, _ISOLATED[work.kind], work.identifier)),)
    if work.kind == ISOLATION:  # the tier stays, for it is of all regions
        return (key_path(naming.isolation_key(region, OTHERS, "")),)
    found = []
    for host, device in sorted(work.places):
        try:
            found.append(key_path(naming.migration_key(region, host, device, work.identifier)))
            found.append(key_path(naming.endpoint_key(region, host, device, work.identifier)))
        except InvalidInput:
            pass  # what cannot be named was never written
    return tuple(found)


def with_places(works: Iterable[Work]) -> list[Work]:
    """The same, with the places where ports are by now."""
    given = list(works)
    with reading() as session:
        there = dependents.places_of(session, [work.identifier for work in given if work.kind == PORT])
    return [_at(work, there.get(work.identifier, set())) for work in given]


def _at(work: Work, places: set[Place]) -> Work:
    return Work(work.kind, work.identifier, work.places | places, work.attempts) if places else work


def converted(keys: Iterable[Key], options: Options, stored: Container[str]) -> Mapping[Key, Converted]:
    """The documents of each object, as of a transaction that begins now; none of one that is gone.

    A constant number of queries, whatever is asked for. ``stored`` are the keys that etcd has: see ``_while_binding``.
    """
    by_kind: dict[str, list[str]] = {}
    for kind, identifier in keys:
        by_kind.setdefault(kind, []).append(identifier)
    found: dict[Key, Converted] = {
        (kind, identifier): Converted() for kind, wanted in by_kind.items() for identifier in wanted
    }
    found.update(_convert({kind: by_kind.get(kind, ()) for kind in MIRRORED}, options, stored))
    return found


def everything(options: Options, stored: Container[str]) -> Iterator[tuple[Key, Converted]]:
    """All objects of the database, one after the other, in the order to write them.

    The number of queries is the same whatever there is, and documents are made one at a time.
    """
    yield from _convert(dict.fromkeys(MIRRORED, EVERY), options, stored)


def _convert(wanted: Mapping[str, Wanted], options: Options, stored: Container[str]) -> Iterator[tuple[Key, Converted]]:
    by_network, by_project = options.isolation == "network+router", options.isolation == "project"
    with reading() as session:
        address_groups = groups.address_groups(session, wanted[ADDRESS_GROUP])
        security_groups = groups.security_groups(session, wanted[SECURITY_GROUP])
        subnets = networks.subnets(session, wanted[SUBNET])
        isolated = every_or(wanted[ISOLATED_NETWORK] if by_network else ())
        theirs = _or_every(wanted[SUBNET], isolated, {subnet.network_id for subnet in subnets.values()})
        their = networks.networks(session, theirs)
        joined = routers.routers(session, theirs if options.pools else isolated)
        projects = networks.populated_projects(session, wanted[ISOLATED_PROJECT] if by_project else ())
        views = ports.ports(session, wanted[PORT])
    for address_group in address_groups.values():
        yield (ADDRESS_GROUP, address_group.id), convert_address_group(address_group, options)
    for security_group in security_groups.values():
        yield (SECURITY_GROUP, security_group.id), convert_security_group(security_group, options)
    if wanted[ISOLATION] and options.isolation != "none":
        yield (ISOLATION, OTHERS), convert_isolation_tier(options)
    for network_id in their if isolated is EVERY else isolated:
        if network_id in their:
            yield (ISOLATED_NETWORK, network_id), convert_network_isolation(their[network_id], joined, options)
    for project_id in projects:
        yield (ISOLATED_PROJECT, project_id), convert_project_isolation(project_id, options)
    for subnet in subnets.values():
        if subnet.network_id in their:  # otherwise both went between the two queries
            yield (SUBNET, subnet.id), convert_subnet(subnet, their[subnet.network_id], joined, options)
    for view in views.values():
        yield (PORT, view.port.id), convert_port(_while_binding(view, options.region, stored), options)


def _or_every(subnets: Wanted, networks: Wanted, of_subnets: set[str]) -> Wanted:
    return EVERY if subnets is EVERY or networks is EVERY else {*of_subnets, *networks}


def denied_ports(identifiers: Iterable[str], options: Options) -> set[str]:
    """Those of the ports that cannot work as they are asked for, as the database has them now."""
    found = converted([(PORT, each) for each in identifiers], options, ())
    return {
        identifier
        for (_, identifier), each in found.items()
        if any(problem.severity == "denied" for problem in each.problems)
    }


def _while_binding(view: PortView, region: str, stored: Container[str]) -> PortView:
    """A change of a binding's profile makes Neutron bind the port again, and commit in between that it is not bound.

    An endpoint that is there must not go for that moment; whether the binding holds, the next commit tells.
    """
    port = view.port

    def kept(binding: Binding) -> Binding:
        if binding.vif_type != portbindings.VIF_TYPE_UNBOUND or not binding.host:
            return binding
        try:
            path = key_path(naming.endpoint_key(region, binding.host, port.device_id, port.id))
        except InvalidInput:
            return binding
        return replace(binding, vif_type=portbindings.VIF_TYPE_TAP) if path in stored else binding

    return replace(view, port=replace(port, bindings=tuple(map(kept, port.bindings))))


def dependent_works(works: Iterable[Work]) -> dict[str, set[str]]:
    """Objects to mirror, by kind, because of changes of what they are made of."""
    by_kind: dict[str, list[str]] = {}
    for work in works:
        by_kind.setdefault(work.kind, []).append(work.identifier)
    found: dict[str, set[str]] = {PORT: set(), SUBNET: set(), ISOLATED_NETWORK: set()}
    with reading() as session:
        for kind, identifiers in by_kind.items():
            found[PORT] |= dependents.dependent_ports(session, kind, identifiers)
        found[SUBNET] |= dependents.dependent_subnets(session, by_kind.get(NETWORK, ()))
        for router in routers.routers_by_id(session, by_kind.get(ROUTER, ())):
            found[SUBNET] |= set(router.subnet_ids)
            found[ISOLATED_NETWORK] |= {*router.network_ids, router.gateway_network_id} - {""}
    return found
