from __future__ import annotations

import logging
import random
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import structlog
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from calico.datastore.etcd.backend import EtcdBackend, TLSFiles
from calico.datastore.etcd.server import EtcdConfig, EtcdProcess

StartEtcd = Callable[..., Awaitable[EtcdProcess]]
_GIVEN: set[int] = set()


@pytest.fixture(autouse=True, scope="module")
def _quiet_log() -> Iterator[None]:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.reset_defaults()


@pytest.fixture
def free_port() -> Callable[[], int]:
    """Ports that nobody listens on, each given once, and none that the kernel gives to outgoing connections."""

    def find() -> int:
        while True:
            port = random.SystemRandom().randrange(15_000, 32_000)
            with socket.socket() as probe:
                try:
                    probe.bind(("127.0.0.1", port))
                except OSError:
                    continue
            if port not in _GIVEN:
                _GIVEN.add(port)
                return port

    return find


@pytest.fixture
async def start_etcd(tmp_path: Path, free_port: Callable[[], int]) -> AsyncIterator[StartEtcd]:
    """Starts single etcd servers on loopback, with data under tmp_path; all are killed at the end."""
    if shutil.which("etcd") is None:
        pytest.skip("the etcd server is not installed")
    started: list[EtcdProcess] = []

    async def start(name: str = "solo", *, wait: bool = True, **options: Any) -> EtcdProcess:
        scheme = "https" if options.get("tls") else "http"
        options.setdefault("client_url", f"{scheme}://127.0.0.1:{free_port()}")
        options.setdefault("peer_url", f"http://127.0.0.1:{free_port()}")
        options.setdefault("data_dir", tmp_path / name)
        server = EtcdProcess(EtcdConfig(name=name, unsafe_no_fsync=True, election_ms=200, **options))
        started.append(server)
        await server.start()
        if wait:
            await server.wait_ready()
        return server

    yield start
    for server in started:
        await server.kill()


class Certificates:
    """A CA, and certificates of it for 127.0.0.1, made by openssl."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        self._openssl("req", "-x509", *_NEW_KEY, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=ca", "-days", "1")
        (directory / "ext").write_text("subjectAltName=IP:127.0.0.1\n")

    @property
    def ca(self) -> Path:
        return self.directory / "ca.pem"

    def make(
        self, name: str, file: str = "", *, starts: datetime | None = None, ends: datetime | None = None
    ) -> TLSFiles:
        """A new certificate with ``name`` as CN; it takes the place of an earlier one in the same ``file``."""
        file = file or name
        self._openssl("req", *_NEW_KEY, "-keyout", "new.key", "-out", "new.csr", "-subj", f"/CN={name}")
        signing = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-extfile", "ext", "-days", "1")
        self._openssl("x509", "-req", "-in", "new.csr", "-out", "new.pem", *signing)
        if starts or ends:
            self._date(starts or datetime(2019, 1, 1, tzinfo=UTC), ends or datetime(2999, 1, 1, tzinfo=UTC))
        for ending in ("pem", "key"):
            (self.directory / f"new.{ending}").replace(self.directory / f"{file}.{ending}")
        return TLSFiles(self.ca, self.directory / f"{file}.pem", self.directory / f"{file}.key")

    def _date(self, starts: datetime, ends: datetime) -> None:
        """Sign the new certificate again with other dates, which openssl cannot yet."""
        old = x509.load_pem_x509_certificate((self.directory / "new.pem").read_bytes())
        key: Any = serialization.load_pem_private_key((self.directory / "ca.key").read_bytes(), None)
        made = (
            x509.CertificateBuilder()
            .subject_name(old.subject)
            .issuer_name(old.issuer)
            .public_key(old.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(starts)
            .not_valid_after(ends)
        )
        for extension in old.extensions:
            made = made.add_extension(extension.value, extension.critical)
        signed = made.sign(key, hashes.SHA256())
        (self.directory / "new.pem").write_bytes(signed.public_bytes(serialization.Encoding.PEM))

    def _openssl(self, *arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=self.directory, check=True, capture_output=True)


_NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    return Certificates(tmp_path / "certificates")


@pytest.fixture
async def connect() -> AsyncIterator[Callable[..., EtcdBackend]]:
    """Makes backends on endpoints; all are closed at the end."""
    made: list[EtcdBackend] = []

    def make(*endpoints: str, **options: Any) -> EtcdBackend:
        made.append(EtcdBackend(endpoints, **options))
        return made[-1]

    yield make
    for backend in made:
        await backend.close()
