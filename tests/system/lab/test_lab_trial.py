"""A change that cuts its author off from a host undoes itself, and the author's sessions go on."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

pytestmark = [pytest.mark.lab, pytest.mark.root]

PORT = 8022
"""None of the failsafe ports."""

SERVER = """
import socketserver
class Echo(socketserver.StreamRequestHandler):
    def handle(self):
        for line in self.rfile:
            self.wfile.write(line)
class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = daemon_threads = True
    address_family = 10
with Server(("::", %d), Echo) as server:
    print("listens", flush=True)
    server.serve_forever()
"""
CLIENT = """
import socket, sys
session = socket.create_connection((sys.argv[1], %d), timeout=10)
session.settimeout(3)
print("connected", flush=True)
for line in sys.stdin:
    session.sendall(line.encode())
    try:
        print(session.recv(100).decode().split()[-1], flush=True)
    except TimeoutError:
        print("nothing", flush=True)
"""
CUT = [
    {"kind": "HostEndpoint", "metadata": {"name": "h1-all"}, "spec": {"node": "h1", "interfaceName": "*"}},
    {
        "kind": "GlobalNetworkPolicy",
        "metadata": {"name": "nobody"},
        "spec": {"selector": "all()", "types": ["Ingress"], "ingress": [{"action": "Deny"}]},
    },
]


def until(condition: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + 60  # bounds a failing test only
    while not condition():
        assert time.monotonic() < end, f"it never happened that {what}"
        time.sleep(0.2)


class Talk:
    """A process on a machine of a lab that answers line by line."""

    def __init__(self, lab: Any, machine: str, code: str, *args: str) -> None:
        argv = ["exec", "-l", lab.name, machine, "--", sys.executable, "-u", "-c", code, *args]
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "bufsize": 1}
        self.process = subprocess.Popen([sys.executable, "-m", "calico", "lab", *argv], **pipes)

    def heard(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def said(self, line: str) -> str:
        """What comes back."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n")
        return self.heard()


@contextmanager
def talk(lab: Any, machine: str, code: str, *args: str) -> Iterator[Talk]:
    made = Talk(lab, machine, code, *args)
    with made.process:
        try:
            yield made
        finally:
            made.process.terminate()


def test_a_change_that_cuts_its_author_off_is_undone_and_the_sessions_go_on(lab: Any, tmp_path: Path) -> None:
    lab.up({"hosts": [{"name": "h1"}, {"name": "h2"}], "externals": [{"name": "x"}]}, "--wait")

    def run(machine: str, *command: str, check: bool = True) -> Any:
        return lab.run("exec", "-l", lab.name, machine, "--", *command, check=check)

    interfaces = json.loads(run("h1", "ip", "-j", "address", "show", "scope", "global").stdout)
    addresses = [a["local"] for i in interfaces if i.get("ifname") == "eth0" for a in i["addr_info"] if "local" in a]
    assert len({":" in address for address in addresses}) == 2, addresses

    def is_open(address: str) -> bool:
        code = f"import socket; socket.create_connection(({address!r}, {PORT}), timeout=2)"
        return run("x", sys.executable, "-c", code, check=False).returncode == 0

    document = tmp_path / "cut.yaml"
    document.write_text(yaml.safe_dump_all({"apiVersion": "projectcalico.org/v3", **item} for item in CUT))
    with ExitStack() as stack:
        server = stack.enter_context(talk(lab, "h1", SERVER % PORT))
        assert server.heard() == "listens"
        sessions = [stack.enter_context(talk(lab, "x", CLIENT % PORT, address)) for address in addresses]
        for session in sessions:
            assert session.heard() == "connected"
            assert session.said("before") == "before"
        began = run("h1", "calico", "apply", "--confirm-within", "15s", "-f", str(document))
        until(lambda: not any(map(is_open, addresses)), "new connections are cut")
        for session in sessions:
            assert session.said("meanwhile") == "nothing"
        assert "confirm" in began.stdout + began.stderr
        until(
            lambda: "rolled-back" in run("h1", "calico", "trial", "list").stdout,
            "the trial ends by itself",
        )
        until(lambda: all(map(is_open, addresses)), "new connections are let in again")
        for session in sessions:
            until(lambda: session.said("after") == "after", "a session goes on")  # noqa: B023
    shown = run("h1", "calico", "get", "hostendpoints", "-o", "json").stdout
    assert json.loads(shown)["items"] == []
