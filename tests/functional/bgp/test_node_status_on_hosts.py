"""CalicoNodeStatus on real hosts: whoever creates one gets this host's BGP in it, as Calico's clients read it."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

pytestmark = [pytest.mark.root, pytest.mark.bird, pytest.mark.etcd]


def _ask(fabric: Any, host: Any, name: str, node: str, classes: list[str], period_s: int) -> None:
    document = {
        "apiVersion": "projectcalico.org/v3",
        "kind": "CalicoNodeStatus",
        "metadata": {"name": name},
        "spec": {"node": node, "classes": classes, "updatePeriodSeconds": period_s},
    }
    path = fabric.directory / f"{name}.yaml"
    path.write_text(yaml.safe_dump(document))
    done = host.calico("apply", "-f", str(path))
    assert done.returncode == 0, done.stderr


def _status(host: Any, name: str) -> dict[str, Any]:
    done = host.calico("get", "nodestatus", name, "-o", "json")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout).get("status", {})
    return found


@pytest.fixture
def hosts(fabric: Any) -> tuple[Any, Any]:
    """Two hosts of a mesh, the first with a workload."""
    fabric.put("ippools", "v4", "IPPool", {"cidr": "10.65.0.0/16"})
    first, second = fabric.add_host(1), fabric.add_host(2)
    for host in (first, second):
        fabric.until(lambda host=host: host.is_settled(sessions=2), "the sessions are up")
    first.workload(1, "10.65.1.1")
    fabric.until(lambda: second.has_route("10.65.1.1"), "the route arrives")
    return first, second


def test_each_class_that_is_asked_for_is_filled_in_by_the_host_that_is_named(fabric: Any, hosts: Any) -> None:
    first, second = hosts
    _ask(fabric, first, "all", "node2", ["Agent", "BGP", "Routes"], 1)
    fabric.until(lambda: _status(first, "all").get("lastUpdated"), "it is answered")
    status = _status(first, "all")
    agent = status["agent"]["birdV4"]
    assert (agent["state"], agent["routerID"], agent["version"]) == (
        "Ready",
        "10.99.0.2",
        second.status["bird"]["version"],
    )
    assert (status["bgp"]["numberEstablishedV4"], status["bgp"]["numberEstablishedV6"]) == (1, 1)
    (peer,) = status["bgp"]["peersV6"]
    assert (peer["peerIP"], peer["type"], peer["state"]) == ("fd99::1", "NodeMesh", "Established")
    (route,) = [route for route in status["routes"]["routesV4"] if route["destination"] == "10.65.1.1/32"]
    assert route == {
        "type": "FIB",
        "destination": "10.65.1.1/32",
        "gateway": "10.99.0.1",
        "interface": "eth0",
        "learnedFrom": {"sourceType": "NodeMesh", "peerIP": "10.99.0.1"},
    }
    first.ip("route", "del", "10.65.1.1/32", "dev", "cali1")
    fabric.until(
        lambda: "10.65.1.1/32" not in json.dumps(_status(first, "all")["routes"]), "the next answer is without it"
    )
    wide = first.calico("get", "nodestatus", "-o", "wide").stdout.split()
    assert wide == ["NAME", "NODE", "CLASSES", "all", "node2", "Agent,BGP,Routes"]


def test_one_answer_is_given_once_and_again_when_the_question_changes(fabric: Any, hosts: Any) -> None:
    first, second = hosts
    _ask(fabric, first, "once", "node2", ["BGP"], 0)
    fabric.until(lambda: _status(first, "once").get("lastUpdated"), "it is answered")
    answered = _status(first, "once")
    assert answered["routes"] == {}
    assert answered["agent"] == {"birdV4": {}, "birdV6": {}}
    _ask(fabric, first, "other", "node2", ["BGP"], 1)  # what is answered later shows that the first was passed over
    fabric.until(lambda: _status(first, "other").get("lastUpdated"), "the other one is answered")
    assert _status(first, "once") == answered
    _ask(fabric, first, "once", "node2", ["Agent"], 0)
    fabric.until(lambda: _status(first, "once")["agent"]["birdV4"], "the changed question is answered")
    assert _status(first, "once")["bgp"].get("peersV4") is None
    second.kill_agent()
    second.start_agent()
    fabric.until(lambda: second.status.get("ready"), "the agent is back")
    before = _status(first, "other")["lastUpdated"]
    fabric.until(lambda: _status(first, "other")["lastUpdated"] != before, "it goes on with what is repeated")


def test_a_bird_that_does_not_answer_is_not_ready(fabric: Any, hosts: Any) -> None:
    first, second = hosts
    second.run("kill", "-STOP", str(second.bird_pid))
    try:
        _ask(fabric, first, "one", "node2", ["Agent", "BGP"], 1)
        fabric.until(lambda: _status(first, "one").get("lastUpdated"), "it is answered all the same")
        status = _status(first, "one")
        assert (status["agent"]["birdV4"], status["bgp"].get("peersV4")) == ({"state": "NotReady"}, None)
    finally:
        second.run("kill", "-CONT", str(second.bird_pid))
    fabric.until(lambda: _status(first, "one")["agent"]["birdV4"]["state"] == "Ready", "it is ready again")
