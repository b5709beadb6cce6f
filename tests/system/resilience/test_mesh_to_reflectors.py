"""`calico node rr`: from the mesh to reflectors and back while packets flow, with the command killed in between."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

pytestmark = [pytest.mark.lab, pytest.mark.timeout(300), pytest.mark.xdist_group("resilience")]

PROBES, PROBES_A_SECOND = 800, 100
HOSTS = ("a1", "a2", "host1", "host2", "host3")
CLIENTS = HOSTS[2:]
TOPOLOGY = {
    "name": "moving",
    "hosts": [{"name": name} for name in HOSTS],
    "workloads": [{"name": f"web-{name}", "host": name} for name in HOSTS[:4]],
    "externals": [{"name": "outside"}],
}
FLOWS = [
    ("web-host1", "web-host2", 4),
    ("web-host2", "web-a1", 6),
    ("web-a1", "web-a2", 4),
    ("web-a2", "web-host1", 6),
    ("web-host1", "outside", 4),
]


@pytest.fixture
def moving(start_lab: Any) -> Iterator[Any]:
    with start_lab(TOPOLOGY) as lab:
        yield lab


def arguments(lab: Any, *given: str) -> list[str]:
    calico = [sys.executable, "-m", "calico"]
    return [*calico, "lab", "exec", "-l", lab.name, "host1", "--", *calico, "node", "rr", *given]


def command(lab: Any, *given: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(arguments(lab, *given), capture_output=True, text=True, check=False)
    print(" ".join(given), done.returncode, done.stdout, done.stderr)
    return done


def steps(lab: Any, *given: str) -> list[str]:
    """What a command did, or would do, as kinds of steps with their nodes."""
    done = command(lab, *given, "-o", "json")
    assert done.returncode == 0
    return [f"{step['kind']} {step['node']}".strip() for step in json.loads(done.stdout)["steps"]]


def killed_after(lab: Any, line: str, *given: str) -> None:
    """Run a command and SIGKILL it when it has said this."""
    with subprocess.Popen(arguments(lab, *given), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as run:
        assert run.stderr is not None
        assert any(line in said for said in run.stderr), f"it never said {line!r}"
        run.send_signal(signal.SIGKILL)


def clusters(lab: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(command(lab, "show", "-o", "json").stdout)["clusters"]
    return found


def sessions(lab: Any, host: str) -> dict[str, str]:
    """Far address to state, for the sessions with other hosts."""
    own = {end for plan in lab.layout.hosts for end in (plan.uplink.address4, plan.uplink.address6)}
    found = lab.status(host, "bgp")["sessions"]
    return {session["peer_ip"]: session["state"] for session in found if session["peer_ip"] in own}


def test_the_mesh_becomes_reflectors_one_leaves_and_returns_and_all_is_a_mesh_again_without_losing_a_packet(
    moving: Any,
) -> None:
    moving.await_bgp()
    birds = {name: moving.bird_pid(name) for name in CLIENTS}
    with moving.traffic(FLOWS, rate=PROBES_A_SECOND, at_least=PROBES):
        becomes_reflectors(moving)
        one_leaves_and_returns(moving)
        assert {name: moving.bird_pid(name) for name in CLIENTS} == birds
        assert steps(moving, "migrate", "--to", "mesh", "--yes")[0] == "mesh-on"
    assert {name: moving.bird_pid(name) for name in CLIENTS} == birds
    assert clusters(moving) == []
    assert all(len(sessions(moving, name)) == 8 for name in HOSTS)


def becomes_reflectors(lab: Any) -> None:
    """The command that adds them is killed in between, and goes on when called again."""
    assert steps(lab, "add", "a1", "a2") == ["create-peering", "join a1", "reflect a1", "join a2", "reflect a2"]
    assert clusters(lab) == []
    killed_after(lab, "let a1 reflect", "add", "a1", "a2", "--yes")
    assert steps(lab, "add", "a1", "a2", "--yes")[-1] == "reflect a2"
    assert steps(lab, "migrate", "--yes") == ["mesh-off"]
    for name in CLIENTS:
        assert list(sessions(lab, name).values()) == ["Established"] * 4
    assert not lab.missing_routes()
    assert steps(lab, "migrate", "--yes") == []


def one_leaves_and_returns(lab: Any) -> None:
    """Unless clients would be left without, or the one that is left is itself away."""
    both = command(lab, "remove", "a1", "a2", "--yes")
    assert (both.returncode, "no reflector and there is no mesh" in both.stderr) == (1, True)
    assert steps(lab, "remove", "a2", "--yes") == ["stop-reflecting a2", "leave a2"]
    assert not lab.missing_routes()
    assert all(len(sessions(lab, name)) == 2 for name in CLIENTS)
    assert steps(lab, "add", "a2", "--yes") == ["join a2", "reflect a2"]
    lab.kill("bgp/a1")
    lab.kill_bird("a1")
    alone = command(lab, "remove", "a2", "--yes", "--patience", "1")
    assert (alone.returncode, "not done: let a2 reflect no longer" in alone.stderr) == (1, True)
    lab.start("bgp/a1")
    lab.await_bgp()
    assert [cluster["reflectors"] for cluster in clusters(lab)] == [["a1", "a2"]]
