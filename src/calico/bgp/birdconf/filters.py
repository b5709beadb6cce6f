"""BGPFilters and communities of prefixes as functions of BIRD's filter language. Pure.

Written so that BIRD never meets an undefined attribute, which would reject the route with a runtime error.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from calico.bgp.birdconf.text import MAX_PREFERENCE, number, prefix, quoted
from calico.bgp.planning.filterplan import Direction, Family, FilterPlan, OperationPlan, RulePlan

__all__ = ["GRACEFUL_SHUTDOWN", "add_communities", "filter_function", "filter_name"]

GRACEFUL_SHUTDOWN = "(65535,0)"
"""The community by which a speaker says that its routes are about to go away (RFC 8326)."""

_KEPT, _NAME_MAX = 28, 45


def filter_name(name: str, direction: Direction, family: Family) -> str:
    """The function of one list; the name Calico gives it, short enough for BIRD's 64 characters."""
    if len(name) > _NAME_MAX:
        digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest().upper()[:16]
        name = f"{name[:_KEPT]}_{digest}"
    return f"'bgp_{name}_{direction}FilterV{family}'"


def filter_function(plan: FilterPlan, direction: Direction, family: Family, *, drained: bool = False) -> list[str]:
    """The function: ends the filter with accept or reject at the first rule that matches, else returns.

    ``drained``: what it accepts is the least preferred, whatever its operations say.
    """
    lines = [f"function {filter_name(plan.name, direction, family)}(bool is_same_as) {{"]
    for rule in plan.rules(direction, family):
        body = " ".join([*_operations(rule.operations), _verdict(rule, direction, family, drained=drained)])
        conditions = _conditions(rule, family)
        lines.append(f"  if {' && '.join(conditions)} then {{ {body} }}" if conditions else f"  {{ {body} }}")
    return [*lines, "}"]


def add_communities(cidr: str, family: Family, communities: Iterable[tuple[int, ...]]) -> str:
    """A line that puts communities on the routes within a prefix."""
    added = " ".join(_add_community(community) for community in communities)
    return f"  if net ~ {prefix(cidr, family)} then {{ {added} }}"


def _conditions(rule: RulePlan, family: Family) -> list[str]:
    found = []
    if rule.network:
        found.append(_network(rule, family))
    if rule.from_peers:
        found.append("(source = RTS_BGP)")
    if rule.interface:
        found.append(f"(ifname ~ {quoted(rule.interface)})")
    if rule.internal is not None:
        found.append("is_same_as" if rule.internal else "(! is_same_as)")
    if rule.community:
        attribute = "bgp_community" if len(rule.community) == 2 else "bgp_large_community"
        found.append(f"({_pair(rule.community)} ~ {attribute})")
    if rule.as_path:
        numbers = " ".join(number(value, 0, 0xFFFFFFFF) for value in rule.as_path)
        found.append(f"(bgp_path ~ [= {numbers} * =])")
    if rule.priority is not None:
        found.append(f"(defined(bgp_local_pref) && bgp_local_pref = {_preference(rule.priority)})")
    return found


def _network(rule: RulePlan, family: Family) -> str:
    cidr = prefix(rule.network, family)
    low, high = rule.lengths
    length = int(cidr.rpartition("/")[2])
    if rule.exact:
        inside = f"net = {cidr}" if low <= length <= high else "false"
    else:
        inside = f"net ~ [ {cidr}{{{low},{high}}} ]" if low <= high else "false"
    return f"(! ({inside}))" if rule.outside else f"({inside})"


def _operations(operations: Iterable[OperationPlan]) -> Iterable[str]:
    for operation in operations:
        if operation.community:
            yield _add_community(operation.community)
        elif operation.priority is not None:
            yield f"bgp_local_pref = {_preference(operation.priority)};"
        else:
            # each goes before all that is there, so the last is put first
            for value in reversed(operation.prepend):
                yield f"bgp_path.prepend({number(value, 0, 0xFFFFFFFF)});"


def _verdict(rule: RulePlan, direction: Direction, family: Family, *, drained: bool) -> str:
    if not rule.accept:
        return "reject;"
    if direction == "import":
        least = "if ! is_same_as then bgp_local_pref = 0; " if drained else ""
        return f"{least}prefer{family}(); accept;"
    return f"drained{family}(is_same_as); accept;" if drained else "accept;"


def _add_community(community: tuple[int, ...]) -> str:
    attribute = "bgp_community" if len(community) == 2 else "bgp_large_community"
    return f"{attribute}.add({_pair(community)});"


def _pair(community: tuple[int, ...]) -> str:
    top = 0xFFFF if len(community) == 2 else 0xFFFFFFFF
    return f"({','.join(number(part, 0, top) for part in community)})"


def _preference(priority: int) -> str:
    return number(MAX_PREFERENCE - priority, 1, MAX_PREFERENCE - 1)
