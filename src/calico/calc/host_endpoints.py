"""A HostEndpoint resource, checked and packed: all that the calculation wants to know of it.

One with any malformed field is treated as absent on every host (datamodel §15.7), as workload endpoints are. That does
not close anything: an interface without a host endpoint has no policy. So its own host says what is wrong with it, and
every host says so of one that does not name its host.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from calico.calc.endpoints import is_interface, named_ports, own_labels
from calico.calc.labels import Labels, NamedPort, pack_labels
from calico.calc.messages import HostEndpointUpdate, TierPolicies
from calico.errors import InvalidInput
from calico.lib import packed
from calico.model.effective import NAMESPACE_LABEL, SERVICE_ACCOUNT_LABEL
from calico.model.hostendpoint import HostEndpoint
from calico.model.keys import ResourceKey

__all__ = ["ANY_INTERFACE", "HostEndpointFacts", "HostTiers", "decode_host_endpoint", "host_endpoint_update"]

ANY_INTERFACE = "*"


class HostEndpointFacts(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A usable host endpoint. ``nets`` are its expected addresses (/32, /128) and ``labels`` its own."""

    node: str
    interface: str
    nets: tuple[bytes, ...]
    labels: Labels
    profiles: tuple[str, ...]
    ports: tuple[NamedPort, ...]


class HostTiers(msgspec.Struct, frozen=True, kw_only=True):
    """The ordered policies of a host endpoint, by where in a packet's way they decide (datamodel §15.4)."""

    normal: tuple[TierPolicies, ...] = ()
    forward: tuple[TierPolicies, ...] = ()
    untracked: tuple[TierPolicies, ...] = ()
    pre_dnat: tuple[TierPolicies, ...] = ()


def decode_host_endpoint(resource: HostEndpoint) -> HostEndpointFacts:
    """The host endpoint; InvalidInput with the first field that is malformed."""
    spec = resource.spec
    if not spec.node:
        raise InvalidInput("a host endpoint needs the name of its host", field="spec.node")
    if not spec.interface_name and not spec.expected_ips:
        raise InvalidInput("neither an interface nor expectedIPs are given", field="spec.interfaceName")
    if spec.interface_name not in ("", ANY_INTERFACE) and not is_interface(spec.interface_name):
        raise InvalidInput(f"{spec.interface_name!r} is no name of an interface", field="spec.interfaceName")
    return HostEndpointFacts(
        node=spec.node,
        interface=spec.interface_name,
        nets=_addresses(spec.expected_ips),
        labels=_labels(resource.metadata.labels),
        profiles=tuple(dict.fromkeys(spec.profiles)),
        ports=named_ports(spec.ports),
    )


def host_endpoint_update(key: ResourceKey, facts: HostEndpointFacts, tiers: HostTiers) -> HostEndpointUpdate:
    """What the host is told of a host endpoint."""
    return HostEndpointUpdate(
        name=key.name,
        key=key,
        interface=facts.interface,
        expected_ips=tuple(net[:-1] for net in facts.nets),
        tiers=tiers.normal,
        forward_tiers=tiers.forward,
        untracked_tiers=tiers.untracked,
        pre_dnat_tiers=tiers.pre_dnat,
        profiles=facts.profiles,
    )


def _labels(labels: dict[str, str]) -> Labels:
    """Own labels. A host is in no namespace and has no service account, whatever it says of itself."""
    own = own_labels(labels)
    own.pop(NAMESPACE_LABEL, None)
    own.pop(SERVICE_ACCOUNT_LABEL, None)
    return pack_labels(own)


def _addresses(texts: Iterable[str]) -> tuple[bytes, ...]:
    nets: list[bytes] = []
    for position, text in enumerate(texts):
        try:
            net = packed.net(text)
        except ValueError:
            net = b""
        if not net or not packed.is_host(net) or "%" in text:
            raise InvalidInput(f"{text!r} is no address", field=f"spec.expectedIPs[{position}]")
        nets.append(net)
    return tuple(dict.fromkeys(nets))
