"""What security groups mean, read from Neutron's API reference and from nothing of ours. Naive.

A packet passes when a rule of any group of the port, of its direction, matches it: ethertype, protocol, the range of
ports or the type and code of ICMP, and the remote, which is the other end. Ports without port security pass everything.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import NamedTuple

from calico.orchestrators.openstack.facts import AddressGroup, Port, SecurityGroup, SecurityGroupRule

__all__ = ["NAMES", "Cloud", "Seen", "number_of", "refused"]

NAMES = {
    "icmp": 1, "igmp": 2, "ipip": 4, "tcp": 6, "egp": 8, "udp": 17, "dccp": 33, "rsvp": 46, "gre": 47,
    "esp": 50, "ah": 51, "icmpv6": 58, "ipv6-icmp": 58, "ipv6-encap": 41, "ipv6-route": 43, "ipv6-frag": 44,
    "ipv6-nonxt": 59, "ipv6-opts": 60, "ospf": 89, "vrrp": 112, "pgm": 113, "sctp": 132, "udplite": 136,
}  # fmt: skip
_WITH_PORTS = ("tcp", "udp", "sctp", "dccp", "udplite")


_PORTS = {NAMES[name] for name in _WITH_PORTS}
_IPV6_ONLY = (41, 43, 44, 58, 59, 60)


def number_of(rule: SecurityGroupRule) -> int | None:
    """The protocol that a rule names, 0 for any; None when there is no such protocol."""
    asked = "any" if rule.protocol is None else str(rule.protocol).lower()
    if asked == "any":
        return 0
    if asked in NAMES:
        number = NAMES[asked]
    elif asked.isdecimal() and int(asked) <= 255:
        number = int(asked)
    else:
        return None
    return 58 if rule.ethertype == "IPv6" and number == 1 else number  # ICMP in a rule for IPv6 is ICMPv6


def refused(rule: SecurityGroupRule) -> bool:
    """Whether the API refuses such a rule: what it would mean is not said anywhere."""
    number, low, high = number_of(rule), rule.port_range_min, rule.port_range_max
    if number is None or (rule.ethertype == "IPv4" and number in _IPV6_ONLY):
        return True
    prefix = rule.remote_ip_prefix
    if prefix and ipaddress.ip_network(prefix, strict=False).version != int(rule.ethertype[-1]):
        return True
    if number in (1, 58):
        return (low is None and high is not None) or any(not 0 <= (part or 0) <= 255 for part in (low, high))
    if number in _PORTS:
        return (low is None) != (high is None) or (low is not None and high is not None and (low > high or high == 0))
    return low is not None or high is not None


class Seen(NamedTuple):
    """A packet as one end sees it: addresses as text, protocol number, destination port, ICMP type and code."""

    source: str
    destination: str
    protocol: int
    port: int = 0
    icmp: tuple[int, int] = (0, 0)


class Cloud:
    """Ports, groups and address groups."""

    def __init__(
        self, ports: Iterable[Port] = (), groups: Iterable[SecurityGroup] = (), lists: Iterable[AddressGroup] = ()
    ) -> None:
        self.ports = list(ports)
        self.groups = {group.id: group for group in groups}
        self.lists = {group.id: group for group in lists}

    def may(self, direction: str, port: Port, packet: Seen) -> bool:
        """Whether the port may receive (``ingress``) or send (``egress``) the packet."""
        if not port.port_security_enabled:
            return True
        remote = packet.source if direction == "ingress" else packet.destination
        return any(
            rule.direction == direction and self._matches(rule, packet, remote)
            for group_id in port.security_groups
            for rule in self.groups[group_id].rules
        )

    def _matches(self, rule: SecurityGroupRule, packet: Seen, remote: str) -> bool:
        version = ipaddress.ip_address(remote).version
        if rule.ethertype != f"IPv{version}":
            return False
        return self._is_protocol(rule, packet) and self._is_remote(rule, remote)

    def _is_protocol(self, rule: SecurityGroupRule, packet: Seen) -> bool:
        number, low, high = number_of(rule), rule.port_range_min, rule.port_range_max
        if refused(rule) or number not in (0, packet.protocol):
            return False
        if low is None:
            return True
        if number in (1, 58):
            return packet.icmp[0] == low and high in (None, packet.icmp[1])
        return high is not None and low <= packet.port <= high

    def _is_remote(self, rule: SecurityGroupRule, remote: str) -> bool:
        address = ipaddress.ip_address(remote)
        if rule.remote_group_id:
            return any(
                rule.remote_group_id in port.security_groups and address in _owned(port)
                for port in self.ports
                if port.port_security_enabled
            )
        if rule.remote_address_group_id:
            listed = self.lists.get(rule.remote_address_group_id)
            return listed is not None and _contained(address, listed.addresses)
        return not rule.remote_ip_prefix or _contained(address, (rule.remote_ip_prefix,))


def _owned(port: Port) -> set[object]:
    return {ipaddress.ip_address(fixed.ip_address) for fixed in port.fixed_ips} | {
        ipaddress.ip_address(pair.ip_address) for pair in port.allowed_address_pairs if "/" not in pair.ip_address
    }


def _contained(address: object, prefixes: Iterable[str]) -> bool:
    return any(address in ipaddress.ip_network(prefix, strict=False) for prefix in prefixes)
