"""Forwarded ports of one endpoint, checked and packed; one that is malformed is left out and reported."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

from calico.calc.messages import Forward
from calico.calc.nats import can_float, packed_address
from calico.lib import packed
from calico.model.forwards import PORT_FORWARDS, PortForward, annotated_forwards

__all__ = ["Forwards", "decode_forwards", "forward_text"]

Forwards = tuple[Forward, ...]
"""Sorted; no external port twice."""

_PROTOCOLS: Final = {"tcp": 6, "udp": 17, "sctp": 132}
_NAMES: Final = {number: name for name, number in _PROTOCOLS.items()}
_PORTS: Final = range(1, 65536)


def decode_forwards(annotations: Mapping[str, str], nets: Collection[bytes]) -> tuple[Forwards, tuple[str, ...]]:
    """The forwarded ports of an endpoint that owns ``nets``, and sentences on those left out."""
    given, problems = annotated_forwards(annotations)
    found: dict[tuple[int, bytes, int], Forward] = {}
    for position, item in enumerate(given):
        forward, reason = _decode(item, nets)
        if forward is not None and found.setdefault(_claim(forward), forward) != forward:
            reason = f"{forward_text(forward)} is forwarded already"
        if reason:
            problems += (f"metadata.annotations[{PORT_FORWARDS}][{position}]: {reason}; left out",)
    return tuple(sorted(found.values(), key=_claim)), problems


def forward_text(forward: Forward) -> str:
    """The external side, for people."""
    return f"{_NAMES[forward.protocol]} port {forward.external_port} of {packed.addr_str(forward.external)}"


def _claim(forward: Forward) -> tuple[int, bytes, int]:
    return forward.protocol, forward.external, forward.external_port


def _decode(item: PortForward, nets: Collection[bytes]) -> tuple[Forward | None, str]:
    own, external = packed_address(item.internal_ip), packed_address(item.external_ip)
    if item.protocol not in _PROTOCOLS:
        return None, f"protocol {item.protocol!r} is not tcp, udp or sctp"
    if packed.net_of_host(own) not in nets:
        return None, f"internalIP {item.internal_ip!r} is not one of ipNetworks"
    if not external or not can_float(external):
        return None, f"externalIP {item.external_ip!r} is no address that can be a workload's"
    if len(own) != len(external):
        return None, f"externalIP {item.external_ip!r} is not of the family of {item.internal_ip!r}"
    if item.external_port not in _PORTS or item.internal_port not in _PORTS:
        return None, "ports must be within 1-65535"
    return Forward(_PROTOCOLS[item.protocol], external, item.external_port, own, item.internal_port), ""
