"""Kubernetes' Services and EndpointSlices (discovery.k8s.io v1 or v1beta1) as the datastore tells them to hosts."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, cast

import msgspec

from calico.model.kubernetes.services import EndpointSliceRecord, Protocol, ServiceRecord, SliceEndpoint, SlicePort

__all__ = ["ConvertedSlice", "service_of_slice", "service_to_record", "slice_to_record"]

_SERVICE_NAME = "kubernetes.io/service-name"
_HOSTNAME = "kubernetes.io/hostname"  # where v1beta1 has the node's name
_PROTOCOLS = ("TCP", "UDP", "SCTP")


class ConvertedSlice(msgspec.Struct, frozen=True):
    """The record, and sentences about what of the slice could not be converted and was left out."""

    record: EndpointSliceRecord
    problems: tuple[str, ...] = ()


def service_of_slice(source: Mapping[str, Any]) -> str:
    """The name of the Service that a slice belongs to, in its own namespace; empty when it belongs to none."""
    return str(((source.get("metadata") or {}).get("labels") or {}).get(_SERVICE_NAME) or "")


def service_to_record(source: Mapping[str, Any]) -> ServiceRecord:
    """The addresses of a Service. A headless one has no cluster address, one of type ExternalName has none at all."""
    spec = source.get("spec") or {}
    if spec.get("type") == "ExternalName":
        return ServiceRecord()
    cluster = [spec.get("clusterIP"), *(spec.get("clusterIPs") or ())]
    balancer = ((source.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ()
    return ServiceRecord(
        cluster_ips=tuple(_addresses(cluster)),
        external_ips=tuple(_addresses(spec.get("externalIPs") or ())),
        load_balancer_ips=tuple(_addresses(entry.get("ip") for entry in balancer)),
        local_only=spec.get("externalTrafficPolicy") == "Local",
    )


def slice_to_record(source: Mapping[str, Any]) -> ConvertedSlice:
    """The endpoints and ports of a slice. Names instead of addresses (type FQDN) are nobody that policy could tell."""
    problems: list[str] = []
    if source.get("addressType") == "FQDN":
        return ConvertedSlice(EndpointSliceRecord(), ("addressType FQDN: names are not resolved",))
    ports = tuple(dict.fromkeys(_ports(source.get("ports") or (), problems)))
    endpoints = tuple(_endpoints(source.get("endpoints") or (), problems))
    return ConvertedSlice(EndpointSliceRecord(ports, endpoints), tuple(problems))


def _ports(given: Iterable[Mapping[str, Any]], problems: list[str]) -> Iterator[SlicePort]:
    for number, port in enumerate(given):
        where, protocol, value = f"ports[{number}]", port.get("protocol") or "TCP", port.get("port")
        if value is None:
            problems.append(f"{where}.port: absent means every port, which a rule cannot name; it is left out")
        elif protocol not in _PROTOCOLS:
            problems.append(f"{where}.protocol: {protocol!r} is not one of {', '.join(_PROTOCOLS)}; it is left out")
        elif not isinstance(value, int) or not 0 < value < 65536:
            problems.append(f"{where}.port: {value!r} is no port; it is left out")
        else:
            yield SlicePort(value, cast(Protocol, protocol))


def _endpoints(given: Iterable[Mapping[str, Any]], problems: list[str]) -> Iterator[SliceEndpoint]:
    for number, endpoint in enumerate(given):
        texts = endpoint.get("addresses") or ()
        addresses = tuple(_addresses(texts))
        if len(addresses) != len(texts):
            problems.append(f"endpoints[{number}].addresses: {', '.join(map(str, texts))}: not all are addresses")
        if not addresses:
            continue
        ready = (endpoint.get("conditions") or {}).get("ready")
        node = endpoint.get("nodeName") or (endpoint.get("topology") or {}).get(_HOSTNAME) or ""
        yield SliceEndpoint(addresses, node=str(node), ready=ready is not False)  # unknown counts as ready (API)


def _addresses(texts: Iterable[Any]) -> Iterator[str]:
    """Those that are addresses, as Python spells them, each once."""
    seen = set()
    for text in texts:
        try:
            address = str(ipaddress.ip_address(text))
        except ValueError:  # none, "None", a name
            continue
        if address not in seen:
            seen.add(address)
            yield address
