"""Health and metrics over HTTP, each on an address of its own, in threads: a daemon that hangs can still be asked.

What is wanted may change at any time. An address that cannot be had is tried again, and its trouble is told.
"""

from __future__ import annotations

import json
import socket
import ssl
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Protocol

import msgspec

__all__ = ["Check", "HealthWanted", "Listeners", "MetricsWanted"]

Check = Callable[[], list[str]]
"""What is wrong; nothing when all is well. Called from a thread of the server."""


class _Server(Protocol):
    def shutdown(self) -> None: ...
    def server_close(self) -> None: ...


class HealthWanted(msgspec.Struct, frozen=True):
    """Answers of ``/liveness`` and ``/readiness``: 200, or 503 with what is wrong."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"health on {self.host}:{self.port}"


class MetricsWanted(msgspec.Struct, frozen=True):
    """Prometheus' ``/metrics``; over TLS with ``cert`` and ``key``, then perhaps only for clients known to ``ca``."""

    host: str
    port: int
    cert: str = ""
    key: str = ""
    ca: str = ""
    clients_only: bool = False

    def __str__(self) -> str:
        return f"metrics on {self.host or '*'}:{self.port}"


Wanted = HealthWanted | MetricsWanted


class Listeners:
    """The servers that run. ``registry`` is prometheus_client's."""

    def __init__(self, checks: Mapping[str, Check], registry: Any) -> None:
        """``checks``: what answers ``/liveness`` and ``/readiness``."""
        self._checks = checks
        self._registry = registry
        self._running: dict[Wanted, _Server] = {}
        self.troubles: dict[str, str] = {}
        """Wanted, and why it does not listen."""

    def want(self, wanted: set[Wanted]) -> None:
        """Listen there and nowhere else. What fails is in ``troubles``; call again to try again."""
        for gone in set(self._running) - wanted:
            server = self._running.pop(gone)
            server.shutdown()
            server.server_close()
        self.troubles = {}
        for new in sorted(wanted - set(self._running), key=str):
            try:
                self._running[new] = self._start(new)
            except (OSError, ValueError) as error:
                self.troubles[str(new)] = f"does not listen: {error}"

    def close(self) -> None:
        self.want(set())

    def _start(self, wanted: Wanted) -> _Server:
        if isinstance(wanted, HealthWanted):
            server = _health_server(wanted, self._checks)
            threading.Thread(target=server.serve_forever, daemon=True, name="health").start()
            return server
        from prometheus_client import start_http_server

        _check_tls(wanted)
        started, _ = start_http_server(
            wanted.port,
            wanted.host or ("::" if socket.has_dualstack_ipv6() else "0.0.0.0"),
            self._registry,
            certfile=wanted.cert or None,
            keyfile=wanted.key or None,
            client_cafile=wanted.ca or None,
            client_auth_required=wanted.clients_only,
        )
        return started


def _check_tls(wanted: MetricsWanted) -> None:
    """Read the files before anything is bound: ValueError or OSError says what is wrong with them."""
    if bool(wanted.cert) != bool(wanted.key):
        raise ValueError("a certificate and its key are needed together")
    if wanted.clients_only and not (wanted.cert and wanted.ca):
        raise ValueError("clients can be verified only over TLS and with a CA file")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if wanted.cert:
        context.load_cert_chain(wanted.cert, wanted.key)
    if wanted.ca:
        context.load_verify_locations(wanted.ca)


def _health_server(wanted: HealthWanted, checks: Mapping[str, Check]) -> ThreadingHTTPServer:
    class Handler(BaseHTTPRequestHandler):
        timeout = 10

        def do_GET(self) -> None:
            check = checks.get(self.path.partition("?")[0])
            problems = check() if check is not None else [f"ask for {' or '.join(checks)}"]
            body = json.dumps({"ok": not problems, "problems": problems}).encode()
            self.send_response(404 if check is None else 503 if problems else 200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_request(self, *_: object) -> None:
            """Nobody wants a line per question."""

    family, *_, address = socket.getaddrinfo(wanted.host, wanted.port, type=socket.SOCK_STREAM)[0]

    class Server(ThreadingHTTPServer):
        address_family = family
        daemon_threads = True

    return Server(address[:2], Handler)  # type: ignore[arg-type]
