"""The executable specification: what the calculation's messages mean for the first packet of a connection.

Naive on purpose: it keeps the last message about each thing and reads them for every packet. The rendered ruleset,
judged by ``calico.rules.evaluator.evaluate``, must say the same for every packet; tests compare them. A
``Flow`` quotes no other packet, so what ICMP errors may quote is not said here; what limits count is told by who asks.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Iterable
from typing import Literal

from calico.calc.messages import (
    IPAM_POOLS,
    IPIP_HOSTS,
    VXLAN_HOSTS,
    ActiveRule,
    EndpointId,
    EndpointRemove,
    EndpointUpdate,
    HostEndpointRemove,
    HostEndpointUpdate,
    IPSetDelta,
    IPSetRemove,
    IPSetUpdate,
    Message,
    PolicyRemove,
    PolicyUpdate,
    ProfileRemove,
    ProfileUpdate,
    RuleSide,
)
from calico.lib.packed import addr_port, is_v6
from calico.model.keys import ResourceKey
from calico.rules.config import RulesConfig
from calico.rules.packets import ICMP, ICMPV6, SCTP, TCP, UDP, Flow
from calico.rules.reference.host import HostEndpoints
from calico.rules.reference.translation import ReferenceNat

__all__ = ["Reference"]

_HOST_SERVICES = (130, 131, 132, 133, 135, 136)
_LINK_SCOPE = ipaddress.ip_network("ff02::/16")
_NO_SOURCES = [
    ipaddress.ip_network(text)
    for text in ("0.0.0.0/8", "127.0.0.0/8", "224.0.0.0/3", "::/127", "fe80::/10", "ff00::/8")
]
_LINK_LOCAL = ipaddress.ip_network("fe80::/10")
_METADATA_V6 = ipaddress.ip_address("fe80::a9fe:a9fe").packed


class Reference:
    """The messages so far, and what they allow."""

    def __init__(self, config: RulesConfig) -> None:
        self._config = config
        self._sets: dict[str, frozenset[bytes]] = {}
        self._policies: dict[ResourceKey, PolicyUpdate] = {}
        self._profiles: dict[str, ProfileUpdate] = {}
        self._endpoints: dict[EndpointId, EndpointUpdate] = {}
        self._hosts = HostEndpoints(
            config,
            self._tier,
            lambda name, direction, flow: self._first(self._profiles.get(name), direction, flow),
        )
        self._nat = ReferenceNat(config, self._in_force, self._sets)

    def on_message(self, message: Message) -> None:
        """Remember a message."""
        match message:
            case IPSetUpdate():
                self._sets[message.id] = message.members
            case IPSetDelta():
                self._sets[message.id] = (self._sets[message.id] - message.removed) | message.added
            case IPSetRemove():
                del self._sets[message.id]
            case PolicyUpdate():
                self._policies[message.key] = message
            case PolicyRemove():
                del self._policies[message.key]
            case ProfileUpdate():
                self._profiles[message.name] = message
            case ProfileRemove():
                del self._profiles[message.name]
            case EndpointUpdate():
                self._endpoints[message.id] = message
            case EndpointRemove():
                self._endpoints.pop(message.id, None)
            case HostEndpointUpdate():
                self._hosts.endpoints[message.name] = message
            case HostEndpointRemove():
                self._hosts.endpoints.pop(message.name, None)
            case _:
                pass

    def on_host_interface(self, name: str, addresses: frozenset[bytes] | None) -> None:
        """Remember an interface."""
        self._hosts.addresses.pop(name, None)
        if addresses is not None:
            self._hosts.addresses[name] = addresses

    def forwards(
        self,
        source: str,
        destination: str,
        flow: Flow,
        translated: tuple[str, Flow] | None = None,
        exceeded: Collection[str] = (),
    ) -> bool:
        """Whether a packet from one interface is forwarded to another: as its own sender it is judged as it comes, by
        policy with its destination translated, by us or (``translated``: where it goes and what it is then) by others,
        unless it is left out of connection tracking.

        ``exceeded``: of what (packets, bytes, connections) there was too much for every endpoint that limits it.
        """
        if not self._is_genuine(source, flow):
            return False
        arrival = self._hosts.arrives(source, flow)
        if arrival == "denied":
            return False
        if arrival == "untracked":
            exceeded = [what for what in exceeded if what != "connections"]
        else:
            destination, flow = translated or (destination, self._nat.destination(source, flow))
        if self._is_limited(source, "egress", exceeded) or self._is_limited(destination, "ingress", exceeded):
            return False
        if self._is_workload(source):
            goes_in = self._may(source, "egress", flow)
        else:
            goes_in = arrival in ("untracked", "accepted") or self._hosts.forwards(source, "ingress", flow)
        if self._is_workload(destination):
            return goes_in and self._may(destination, "ingress", flow)
        return goes_in and self._hosts.forwards(destination, "egress", flow)

    def sent(self, source: str, destination: str, flow: Flow, out_address: bytes) -> Flow:
        """How a packet that is forwarded, or that the host sends (no ``source``), looks when it leaves by an interface
        with that address."""
        return self._nat.source(destination, self._nat.destination(source, flow), out_address)

    def reaches_host(self, source: str, flow: Flow, translated: Flow | None = None) -> bool:
        """Whether a packet from an interface reaches this host itself (datamodel 15.4, 15.5). What is left out of
        connection tracking is not translated."""
        if not self._is_genuine(source, flow):
            return False
        arrival = self._hosts.arrives(source, flow)
        after = flow if arrival == "untracked" else translated or self._nat.destination(source, flow)
        hosts = self._tunnel_hosts(after)
        is_tunnel = hosts is not None
        if hosts is not None and not self._in_set(after.src, hosts):
            return False
        if not self._is_workload(source):
            if arrival == "undecided":
                return is_tunnel or self._hosts.reaches(source, after)
            return arrival != "denied"
        flow = after
        if self._config.openstack and self._is_openstack_service(flow):
            return True
        if flow.version == 6 and flow.protocol == ICMPV6 and not flow.fragment and flow.icmp[0] in _HOST_SERVICES:
            return True
        return self._may(source, "egress", flow) and self._config.endpoint_to_host != "drop"

    def leaves_host(self, destination: str, flow: Flow, translated: tuple[str, Flow] | None = None) -> bool:
        """Whether a packet of this host itself goes out of an interface. ``translated``: where it goes and what it is
        after others' DNAT (else ours). No policy keeps the host from its own workloads."""
        untracked = self._hosts.leaves_untracked(destination, flow)
        if untracked == "deny":
            return False
        if self._is_workload(destination) and self._owner(destination) is None:
            return False
        if untracked == "allow":
            return True
        sent = flow
        destination, flow = translated or (destination, self._nat.destination("", flow))
        hosts = self._tunnel_hosts(flow)
        if flow == sent and hosts is not None and self._in_set(flow.dst, hosts):
            return True
        return self._is_workload(destination) or self._hosts.leaves(destination, flow)

    def marks(self, source: str, flow: Flow) -> int | None:
        """The DSCP that a forwarded packet is given; None: it keeps its own."""
        owner = self._owner(source) if self._is_workload(source) else None
        qos = owner.qos if owner else None
        target = self._nat.destination(source, flow).dst
        return None if qos is None or self._in_set(target, IPAM_POOLS) else qos.dscp

    # -- who sends it ------------------------------------------------------------------------------------------------

    def _is_workload(self, interface: str) -> bool:
        return interface.startswith(self._config.interface_prefixes)

    def _owner(self, interface: str) -> EndpointUpdate | None:
        claims = [e for e in self._endpoints.values() if e.interface == interface]
        return min(claims, key=lambda endpoint: endpoint.id) if claims else None

    def _in_force(self) -> list[EndpointUpdate]:
        """The endpoints that have their interface."""
        return [e for e in self._endpoints.values() if self._is_workload(e.interface) and self._owner(e.interface) is e]

    def _lent(self, owner: EndpointUpdate, address: bytes) -> bool:
        """Datamodel 15.6: whether an endpoint may send from an address that is not its own."""
        source = ipaddress.ip_address(address)
        is_ours = any(address in addresses for addresses in self._hosts.addresses.values())
        return _in_any(address, owner.spoofed) and not is_ours and not any(source in net for net in _NO_SOURCES)

    def _is_openstack_service(self, flow: Flow) -> bool:
        """Datamodel 15.5: DHCP, DNS and the metadata service of the host."""
        if flow.fragment:
            return False
        dhcp = (flow.sport, flow.dport) == ((68, 67) if flow.version == 4 else (546, 547))
        if flow.protocol == UDP:
            return dhcp or flow.dport == 53
        metadata = (self._config.metadata_v4, self._config.metadata_port)
        asks = flow.protocol == TCP and bool(metadata[0])
        return asks and ((flow.dst, flow.dport) == metadata or self._asks_metadata_v6(flow))

    def _asks_metadata_v6(self, flow: Flow) -> bool:
        """The one service of the host that has a link-local address of its own; no header stands before TCP's."""
        config = self._config
        asks = flow.protocol == TCP and not flow.fragment and not flow.extensions
        there = (flow.dst, flow.dport) == (_METADATA_V6, 80)
        return config.openstack and bool(config.metadata_v4) and asks and there

    def _is_genuine(self, interface: str, flow: Flow) -> bool:
        """Requirements S6 and S7: own sources, no source routing, no router's messages."""
        if not self._is_workload(interface):
            return True
        source, destination = ipaddress.ip_address(flow.src), ipaddress.ip_address(flow.dst)
        kind = flow.icmp[0] if not flow.fragment else None
        if (flow.protocol, kind) in ((ICMP, 5), (ICMPV6, 134), (ICMPV6, 137)):
            return False
        if flow.version == 4 and destination.is_loopback:
            return False
        owner = self._owner(interface)
        routed = flow.options or any(number == 43 for number, _ in flow.extensions)
        if (
            owner
            and not routed
            and (flow.src + bytes((len(flow.src) * 8,)) in owner.nets or self._lent(owner, flow.src))
        ):
            return True
        if flow.fragment:
            return False
        if source.version == 6 and source in _LINK_LOCAL and self._asks_metadata_v6(flow):
            return True
        ports = (flow.sport, flow.dport) if flow.protocol == UDP else None
        if flow.version == 4:
            return (str(source), str(destination), ports) == ("0.0.0.0", "255.255.255.255", (68, 67))
        if source.is_unspecified:
            return destination in _LINK_SCOPE and flow.protocol == ICMPV6 and kind in (131, 133, 135, 143)
        if source not in _LINK_LOCAL:
            return False
        if flow.protocol == ICMPV6:
            on_link = flow.hop_limit == 255 and kind in (133, 135, 136)
            return on_link or (kind in (131, 132, 143) and destination in _LINK_SCOPE)
        return str(destination) == "ff02::1:2" and ports == (546, 547)

    # -- what its limits say ------------------------------------------------------------------------------------------

    def _is_limited(self, interface: str, direction: Literal["ingress", "egress"], exceeded: Collection[str]) -> bool:
        """Bandwidth towards workloads is not the packet filter's affair."""
        owner = self._owner(interface) if self._is_workload(interface) else None
        if owner is None or owner.qos is None:
            return False
        qos, is_egress = owner.qos, direction == "egress"
        limits = {
            "packets": qos.egress_packet_rate if is_egress else qos.ingress_packet_rate,
            "bytes": qos.egress_bandwidth if is_egress else 0,
            "connections": qos.egress_max_connections if is_egress else qos.ingress_max_connections,
        }
        return any(limits[what] for what in exceeded)

    # -- what its policies say ---------------------------------------------------------------------------------------

    def _may(self, interface: str, direction: Literal["ingress", "egress"], flow: Flow) -> bool:
        """Datamodel 15.2: the guard, tiers in order, then profiles."""
        endpoint = self._owner(interface)
        if endpoint is None or (direction == "egress" and self._is_forbidden(flow)):
            return False
        for tier in endpoint.tiers:
            keys = tier.ingress if direction == "ingress" else tier.egress
            decision = self._tier(keys, direction, flow)
            if decision == "none":
                decision = tier.default_action
            if decision in ("allow", "deny"):
                return decision == "allow"
        for name in endpoint.profiles:
            decision = self._first(self._profiles.get(name), direction, flow)
            if decision in ("allow", "deny"):
                return decision == "allow"
        return False

    def _tier(self, keys: Iterable[ResourceKey], direction: str, flow: Flow) -> str:
        """The decision of a tier's policies; "skipped" when none of them is enforced (datamodel 15.1)."""
        enforced = [policy for policy in map(self._policies.get, keys) if policy is None or policy.kind != "staged"]
        for policy in enforced:
            decision = self._first(policy, direction, flow)
            if decision != "none":
                return decision
        return "none" if enforced else "skipped"

    def _first(self, rules: PolicyUpdate | ProfileUpdate | None, direction: str, flow: Flow) -> str:
        if rules is None:
            return "deny"
        for rule in rules.ingress if direction == "ingress" else rules.egress:
            if rule.action != "log" and self._matches(rule, flow):
                return rule.action
        return "none"

    def _tunnel_hosts(self, flow: Flow) -> str | None:
        """Requirement S9: the hosts that a packet of a tunnel is taken from, on a host that has the tunnel: to the port
        of VXLAN, or IP in IP. None: it is no such packet."""
        if flow.protocol == UDP and not flow.fragment and flow.dport == self._config.vxlan_port:
            return VXLAN_HOSTS if VXLAN_HOSTS in self._sets else None
        return IPIP_HOSTS if (flow.version, flow.protocol) == (4, 4) and IPIP_HOSTS in self._sets else None

    def _is_forbidden(self, flow: Flow) -> bool:
        """Datamodel 15.2 (3) and requirement S8: encapsulation, and DHCP servers."""
        if flow.protocol == 4:
            return not self._config.allow_ipip
        if flow.protocol != UDP or flow.fragment:
            return False
        server = (67, 68) if flow.version == 4 else (547, 546)
        vxlan = flow.dport == self._config.vxlan_port and not self._config.allow_vxlan
        return vxlan or (flow.sport, flow.dport) == server

    # -- what a rule matches -----------------------------------------------------------------------------------------

    def _matches(self, rule: ActiveRule, flow: Flow) -> bool:
        """Datamodel 15.3: all given fields, none of the negated ones."""
        return (
            rule.ip_version in (None, flow.version)
            and rule.protocol in (None, flow.protocol)
            and (rule.not_protocol is None or rule.not_protocol != flow.protocol)
            and self._icmp_matches(rule, flow)
            and self._side_matches(rule.src, flow, flow.src, flow.sport)
            and self._side_matches(rule.dst, flow, flow.dst, flow.dport)
        )

    def _icmp_matches(self, rule: ActiveRule, flow: Flow) -> bool:
        is_icmp = flow.protocol == (ICMP if flow.version == 4 else ICMPV6)
        if is_icmp and flow.fragment and (rule.icmp or rule.not_icmp):
            return False
        is_wanted = rule.icmp is None or (is_icmp and _same_icmp(rule.icmp, flow.icmp))
        return is_wanted and not (rule.not_icmp is not None and is_icmp and _same_icmp(rule.not_icmp, flow.icmp))

    def _side_matches(self, side: RuleSide, flow: Flow, address: bytes, port: int) -> bool:
        for nets in (side.nets, side.not_nets):
            if nets and not any(is_v6(net) == (flow.version == 6) for net in nets):
                return False
        return (
            (not side.nets or _in_any(address, side.nets))
            and not _in_any(address, side.not_nets)
            and all(self._in_set(address, name) for name in side.ip_sets)
            and not any(self._in_set(address, name) for name in side.not_ip_sets)
            and self._ports_match(side, flow, address, port)
        )

    def _in_set(self, address: bytes, name: str) -> bool:
        return _in_any(address, self._sets.get(name, ()))

    def _ports_match(self, side: RuleSide, flow: Flow, address: bytes, port: int) -> bool:
        positive, negative = side.ports or side.named_ports, side.not_ports or side.not_named_ports
        if flow.protocol not in (TCP, UDP, SCTP):
            return not positive
        if flow.fragment:
            return not positive and not negative
        member = addr_port(address, flow.protocol, port)

        def listed(ranges: tuple[tuple[int, int], ...], names: tuple[str, ...]) -> bool:
            return any(low <= port <= high for low, high in ranges) or any(
                member in self._sets.get(name, ()) for name in names
            )

        wanted = not positive or listed(side.ports, side.named_ports)
        return wanted and not listed(side.not_ports, side.not_named_ports)


def _same_icmp(wanted: tuple[int, int | None], found: tuple[int, int]) -> bool:
    return wanted[0] == found[0] and wanted[1] in (None, found[1])


def _in_any(address: bytes, nets: Iterable[bytes]) -> bool:
    """Whether one of the nets contains the address: the first bits, as many as the prefix is long, are equal."""
    value, bits = int.from_bytes(address, "big"), len(address) * 8
    return any(
        len(net) == len(address) + 1 and value >> bits - net[-1] == int.from_bytes(net[:-1], "big") >> bits - net[-1]
        for net in nets
    )
