"""One side (source or destination) of a rule: nets packed, ports merged, selectors and port names turned into sets."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import msgspec

from calico.calc.messages import RuleSide
from calico.calc.services import ServiceName
from calico.errors import InvalidInput
from calico.lib import packed
from calico.model.effective import entity_selector
from calico.model.numorstring import parse_port
from calico.model.policy import EntityRule, ServiceMatch
from calico.model.selector import Selector, parse, unique_id

__all__ = ["EntityParts", "SetSpec", "compile_entity"]

EVERYTHING = parse("all()")
_WITH_PORTS = {6: "tcp", 17: "udp", 132: "sctp"}


class SetSpec(msgspec.Struct, frozen=True):
    """What an IP set holds: what ``selector`` selects, or what is behind ``service``.

    A ports set of a selector holds the ports called ``port``; ``protocol`` None: any.
    """

    id: str
    kind: Literal["nets", "ports"]
    selector: Selector | None
    protocol: int | None = None
    port: str = ""
    service: ServiceName | None = None


class EntityParts(msgspec.Struct, frozen=True, kw_only=True):
    """A compiled side, still with the nets of both families. ``needs_services``: it names one."""

    nets: tuple[bytes, ...]
    not_nets: tuple[bytes, ...]
    rest: RuleSide
    sets: tuple[SetSpec, ...]
    needs_services: bool

    @property
    def depends_on_family(self) -> bool:
        return bool(self.nets or self.not_nets)

    def possible_in(self, version: Literal[4, 6]) -> bool:
        """Whether a packet of this family can match: no list of nets is without its family, none negates it all."""
        negated = _of_family(self.not_nets, version)
        is_within = not self.nets or bool(_of_family(self.nets, version))
        is_beside = not self.not_nets or bool(negated)
        return is_within and is_beside and not any(net[-1] == 0 for net in negated)

    def side(self, version: Literal[4, 6] | None) -> RuleSide:
        """The side for one family; None only when ``depends_on_family`` is false. A catch-all does not restrict."""
        if version is None:
            return self.rest
        nets = _of_family(self.nets, version)
        if any(net[-1] == 0 for net in nets):
            nets = ()
        return msgspec.structs.replace(self.rest, nets=nets, not_nets=_of_family(self.not_nets, version))


def compile_entity(entity: EntityRule, namespace: str, protocol: int | None, name: str) -> EntityParts:
    """Compile the side called ``name``; InvalidInput with the path of the malformed field, beginning with ``name``."""
    selected, refused = _selectors(entity, namespace, name)
    ports, port_sets = _ports(entity.ports, selected, protocol, f"{name}.ports")
    not_ports, not_port_sets = _ports(entity.not_ports, selected, protocol, f"{name}.notPorts")
    required = [] if selected is None else [SetSpec(selected.uid, "nets", selected)]
    forbidden = [] if refused is None else [SetSpec(refused.uid, "nets", refused)]
    if entity.services is not None:
        if entity.ports and name == "destination":
            raise InvalidInput("ports are not possible together with services", field=f"{name}.ports")
        found = _service_set(entity.services, namespace, name)
        (required if found.kind == "nets" else port_sets).append(found)
    sets = [*required, *forbidden, *port_sets, *not_port_sets]
    rest = RuleSide(
        ip_sets=_ids(required),
        not_ip_sets=_ids(forbidden),
        ports=ports,
        not_ports=not_ports,
        named_ports=_ids(port_sets),
        not_named_ports=_ids(not_port_sets),
    )
    return EntityParts(
        nets=_nets(entity.nets, f"{name}.nets"),
        not_nets=_nets(entity.not_nets, f"{name}.notNets"),
        rest=rest,
        sets=tuple(sets),
        needs_services=entity.services is not None,
    )


def _selectors(entity: EntityRule, namespace: str, name: str) -> tuple[Selector | None, Selector | None]:
    # Each selector must parse alone, or "a) || (b" would escape from the parentheses it is combined with.
    accounts = entity.service_accounts
    for field, text in (
        ("selector", entity.selector),
        ("notSelector", entity.not_selector),
        ("namespaceSelector", entity.namespace_selector),
        ("serviceAccounts.selector", accounts.selector if accounts else ""),
    ):
        try:
            parse(text)
        except InvalidInput as error:
            raise InvalidInput(error.message, field=f"{name}.{field}") from None
        if "global(" in text and not (field == "namespaceSelector" and parse(text).canonical == "global()"):
            raise InvalidInput("global() may only be a whole namespaceSelector", field=f"{name}.{field}")
    try:
        return entity_selector(entity, namespace)
    except InvalidInput as error:
        raise InvalidInput(error.message, field=f"{name}.serviceAccounts.names") from None


def _nets(texts: Iterable[str], field: str) -> tuple[bytes, ...]:
    nets: set[bytes] = set()
    for position, text in enumerate(texts):
        try:
            nets.add(packed.net(text))
        except ValueError:
            raise InvalidInput(f"{text!r} is no network", field=f"{field}[{position}]") from None
    return tuple(sorted(nets))


def _of_family(nets: tuple[bytes, ...], version: Literal[4, 6]) -> tuple[bytes, ...]:
    return tuple(net for net in nets if packed.is_v6(net) == (version == 6))


def _ports(
    raw: Iterable[int | str], selected: Selector | None, protocol: int | None, field: str
) -> tuple[tuple[tuple[int, int], ...], list[SetSpec]]:
    ranges: list[tuple[int, int]] = []
    named: dict[str, SetSpec] = {}
    for position, text in enumerate(raw):
        try:
            port = parse_port(text)
        except InvalidInput as error:
            raise InvalidInput(error.message, field=f"{field}[{position}]") from None
        if protocol not in _WITH_PORTS and not (protocol is None and isinstance(port, str)):
            raise InvalidInput("ports need the protocol TCP, UDP or SCTP", field=f"{field}[{position}]")
        if isinstance(port, str):
            spec = _port_set(port, selected or EVERYTHING, protocol)
            named[spec.id] = spec
        elif port.first < 1:
            raise InvalidInput("there is no port 0", field=f"{field}[{position}]")
        else:
            ranges.append((port.first, port.last))
    return _merged(ranges), [named[set_id] for set_id in sorted(named)]


def _merged(ranges: list[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    merged: list[tuple[int, int]] = []
    for first, last in sorted(ranges):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(merged[-1][1], last))
        else:
            merged.append((first, last))
    return tuple(merged)


def _port_set(port: str, selector: Selector, protocol: int | None) -> SetSpec:
    proto = _WITH_PORTS[protocol] if protocol is not None else "any"
    return SetSpec(unique_id(f"{selector.uid},{proto},{port}", "n"), "ports", selector, protocol, port)


def _service_set(service: ServiceMatch, namespace: str, name: str) -> SetSpec:
    """A source is an address of the service, a destination one of its address ports."""
    owner = service.namespace or namespace
    for field, value in (("name", service.name), ("namespace", owner)):
        if not value:
            raise InvalidInput("is required", field=f"{name}.services.{field}")
    if name == "source":
        return SetSpec(unique_id(f"{owner}/{service.name}", "svcnoport"), "nets", None, service=(owner, service.name))
    return SetSpec(unique_id(f"{owner}/{service.name}", "svc"), "ports", None, service=(owner, service.name))


def _ids(specs: list[SetSpec]) -> tuple[str, ...]:
    return tuple(spec.id for spec in specs)
