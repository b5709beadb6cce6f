"""A lab comes up, is what its topology says, survives misuse, and goes without trace."""

import json
import os
import signal
from pathlib import Path

import pytest

pytestmark = [pytest.mark.lab, pytest.mark.root]

TWO_HOSTS = {
    "hosts": [{"name": "h1"}, {"name": "h2"}],
    "workloads": [
        {"name": "a", "host": "h1", "labels": {"app": "a"}},
        {"name": "b", "host": "h2", "labels": {"app": "b"}},
    ],
    "externals": [{"name": "x"}],
}


def root_links() -> str:
    return "\n".join(sorted(os.listdir("/sys/class/net")))


def test_what_goes_up_reaches_everybody_and_goes_down_without_trace(lab):
    links = root_links()
    lab.up(TWO_HOSTS, "--wait")
    assert root_links() == links
    assert lab.status()["ready"]
    answers = lab.probe("--from", "a", "--from", "x", "--to", "b", "--to", "x", "--to", "h2")
    assert len(answers) == 5 * 4 * 2  # pairs, protocols, families
    assert not [question for question, reachable in answers.items() if not reachable]
    lab.down()
    assert lab.traces() == []
    assert root_links() == links


def test_status_names_every_namespace_pid_address_and_log(lab):
    lab.up(TWO_HOSTS, "--wait")
    status = lab.status()
    for netns in status["netns"].values():
        assert Path("/run/netns", netns).exists()
    kinds = sorted((p["kind"], p["machine"]) for p in status["processes"])
    per_host = [(kind, host) for kind in ("bgp", "felix", "gateway") for host in ("h1", "h2")]
    assert kinds == sorted([*per_host, ("bird", "gw"), ("etcd", "etcd1")])
    for process in status["processes"]:
        assert process["running"]
        assert Path(process["log"]).exists(), process
        assert os.readlink(f"/proc/{process['pid']}/ns/net")
    assert [w["addresses"] for w in status["workloads"]] == [["10.65.0.1", "fd65::1"], ["10.65.0.65", "fd65::41"]]


def test_a_workload_may_not_reach_its_own_host_but_other_hosts(lab):
    lab.up(TWO_HOSTS, "--wait")
    answers = lab.probe("--from", "a", "--to", "h1", "--to", "h2", "--service", "tcp:80", "--service", "icmp")
    assert {key: value for key, value in answers.items() if key[1] == "h1"} == {
        ("a", "h1", protocol, family): False for protocol in ("TCP", "ICMP") for family in (4, 6)
    }
    assert all(value for key, value in answers.items() if key[1] == "h2")


def test_up_twice_leaves_a_running_lab_alone(lab):
    lab.up(TWO_HOSTS, "--wait")
    pids = [p["pid"] for p in lab.status()["processes"]]
    assert "up already" in lab.up(TWO_HOSTS, "--wait").stdout
    assert [p["pid"] for p in lab.status()["processes"]] == pids


def test_up_from_another_topology_is_refused_with_the_way_out(lab):
    lab.up(TWO_HOSTS)
    refused = lab.up({"hosts": [{"name": "other"}]}, check=False)
    assert refused.returncode == 1
    assert f"calico lab down {lab.name}" in refused.stderr


def test_up_clears_away_what_a_crash_left(lab):
    lab.up(TWO_HOSTS)
    victim = next(p for p in lab.status()["processes"] if p["kind"] == "etcd")
    os.kill(victim["pid"], signal.SIGKILL)
    lab.up(TWO_HOSTS, "--wait")
    assert lab.status()["ready"]


@pytest.mark.parametrize("damage", ["missing", "cut short"])
def test_down_needs_no_state_file(lab, damage):
    lab.up(TWO_HOSTS)
    path = Path("/run/calico-lab", lab.name, "state.json")
    path.unlink() if damage == "missing" else path.write_text(path.read_text()[:100])
    lab.down()
    assert lab.traces() == []


def test_down_ends_what_runs_inside_and_was_never_recorded(lab):
    lab.up(TWO_HOSTS)
    lab.run("exec", "-l", lab.name, "a", "--", "sh", "-c", "sleep 600 >/dev/null 2>&1 & echo $!")
    inode = os.stat(f"/run/netns/cl-{lab.name}-a").st_ino
    lab.down()
    inside = [e for e in os.listdir("/proc") if e.isdigit() and _netns(e) == inode]
    assert inside == []


def test_two_labs_with_the_same_addresses_do_not_meet(new_lab):
    one, two = new_lab(), new_lab()
    one.up(TWO_HOSTS, "--wait")
    two.up(TWO_HOSTS, "--wait")
    assert [w["addresses"] for w in one.status()["workloads"]] == [w["addresses"] for w in two.status()["workloads"]]
    one.down()
    assert one.traces() == []
    assert two.status()["ready"]
    assert all(two.probe("--from", "a", "--to", "b", "--service", "tcp:80").values())


def test_a_workload_comes_and_goes_while_the_lab_runs(lab):
    lab.up(TWO_HOSTS, "--wait")
    lab.run("add-workload", "-l", lab.name, "c", "--host", "h2", "--label", "app=c", "--wait")
    answers = lab.probe("--from", "a", "--to", "c")
    assert len(answers) == 8
    assert all(answers.values())
    lab.run("remove-workload", "-l", lab.name, "c")
    names = [w["name"] for w in lab.status()["workloads"]]
    assert names == ["a", "b"]
    assert not Path(f"/run/netns/cl-{lab.name}-c").exists()
    endpoints = lab.run("exec", "-l", lab.name, "h1", "--", "calico", "get", "wep", "-o", "json").stdout
    assert "a" in endpoints
    assert "h2-cni-c-eth0" not in json.dumps(json.loads(endpoints))


def test_people_reach_the_datastore_from_a_host(lab):
    lab.up(TWO_HOSTS, "--wait")
    shown = lab.run("exec", "-l", lab.name, "h1", "--", "calico", "get", "nodes")
    assert "h1" in shown.stdout
    assert "h2" in shown.stdout


def test_exec_hands_on_the_exit_code_and_names_what_there_is(lab):
    lab.up(TWO_HOSTS)
    assert lab.run("exec", "-l", lab.name, "a", "--", "sh", "-c", "exit 7", check=False).returncode == 7
    unknown = lab.run("exec", "-l", lab.name, "nobody", "--", "true", check=False)
    assert unknown.returncode == 1
    assert "h1" in unknown.stderr


def test_resources_of_the_topology_are_in_force_when_up_returns(lab):
    policy = {
        "apiVersion": "projectcalico.org/v3",
        "kind": "GlobalNetworkPolicy",
        "metadata": {"name": "only-icmp"},
        "spec": {"selector": "app == 'b'", "types": ["Ingress"], "ingress": [{"action": "Allow", "protocol": "ICMP"}]},
    }
    lab.up({**TWO_HOSTS, "resources": [policy]}, "--wait")
    answers = lab.probe("--from", "a", "--to", "b", "--family", "4")
    assert answers == {("a", "b", protocol, 4): protocol == "ICMP" for protocol in ("TCP", "UDP", "SCTP", "ICMP")}


def test_a_bad_resource_fails_the_start_and_is_named(lab):
    bad = {
        "apiVersion": "projectcalico.org/v3",
        "kind": "GlobalNetworkPolicy",
        "metadata": {"name": "odd"},
        "spec": {"selector": "has("},
    }
    failed = lab.up({**TWO_HOSTS, "resources": [bad]}, check=False)
    assert failed.returncode == 1
    assert "odd" in failed.stderr
    lab.down()
    assert lab.traces() == []


def _netns(pid: str) -> int:
    try:
        return os.stat(f"/proc/{pid}/ns/net").st_ino
    except OSError:
        return 0
