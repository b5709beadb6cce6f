"""Keys and values by which hosts are told of services."""

from __future__ import annotations

import pytest

from calico.errors import InvalidInput
from calico.model.keys import parse_key
from calico.model.kubernetes.services import (
    SOURCE_KEY,
    EndpointSliceRecord,
    ServiceKey,
    ServiceRecord,
    SliceEndpoint,
    SliceKey,
    SlicePort,
    decode_service,
    decode_slice,
    encode_record,
    parse_service_key,
    service_path,
)

SERVICE, SLICE = ServiceKey("shop", "web"), SliceKey("shop", "web", "web-x7k2p")


@pytest.mark.parametrize("key", [SERVICE, SLICE])
def test_a_key_is_found_again_from_its_path_which_is_among_nobody_elses(
    key: ServiceKey | SliceKey,
) -> None:
    path = service_path(key)
    assert parse_service_key(path) == key
    assert parse_key(path) is None
    assert not path.startswith(("/calico/resources/", "/calico/ipam/", "/calico/felix/", "/calico/bgp/"))


@pytest.mark.parametrize(
    "path", [SOURCE_KEY, "/calico/kubernetes/v1/services/shop", "/calico/kubernetes/v1/endpointslices/shop//x", "/x"]
)
def test_other_keys_are_none_of_these(path: str) -> None:
    assert parse_service_key(path) is None


def test_values_are_read_as_they_were_written() -> None:
    service = ServiceRecord(cluster_ips=("10.96.0.1",), local_only=True)
    endpoints = (SliceEndpoint(("10.65.0.1", "fd00::1"), "n1", False), SliceEndpoint(("10.65.0.2",)))
    pieces = EndpointSliceRecord((SlicePort(53, "UDP"), SlicePort(80)), endpoints)
    assert decode_service(SERVICE, encode_record(service)) == service
    assert decode_slice(SLICE, encode_record(pieces)) == pieces
    assert encode_record(service) == b'{"clusterIPs":["10.96.0.1"],"localOnly":true}'


@pytest.mark.parametrize(
    "raw",
    [b"", b"[]", b'{"ports":[{"port":0}]}', b'{"ports":[{"port":1,"protocol":"X"}]}', b'{"endpoints":[{}]}'],
)
def test_a_value_that_cannot_be_read_is_an_error_with_the_name_of_the_slice(raw: bytes) -> None:
    with pytest.raises(InvalidInput) as caught:
        decode_slice(SLICE, raw)
    assert caught.value.subject == "EndpointSlice shop/web-x7k2p"
