"""Flow logs of a running host: what policy decided about real packets, by name, live and from the files."""

from __future__ import annotations

import json
import os
import select
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from felix_world import World, resource, until

from calico.dataplane.flows.log_reader import FLOW_LOG_GROUP, FlowReader
from calico.dataplane.netns import in_netns

Record = dict[str, Any]


class Follower:
    """``calico flows --follow -o json`` on the host."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        self._out = process.stdout.fileno()
        self._rest = b""
        self.records: list[Record] = []

    def wait(self, what: str, matches: Callable[[Record], bool]) -> Record:
        """The first record that matches, of those that came and come."""

        def found() -> Record | None:
            while select.select([self._out], [], [], 0.02)[0] and (data := os.read(self._out, 1 << 16)):
                *lines, self._rest = (self._rest + data).split(b"\n")
                self.records += map(json.loads, lines)
            return next(filter(matches, self.records), None)

        try:
            record: Record = until(found, what)
        except AssertionError as error:
            raise AssertionError(f"{error}; there were {self.records[-10:]}") from None
        return record


def command(world: World, *options: str) -> list[str]:
    program = [*world.enter("h"), sys.executable, "-u", "-m", "calico", "flows", "--run-dir", str(world.run_dir)]
    return [*program, "--directory", str(world.directory / "flows"), *options]


@contextmanager
def following(world: World, *options: str) -> Iterator[Follower]:
    with subprocess.Popen(command(world, "--follow", "-o", "json", *options), stdout=subprocess.PIPE) as run:
        try:
            until(lambda: world.status["flow_logs"]["clients"] > 0, "the command listens")
            yield Follower(run)
        finally:
            run.terminate()


def past(world: World, *options: str) -> list[Record]:
    done = subprocess.run(command(world, "-o", "json", *options), capture_output=True, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def logging_world() -> Iterator[World]:
    made = World(("a", "b", "c"))
    try:
        made.start_etcd()
        made.cluster()
        made.start_felix(
            FELIX_FLOWLOGSLOCALREPORTER="Enabled",
            FELIX_FLOWLOGSFLUSHINTERVAL="1",
            FELIX_FLOWLOGSFILEDIRECTORY=str(made.directory / "flows"),
        )
        made.settle()
        yield made
    finally:
        made.close()


@pytest.fixture
def logs(logging_world: World) -> World:
    logging_world.clear()
    return logging_world


def policy(**spec: Any) -> dict[str, Any]:
    return resource("NetworkPolicy", "p", {"selector": "app == 'b'", "types": ["Ingress"], **spec}, "default")


def tcp(action: str, port: int) -> dict[str, Any]:
    return {"action": action, "protocol": "TCP", "destination": {"ports": [port]}}


def of_port(port: int, state: str = "new") -> Callable[[Record], bool]:
    return lambda record: record["dst"].get("port") == port and record["state"] == state


def test_a_flow_is_told_with_who_decided_what_for_whom(logs: World) -> None:
    logs.apply(policy(ingress=[tcp("Deny", 81), tcp("Allow", 80)]))
    with following(logs) as told:
        logs.expect(4, "a>b tcp:80", "!a>b tcp:81")
        logs.expect(6, "!a>b tcp:82")
        allowed = told.wait("the allowed flow was told", of_port(80))
        assert (allowed["verdict"], allowed["protocol"], allowed["node"]) == ("allow", "tcp", "h1")
        assert allowed["src"]["namespace"] == "default"
        assert (allowed["src"]["name"], allowed["dst"]["name"]) == ("h1-cni-a-eth0", "h1-cni-b-eth0")
        assert (allowed["src"]["ip"], allowed["dst"]["ip"]) == ("10.65.0.1", "10.65.0.2")
        assert allowed["src"]["labels"]["app"] == "a"
        profile = {"kind": "Profile", "policy": "projectcalico-default-allow", "rule": 0}
        ours = {"kind": "NetworkPolicy", "namespace": "default", "policy": "p", "tier": "default"}
        assert allowed["decisions"] == [
            {"verdict": "allow", "direction": "egress", **profile},
            {"verdict": "allow", "direction": "ingress", **ours, "rule": 1},
        ]
        denied = told.wait("the denied flow was told", of_port(81))
        assert denied["verdict"] == "deny"
        assert denied["decisions"][1] == {
            "verdict": "deny", "direction": "ingress", "reason": "policy-deny", **ours, "rule": 0,
        }  # fmt: skip
        ended = told.wait("the flow that no rule matches was told", of_port(82))
        assert ended["dst"]["ip"] == "fd00:65::2"
        assert ended["decisions"][1] == {
            "verdict": "deny", "direction": "ingress", "reason": "tier-default", "tier": "default",
        }  # fmt: skip


def test_a_connections_end_is_told_with_what_went_over_it(logs: World) -> None:
    with following(logs, "--port", "7777", "--protocol", "tcp") as told:
        with logs.socket("b", 4, socket.SOCK_STREAM) as listener, logs.socket("a", 4, socket.SOCK_STREAM) as client:
            listener.bind(("10.65.0.2", 7777))
            listener.listen()
            client.connect(("10.65.0.2", 7777))
            server, _ = listener.accept()
            with server:
                client.sendall(b"x" * 5000)
                got = 0
                while got < 5000:
                    got += len(server.recv(5000))
        logs.forget_flows("10.65.0.1")
        end = told.wait("the end was told", of_port(7777, "end"))
    assert end["bytes"][0] > 5000
    assert 100 < end["bytes"][1] < 5000
    assert end["packets"][0] >= 3
    assert end["attempts"] >= 1
    assert len(told.records) == 2, "one record when it begins, one when it ends, however many packets went over it"


def test_a_denied_flow_that_is_tried_again_is_one_flow_and_its_attempts_are_counted(logs: World) -> None:
    logs.apply(policy(ingress=[]))
    packet = logs.packet("a>b tcp:83", 4)
    with following(logs, "--verdict", "deny") as told:
        for _ in range(5):
            assert logs.passed(("a", "b", packet)) == [False]
        told.wait("all were counted", lambda r: r["dst"].get("port") == 83 and r["attempts"] == 5)
        assert len([record for record in told.records if of_port(83)(record)]) == 1
        logs.delete("NetworkPolicy", "p", "default")
        assert logs.passed(("a", "b", packet)) == [True]
        changed = told.records
    assert changed
    found = until(lambda: past(logs, "--port", "83", "--verdict", "allow"), "the change was kept")
    assert found[0]["state"] == "changed"


def test_past_flows_are_shown_from_the_files_also_of_peers_outside(logs: World) -> None:
    logs.apply(policy(ingress=[tcp("Allow", 84)]))
    logs.expect(4, "a>b tcp:84", "!c>b tcp:85", "x>b tcp:84")
    until(lambda: past(logs, "--port", "85"), "the flows were kept")
    allowed = past(logs, "--port", "84", "--policy", "default/p", "--verdict", "allow", "--since", "1h")
    by_source = {record["src"]["ip"]: record for record in allowed if record["state"] == "new"}
    assert by_source.keys() == {"10.65.0.1", "192.0.2.2"}
    inside, outside = by_source["10.65.0.1"], by_source["192.0.2.2"]
    assert "name" not in outside["src"]
    assert [each["direction"] for each in outside["decisions"]] == ["ingress"]
    assert inside["src"]["name"] == "h1-cni-a-eth0"
    table = subprocess.run(command(logs, "--port", "85"), capture_output=True, text=True, check=True).stdout
    assert "ingress deny by tier default (tier-default)" in table


def test_without_flow_logs_no_rule_logs_and_the_command_says_what_is_missing(world: World) -> None:
    world.apply(policy(ingress=[tcp("Allow", 80), tcp("Deny", 81)]))
    assert " group " not in world.ruleset()
    assert world.status["flow_logs"] is None
    done = subprocess.run(command(world, "--follow"), capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "flowLogsLocalReporter" in done.stderr
    done = subprocess.run(command(world), capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "flowLogsLocalReporter" in done.stderr


def test_flow_logs_begin_and_end_with_their_setting_and_policy_works_without_a_reader(world: World) -> None:
    on = resource("FelixConfiguration", "default", {"flowLogsLocalReporter": "Enabled"})
    on["metadata"]["annotations"] = {"config.projectcalico.org/FlowLogsFileDirectory": str(world.directory / "mine")}
    other = in_netns(world.netns("h"), lambda: FlowReader(FLOW_LOG_GROUP))
    try:
        world.apply(on, policy(ingress=[tcp("Allow", 80)]))
        until(lambda: world.conditions("flow-logs-unavailable"), "it is said that another reads the group")
        world.settle()
        world.expect(4, "a>b tcp:80", "!a>b tcp:81")
        assert " group " not in world.ruleset()
    finally:
        other.close()
    world.restart_felix()
    world.settle()
    assert not world.conditions("flow-logs-unavailable")
    world.expect(4, "a>b tcp:80", "!a>b tcp:81")
    assert " group 80 " in world.ruleset()
    until(lambda: world.status["flow_logs"]["records"] >= 2, "both were told")
    assert (world.directory / "mine" / "flows.log").read_text().count("tier-default") == 1
    world.delete("FelixConfiguration", "default")
    until(lambda: world.status.get("flow_logs", 1) is None, "Felix goes on without flow logs")
    world.settle()
    assert " group " not in world.ruleset()
    world.expect(4, "a>b tcp:80", "!a>b tcp:81")
