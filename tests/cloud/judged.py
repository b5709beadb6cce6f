"""The verdict of our own specification over converted documents: what the calculation means for a packet."""

from __future__ import annotations

from collections.abc import Iterable

from calico.calc.messages import IPSetUpdate
from calico.calc.settings import CalcSettings
from calico.calc.spec import recompute
from calico.lib.packed import addr_bytes
from calico.model.decoding import decode
from calico.model.keys import ResourceKey, parse_key
from calico.model.meta import Resource
from calico.orchestrators.openstack.convert import Converted, to_store
from calico.orchestrators.openstack.facts import Port
from calico.orchestrators.openstack.naming import tap_name
from calico.rules.config import RulesConfig
from calico.rules.packets import Flow
from calico.rules.reference.verdict import Reference
from cloud.made import HOST
from cloud.semantics import Seen

__all__ = ["OUTSIDE", "Judge", "stored"]

OUTSIDE = "eth0"
_CONFIG = RulesConfig(interface_prefixes=("tap",), openstack=True, allow_ipip=True, allow_vxlan=True)


def stored(converted: Iterable[Converted]) -> dict[ResourceKey, Resource]:
    """Every resource as a reader of etcd has it, from the bytes that would be written."""
    found: dict[ResourceKey, Resource] = {}
    for one in converted:
        for document in one.documents:
            key = parse_key(document.path)
            if key is None:
                continue
            decoded = decode(key, to_store(document, None, uid="u", created="2026-01-01T00:00:00Z"), 1)
            assert decoded.resource is not None
            assert not decoded.problems
            found[key] = decoded.resource
    return found


class Judge:
    """One host that has all the endpoints."""

    def __init__(self, converted: Iterable[Converted]) -> None:
        state = recompute(HOST, stored(converted), settings=CalcSettings(source_spoofing=True))
        assert not state.problems, state.problems
        self._reference = Reference(_CONFIG)
        messages = [
            *(IPSetUpdate(id=name, kind=ip_set.kind, members=ip_set.members) for name, ip_set in state.ip_sets.items()),
            *state.policies.values(),
            *state.profiles.values(),
            *state.endpoints.values(),
        ]
        for message in messages:
            self._reference.on_message(message)

    def forwards(self, source: Port | None, destination: Port | None, packet: Seen) -> bool:
        """Whether a packet goes from one port to another; None is the network outside."""
        ends = [tap_name(port.id) if port else OUTSIDE for port in (source, destination)]
        flow = Flow(
            src=addr_bytes(packet.source),
            dst=addr_bytes(packet.destination),
            protocol=packet.protocol,
            dport=packet.port,
            icmp=packet.icmp,
        )
        return self._reference.forwards(*ends, flow)
