"""A WorkloadEndpoint resource, checked and packed: all that the calculation wants to know of it.

An endpoint with any malformed field is treated as absent on every host (datamodel §15.7), so whether it belongs to IP
sets depends on the resource alone. Only malformed floating addresses are left out and the endpoint stays. Its own host
says what is wrong with it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import msgspec

from calico.calc.forwards import Forwards, decode_forwards
from calico.calc.labels import Labels, NamedPort, pack_labels
from calico.calc.messages import EndpointId, QoS
from calico.calc.nats import Nats, decode_nats
from calico.calc.qos import decode_qos
from calico.calc.settings import CalcSettings
from calico.errors import InvalidInput
from calico.lib import packed
from calico.model.effective import NAMESPACE_LABEL, SERVICE_ACCOUNT_LABEL
from calico.model.hostendpoint import HostEndpointPort
from calico.model.keys import ResourceKey
from calico.model.names import WorkloadEndpointIdentifiers, parse_workload_endpoint_name
from calico.model.numorstring import protocol_number, supports_ports
from calico.model.workload import EndpointPort, WorkloadEndpoint

__all__ = ["Endpoint", "decode_endpoint", "is_interface", "named_ports", "node_of", "own_labels"]

INHERITED_ONLY = ("pcns.", "pcsa.")
_INTERFACE = re.compile(r"[a-zA-Z0-9_.-]{1,15}")
_MAC = re.compile(r"[0-9a-fA-F]{2}([:-][0-9a-fA-F]{2}){5}")


class Endpoint(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A usable endpoint. ``nets`` are its addresses (/32, /128) and ``labels`` its own, not inherited ones.

    ``spoofed`` are networks that it may also send from. ``problems`` say what was left out of it; its own host tells
    them.
    """

    id: EndpointId
    node: str
    interface: str
    mac: bytes
    nets: tuple[bytes, ...]
    gateway_v4: bytes
    gateway_v6: bytes
    labels: Labels
    profiles: tuple[str, ...]
    ports: tuple[NamedPort, ...]
    qos: QoS | None = None
    nats: Nats = ()
    forwards: Forwards = ()
    spoofed: tuple[bytes, ...] = ()
    problems: tuple[str, ...] = ()


def node_of(key: ResourceKey) -> str:
    """The node in an endpoint's name; empty when it is no endpoint's name."""
    try:
        return parse_workload_endpoint_name(key.name).node
    except InvalidInput:
        return ""


def decode_endpoint(key: ResourceKey, resource: WorkloadEndpoint, settings: CalcSettings) -> Endpoint:
    """The endpoint; InvalidInput with the first field that is malformed."""
    spec = resource.spec
    names = _names(key, spec.node)
    if spec.allow_spoofed_source_prefixes and not settings.source_spoofing:
        raise InvalidInput(
            "workloadSourceSpoofing of this host's FelixConfiguration is not Any",
            field="spec.allowSpoofedSourcePrefixes",
        )
    if not is_interface(spec.interface_name):
        raise InvalidInput(f"{spec.interface_name!r} is no name of an interface", field="spec.interfaceName")
    qos, bad_limits = decode_qos(spec.qos_controls, resource.metadata.annotations)
    nets = _addresses(spec.ip_networks)
    nats, bad_nats = decode_nats(spec.ip_nats, nets)
    forwards, bad_forwards = decode_forwards(resource.metadata.annotations, nets)
    return Endpoint(
        id=EndpointId(
            names.orchestrator,
            f"{key.namespace}/{names.workload or names.pod or names.container_id or names.orchestrator}",
            names.endpoint,
        ),
        node=names.node,
        interface=spec.interface_name,
        mac=_mac(spec.mac),
        nets=nets,
        gateway_v4=_gateway(spec.ipv4_gateway, 4, "spec.ipv4Gateway"),
        gateway_v6=_gateway(spec.ipv6_gateway, 16, "spec.ipv6Gateway"),
        labels=_labels(key, resource),
        profiles=tuple(dict.fromkeys(spec.profiles)),
        ports=named_ports(spec.ports),
        qos=qos,
        nats=nats,
        forwards=forwards,
        spoofed=_networks(spec.allow_spoofed_source_prefixes, "spec.allowSpoofedSourcePrefixes"),
        problems=bad_nats + bad_forwards + bad_limits,
    )


def is_interface(name: str) -> bool:
    """Whether the kernel may have an interface of this name."""
    return bool(_INTERFACE.fullmatch(name)) and name not in (".", "..")


def own_labels(labels: dict[str, str]) -> dict[str, str]:
    """Labels without those that may only come from a namespace or service account: nobody gives himself another's."""
    return {name: value for name, value in labels.items() if not name.startswith(INHERITED_ONLY)}


def _labels(key: ResourceKey, resource: WorkloadEndpoint) -> Labels:
    labels = own_labels(resource.metadata.labels)
    labels[NAMESPACE_LABEL] = key.namespace
    if resource.spec.service_account_name:
        labels[SERVICE_ACCOUNT_LABEL] = resource.spec.service_account_name
    return pack_labels(labels)


def _names(key: ResourceKey, node: str) -> WorkloadEndpointIdentifiers:
    try:
        names = parse_workload_endpoint_name(key.name)
        whole = names.name()
    except InvalidInput as error:
        raise InvalidInput(f"{key.name!r} does not name an endpoint: {error.message}", field="metadata.name") from None
    if whole != key.name:
        raise InvalidInput(f"{key.name!r} does not name an endpoint; {whole!r} would", field="metadata.name")
    if node and node != names.node:
        raise InvalidInput(f"{node!r} is not the node {names.node!r} that the name says", field="spec.node")
    return names


def _addresses(networks: Iterable[str]) -> tuple[bytes, ...]:
    nets: list[bytes] = []
    for position, text in enumerate(networks):
        net = _net(text, f"spec.ipNetworks[{position}]")
        if not packed.is_host(net):
            raise InvalidInput(f"{text} is more than one address", field=f"spec.ipNetworks[{position}]")
        nets.append(net)
    if not nets:
        raise InvalidInput("the endpoint has no address", field="spec.ipNetworks")
    return tuple(dict.fromkeys(nets))


def _networks(texts: Iterable[str], field: str) -> tuple[bytes, ...]:
    return tuple(sorted({_net(text, f"{field}[{position}]") for position, text in enumerate(texts)}))


def _net(text: str, field: str) -> bytes:
    try:
        return packed.net(text)
    except ValueError:
        raise InvalidInput(f"{text!r} is no address", field=field) from None


def _mac(text: str) -> bytes:
    if not text:
        return b""
    if not _MAC.fullmatch(text):
        raise InvalidInput(f"{text!r} is no MAC address", field="spec.mac")
    return bytes.fromhex(text.replace(":", "").replace("-", ""))


def _gateway(text: str, size: int, field: str) -> bytes:
    if not text:
        return b""
    try:
        address = packed.addr_bytes(text)
    except ValueError:
        address = b""
    if len(address) != size:
        raise InvalidInput(f"{text!r} is no {'IPv4' if size == 4 else 'IPv6'} address", field=field)
    return address


def named_ports(ports: Iterable[EndpointPort | HostEndpointPort]) -> tuple[NamedPort, ...]:
    """The ports that have a name; InvalidInput with the field of one that is malformed."""
    found: set[NamedPort] = set()
    for position, port in enumerate(ports):
        field = f"spec.ports[{position}]"
        if not port.name:
            continue
        try:
            fine = supports_ports(port.protocol)
        except InvalidInput:
            fine = False
        if not fine:
            raise InvalidInput(f"{port.protocol!r} is not TCP, UDP or SCTP", field=f"{field}.protocol")
        if not 1 <= port.port <= 65535:
            raise InvalidInput(f"{port.port} is not within 1-65535", field=f"{field}.port")
        found.add((port.name, protocol_number(port.protocol), port.port))
    return tuple(sorted(found))
