"""A HostEndpoint resource, checked and packed: all that the calculation wants to know of it.

One with any malformed field is no member of sets on any host (datamodel §15.7), as workload endpoints are. But an
interface without a host endpoint has no policy, so its absence would open what it closes: as long as something of it
says which interface it is, it governs that with its policies and profiles. Its own host says what is wrong with it, and
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
    """A usable host endpoint. ``nets`` are its expected addresses (/32, /128) and ``labels`` its own.

    ``problems`` say what was left out of it; with any it is no member of sets.
    """

    node: str
    interface: str
    nets: tuple[bytes, ...]
    labels: Labels
    profiles: tuple[str, ...]
    ports: tuple[NamedPort, ...]
    problems: tuple[str, ...] = ()


class HostTiers(msgspec.Struct, frozen=True, kw_only=True):
    """The ordered policies of a host endpoint, by where in a packet's way they decide (datamodel §15.4)."""

    normal: tuple[TierPolicies, ...] = ()
    forward: tuple[TierPolicies, ...] = ()
    untracked: tuple[TierPolicies, ...] = ()
    pre_dnat: tuple[TierPolicies, ...] = ()


def decode_host_endpoint(resource: HostEndpoint) -> HostEndpointFacts:
    """The host endpoint; InvalidInput with the field for lack of which nobody knows what it is."""
    spec = resource.spec
    if not spec.node:
        raise InvalidInput("a host endpoint needs the name of its host", field="spec.node")
    if not spec.interface_name and not spec.expected_ips:
        raise InvalidInput("neither an interface nor expectedIPs are given", field="spec.interfaceName")
    problems: list[InvalidInput] = []
    interface = spec.interface_name
    ports: tuple[NamedPort, ...] = ()
    if interface not in ("", ANY_INTERFACE) and not is_interface(interface):
        problems.append(InvalidInput(f"{interface!r} is no name of an interface", field="spec.interfaceName"))
        interface = ""
    nets = _addresses(spec.expected_ips, problems)
    try:
        ports = named_ports(spec.ports)
    except InvalidInput as error:
        problems.append(error)
    if not interface and not nets:
        raise problems[0]
    return HostEndpointFacts(
        node=spec.node,
        interface=interface,
        nets=nets,
        labels=_labels(resource.metadata.labels),
        profiles=tuple(dict.fromkeys(spec.profiles)),
        ports=ports,
        problems=tuple(f"{problem.field}: {problem.message}" for problem in problems),
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


def _addresses(texts: Iterable[str], problems: list[InvalidInput]) -> tuple[bytes, ...]:
    nets: list[bytes] = []
    for position, text in enumerate(texts):
        try:
            net = packed.net(text)
        except ValueError:
            net = b""
        if not net or not packed.is_host(net) or "%" in text:
            problems.append(InvalidInput(f"{text!r} is no address", field=f"spec.expectedIPs[{position}]"))
        else:
            nets.append(net)
    return tuple(dict.fromkeys(nets))
