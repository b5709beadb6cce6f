"""A nova-metadata: checks the signature as Nova does and answers with what it was asked, as JSON."""

from __future__ import annotations

import hashlib
import hmac
import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SECRET = b"a shared secret"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length).decode()
        device = self.headers.get("X-Instance-ID", "")
        wanted = hmac.new(SECRET, device.encode(), hashlib.sha256).hexdigest()
        good = hmac.compare_digest(wanted, self.headers.get("X-Instance-ID-Signature", ""))
        said = {"path": self.path, "method": self.command, "headers": self.headers.items(), "body": body}
        payload = json.dumps(said).encode() if self.path != "/big" else b"x" * 3_000_000
        self.send_response(200 if good else 403)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    do_POST = do_GET  # noqa: N815 - http.server looks for this name

    def log_message(self, *_: object) -> None:
        """Nobody reads it."""


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler)
    print("ready", flush=True)
    server.serve_forever()
