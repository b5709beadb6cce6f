"""The executable specification of address translation: what the ends of a connection's first packet become.

Naive on purpose, like ``reference``, of which it is a part.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Mapping

import msgspec

from calico.calc.messages import ALL_HOSTS, IPAM_POOLS, MASQ_POOLS, EndpointUpdate
from calico.rules.config import RulesConfig
from calico.rules.packets import SCTP, TCP, UDP, Flow

__all__ = ["ReferenceNat"]

_METADATA = ipaddress.ip_address("169.254.169.254").packed


class ReferenceNat:
    """What NAT makes of packets, given the endpoints in force and the sets as they are when it is asked."""

    def __init__(
        self,
        config: RulesConfig,
        endpoints: Callable[[], Iterable[EndpointUpdate]],
        sets: Mapping[str, frozenset[bytes]],
    ) -> None:
        self._config = config
        self._endpoints = endpoints
        self._sets = sets

    def destination(self, source: str, flow: Flow) -> Flow:
        """The packet after its destination is translated, before any policy; ``source`` is empty for the host's own."""
        if self._asks_for_metadata(source, flow):
            return msgspec.structs.replace(flow, dst=self._config.metadata_v4, dport=self._config.metadata_port)
        if not flow.fragment:
            for endpoint in sorted(self._endpoints(), key=lambda endpoint: endpoint.id):
                for forward in endpoint.forwards:
                    if (forward.protocol, forward.external, forward.external_port) == (
                        flow.protocol,
                        flow.dst,
                        flow.dport,
                    ):
                        return msgspec.structs.replace(flow, dst=forward.own, dport=forward.own_port)
        for own, external in self._granted():
            if external == flow.dst:
                return msgspec.structs.replace(flow, dst=own)
        return flow

    def source(self, destination: str, flow: Flow, out_address: bytes) -> Flow:
        """The packet after its source is translated, after all policy. ``destination`` is the interface that it leaves
        by, and ``out_address`` that one's own address."""
        externals = [external for own, external in self._granted() if own == flow.src]
        if externals and flow.src == flow.dst:
            return msgspec.structs.replace(flow, src=externals[0])
        if not self._is_outside(flow.dst):
            return flow
        if externals:
            return msgspec.structs.replace(flow, src=externals[0])
        if self._in(flow.src, MASQ_POOLS) and self._goes_out_by(destination):
            fixed = self._config.nat_address_v4 if flow.version == 4 else b""
            return msgspec.structs.replace(flow, src=fixed or out_address, sport=self._port(flow))
        return flow

    def _granted(self) -> list[tuple[bytes, bytes]]:
        """(own, external) of the endpoints in force, the lowest id first, who also has what several claim."""
        found: dict[bytes, tuple[bytes, object]] = {}
        for endpoint in sorted(self._endpoints(), key=lambda endpoint: endpoint.id):
            for own, external in endpoint.nats:
                found.setdefault(external, (own, endpoint.id))
        return [
            (own, external)
            for endpoint in sorted(self._endpoints(), key=lambda endpoint: endpoint.id)
            for own, external in endpoint.nats
            if found[external] == (own, endpoint.id)
        ]

    def _asks_for_metadata(self, source: str, flow: Flow) -> bool:
        config = self._config
        asks = (flow.dst, flow.protocol, flow.dport, flow.fragment) == (_METADATA, TCP, 80, False)
        return asks and config.openstack and bool(config.metadata_v4) and config.is_workload(source)

    def _is_outside(self, address: bytes) -> bool:
        """Nothing is, before it is known what is inside."""
        inside = (IPAM_POOLS, ALL_HOSTS) if self._config.nat_excludes_hosts else (IPAM_POOLS,)
        return all(name in self._sets for name in inside) and not any(self._in(address, name) for name in inside)

    def _in(self, address: bytes, name: str) -> bool:
        parsed = ipaddress.ip_address(address)
        nets = [ipaddress.ip_network((net[:-1], net[-1])) for net in self._sets.get(name, ())]
        return any(parsed in net for net in nets if net.version == parsed.version)

    def _goes_out_by(self, interface: str) -> bool:
        wanted = self._config.nat_interface
        return interface.startswith(wanted[:-1]) if wanted.endswith("+") else wanted in ("", interface)

    def _port(self, flow: Flow) -> int:
        """One of the wanted ports; its own if that is one of them."""
        ports = self._config.nat_ports
        if ports is None or flow.fragment or flow.protocol not in (TCP, UDP, SCTP):
            return flow.sport
        return flow.sport if ports[0] <= flow.sport <= ports[1] else ports[0]
