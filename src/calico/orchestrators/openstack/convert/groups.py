"""Security groups to NetworkPolicies, address groups to NetworkSets. Complete and fail closed.

A rule becomes one Allow rule, or none and a problem that names it: what is not understood allows nothing. Membership is
a label of endpoints, the addresses of an address group are one resource: neither change touches the policy.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

import msgspec

from calico.errors import InvalidInput
from calico.model.policy import (
    EntityRule,
    ICMPFields,
    NetworkPolicy,
    NetworkPolicySpec,
    NetworkSet,
    NetworkSetSpec,
    Rule,
)
from calico.orchestrators.openstack import naming
from calico.orchestrators.openstack.convert.documents import Converted, Options, Problem, finished, metadata_of
from calico.orchestrators.openstack.convert.protocols import (
    ICMP,
    ICMPV6,
    WITH_PORTS,
    WITH_PORTS_IN_NEUTRON,
    protocol_number,
    spelled,
)
from calico.orchestrators.openstack.facts import AddressGroup, SecurityGroup, SecurityGroupRule

__all__ = ["MOST_RULES", "convert_address_group", "convert_security_group"]

MOST_RULES = 1024
"""Of a direction of a policy. Neutron's quota is 100 by default."""

_VERSIONS = {"ipv4": 4, "ipv6": 6}
_TOP_ICMP_TYPE, _TOP_BYTE, _TOP_PORT = 254, 255, 65535


class _Refused(Exception):
    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


def convert_security_group(group: SecurityGroup, options: Options) -> Converted:
    """The policy ``ossg.default.<id>``. All of a group's ports are selected by its label, whoever shares it."""
    problems: list[Problem] = []
    directions: dict[str, dict[bytes, Rule]] = {"ingress": {}, "egress": {}}
    for given in group.rules:
        try:
            direction = _known(given.direction, directions, "direction-unknown", "direction")
            rule = _rule(given, direction)
        except _Refused as refused:
            text = f"rule {given.id} of security group {group.id} allows nothing: {refused}"
            problems.append(Problem(code=refused.code, kind="security_group", id=group.id, text=text))
            continue
        directions[direction].setdefault(msgspec.json.encode(rule), rule)
    if not group.stateful:
        text = f"security group {group.id} is stateless; replies to what it allows pass without a rule of their own"
        problems.append(
            Problem(code="group-stateless", kind="security_group", id=group.id, text=text, severity="notice")
        )
    rules = {name: tuple(found[text] for text in sorted(found)) for name, found in directions.items()}
    for name, found in rules.items():
        if len(found) > MOST_RULES:
            text = f"security group {group.id} has {len(found)} {name} rules; {len(found) - MOST_RULES} allow nothing"
            problems.append(Problem(code="too-many-rules", kind="security_group", id=group.id, text=text))
            rules[name] = found[:MOST_RULES]
    key = naming.group_key(options.region, group.id)
    policy = NetworkPolicy(
        metadata=metadata_of(key, group.revision_number, {}, {}),
        spec=NetworkPolicySpec(
            selector=f"has({naming.group_label(group.id)})", ingress=rules["ingress"], egress=rules["egress"]
        ),
    )
    return finished([(key, policy, {})], problems, revision=group.revision_number, subject=("security_group", group.id))


def convert_address_group(group: AddressGroup, options: Options) -> Converted:
    """The NetworkSet ``osag.<id>``, which rules select by its label. What is no address is left out and told."""
    problems, nets = [], set()
    for text in group.addresses:
        try:
            nets.add(ipaddress.ip_network(text, strict=False))
        except ValueError:
            said = f"{text!r} in address group {group.id} is no address; left out"
            problems.append(Problem(code="address-invalid", kind="address_group", id=group.id, text=said))
    ordered = sorted(nets, key=lambda net: (net.version, net))
    key = naming.address_group_key(options.region, group.id)
    labels = {naming.address_group_label(group.id): naming.label_text(group.name)}
    resource = NetworkSet(
        metadata=metadata_of(key, group.revision_number, labels, {}),
        spec=NetworkSetSpec(nets=tuple(map(str, ordered))),
    )
    return finished(
        [(key, resource, {})], problems, revision=group.revision_number, subject=("address_group", group.id)
    )


def _rule(given: SecurityGroupRule, direction: str) -> Rule:
    version = _VERSIONS[_known(given.ethertype.lower(), _VERSIONS, "ethertype-unknown", "ethertype")]
    try:
        protocol = protocol_number(given.protocol, version)
    except InvalidInput as error:
        raise _Refused("protocol-unknown", error.message) from None
    ports, icmp = _ports_and_icmp(given, protocol)
    far = _remote(given, version)
    near = EntityRule()
    source, destination = (far, near) if direction == "ingress" else (near, far)
    return Rule(
        action="Allow",
        ip_version=version,
        protocol=spelled(protocol),
        icmp=icmp,
        source=source,
        destination=msgspec.structs.replace(destination, ports=ports),
    )


def _ports_and_icmp(given: SecurityGroupRule, protocol: int | None) -> tuple[tuple[int | str, ...], ICMPFields | None]:
    """The two numbers of a rule mean ports, or ICMP type and code."""
    low, high = given.port_range_min, given.port_range_max
    if low is None and high is None:
        return (), None
    if protocol in (ICMP, ICMPV6):
        return (), _icmp(low, high)
    if protocol not in WITH_PORTS:
        code = "ports-unsupported" if protocol in WITH_PORTS_IN_NEUTRON else "protocol-without-ports"
        raise _Refused(code, f"ports of protocol {given.protocol!r} cannot be matched")
    if low is None or high is None or not 0 <= low <= high <= _TOP_PORT or high == 0:
        raise _Refused("port-range-invalid", f"{low} to {high} is no range of ports")
    first = max(low, 1)
    return ((first if first == high else f"{first}:{high}"),), None


def _icmp(kind: int | None, code: int | None) -> ICMPFields:
    if kind is None or not 0 <= kind <= _TOP_ICMP_TYPE or not (code is None or 0 <= code <= _TOP_BYTE):
        raise _Refused("icmp-invalid", f"ICMP type {kind} with code {code} cannot be matched")
    return ICMPFields(type=kind, code=code)


def _remote(given: SecurityGroupRule, version: int) -> EntityRule:
    remotes = [given.remote_ip_prefix, given.remote_group_id, given.remote_address_group_id]
    if sum(map(bool, remotes)) > 1:
        raise _Refused("remotes-ambiguous", "it names more than one kind of remote")
    if given.remote_group_id:
        return EntityRule(selector=_has(naming.group_label(given.remote_group_id)))
    if given.remote_address_group_id:
        return EntityRule(selector=_has(naming.address_group_label(given.remote_address_group_id)))
    if not given.remote_ip_prefix:
        return EntityRule()
    try:
        net = ipaddress.ip_network(given.remote_ip_prefix, strict=False)
    except ValueError:
        raise _Refused("prefix-invalid", f"{given.remote_ip_prefix!r} is no prefix") from None
    if net.version != version:
        raise _Refused("prefix-invalid", f"{given.remote_ip_prefix} is not of {given.ethertype}")
    return EntityRule(nets=(str(net),))


def _has(label: str) -> str:
    return f"has({label})"


def _known(text: str, known: Iterable[str], code: str, what: str) -> str:
    if text not in known:
        raise _Refused(code, f"{what} {text!r} is not known")
    return text
