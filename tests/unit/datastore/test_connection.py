"""Where etcd is and who we are there, from options, environment and file."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
import yaml

from calico.cli.etcd_options import connection_of
from calico.datastore.connection import Connection, load_connection, open_backend
from calico.errors import CalicoError, InvalidInput


@pytest.fixture
def config(tmp_path: Path) -> str:
    path = tmp_path / "calico.cfg"
    spec = {"etcdEndpoints": "https://file:1,https://file:2", "etcdCertFile": "f.pem", "etcdKeyFile": "f.key"}
    path.write_text(yaml.safe_dump({"kind": "CalicoAPIConfig", "spec": spec}))
    return str(path)


def written(tmp_path: Path, **spec: object) -> str:
    path = tmp_path / "own.cfg"
    path.write_text(yaml.safe_dump({"kind": "CalicoAPIConfig", "spec": spec}))
    return str(path)


def test_nothing_said_is_the_local_gateway() -> None:
    assert load_connection(None, {}, default="") == Connection(("http://127.0.0.1:2379",))


def test_each_setting_is_taken_from_the_nearest_source(config: str) -> None:
    environment = {
        "ETCD_ENDPOINTS": "https://plain:1",
        "CALICO_ETCD_ENDPOINTS": "https://own:1",
        "ETCD_KEY_FILE": "e.key",
    }
    found = connection_of(config, {"etcd_cert_file": "o.pem", "etcd_key_file": None}, environment)
    assert found == Connection(("https://own:1",), key="e.key", cert="o.pem")
    assert connection_of(config, {"etcd_endpoints": "https://o:1"}, environment).endpoints == ("https://o:1",)
    assert load_connection(config, {}).endpoints == ("https://file:1", "https://file:2")


def test_felix_knows_the_names_of_calico_for_its_address() -> None:
    environment = {"FELIX_ETCDADDR": "etcd.example:2379", "FELIX_ETCDSCHEME": "https"}
    assert connection_of(None, {}, environment).endpoints == ("https://etcd.example:2379",)
    assert connection_of(None, {"etcd_endpoints": "http://o:1"}, environment).endpoints == ("http://o:1",)


@pytest.mark.parametrize(
    ("address", "scheme"),
    [("etcd.example:2379", "https"), ("192.0.2.1:2379", "https"), ("[2001:db8::1]:2379", "https"),
     ("127.0.0.1:2379", "http"), ("localhost:2379", "http"), ("[::1]:2379", "http")],
)  # fmt: skip
def test_what_leaves_the_host_is_encrypted_unless_somebody_said_http(address: str, scheme: str) -> None:
    assert connection_of(None, {}, {"FELIX_ETCDADDR": address}).endpoints == (f"{scheme}://{address}",)
    plain = {"FELIX_ETCDADDR": address, "FELIX_ETCDSCHEME": "http"}
    assert connection_of(None, {}, plain).endpoints == (f"http://{address}",)
    assert load_connection(None, {"ETCD_ENDPOINTS": address}, default="").endpoints == (f"https://{address}",)


async def test_a_server_that_knows_no_tls_is_told_nothing_in_the_clear() -> None:
    heard: list[bytes] = []

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.read(64))
        writer.close()

    server = await asyncio.start_server(listen, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    environment = {"ETCD_ENDPOINTS": f"127.0.0.1:{port}", "ETCD_USERNAME": "me", "ETCD_PASSWORD": "secret"}
    backend = open_backend(load_connection(None, environment, default=""))
    try:
        with pytest.raises((CalicoError, TimeoutError)):
            async with asyncio.timeout(3):
                await backend.get("/calico/x")
    finally:
        await backend.close()
        server.close()
    assert heard
    assert {data[:2] for data in heard if data} == {b"\x16\x03"}, "what is said is the beginning of a TLS handshake"


def test_a_user_without_a_password_is_no_user_as_in_calico() -> None:
    assert load_connection(None, {"ETCD_USERNAME": "u"}).username == ""
    found = load_connection(None, {"ETCD_USERNAME": "u", "ETCD_PASSWORD": "p"})
    assert (found.username, found.password) == ("u", "p")
    assert "p" not in repr(found).replace("endpoints", "").replace("http", "")
    found = load_connection(None, {"ETCD_USERNAME": "u", "ETCD_PASSWORD_FILE": "/f"})
    assert (found.username, found.password_file) == ("u", "/f")


def test_pem_may_stand_in_the_file_itself(tmp_path: Path) -> None:
    path = written(tmp_path, etcdEndpoints="https://a:1", etcdKey="K", etcdCert="C", etcdCACert="A")
    assert load_connection(path, {}) == Connection(("https://a:1",), key=b"K", cert=b"C", ca=b"A")


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"etcdEndpoints": "https://a:1", "etcdKey": "K", "etcdCertFile": "c"}, "cannot be mixed"),
        ({"etcdEndpoints": "https://a:1", "etcdKeyFile": "k"}, "needed together"),
        ({"etcdEndpoints": "https://a:1,http://b:1", "etcdCACertFile": "ca"}, "must begin with https"),
        ({"etcdCACertFile": "ca"}, "must begin with https"),
        ({"etcdEndpoints": "ftp://a:1"}, "http://host:port"),
        ({"datastoreType": "kubernetes"}, "only etcdv3"),
        ({"etcdEndPoints": "x"}, "unknown field"),
    ],
)
def test_a_wrong_setting_is_named(tmp_path: Path, spec: dict[str, str], words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        load_connection(written(tmp_path, **spec), {})


@pytest.mark.parametrize("text", ["[", "kind: Node", "kind: CalicoAPIConfig\nspec: 7", "\x00"])
def test_a_file_that_is_none_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "wrong"
    path.write_text(text)
    with pytest.raises(InvalidInput, match=str(path)):
        load_connection(str(path), {})
    with pytest.raises(InvalidInput, match="does not exist"):
        load_connection(str(tmp_path / "absent"), {})
