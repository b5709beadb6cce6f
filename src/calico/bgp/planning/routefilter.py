"""A BGPFilter checked and made plain: what its rules ask of a route and do to it. Pure.

A filter decides what leaves and enters a network, so one that cannot be honoured whole is not used in part: the
peerings that name it are stopped.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable

from calico.bgp.planning.filterplan import Family, FilterPlan, OperationPlan, RulePlan
from calico.bgp.planning.host import check_as_number
from calico.errors import InvalidInput
from calico.model.bgpfilter import BGPFilter, FilterOperation, FilterRule
from calico.model.communities import parse_community

__all__ = ["filter_of_resource"]

HIGHEST_PRIORITY = 2147483646
_NAME = re.compile(r"[A-Za-z0-9._-]+", re.ASCII)  # what BIRD allows in a quoted symbol
_INTERFACE = re.compile(r"[a-zA-Z0-9_.*-]{1,15}", re.ASCII)


def filter_of_resource(resource: BGPFilter) -> FilterPlan:
    """The filter; InvalidInput with the first field that cannot be honoured."""
    spec = resource.spec
    if not _NAME.fullmatch(resource.metadata.name):
        raise InvalidInput("holds characters that a name must not have", field="metadata.name")
    return FilterPlan(
        name=resource.metadata.name,
        import4=_rules(spec.import_v4, 4, "spec.importV4"),
        export4=_rules(spec.export_v4, 4, "spec.exportV4"),
        import6=_rules(spec.import_v6, 6, "spec.importV6"),
        export6=_rules(spec.export_v6, 6, "spec.exportV6"),
    )


def _rules(rules: Iterable[FilterRule], family: Family, where: str) -> tuple[RulePlan, ...]:
    return tuple(_rule(rule, family, f"{where}[{index}]") for index, rule in enumerate(rules))


def _rule(rule: FilterRule, family: Family, where: str) -> RulePlan:
    if rule.action not in ("Accept", "Reject"):
        raise InvalidInput(f"{rule.action[:60]!r} is neither Accept nor Reject", field=f"{where}.action")
    if rule.operations and rule.action != "Accept":
        raise InvalidInput("need the action Accept", field=f"{where}.operations")
    if rule.source not in ("", "RemotePeers"):
        raise InvalidInput(f"{rule.source[:60]!r} is not RemotePeers", field=f"{where}.source")
    if rule.peer_type not in ("", "eBGP", "iBGP"):
        raise InvalidInput(f"{rule.peer_type[:60]!r} is neither eBGP nor iBGP", field=f"{where}.peerType")
    if rule.interface and not _INTERFACE.fullmatch(rule.interface):
        raise InvalidInput(f"{rule.interface[:60]!r} is no interface pattern", field=f"{where}.interface")
    network, lengths = _network(rule, family, where)
    return RulePlan(
        network=network,
        lengths=lengths,
        exact=rule.match_operator in ("Equal", "NotEqual"),
        outside=rule.match_operator in ("NotEqual", "NotIn"),
        from_peers=rule.source == "RemotePeers",
        interface=rule.interface,
        internal=None if not rule.peer_type else rule.peer_type == "iBGP",
        community=_community_match(rule, where),
        as_path=_as_numbers(rule.as_path_prefix, f"{where}.asPathPrefix"),
        priority=_priority(rule.priority, f"{where}.priority"),
        accept=rule.action == "Accept",
        operations=tuple(
            _operation(operation, f"{where}.operations[{index}]") for index, operation in enumerate(rule.operations)
        ),
    )


def _network(rule: FilterRule, family: Family, where: str) -> tuple[str, tuple[int, int]]:
    longest = 32 if family == 4 else 128
    if not rule.cidr:
        if rule.match_operator or rule.prefix_length is not None:
            raise InvalidInput("is needed with matchOperator and prefixLength", field=f"{where}.cidr")
        return "", (0, longest)
    if rule.match_operator not in ("Equal", "NotEqual", "In", "NotIn"):
        message = f"{rule.match_operator[:60]!r} is none of Equal, NotEqual, In, NotIn"
        raise InvalidInput(message, field=f"{where}.matchOperator")
    try:
        network = ipaddress.ip_network(rule.cidr)
    except ValueError:
        raise InvalidInput(f"{rule.cidr[:60]!r} is no prefix", field=f"{where}.cidr") from None
    if network.version != family or "%" in rule.cidr:
        raise InvalidInput(f"{rule.cidr[:60]!r} is no IPv{family} prefix", field=f"{where}.cidr")
    low, high = network.prefixlen, longest
    if rule.prefix_length is not None:
        low = max(low, rule.prefix_length.min or 0)
        high = min(high, longest if rule.prefix_length.max is None else rule.prefix_length.max)
    return str(network), (low, high)


def _community_match(rule: FilterRule, where: str) -> tuple[int, ...]:
    if rule.communities is None:
        return ()
    if len(rule.communities.values) != 1:
        raise InvalidInput("must have exactly one entry", field=f"{where}.communities.values")
    return _community(rule.communities.values[0], f"{where}.communities.values[0]")


def _operation(operation: FilterOperation, where: str) -> OperationPlan:
    given = (operation.add_community, operation.prepend_as_path, operation.set_priority)
    if sum(part is not None for part in given) != 1:
        raise InvalidInput("must have exactly one of addCommunity, prependASPath and setPriority", field=where)
    if operation.add_community is not None:
        return OperationPlan(community=_community(operation.add_community.value, f"{where}.addCommunity.value"))
    if operation.prepend_as_path is not None:
        numbers = _as_numbers(operation.prepend_as_path.prefix, f"{where}.prependASPath.prefix")
        if not numbers:
            raise InvalidInput("is required", field=f"{where}.prependASPath.prefix")
        return OperationPlan(prepend=numbers)
    assert operation.set_priority is not None
    return OperationPlan(priority=_priority(operation.set_priority.value, f"{where}.setPriority.value"))


def _community(text: str, where: str) -> tuple[int, ...]:
    try:
        return parse_community(text)
    except InvalidInput as error:
        raise InvalidInput(error.message, field=where) from None


def _as_numbers(raw: Iterable[int | str], where: str) -> tuple[int, ...]:
    return tuple(check_as_number(number, f"{where}[{index}]") for index, number in enumerate(raw))


def _priority(value: int | None, where: str) -> int | None:
    if value is not None and not 1 <= value <= HIGHEST_PRIORITY:
        raise InvalidInput(f"{value} is not within 1-{HIGHEST_PRIORITY}", field=where)
    return value
