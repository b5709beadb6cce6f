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


@pytest.fixture(scope="module")
def moving(start_lab: Any) -> Iterator[Any]:
    with start_lab(TOPOLOGY) as lab:
        yield lab


@pytest.fixture(autouse=True)
def meshed(moving: Any) -> Iterator[None]:
    """Every test finds, and leaves, a mesh."""
    yield
    assert command(moving, "migrate", "--to", "mesh", "--yes").returncode == 0


def arguments(lab: Any, *given: str) -> list[str]:
    calico = [sys.executable, "-m", "calico"]
    sockets = [] if given[0] in ("show", "plan") else ["--run-dir", f"/run/calico-lab/{lab.name}/{{node}}"]
    return [*calico, "lab", "exec", "-l", lab.name, "host1", "--", *calico, "node", "rr", *given, *sockets]


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


def sessions(lab: Any, host: str) -> dict[str, str]:
    """Far address to state, for the sessions with other hosts."""
    own = {end for plan in lab.layout.hosts for end in (plan.uplink.address4, plan.uplink.address6)}
    found = lab.status(host, "bgp")["sessions"]
    return {session["peer_ip"]: session["state"] for session in found if session["peer_ip"] in own}


def test_the_mesh_becomes_reflectors_and_a_mesh_again_without_losing_a_packet(moving: Any) -> None:
    moving.await_bgp()
    birds = {name: moving.bird_pid(name) for name in CLIENTS}
    with moving.traffic(FLOWS, rate=PROBES_A_SECOND, at_least=PROBES):
        assert steps(moving, "add", "a1", "a2") == ["create-peering", "join a1", "reflect a1", "join a2", "reflect a2"]
        assert json.loads(command(moving, "show", "-o", "json").stdout)["clusters"] == []
        killed_after(moving, "let a1 reflect", "add", "a1", "a2", "--yes")
        assert steps(moving, "add", "a1", "a2", "--yes")[-1] == "reflect a2"
        assert steps(moving, "migrate", "--yes") == ["mesh-off"]
        for name in CLIENTS:
            assert list(sessions(moving, name).values()) == ["Established"] * 4
        assert not moving.missing_routes()
        assert {name: moving.bird_pid(name) for name in CLIENTS} == birds
        assert steps(moving, "migrate", "--yes") == []
        assert steps(moving, "migrate", "--to", "mesh", "--yes")[0] == "mesh-on"
    assert {name: moving.bird_pid(name) for name in CLIENTS} == birds
    assert json.loads(command(moving, "show", "-o", "json").stdout)["clusters"] == []
    assert all(len(sessions(moving, name)) == 8 for name in HOSTS)


def test_a_reflector_leaves_and_comes_back_unless_clients_depend_on_it(moving: Any) -> None:
    assert command(moving, "add", "a1", "a2", "--yes").returncode == 0
    assert command(moving, "migrate", "--yes").returncode == 0
    both = command(moving, "remove", "a1", "a2", "--yes")
    assert (both.returncode, "no reflector and there is no mesh" in both.stderr) == (1, True)
    with moving.traffic(FLOWS, rate=PROBES_A_SECOND, at_least=PROBES):
        assert steps(moving, "remove", "a2", "--yes") == ["stop-reflecting a2", "leave a2"]
        assert not moving.missing_routes()
        assert all(len(sessions(moving, name)) == 2 for name in CLIENTS)
        assert steps(moving, "add", "a2", "--yes") == ["join a2", "reflect a2"]
        moving.kill("bgp/a1")
        moving.kill_bird("a1")
        alone = command(moving, "remove", "a2", "--yes", "--patience", "1")
        assert (alone.returncode, "not done: let a2 reflect no longer" in alone.stderr) == (1, True)
        moving.start("bgp/a1")
        moving.await_bgp()
    found = json.loads(command(moving, "show", "-o", "json").stdout)["clusters"]
    assert [cluster["reflectors"] for cluster in found] == [["a1", "a2"]]
