"""The proxy on the loopback interface, whose index stands for an instance's; nova-metadata is an HTTP server here."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import msgspec
import pytest
from aiohttp import ClientError, ClientSession, ClientTimeout, web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from calico.orchestrators.openstack.compute.metadata.proxy import MetadataProxy
from calico.orchestrators.openstack.compute.metadata.settings import MetadataSettings
from calico.orchestrators.openstack.records import EndpointRecord

PORT = EndpointRecord(
    namespace="openstack", host="h", device_id="dev", port_id="p", interface="lo", mac="", addresses=("127.0.0.1",),
    project_id="project",
)  # fmt: skip
LOOPBACK = 1
Nova = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Proxied:
    def __init__(self, proxy: MetadataProxy, port: int, session: ClientSession) -> None:
        self.proxy, self.port, self.session = proxy, port, session
        self.url = f"http://127.0.0.1:{port}"

    async def get(self, path: str = "/", method: str = "GET", **options: object) -> tuple[int, bytes]:
        async with self.session.request(method, self.url + path, allow_redirects=False, **options) as answer:  # type: ignore[arg-type]
            return answer.status, await answer.read()


@asynccontextmanager
async def proxied(
    nova: Nova, tmp_path: Path, *, tls: ssl.SSLContext | None = None, ca: str = "", port_at: object = None
) -> AsyncIterator[Proxied]:
    (tmp_path / "secret").write_text("secret")
    upstream = web.Server(nova)
    server = await asyncio.get_running_loop().create_server(upstream, "127.0.0.1", 0, ssl=tls)
    scheme, theirs = "https" if tls else "http", server.sockets[0].getsockname()[1]
    wanted = MetadataSettings(url=f"{scheme}://127.0.0.1:{theirs}", secret_file=str(tmp_path / "secret"), ca=ca,
                              port=free_port(), rate=10000.0, burst=10000.0)  # fmt: skip
    proxy = MetadataProxy(wanted, port_at or (lambda index: PORT if index == LOOPBACK else None), lambda *_: None)  # type: ignore[arg-type]
    task = asyncio.create_task(proxy.run())
    try:
        async with ClientSession(timeout=ClientTimeout(total=30)) as session:
            await asyncio.sleep(0)
            yield Proxied(proxy, wanted.port, session)
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        server.close()
        await upstream.shutdown(0.1)


async def echo(request: web.BaseRequest) -> web.StreamResponse:
    body = await request.read()
    said = {"method": request.method, "path": request.raw_path, "body": body.decode(), "headers": dict(request.headers)}
    return web.Response(body=msgspec.json.encode(said))


async def test_a_request_is_handed_on_with_who_asks(tmp_path: Path) -> None:
    async with proxied(echo, tmp_path) as there:
        status, body = await there.get("/a%20b?c=d", headers={"X-Instance-ID": "evil"})
        said = msgspec.json.decode(body)
        assert (status, said["path"]) == (200, "/a%20b?c=d")
        assert said["headers"]["X-Instance-ID"] == "dev"
        assert said["headers"]["X-Forwarded-For"] == "127.0.0.1"


async def test_nova_is_asked_over_tls_when_its_certificate_is_good(tmp_path: Path) -> None:
    ca, context = certificate(tmp_path)
    async with proxied(echo, tmp_path, tls=context, ca=ca) as there:
        assert (await there.get())[0] == 200
    async with proxied(echo, tmp_path, tls=context) as there:
        assert (await there.get())[0] == 502


async def test_answers_without_a_body_redirects_and_errors_go_through_as_they_are(tmp_path: Path) -> None:
    async def nova(request: web.BaseRequest) -> web.StreamResponse:
        status = int(request.raw_path.strip("/"))
        return web.Response(status=status, headers={"Location": "http://elsewhere/"} if status == 302 else {})

    async with proxied(nova, tmp_path) as there:
        for status in (204, 302, 304, 404, 500):
            assert (await there.get(f"/{status}"))[0] == status


async def test_a_head_request_has_no_body_and_a_chunked_one_arrives_whole(tmp_path: Path) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"one"
        yield b"two"

    async with proxied(echo, tmp_path) as there:
        assert await there.get(method="HEAD") == (200, b"")
        status, body = await there.get(method="POST", data=pieces())
        assert (status, msgspec.json.decode(body)["body"]) == (200, "onetwo")


async def test_an_answer_that_breaks_off_is_not_passed_off_as_whole(tmp_path: Path) -> None:
    async def nova(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "1000"})
        await response.prepare(request)
        await response.write(b"x" * 10)
        assert request.transport is not None
        request.transport.abort()
        return response

    async with proxied(nova, tmp_path) as there:
        with pytest.raises(ClientError):
            await there.get()


async def test_who_came_in_by_no_instances_interface_is_connected_to_nobody(tmp_path: Path) -> None:
    async with proxied(echo, tmp_path, port_at=lambda _: None) as there:
        with pytest.raises(ClientError):
            await there.get()
        assert there.proxy.refused["unknown"] > 0


async def test_an_address_that_is_taken_is_named(tmp_path: Path) -> None:
    async with proxied(echo, tmp_path) as there:
        other = MetadataProxy(
            MetadataSettings(url="http://x", secret_file="x", port=there.port), lambda _: None, lambda *_: None
        )
        task = asyncio.create_task(other.run())
        while not other.troubles:
            await asyncio.sleep(0.01)
        assert list(other.troubles) == [f"127.0.0.1:{there.port}"]
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def test_a_secret_that_cannot_be_read_is_no_reason_to_ask_without_one(tmp_path: Path) -> None:
    async with proxied(echo, tmp_path) as there:
        (tmp_path / "secret").unlink()
        assert (await there.get())[0] == 503


_LINES = [
    b"GET / HTTP/1.1\r\n", b"Host: x\r\n", b"\r\n", b"POST http://[ HTTP/1.1\r\n\r\n",
    b"Content-Length: 99999999999\r\n", b"Transfer-Encoding: chunked\r\n", b"X-Instance-ID : a\r\n",
]  # fmt: skip


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.binary(max_size=200) | st.sampled_from(_LINES), max_size=6))
async def test_any_bytes_end_at_most_their_own_connection(tmp_path: Path, parts: list[bytes]) -> None:
    async with proxied(echo, tmp_path) as there:
        reader, writer = await asyncio.open_connection("127.0.0.1", there.port)
        with suppress(OSError):
            writer.write(b"".join(parts))
            writer.write_eof()
            async with asyncio.timeout(10):
                await reader.read()
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
        assert (await there.get())[0] == 200


def certificate(tmp_path: Path) -> tuple[str, ssl.SSLContext]:
    """A certificate of 127.0.0.1 that vouches for itself: its file, and a server's context."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "nova")])
    now = datetime.datetime.now(datetime.UTC)
    cert = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = tmp_path / "nova.pem"
    pem.write_bytes(cert.public_bytes(serialization.Encoding.PEM))
    private = tmp_path / "nova.key"
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem, private)
    return str(pem), context
