"""`calico node rr` without hosts: what is shown, what is refused, and that nothing happens unless it is asked for."""

import json
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

pytestmark = pytest.mark.etcd
Run = Callable[..., subprocess.CompletedProcess[str]]

NODE = """
kind: Node
apiVersion: projectcalico.org/v3
metadata: {{name: n{number}, labels: {{rack: r{rack}}}}}
spec: {{bgp: {{ipv4Address: 10.0.0.{number}/24}}}}
---
"""


@pytest.fixture
def cluster(calico: Run) -> Run:
    """Four nodes in two racks, none of which runs."""
    text = "".join(NODE.format(number=number, rack=number % 2) for number in range(1, 5))
    assert calico("apply", "-f", "-", stdin=text).returncode == 0
    return calico


def said(done: subprocess.CompletedProcess[str]) -> Any:
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_plan_has_costs_and_the_commands_that_lead_there(cluster: Run) -> None:
    plan = said(cluster("node", "rr", "plan", "--rack-label", "rack", "--per-rack", "--nodes", "200", "-o", "json"))
    assert (plan["recommended"], plan["mesh"]["sessions_total"], plan["racks"]) == ("reflectors", 19900, 2)
    assert plan["commands"] == [
        "calico node rr add n2 n4 --cluster-id 244.0.0.1 --clients 'rack == '\"'\"'r0'\"'\"'' --yes",
        "calico node rr add n1 n3 --cluster-id 244.0.0.2 --clients 'rack == '\"'\"'r1'\"'\"'' --yes",
        "calico node rr migrate --yes",
    ]
    small = cluster("node", "rr", "plan")
    assert "Recommended  mesh" in small.stdout
    assert "calico node rr add" not in small.stdout


def test_a_rack_needs_a_label(cluster: Run) -> None:
    done = cluster("node", "rr", "plan", "--per-rack")
    assert (done.returncode, "--rack-label" in done.stderr) == (2, True)


def test_steps_are_shown_with_what_they_wait_for_and_not_taken(cluster: Run) -> None:
    before = said(cluster("get", "nodes", "-o", "json"))["items"]
    shown = said(cluster("node", "rr", "add", "n1", "n2", "-o", "json"))
    assert shown["done"] is False
    assert [step["kind"] for step in shown["steps"]] == ["create-peering", "join", "reflect", "join", "reflect"]
    assert shown["obstacles"] == [f"n{number} says nothing about its sessions" for number in range(1, 5)]
    table = cluster("node", "rr", "add", "n1", "n2")
    assert (table.returncode, "nothing was changed" in table.stderr) == (0, True)
    assert said(cluster("get", "nodes", "-o", "json"))["items"] == before
    assert said(cluster("get", "bgppeers", "-o", "json"))["items"] == []


def test_a_step_that_is_not_safe_is_not_taken(cluster: Run) -> None:
    done = cluster("node", "rr", "add", "n1", "n2", "--yes", "--patience", "0")
    assert (done.returncode, "error: not done: join n1" in done.stderr) == (1, True)
    show = said(cluster("node", "rr", "show", "-o", "json"))
    assert (show["mesh"], show["clusters"][0]["reflectors"], show["clusters"][0]["joined"]) == (True, [], [])
    assert said(cluster("node", "rr", "migrate", "--to", "mesh", "--yes", "-o", "json"))["done"] is True
    assert said(cluster("node", "rr", "show", "-o", "json"))["clusters"] == []


def test_what_nobody_can_wait_for_is_left_out(cluster: Run) -> None:
    ignoring = [word for number in range(1, 5) for word in ("--ignore", f"n{number}")]
    assert cluster("node", "rr", "add", "n1", "n2", "--yes", *ignoring).returncode == 0
    assert cluster("node", "rr", "migrate", "--yes", *ignoring).returncode == 0
    show = said(cluster("node", "rr", "show", "-o", "json"))
    assert (show["mesh"], show["clusters"][0]["reflectors"], show["clusters"][0]["client_nodes"]) == (
        False,
        ["n1", "n2"],
        2,
    )
    last = cluster("node", "rr", "remove", "n1", "n2", "--yes", *ignoring)
    assert (last.returncode, "Node n1: would have no reflector" in last.stderr) == (1, True)
    assert cluster("node", "rr", "migrate", "--to", "mesh", "--yes", *ignoring).returncode == 0
    peers = said(cluster("get", "bgppeers", "-o", "json"))["items"]
    assert peers == []


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("remove", "n9"), "Node n9 does not exist"),
        (("migrate",), "there are no reflectors yet"),
    ],
)
def test_mistakes_are_named(cluster: Run, arguments: tuple[str, ...], text: str) -> None:
    done = cluster("node", "rr", *arguments)
    assert (done.returncode, text in done.stderr) == (1, True), done.stderr
