"""Records what a BIRD says to every question that is read, byte by byte, for the tests of the parsers.

``python tests/functional/bgp/record_answers.py BIRD DIRECTORY`` runs two hosts whose agents start BIRD (a path to an
executable of any version) and a router of the version that is installed. Needs root and etcd, as the tests do.
"""

from __future__ import annotations

import re
import socket
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
from conftest import Fabric, until  # type: ignore[import-not-found]

ROUTER = """
{log}
router id 10.99.0.9;
protocol device { }
protocol direct { ipv4; interface "eth0"; }
protocol static own { ipv4;
  route 10.65.1.1/32 blackhole; route 10.65.8.1/32 blackhole; route 10.65.9.1/32 blackhole;
  route 10.65.10.1/32 blackhole;
}
filter tell { if net = 10.65.10.1/32 then bgp_next_hop = 192.0.2.77; accept; }
protocol bgp to_node1 { local 10.99.0.9 as 65009; neighbor 10.99.0.1 as 64512; direct; graceful restart on;
  connect delay time 1; connect retry time 2; ipv4 { import all; export filter tell; }; }
"""

QUESTIONS = {
    "status": "show status",
    "protocols": "show protocols all",
    "session": 'show protocols all "Node_10_99_0_9"',
    "routes": "show route all",
    "routes-brief": "show route",
    "covering": "show route for 10.65.1.1/32 all",
    "within": "show route in 10.65.0.0/16 table master4 all",
    "filtered": "show route 10.65.8.1/32 filtered all",
    "export": "show route 10.65.1.1/32 primary export Mesh_10_99_0_2",
    "noexport": "show route 10.99.0.0/24 primary noexport Mesh_10_99_0_2",
    "kernel": "show route 10.65.9.1/32 primary export kernel4",
    "filter": "show route 10.65.9.1/32 primary filter { rank4(); accept; }",
    "count": "show route count",
    "unknown-network": "show route 192.0.2.1/32 all",
    "unknown-command": "show nonsense",
    "unknown-protocol": "show route export nobody",
    "memory": "show memory",
    "interfaces": "show interfaces",
    "disabled": 'disable "Node_10_99_0_9"',
    "disabled-session": "show protocols all",
    "enabled": 'enable "Node_10_99_0_9"',
    "enabled-already": 'enable "Node_10_99_0_9"',
    "reload": 'reload in "Mesh_10_99_0_2"',
    "restart": 'restart "Mesh_fd99__2"',
    "confirm-nothing": "configure confirm",
    "undo-nothing": "configure undo",
    "eval": "eval 1 + 1",
}


def main(bird: str, target: Path) -> None:
    """Record everything."""
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="cbg") as directory:
        fabric = Fabric(Path(directory))
        try:
            fabric.start_etcd()
            first = _set_up(fabric, bird)
            for name, question in QUESTIONS.items():
                (target / f"{name}.txt").write_bytes(ask(first.run_dir / "bird.ctl", question)[1])
            _record_changes(first, target)
        finally:
            fabric.close()


def _set_up(fabric: Any, bird: str) -> Any:
    fabric.put("ippools", "v4", "IPPool", {"cidr": "10.65.0.0/16"})
    fabric.put("ippools", "v6", "IPPool", {"cidr": "fd65::/48"})
    refused = {"action": "Reject", "cidr": "10.65.8.0/24", "matchOperator": "In"}
    fabric.put("bgpfilters", "strict", "BGPFilter", {"importV4": [refused]})
    fabric.peer("router", node="node1", peerIP="10.99.0.9", asNumber=65009, filters=["strict"])
    fabric.bare_host(9).start_bird(ROUTER)
    first = fabric.add_host(1, options=("--bird", bird))
    fabric.add_host(2, options=("--bird", bird))
    first.workload(1, "10.65.1.1", "10.65.7.1", "fd65::1")
    until(lambda: first.is_settled(sessions=3), "all sessions are up")
    until(lambda: first.has_route("10.65.9.1"), "the router's routes arrive")
    until(lambda: "10.65.8.1" in first.ask_bird("show route 10.65.8.1/32 filtered"), "the refused route is kept")
    return first


def _record_changes(host: Any, target: Path) -> None:
    """The dialogue of a configuration that is tried, confirmed, taken back or refused, and of a graceful restart."""
    host.agent.kill()
    host.agent.wait()
    conf, control = host.run_dir / "bird.conf", host.run_dir / "bird.ctl"
    changed, broken, fewer = (host.run_dir / f"{name}.conf" for name in ("changed", "broken", "fewer"))
    changed.write_text(conf.read_text().replace("scan time 10", "scan time 11"))
    broken.write_text(conf.read_text() + "\nprotocol nothing { }\n")
    sessions = re.compile(r"^protocol bgp .*?^}$", re.MULTILINE | re.DOTALL)
    fewer.write_text(sessions.sub("", conf.read_text()))
    for name, question in {
        "check": f'configure check "{conf}"',
        "configure-timeout": f'configure "{changed}" timeout 30',
        "confirm": "configure confirm",
        "configure": f'configure "{conf}"',
        "configure-timeout-again": f'configure "{changed}" timeout 30',
        "undo": "configure undo",
        "refused": f'configure "{broken}"',
        "configure-fewer": f'configure "{fewer}"',
        "configure-more": f'configure "{conf}"',
    }.items():
        answer = ask(control, question)[1].replace(str(host.run_dir).encode(), b"/run/calico")
        (target / f"{name}.txt").write_bytes(answer)
        until(lambda: "0013 Daemon is up" in host.ask_bird("show status"), "the change is through")
    (target / "greeting.txt").write_bytes(ask(control, "restrict")[0])
    (target / "restrict.txt").write_bytes(ask(control, "restrict")[1])
    (target / "restricted.txt").write_bytes(ask(control, "restrict", "disable all")[2])
    (target / "graceful-restart.txt").write_bytes(ask(control, "graceful restart")[1])
    until(lambda: not control.exists() or not _listens(control), "it has ended")
    host.start_agent()
    until(lambda: _while_recovering(control, target), "it recovers")


def _while_recovering(control: Path, target: Path) -> bool:
    (target / "recovering.txt").write_bytes(found := ask(control, "show status")[1])
    return b"0024" in found


def _listens(control: Path) -> bool:
    try:
        ask(control, "show status")
    except OSError:
        return False
    return True


def ask(control: Path, *questions: str) -> list[bytes]:
    """The greeting and the answers on one connection, as they come."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(10)
        sock.connect(str(control))
        answers = [_answer(sock)]
        for question in questions:
            sock.sendall(question.encode() + b"\n")
            answers.append(_answer(sock))
        return answers


def _answer(sock: socket.socket) -> bytes:
    answer = b""
    while not any(line[4:5] == b" " and line[:4].isdigit() for line in answer.split(b"\n")[:-1]):
        if not (data := sock.recv(65536)):
            raise ConnectionResetError("BIRD closed the connection")
        answer += data
    return answer


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
