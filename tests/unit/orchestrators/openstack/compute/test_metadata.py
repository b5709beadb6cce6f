from __future__ import annotations

import hashlib
import hmac
from pathlib import Path
from typing import Any

import msgspec
import pytest

from calico.errors import InvalidInput
from calico.orchestrators.openstack.compute.metadata.asker import Asker, asker_of
from calico.orchestrators.openstack.compute.metadata.forwarding import (
    answer_headers,
    request_headers,
    signature,
    target_path,
)
from calico.orchestrators.openstack.compute.metadata.settings import MetadataSettings
from calico.orchestrators.openstack.facts import AddressPair
from calico.orchestrators.openstack.records import EndpointRecord

PORT = EndpointRecord(
    namespace="openstack", host="h", device_id="dev", port_id="port", interface="tap1", mac="",
    addresses=("10.0.0.5", "fd00::5"), project_id="project",
    address_pairs=(AddressPair(ip_address="10.0.1.0/24"), AddressPair(ip_address="junk")),
)  # fmt: skip
ASKER = Asker("port", "dev", "project", "10.0.0.5")


@pytest.mark.parametrize(
    ("source", "address"),
    [
        ("10.0.0.5", "10.0.0.5"),
        ("fd00::5", "fd00::5"),
        ("fe80::1%tap1", "fd00::5"),
        ("fe80::1", "fd00::5"),
        ("10.0.1.9", "10.0.1.9"),
        ("10.0.0.6", None),
        ("fd00::6", None),
        ("junk", None),
    ],
)
def test_an_instance_is_known_by_its_interface_and_an_address_that_it_may_send_from(source: str, address: Any) -> None:
    found = asker_of(PORT, source)
    assert (found.address if found else None) == address


def test_without_port_security_an_instance_may_send_from_anywhere() -> None:
    found = asker_of(msgspec.structs.replace(PORT, port_security=False), "192.0.2.1")
    assert found is not None
    assert found.device_id == "dev"


@pytest.mark.parametrize("field", ["device_id", "project_id"])
def test_who_cannot_be_named_to_nova_is_nobody(field: str) -> None:
    assert asker_of(msgspec.structs.replace(PORT, **{field: ""}), "10.0.0.5") is None


def test_the_signature_is_what_nova_computes() -> None:
    assert signature(b"secret", "dev") == hmac.new(b"secret", b"dev", hashlib.sha256).hexdigest()


def test_nova_gets_our_word_for_who_asks_and_of_the_instances_only_what_is_harmless() -> None:
    given = [
        *((name, "evil") for name in ("X-Instance-ID", "x_instance_id", "X-Forwarded-For", "Host", "Cookie")),
        ("Accept", "text/plain"),
        ("Transfer-Encoding", "chunked"),
    ]
    assert request_headers(ASKER, b"secret", given) == [
        ("Accept", "text/plain"),
        ("X-Instance-ID", "dev"),
        ("X-Tenant-ID", "project"),
        ("X-Forwarded-For", "10.0.0.5"),
        ("X-Instance-ID-Signature", signature(b"secret", "dev")),
    ]


def test_the_instance_gets_novas_headers_but_those_of_our_connection() -> None:
    assert answer_headers([("Content-Type", "text/plain"), ("Connection", "close"), ("Content-Length", "5")]) == [
        ("Content-Type", "text/plain")
    ]


@pytest.mark.parametrize(
    ("raw", "path"),
    [("/a?b=%20", "/a?b=%20"), ("http://x/y?z=1", "/y?z=1"), ("https://x", "/"), ("//x/y", "//x/y"), ("/a#b", "/a")],
)
def test_of_a_target_only_path_and_query_count(raw: str, path: str) -> None:
    assert target_path(raw) == path


@pytest.mark.parametrize(
    "raw", ["*", "", "x:443", "ftp://x/y", "/a b", "/a\r\nX: y", "/\x7f", "/" + "a" * 5000, "http:", "http://["]
)
def test_what_is_no_path_is_refused(raw: str) -> None:
    with pytest.raises(InvalidInput):
        target_path(raw)


def test_settings_that_cannot_work_are_refused_by_option(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("x\n")
    good = MetadataSettings(url="http://nova:8775", secret_file=str(secret))
    good.check()
    assert good.secret() == b"x"
    for url in ("nova:8775", "http://", "http://nova/path", "http://u:p@nova", "ftp://nova"):
        with pytest.raises(InvalidInput) as caught:
            msgspec.structs.replace(good, url=url).check()
        assert caught.value.field == "--metadata-url"
    for file, text in (("none", None), ("empty", "")):
        if text is not None:
            (tmp_path / file).write_text(text)
        with pytest.raises(InvalidInput) as caught:
            msgspec.structs.replace(good, secret_file=str(tmp_path / file)).check()
        assert caught.value.field == "--metadata-secret-file"
