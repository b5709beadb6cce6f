"""A core of three members: one is killed, one is cut off, and then both; what hosts do is measured by packets."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import pytest

pytestmark = [pytest.mark.lab, pytest.mark.timeout(300), pytest.mark.xdist_group("resilience")]

HOSTS = ["host1", "host2", "host3"]
MEMBERS = ["etcd1", "etcd2", "etcd3"]
SERVICES = [("TCP", 80), ("UDP", 53)]
ALLOWED = [("client2", "server1", 4), ("client1", "server3", 6), ("client3", "outside", 4)]
FORBIDDEN = [("client2", "server1", 4), ("client3", "server2", 6)]


@pytest.fixture(scope="module")
def core(start_lab: Callable[..., AbstractContextManager[Any]]) -> Iterator[Any]:
    """Three hosts with a server and a client each, an external, and three members of etcd."""
    deny = [{"action": "Deny", "protocol": protocol, "destination": {"ports": [7008]}} for protocol in ("TCP", "UDP")]
    guard = {
        "apiVersion": "projectcalico.org/v3",
        "kind": "GlobalNetworkPolicy",
        "metadata": {"name": "servers"},
        "spec": {
            "selector": "app == 'server'",
            "order": 100,
            "ingress": [*deny, {"action": "Allow", "source": {"selector": "app == 'client'"}}],
        },
    }
    topology = {
        "name": "coremembers",
        "etcd": {"members": 3},
        "hosts": [{"name": name} for name in HOSTS],
        "workloads": [
            {"name": f"{role}{number}", "host": host, "labels": {"app": role}}
            for number, host in enumerate(HOSTS, 1)
            for role in ("server", "client")
        ],
        "externals": [{"name": "outside"}],
        "resources": [guard],
    }
    with start_lab(topology) as lab:
        yield lab


@pytest.fixture(autouse=True)
def whole(core: Any) -> Iterator[None]:
    """Each test finds, and leaves, three members that agree."""
    yield
    for member in MEMBERS:
        etcd(core, "heal", member)
        etcd(core, "start", member)
    core.until(lambda: set(raft(core).values()) <= {"leader", "follower"}, "the members do not find together")
    core.programmed(delete=[("GlobalNetworkPolicy", "", "outsiders")])


def etcd(core: Any, command: str, member: str, *options: str) -> str:
    argv = [sys.executable, "-m", "calico", "lab", "etcd", command, "-l", core.name, member, *options]
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout


def raft(core: Any) -> dict[str, str]:
    return {member["name"]: member["raft"] for member in core.members()}


def outsiders_let_in(core: Any) -> None:
    """A policy is written, arrives in the kernels of all hosts, and goes again."""
    servers = ["server1", "server2", "server3"]
    nets = [f"{core.address('outside', 4)}/32", f"{core.address('outside', 6)}/128"]
    rules = [{"action": "Allow", "source": {"nets": [net]}} for net in nets]
    core.programmed(core.global_policy("outsiders", "app == 'server'", order=10, ingress=rules))
    assert not core.closed(["outside"], servers, SERVICES)
    core.programmed(delete=[("GlobalNetworkPolicy", "", "outsiders")])
    assert not core.opened(["outside"], servers, SERVICES)


def leader(core: Any) -> str:
    return next(name for name, role in raft(core).items() if role == "leader")


@pytest.mark.parametrize("way", ["kill", "partition"])
@pytest.mark.parametrize("whose", ["leader", "follower"])
def test_policy_arrives_while_one_member_of_three_is_away(core: Any, way: str, whose: str) -> None:
    with core.traffic(ALLOWED, FORBIDDEN):
        leads = leader(core)
        member = leads if whose == "leader" else next(name for name in MEMBERS if name != leads)
        etcd(core, way, member)
        outsiders_let_in(core)
        assert raft(core)[member] == ("not running" if way == "kill" else "no leader")
        etcd(core, "start" if way == "kill" else "heal", member)
        core.until(lambda: raft(core)[member] in ("leader", "follower"), f"{member} does not come back")
        outsiders_let_in(core)


def test_without_a_majority_nothing_breaks_and_hosts_say_so_until_it_is_back(core: Any) -> None:
    pids = {(host, kind): core.status(host, kind)["pid"] for host in core.hosts for kind in ("felix", "bgp")}
    with core.traffic(ALLOWED, FORBIDDEN):
        etcd(core, "kill", "etcd1")
        etcd(core, "partition", "etcd2")
        for host in core.hosts:
            for kind in ("felix", "bgp"):
                core.until(
                    lambda host=host, kind=kind: "datastore-unreachable" in codes(core, host, kind),
                    f"{kind} of {host} does not say that the datastore is unreachable",
                )
        assert not core.missing_routes()
        etcd(core, "heal", "etcd2")
        outsiders_let_in(core)
        for host in core.hosts:
            for kind in ("felix", "bgp"):
                core.until(
                    lambda host=host, kind=kind: "datastore-unreachable" not in codes(core, host, kind),
                    f"{kind} of {host} goes on saying that the datastore is unreachable",
                )
    assert pids == {(host, kind): core.status(host, kind)["pid"] for host, kind in pids}, "a daemon has ended"


def codes(core: Any, host: str, kind: str) -> set[str]:
    return {condition["code"] for condition in core.status(host, kind)["conditions"]}


def test_what_is_so_already_stays_and_an_unknown_member_is_named(core: Any) -> None:
    assert etcd(core, "partition", "etcd3") == "etcd3 is cut off from the other members\n"
    assert etcd(core, "partition", "etcd3") == "etcd3 is cut off from the other members already\n"
    assert core.members()[2]["cut_off_from"] == "members"
    assert etcd(core, "partition", "etcd3", "--from-all") == "etcd3 is cut off from everybody\n"
    assert core.members()[2]["cut_off_from"] == "all"
    assert etcd(core, "heal", "etcd3") == "etcd3 is joined to the others again\n"
    assert etcd(core, "heal", "etcd3") == "etcd3 was not cut off\n"
    assert etcd(core, "start", "etcd3") == "etcd3 runs already\n"
    with pytest.raises(subprocess.CalledProcessError) as failed:
        etcd(core, "kill", "etcd9")
    assert "no etcd member 'etcd9'; it has etcd1, etcd2, etcd3" in failed.value.stderr
