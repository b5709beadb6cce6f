"""``calico apply --wait`` against a real Felix: it returns when packets see the change, and names who lags and why."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from felix_world import World, resource

ANSWER = "/calico/felix/v2/no-region/host/h1/applied"


Done = subprocess.CompletedProcess[str]


def calico(world: World, *arguments: str, documents: list[dict[str, Any]] | None = None) -> Done:
    """The command on the host, as a person would type it."""
    command = [*world.enter("h"), sys.executable, "-m", "calico", *arguments]
    text = "\n---\n".join(json.dumps(document) for document in documents or [])
    return subprocess.run(command, input=text, capture_output=True, text=True, check=False, timeout=100)


def policy(action: str, order: int = 1) -> dict[str, Any]:
    spec = {"order": order, "selector": "app == 'b'", "ingress": [{"action": action}]}
    return resource("GlobalNetworkPolicy", "waited", spec)


@pytest.fixture(autouse=True)
def _registered(world: World) -> None:
    """Who waits looks for the hosts among the Nodes."""
    world.apply(resource("Node", "h1", {}))


@contextmanager
def dead_host(world: World) -> Iterator[None]:
    """A Node without a Felix."""
    world.apply(resource("Node", "dead", {}))
    try:
        yield
    finally:
        world.delete("Node", "dead")


def test_when_a_wait_returns_packets_obey(world: World) -> None:
    for action, flow in (("Deny", "!a>b tcp:80"), ("Allow", "a>b tcp:80"), ("Deny", "!a>b tcp:80")):
        done = calico(world, "apply", "--wait", "-f", "-", documents=[policy(action)])
        assert done.returncode == 0, done.stderr
        assert "is in the kernel of 1 of 1 hosts within" in done.stderr
        assert "  h1  " in done.stderr
        world.expect(4, flow)
    done = calico(world, "delete", "gnp", "waited", "--wait")
    assert done.returncode == 0, done.stderr
    world.expect(4, "a>b tcp:80")


def test_a_host_without_felix_is_named_and_the_others_are_told(world: World) -> None:
    with dead_host(world):
        done = calico(world, "apply", "--wait", "--timeout", "2s", "-f", "-", documents=[policy("Allow", 2)])
        assert done.returncode == 1
        assert "is in the kernel of 1 of 2 hosts" in done.stderr
        assert "error: dead: does not answer" in done.stderr
        assert "it has never reported" in done.stderr
    assert calico(world, "delete", "gnp", "waited").returncode == 0


def test_nothing_is_published_while_nobody_waits(world: World) -> None:
    world.put_raw({ANSWER: None})
    for order in range(5):
        world.apply(policy("Allow", order))
    assert ANSWER not in world.list("/calico/felix/")
    assert calico(world, "apply", "--wait", "-f", "-", documents=[policy("Allow", 9)]).returncode == 0
    answer = json.loads(world.list("/calico/felix/")[ANSWER])
    world.apply(policy("Allow", 10), policy("Allow", 11))
    assert json.loads(world.list("/calico/felix/")[ANSWER]) == answer
    world.delete("GlobalNetworkPolicy", "waited")


@pytest.mark.parametrize("kind", ["patch", "label"])
def test_other_writes_wait_as_well(world: World, kind: str) -> None:
    world.apply(policy("Allow"))
    change = ("-p", '{"spec": {"order": 3}}') if kind == "patch" else ("a=b",)
    done = calico(world, kind, "gnp", "waited", *change, "--wait")
    assert done.returncode == 0, done.stderr
    assert "of 1 of 1 hosts" in done.stderr
    world.delete("GlobalNetworkPolicy", "waited")
