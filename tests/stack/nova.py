"""A stub of Nova: takes external events and appends each to a file as a line of JSON. Run as a program."""

from __future__ import annotations

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

EVENTS = open(sys.argv[2], "a", buffering=1)  # noqa: SIM115 - as long as the process


class Nova(BaseHTTPRequestHandler):
    """Answers the version document and ``os-server-external-events``."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        version = {"id": "v2.1", "status": "CURRENT", "version": "2.96", "min_version": "2.1", "links": []}
        self._answer({"version": version, "versions": [version]})

    def do_POST(self) -> None:
        events = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["events"]
        for event in events:
            EVENTS.write(json.dumps(event) + "\n")
        self._answer({"events": [{**event, "code": 200, "status": "completed"} for event in events]})

    def _answer(self, document: dict[str, object]) -> None:
        body = json.dumps(document).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it
        """Quiet."""


if __name__ == "__main__":
    ThreadingHTTPServer((sys.argv[1].rpartition(":")[0], int(sys.argv[1].rpartition(":")[2])), Nova).serve_forever()
