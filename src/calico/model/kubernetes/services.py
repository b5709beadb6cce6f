"""What the datastore tells of Kubernetes' Services: keys and values of our own, which other components do not read.

::

    /calico/kubernetes/v1/source                                      somebody tells services, and has told all
    /calico/kubernetes/v1/services/<namespace>/<name>                 ServiceRecord
    /calico/kubernetes/v1/endpointslices/<namespace>/<service>/<name> EndpointSliceRecord

One key for each EndpointSlice: a change of one pod costs the hosts one slice (100 endpoints by default), never its
service.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from calico.errors import InvalidInput
from calico.model.keys import ROOT

__all__ = [
    "KUBERNETES_PREFIX",
    "SERVICES_PREFIX",
    "SLICES_PREFIX",
    "SOURCE_KEY",
    "EndpointSliceRecord",
    "Protocol",
    "ServiceKey",
    "ServiceRecord",
    "SliceEndpoint",
    "SliceKey",
    "SlicePort",
    "decode_service",
    "decode_slice",
    "encode_record",
    "parse_service_key",
    "service_path",
]

KUBERNETES_PREFIX = f"{ROOT}kubernetes/v1/"
SOURCE_KEY = f"{KUBERNETES_PREFIX}source"
SERVICES_PREFIX = f"{KUBERNETES_PREFIX}services/"
SLICES_PREFIX = f"{KUBERNETES_PREFIX}endpointslices/"

Protocol: TypeAlias = Literal["TCP", "UDP", "SCTP"]


class ServiceKey(msgspec.Struct, frozen=True, gc=False, order=True):
    """A Service."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"Service {self.namespace}/{self.name}"


class SliceKey(msgspec.Struct, frozen=True, gc=False, order=True):
    """An EndpointSlice of a Service."""

    namespace: str
    service: str
    name: str

    def __str__(self) -> str:
        return f"EndpointSlice {self.namespace}/{self.name}"


class ServiceRecord(msgspec.Struct, frozen=True, gc=False, kw_only=True, rename="camel", omit_defaults=True):
    """The addresses at which a Service is asked. ``local_only``: ``externalTrafficPolicy: Local``."""

    cluster_ips: tuple[str, ...] = msgspec.field(default=(), name="clusterIPs")
    external_ips: tuple[str, ...] = msgspec.field(default=(), name="externalIPs")
    load_balancer_ips: tuple[str, ...] = msgspec.field(default=(), name="loadBalancerIPs")
    local_only: bool = False


class SlicePort(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """A port of every endpoint of a slice, 1 to 65535."""

    port: int
    protocol: Protocol = "TCP"


class SliceEndpoint(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """One endpoint: its addresses, the node it is on (empty: on none), and whether it takes new connections."""

    addresses: tuple[str, ...]
    node: str = ""
    ready: bool = True


class EndpointSliceRecord(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """What an EndpointSlice says."""

    ports: tuple[SlicePort, ...] = ()
    endpoints: tuple[SliceEndpoint, ...] = ()


_SERVICE = msgspec.json.Decoder(ServiceRecord)
_SLICE = msgspec.json.Decoder(EndpointSliceRecord)


def service_path(key: ServiceKey | SliceKey) -> str:
    """The etcd key of a record."""
    if isinstance(key, SliceKey):
        return f"{SLICES_PREFIX}{key.namespace}/{key.service}/{key.name}"
    return f"{SERVICES_PREFIX}{key.namespace}/{key.name}"


def parse_service_key(path: str) -> ServiceKey | SliceKey | None:
    """The identity behind an etcd key; None when it is not one of these."""
    for prefix, length in ((SERVICES_PREFIX, 2), (SLICES_PREFIX, 3)):
        parts = path.removeprefix(prefix).split("/")
        if path.startswith(prefix) and len(parts) == length and all(parts):
            return ServiceKey(*parts) if length == 2 else SliceKey(*parts)
    return None


def encode_record(record: ServiceRecord | EndpointSliceRecord) -> bytes:
    """The value of a record."""
    return msgspec.json.encode(record)


def decode_service(key: ServiceKey, raw: bytes) -> ServiceRecord:
    """The record behind a value; InvalidInput names the key and what is wrong."""
    try:
        return _SERVICE.decode(raw)
    except (msgspec.DecodeError, ValueError) as error:
        raise InvalidInput(str(error), subject=str(key)) from error


def decode_slice(key: SliceKey, raw: bytes) -> EndpointSliceRecord:
    """The record behind a value; InvalidInput names the key and what is wrong."""
    try:
        record = _SLICE.decode(raw)
    except (msgspec.DecodeError, ValueError) as error:
        raise InvalidInput(str(error), subject=str(key)) from error
    for number, port in enumerate(record.ports):
        if not 0 < port.port < 65536:
            raise InvalidInput(f"{port.port} is no port", subject=str(key), field=f"ports[{number}].port")
    return record
