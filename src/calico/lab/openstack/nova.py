"""A stand-in for the two parts of Nova that Neutron and instances talk to. A program: ``nova EVENTS SECRET ADDRESS``.

External events are appended to the file EVENTS, one JSON document a line. Metadata are answered on ADDRESS when the
request is signed with the secret in the file SECRET, as nova-metadata wants it: with what the request said of itself.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from calico.lab.openstack.configuration import METADATA_PORT, NOVA_PORT

__all__ = ["main"]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, status: int, document: Any) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it
        """Nobody reads it."""


def _events_handler(path: Path) -> type[_Handler]:
    log = path.open("a", buffering=1)

    class Events(_Handler):
        def do_GET(self) -> None:
            version = {"id": "v2.1", "status": "CURRENT", "version": "2.96", "min_version": "2.1", "links": []}
            self.answer(200, {"version": version, "versions": [version]})

        def do_POST(self) -> None:
            events = json.loads(self.body())["events"]
            log.write("".join(json.dumps(event) + "\n" for event in events))
            self.answer(200, {"events": [{**event, "code": 200, "status": "completed"} for event in events]})

    return Events


def _metadata_handler(secret: bytes) -> type[_Handler]:
    class Metadata(_Handler):
        def do_GET(self) -> None:
            instance = self.headers.get("X-Instance-ID", "")
            wanted = hmac.new(secret, instance.encode(), hashlib.sha256).hexdigest()
            if not hmac.compare_digest(wanted, self.headers.get("X-Instance-ID-Signature", "")):
                self.answer(403, {"error": "the signature is wrong"})
                return
            said = {
                "uuid": instance,
                "project_id": self.headers.get("X-Tenant-ID", ""),
                "address": self.headers.get("X-Forwarded-For", ""),
                "path": self.path,
            }
            self.answer(200, said)

    return Metadata


def main(events: str, secret: str, address: str) -> None:
    """Serve until ended."""
    metadata = ThreadingHTTPServer((address, METADATA_PORT), _metadata_handler(Path(secret).read_bytes().strip()))
    threading.Thread(target=metadata.serve_forever, daemon=True).start()
    ThreadingHTTPServer(("127.0.0.1", NOVA_PORT), _events_handler(Path(events))).serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
